/** Jobs on chain: terms from the opening event, state from the slot, the end from the last event. */
import { isFinal, jobMarketAbi, nameOf, STATUSES, type JobTerms, type StatusName } from "@scrip/abi";
import type { Address, Hex } from "viem";

import type { App } from "./app.js";
import { searched } from "./logs.js";
import { Hindrance } from "./problems.js";

/** A job as it was opened. */
export interface Opening {
  readonly id: Hex;
  readonly terms: JobTerms;
  readonly block: bigint;
}

/** How a job ended. `receiptHash` is there where it ended with a receipt. */
export interface Ending {
  readonly status: StatusName;
  readonly units: bigint;
  readonly receiptHash: Hex | undefined;
  readonly transaction: Hex;
  readonly block: bigint;
}

function market(app: App) {
  return { address: app.address("JobMarket"), abi: jobMarketAbi, strict: true } as const;
}

/** Jobs opened by a payer, or the one with an id; the oldest first. */
export async function openings(app: App, args: { payer?: Address; jobId?: Hex }): Promise<Opening[]> {
  const found = await searched(app, (range) =>
    app.client.getContractEvents({ ...market(app), eventName: "JobOpened", args, ...range }),
  );
  return found.map(({ args: { jobId: id, nonce: _, quoted: __, ...terms }, blockNumber }) => ({
    id, terms, block: blockNumber,
  }));
}

/** How a job began. Raises Hindrance for one that never did. */
export async function openingOf(app: App, id: Hex): Promise<Opening> {
  const [found] = await openings(app, { jobId: id });
  if (!found) throw new Hindrance("No such job was opened on this chain: check its id.");
  return found;
}

/** Status of a job that was opened, and its ending once there is one. */
export async function stateOf(app: App, opening: Opening): Promise<{ status: StatusName; ending: Ending | undefined }> {
  const slot = await app.client.readContract({ ...market(app), functionName: "jobs", args: [opening.id] });
  // A slot is emptied when its job ends late: then only the event tells.
  if (slot.status !== 0 && !isFinal(slot.status)) return { status: nameOf(STATUSES, slot.status), ending: undefined };
  const ending = await endingOf(app, opening);
  return { status: ending?.status ?? nameOf(STATUSES, slot.status), ending };
}

/** How a job stands at `now`, in words for a list: one question, where `stateOf` may ask many. */
export async function standing(app: App, { id, terms }: Opening, now: number): Promise<string> {
  const { status } = await app.client.readContract({ ...market(app), functionName: "jobs", args: [id] });
  const name = nameOf(STATUSES, status);
  if (name === "none") return "over";
  const deadline = { open: terms.acceptBy, running: terms.submitBy }[name as string];
  return deadline !== undefined && now > deadline ? `${name}, past its time: take the credits back` : name;
}

/** Searched by id, event by event: a busy market has many others. */
async function endingOf(app: App, { id, block }: Opening): Promise<Ending | undefined> {
  const at = { ...market(app), args: { jobId: id } } as const;
  const [settled, refunded, cancelled, expired] = await Promise.all([
    searched(app, (range) => app.client.getContractEvents({ ...at, eventName: "JobSettled", ...range }), block),
    searched(app, (range) => app.client.getContractEvents({ ...at, eventName: "JobRefunded", ...range }), block),
    searched(app, (range) => app.client.getContractEvents({ ...at, eventName: "JobCancelled", ...range }), block),
    searched(app, (range) => app.client.getContractEvents({ ...at, eventName: "JobExpired", ...range }), block),
  ]);
  const all: Ending[] = [
    ...settled.map((one) => ending(one, "settled", one.args.units, one.args.receiptHash)),
    ...refunded.map((one) => ending(one, "refunded", 0n, one.args.receiptHash)),
    ...cancelled.map((one) => ending(one, "cancelled")),
    ...expired.map((one) => ending(one, "expired")),
  ];
  return all[0];
}

function ending(
  { transactionHash, blockNumber }: { transactionHash: Hex; blockNumber: bigint },
  status: StatusName,
  units = 0n,
  receiptHash?: Hex,
): Ending {
  return { status, units, receiptHash, transaction: transactionHash, block: blockNumber };
}

/** The transaction that brought a job's receipt: with a challenge window another than the one that settled it. */
export async function submissionOf(app: App, opening: Opening, ending: Ending): Promise<Hex> {
  const [found] = await app.client.getContractEvents({
    ...market(app), eventName: "JobSubmitted", args: { jobId: opening.id }, fromBlock: opening.block, toBlock: ending.block,
  });
  return found?.transactionHash ?? ending.transaction;
}
