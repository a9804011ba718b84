/** What needs Node.js: deployments from files. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";

import { parseDeployment, type Deployment } from "./deployments.js";
import { BadInput, NotFound, ScripError } from "./problems.js";

/**
 * Read a deployment from a file, or from the folder that holds `<chainId>.json`, e.g. that of `make demo KEEP=1`.
 * Raises NotFound, BadInput, and ScripError if the file is of another chain than `chainId`.
 */
export async function loadDeployment(path: string, chainId?: number): Promise<Deployment> {
  const file = await fileOf(path, chainId);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch {
    throw new NotFound(`deployment ${file} not found: deploy the contracts first, or name the file`);
  }
  const deployment = parseDeployment(parsed(file, text));
  if (chainId !== undefined && deployment.chainId !== chainId) {
    throw new ScripError(`${file} is a deployment on chain ${deployment.chainId}, wanted chain ${chainId}`);
  }
  return deployment;
}

async function fileOf(path: string, chainId: number | undefined): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) return path;
  if (chainId === undefined) throw new BadInput("chainId", chainId, `given, to choose a file in ${path}`);
  return join(path, `${chainId}.json`);
}

function parsed(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new BadInput(`deployment ${file}`, (error as Error).message, "JSON");
  }
}
