/** Requests that a provider answers to a job's parties only, signed by the wallet (docs/api.md, "Signed requests"). */
import { keccak256, type Hex } from "viem";

import type { App } from "./app.js";
import { say } from "./notices.js";
import { fetched } from "./providers.js";

const LIFETIME_S = 120;
const REQUEST = [
  { name: "method", type: "string" },
  { name: "url", type: "string" },
  { name: "bodyHash", type: "bytes32" },
  { name: "expires", type: "uint256" },
] as const;

/** The output of a job. Raises ProviderProblem, and what the wallet raises. */
export async function outputOf(app: App, endpoint: string, job: Hex): Promise<Uint8Array> {
  const url = `${endpoint}/jobs/${job}/output`;
  const headers = { Authorization: await signed(app, "GET", url) };
  return new Uint8Array(await (await fetched(url, { headers })).arrayBuffer());
}

async function signed(app: App, method: string, url: string): Promise<string> {
  const { address, signer } = await app.wallet();
  const expires = Math.floor(Date.now() / 1000) + LIFETIME_S;
  say("Sign the request for your job's output in your wallet.");
  const signature = await signer.signTypedData({
    domain: { name: "Scrip API", version: "1", chainId: app.chain.id, verifyingContract: app.address("JobMarket") },
    types: { Request: REQUEST },
    primaryType: "Request",
    message: { method, url, bodyHash: keccak256("0x"), expires: BigInt(expires) },
  });
  return `Scrip signer=${address},expires=${expires},signature=${signature}`;
}
