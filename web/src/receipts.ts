/** A settled receipt, from the transaction that brought it: who signed it, and whether they are who the chain says. */
import {
  digestOf, jobMarketAbi, providerRegistryAbi, receiptBatch, receiptHash, receiptVerifierAbi, typedData, type Receipt,
} from "@scrip/abi";
import { decodeFunctionData, recoverAddress, zeroAddress, type Address, type Hex } from "viem";

import type { App } from "./app.js";
import { submissionOf, type Ending, type Opening } from "./jobs.js";
import { Hindrance } from "./problems.js";

const WATCHED = 2;
const NOT_THERE =
  "The transaction that ended the job doesn't hold the receipt that the chain names. Either another contract brought it, " +
  "or the node answers wrongly: compare with another node.";

/** One thing that was checked, and what was found. */
export interface Check {
  readonly name: string;
  readonly passed: boolean;
  readonly detail: string;
}

/** A receipt with what its checks found. */
export interface Checked {
  readonly receipt: Receipt;
  readonly transaction: Hex;
  readonly checks: readonly Check[];
}

/** What a call of the market says about receipts. */
interface Submitted {
  readonly receipt: Receipt;
  readonly digest: Hex;
  readonly provider: Hex;
  readonly watchers: readonly Hex[];
}

/** The receipt that ended a job, every signature recovered here. Raises Hindrance where it isn't there. */
export async function checkedReceipt(app: App, opening: Opening, ending: Ending, watcherSet: number): Promise<Checked> {
  const wanted = ending.receiptHash;
  if (!wanted) throw new Hindrance(`The job ended ${ending.status}, without a receipt.`);
  const transaction = await submissionOf(app, opening, ending);
  const { input } = await app.client.getTransaction({ hash: transaction });
  const found = submitted(app, input, wanted);
  if (!found) throw new Hindrance(NOT_THERE);
  const { receipt } = found;
  const checks = [
    sameHash(receipt, wanted),
    { name: "Job", passed: receipt.jobId === opening.id, detail: receipt.jobId },
    await providerCheck(app, opening.terms.provider, found, ending.block),
    await watcherCheck(app, found, watcherSet, ending.block),
  ];
  return { receipt, transaction, checks };
}

function submitted(app: App, input: Hex, wanted: Hex): Submitted | undefined {
  const call = callOf(input);
  if (!call) return undefined;
  if (call.functionName === "submit") {
    const [, receipt, { provider, watchers }] = call.args;
    if (receiptHash(receipt) !== wanted) return undefined;
    return { receipt, digest: digestOf(typedData(app.deployment, "Receipt", receipt)), provider, watchers };
  }
  if (call.functionName !== "submitBatch") return undefined;
  const [, receipts, , { provider, watchers }] = call.args;
  const receipt = receipts.find((one) => receiptHash(one) === wanted);
  return receipt && { receipt, digest: digestOf(receiptBatch(app.deployment, receipts)), provider, watchers };
}

/** The call of the market that a transaction is, undefined for any other. */
function callOf(data: Hex) {
  try {
    return decodeFunctionData({ abi: jobMarketAbi, data });
  } catch {
    return undefined;
  }
}

function sameHash(receipt: Receipt, wanted: Hex): Check {
  const hash = receiptHash(receipt);
  return { name: "Receipt hash", passed: hash === wanted, detail: `${hash}, as in the event that ended the job` };
}

async function providerCheck(app: App, provider: Address, found: Submitted, block: bigint): Promise<Check> {
  const signer = await signerOf(found.digest, found.provider);
  const at = { address: app.address("ProviderRegistry"), abi: providerRegistryAbi } as const;
  const oracle = await atBlock(block, (when) =>
    app.client.readContract({ ...at, functionName: "oracleNowServing", args: [provider], ...when }),
  );
  const passed = signer === oracle && signer !== zeroAddress;
  return { name: "Provider's signature", passed, detail: passed ? `${signer}` : `${signer}, its key is ${oracle}` };
}

async function watcherCheck(app: App, found: Submitted, set: number, block: bigint): Promise<Check> {
  const name = "Watchers' signatures";
  if (!set || found.receipt.assurance < WATCHED) {
    return { name, passed: true, detail: `none needed at assurance ${found.receipt.assurance}` };
  }
  const at = { address: app.address("ReceiptVerifier"), abi: receiptVerifierAbi } as const;
  const setId = BigInt(set);
  const signers = new Set(await Promise.all(found.watchers.map((one) => signerOf(found.digest, one))));
  const members = await Promise.all(
    [...signers].map((who) =>
      atBlock(block, (when) => app.client.readContract({ ...at, functionName: "isWatcher", args: [setId, who], ...when })),
    ),
  );
  const threshold = await atBlock(block, (when) =>
    app.client.readContract({ ...at, functionName: "thresholdOf", args: [setId], ...when }),
  );
  const count = members.filter((isMember) => isMember).length;
  const detail = `${count} of watcher set ${set} signed, ${threshold} needed: ${[...signers].join(", ")}`;
  return { name, passed: threshold > 0n && count >= Number(threshold), detail };
}

/** Who signed; bytes that are no signature are of nobody. */
async function signerOf(hash: Hex, signature: Hex): Promise<Address> {
  try {
    return await recoverAddress({ hash, signature });
  } catch {
    return zeroAddress;
  }
}

/** As of the block in which the job ended; a node that keeps no old state is asked for now. */
async function atBlock<Value>(
  blockNumber: bigint,
  read: (when: { blockNumber?: bigint }) => Promise<Value>,
): Promise<Value> {
  return read({ blockNumber }).catch(() => read({}));
}
