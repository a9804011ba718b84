/** Where the contracts are: `deployments/<chainId>.json` as the deploy script writes it. */
import { getAddress, isAddress, type Address } from "viem";

import { recorded } from "./generated/deployments.js";
import { type abis } from "./generated/index.js";
import { BadInput, NotFound } from "./problems.js";

export type ContractName = keyof typeof abis;

/** Addresses of one deployment. `block` is the first block that can hold its events. */
export interface Deployment {
  readonly chainId: number;
  readonly block: number;
  readonly contracts: Readonly<Record<string, Address>>;
  readonly explorer?: string;
}

/** A deployment from the parsed JSON of such a file; other keys are ignored. Raises BadInput. */
export function parseDeployment(data: unknown): Deployment {
  if (!isObject(data)) throw new BadInput("deployment", data, "an object with chainId, block and contracts");
  const { chainId, block, contracts, explorer } = data;
  if (!isObject(contracts)) throw new BadInput("deployment.contracts", contracts, "addresses by contract name");
  const addresses = Object.entries(contracts).map(([name, at]) => [name, address(`deployment.contracts.${name}`, at)]);
  const place = {
    chainId: count("deployment.chainId", chainId),
    block: count("deployment.block", block),
    contracts: Object.fromEntries(addresses) as Record<string, Address>,
  };
  if (explorer === undefined || explorer === "") return place;
  if (typeof explorer !== "string" || !/^https?:\/\//.test(explorer)) {
    throw new BadInput("deployment.explorer", explorer, "a URL");
  }
  return { ...place, explorer };
}

/** Ids of the public chains with a deployment that this version of the package knows. */
export function knownChains(): number[] {
  return Object.keys(recorded).map(Number);
}

/** The deployment on a public chain. Raises NotFound; load a local one with `parseDeployment` or `@scrip/abi/node`. */
export function deploymentOn(chainId: number): Deployment {
  const found = (recorded as Record<string, unknown>)[String(chainId)];
  if (found === undefined) {
    const known = knownChains().join(", ") || "none";
    throw new NotFound(`no deployment on chain ${chainId} is known (known: ${known}): load its deployment file`);
  }
  return parseDeployment(found);
}

/** Address of a contract. Raises NotFound. */
export function addressOf(deployment: Deployment, contract: ContractName): Address {
  const found = Object.hasOwn(deployment.contracts, contract) ? deployment.contracts[contract] : undefined;
  if (found === undefined) {
    const known = Object.keys(deployment.contracts).join(", ") || "none";
    throw new NotFound(`the deployment on chain ${deployment.chainId} has no ${contract}: it has ${known}`);
  }
  return found;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function count(field: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new BadInput(field, value, "a non-negative integer");
  }
  return value;
}

function address(field: string, value: unknown): Address {
  if (typeof value !== "string" || !isAddress(value)) {
    throw new BadInput(field, value, "an address with a valid checksum: 0x and 40 hex digits");
  }
  return getAddress(value);
}
