#!/usr/bin/env node
/*
 * solc's command line over npm's solc, for machines that cannot download the native compiler.
 *
 * The WebAssembly build of one version emits the same bytecode as the native build. `make setup` links this
 * file as .solcx/solc-v<version>, where py-solc-x, Brownie and forge look for a compiler; the link is
 * resolved, so the packages are found beside this file. It supports what those three use:
 *
 *   solc --version
 *   solc --standard-json [FILE] [--base-path DIR] [--include-path DIR]... [--allow-paths LIST]
 *
 * Imports are read from the project root alone, whatever --allow-paths says: links are resolved first.
 */
"use strict";

const fs = require("fs");
const path = require("path");

const ROOT = fs.realpathSync(path.join(__dirname, ".."));
const TAKES_VALUE = new Set(["--base-path", "--include-path", "--allow-paths"]);

function fail(message) {
  process.stderr.write(`solc (npm wrapper): ${message}\n`);
  process.exit(1);
}

function parse(argv) {
  const options = { version: false, standardJson: false, input: null, bases: [], includes: [] };
  for (let i = 0; i < argv.length; i++) {
    const [name, inline] = argv[i].split(/=(.*)/s, 2);
    if (TAKES_VALUE.has(name)) {
      const value = inline !== undefined ? inline : argv[++i];
      if (value === undefined) fail(`${name} needs a value`);
      if (name === "--base-path") options.bases.push(value);
      if (name === "--include-path") options.includes.push(value);
    } else if (name === "--version") options.version = true;
    else if (name === "--standard-json") options.standardJson = true;
    else if (name.startsWith("--")) fail(`unknown option ${name}; use --version or --standard-json`);
    else if (name !== "-") options.input = name;
  }
  return options;
}

function isInside(file) {
  return file === ROOT || file.startsWith(ROOT + path.sep);
}

/** The import callback: base path first, then the include paths, as the native compiler searches. */
function reader(options) {
  const bases = options.bases.length ? options.bases : [process.cwd()];
  const folders = [...bases, ...options.includes].map((folder) => path.resolve(folder));
  return (name) => {
    let outside = false;
    for (const folder of folders) {
      const candidate = path.resolve(folder, name);
      if (!fs.existsSync(candidate)) continue;
      const real = fs.realpathSync(candidate);
      if (isInside(real)) return { contents: fs.readFileSync(real, "utf8") };
      outside = true;
    }
    return { error: outside ? `File outside of the project: ${name}` : `File not found: ${name}` };
  };
}

function main() {
  const options = parse(process.argv.slice(2));
  const solc = require(path.join(ROOT, "node_modules", "solc"));
  if (options.version) {
    process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
  } else if (options.standardJson) {
    const input = fs.readFileSync(options.input === null ? 0 : options.input, "utf8");
    process.stdout.write(solc.compile(input, { import: reader(options) }));
  } else {
    fail("nothing to do; use --version or --standard-json");
  }
}

main();
