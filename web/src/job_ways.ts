/** How a job that isn't over can be ended from here: by whom, from when on, and what its time says meanwhile. */
import { jobMarketAbi, spendingBudgetsAbi, type StatusName } from "@scrip/abi";
import { encodeFunctionData } from "viem";

import type { App } from "./app.js";
import type { Opening } from "./jobs.js";
import { span, when } from "./time.js";

/** A call of the market that ends a job, and its button. */
export interface Way {
  readonly call: "cancel" | "expire" | "finalize";
  readonly label: string;
}

/** What its time says of a job. `way` is there where the account can end it, now or after the time told. */
export interface Outlook {
  readonly text: string;
  readonly way: Way | undefined;
}

const CANCEL: Way = { call: "cancel", label: "Cancel the job" };
const EXPIRE: Way = { call: "expire", label: "Take the credits back" };
const SETTLE: Way = { call: "finalize", label: "Settle the job" };
const CONCLUDE: Way = { call: "finalize", label: "End the dispute" };

/** How it stands with a job at `now`, Unix seconds; "" and no way for one that is over. */
export async function outlookOf(app: App, opening: Opening, status: StatusName, now: number): Promise<Outlook> {
  const { acceptBy, submitBy } = opening.terms;
  if (status === "open") return openOutlook(acceptBy, now, await isPaying(app, opening));
  if (status === "running") {
    return outlook(submitBy, now, EXPIRE, {
      before: `The provider has until ${ahead(submitBy, now)} to bring a receipt. After that anyone can end the job here.`,
      after: `The provider brought no receipt until ${behind(submitBy, now)}. Anyone can end the job: nothing is paid.`,
    });
  }
  const at = { address: app.address("JobMarket"), abi: jobMarketAbi, args: [opening.id] } as const;
  if (status === "submitted") {
    const { finalizeAt } = await app.client.readContract({ ...at, functionName: "submissions" });
    return outlook(finalizeAt, now, SETTLE, {
      before: `The receipt is there. It can be challenged until ${ahead(finalizeAt, now)}; then anyone can settle the job.`,
      after:
        `Nobody challenged the receipt until ${behind(finalizeAt, now)}: anyone can settle the job, and what isn't ` +
        "used comes back.",
    });
  }
  if (status !== "disputed") return { text: "", way: undefined };
  const { decideBy } = await app.client.readContract({ ...at, functionName: "disputes" });
  return outlook(decideBy, now, CONCLUDE, {
    before: `The receipt is disputed. Arbiters decide until ${ahead(decideBy, now)}; after that anyone can end the dispute.`,
    after: `The arbiters decided nothing until ${behind(decideBy, now)}: anyone can end the dispute.`,
  });
}

/** The call, encoded. */
export function endingCall(app: App, { terms }: Opening, { call }: Way) {
  return { to: app.address("JobMarket"), data: encodeFunctionData({ abi: jobMarketAbi, functionName: call, args: [terms] }) };
}

function openOutlook(acceptBy: number, now: number, isMine: boolean): Outlook {
  const until = ahead(acceptBy, now);
  const before = isMine
    ? `No provider has accepted it yet. Until ${until}, its provider can; until then you can cancel it. Nothing is paid.`
    : `No provider has accepted it yet. Its provider can until ${until}. After that anyone can end the job here.`;
  const after = `No provider accepted it until ${behind(acceptBy, now)}. Anyone can end the job: nothing is paid.`;
  return outlook(acceptBy, now, isMine && now <= acceptBy ? CANCEL : EXPIRE, { before, after });
}

function outlook(deadline: number, now: number, way: Way, { before, after }: { before: string; after: string }): Outlook {
  return { text: now > deadline ? after : before, way };
}

function ahead(time: number, now: number): string {
  return `${when(time)} (in ${span(time - now)})`;
}

function behind(time: number, now: number): string {
  return `${when(time)} (${span(now - time)} ago)`;
}

/** Whether the account pays for the job, or is the spender of the budget that does: it may cancel what is open. */
async function isPaying(app: App, { terms }: Opening): Promise<boolean> {
  const account = app.connection?.address;
  if (!account || account === terms.payer) return account !== undefined;
  if (!terms.budgetId) return false;
  const { limits } = await app.client.readContract({
    address: app.address("SpendingBudgets"), abi: spendingBudgetsAbi, functionName: "budgetOf", args: [terms.budgetId],
  });
  return limits.spender === account;
}
