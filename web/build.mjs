/**
 * Bundles the page into `dist/`, or the folder given: it works on any static host. `config.json` is the host's own, put
 * beside it.
 */
import { copyFile, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = process.argv[2] ?? here("dist");

await mkdir(folder, { recursive: true });
await build({
  entryPoints: [here("src/main.ts")],
  outfile: `${folder}/app.js`,
  alias: { "@scrip/abi": here("../abi/src/index.ts") },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  logLevel: "warning",
});
for (const name of ["index.html", "style.css"]) await copyFile(here(name), `${folder}/${name}`);
