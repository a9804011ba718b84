/** Which chain and contracts the page is of: `config.json` beside it, or the query of its address. */
import { BadInput, deploymentOn, parseDeployment, type Deployment } from "@scrip/abi";

import { Hindrance } from "./problems.js";

/** Where the page reads from. `source` says where that was written. */
export interface Config {
  readonly rpcUrl: string;
  readonly chainName: string;
  readonly coin: string;
  readonly deployment: Deployment;
  readonly source: "file" | "query";
}

const HOW = "Put a config.json beside the page, or add ?chainId=…&rpcUrl=… to its address (docs/web.md).";

/** The configuration. A query that names an RPC URL goes first. Raises Hindrance and BadInput. */
export async function loadConfig(query: URLSearchParams, base: string): Promise<Config> {
  const asked = Object.fromEntries(["chainId", "rpcUrl", "deployment"].map((name) => [name, query.get(name)]));
  if (asked.rpcUrl) return fromQuery(asked, base);
  const data = await readJson("config.json", base);
  if (data === undefined) throw new Hindrance(`This page doesn't know its chain yet. ${HOW}`);
  return configOf(data, "file", base);
}

/** Contracts are never taken from a link: a deployment it names has to lie on this page's own host. */
async function fromQuery(asked: Record<string, string | null>, base: string): Promise<Config> {
  const { rpcUrl, chainId, deployment } = asked;
  if (deployment && new URL(deployment, base).origin !== new URL(base).origin) {
    throw new BadInput("deployment", deployment, "a file on this page's own host");
  }
  return configOf({ rpcUrl, chainId: Number(chainId), ...(deployment ? { deployment } : {}) }, "query", base);
}

async function configOf(data: unknown, source: Config["source"], base: string): Promise<Config> {
  if (typeof data !== "object" || data === null) throw new BadInput("config.json", data, "an object");
  const given = data as Record<string, unknown>;
  const { rpcUrl, chainId } = given;
  if (typeof rpcUrl !== "string" || !/^https?:\/\//.test(rpcUrl)) throw new BadInput("rpcUrl", rpcUrl, "a URL");
  const deployment = await deploymentOf(given, base);
  if (typeof chainId !== "number" || chainId !== deployment.chainId) {
    throw new BadInput("chainId", chainId, `the deployment's, ${deployment.chainId}`);
  }
  return {
    rpcUrl,
    deployment,
    source,
    chainName: text(given.chainName, `Chain ${chainId}`),
    coin: text(given.coin, "ETH"),
  };
}

async function deploymentOf(given: Record<string, unknown>, base: string): Promise<Deployment> {
  const place = given.deployment;
  if (place === undefined) return deploymentOn(Number(given.chainId));
  if (typeof place !== "string") return parseDeployment(place);
  const data = await readJson(place, base);
  if (data === undefined) throw new BadInput("deployment", place, "a JSON file that this page can read");
  return parseDeployment(data);
}

/** The JSON of a file, undefined where there is none. */
async function readJson(path: string, base: string): Promise<unknown> {
  const answer = await fetch(new URL(path, base), { cache: "no-cache" });
  if (!answer.ok) return undefined;
  try {
    return await answer.json();
  } catch {
    throw new BadInput(path, "what it holds", "JSON");
  }
}

function text(value: unknown, otherwise: string): string {
  return typeof value === "string" && value ? value : otherwise;
}
