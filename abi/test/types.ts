// Checked by `tsc --noEmit`, never run: what the types let a dApp write, and what they don't.
import {
  abis, jobMarketAbi, messageFromJson, nameOf, revertOf, STATUSES, typedData, type Deployment, type JobTerms,
  type StatusName,
} from "@scrip/abi";
import { createPublicClient, createWalletClient, http, type Address, type Hex } from "viem";

declare const deployment: Deployment;
declare const account: Address;
declare const id: Hex;
const client = createPublicClient({ transport: http() });
const wallet = createWalletClient({ account, transport: http() });

const terms: JobTerms = {
  payer: account, provider: account, classId: 1n, maxUnits: 5n, resources: 1, acceptBy: 10, submitBy: 20, specHash: id,
  budgetId: 0n, salt: 1n,
};

export async function allowed(): Promise<StatusName> {
  const data = typedData(deployment, "JobTerms", terms);
  const signature = await wallet.signTypedData(data);
  const market = { address: account, abi: jobMarketAbi };
  // The terms that were signed are the terms that the call takes.
  const args = [data.message, signature, "0x"] as const;
  await wallet.writeContract({ ...market, chain: null, functionName: "openBySig", args });
  const job = await client.readContract({ ...market, functionName: "jobs", args: [id] });
  const openedAt: number = job.openedAt;
  const nonce: bigint = job.nonce;
  const verb: "read" | undefined = openedAt && nonce ? "read" : undefined;
  const receipt = messageFromJson("Receipt", JSON.parse("{}"));
  const units: bigint = receipt.units;
  const budget = typedData(deployment, "CreateBudget", {
    owner: account, token: account, providers: [account], nonce: 0n, deadline: units,
    limits: { spender: account, perAction: 1n, perPeriod: 1n, lifetime: 1n, period: 0, expiry: 0, listed: false },
  });
  await wallet.signTypedData(budget);
  const sentence: string | undefined = revertOf(verb)?.sentence;
  return sentence ? "expired" : nameOf(STATUSES, job.status);
}

export function refused(): void {
  // @ts-expect-error there is no such message
  typedData(deployment, "JobTerm", terms);
  // @ts-expect-error a field is missing
  typedData(deployment, "Voucher", { units: 1n });
  // @ts-expect-error 256 bits don't fit a number
  typedData(deployment, "Voucher", { sessionId: id, units: 1 });
  // @ts-expect-error a message of one name isn't one of another
  typedData(deployment, "SessionTerms", terms);
  // @ts-expect-error there is no such function
  void client.readContract({ address: account, abi: jobMarketAbi, functionName: "job", args: [id] });
  // @ts-expect-error an id is hex text
  void client.readContract({ address: account, abi: jobMarketAbi, functionName: "jobs", args: [1n] });
  // @ts-expect-error there is no such contract
  void abis.Market;
  // @ts-expect-error there is no such status
  const status: StatusName = "done";
  void status;
}
