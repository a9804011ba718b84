/** Credit classes as the chain has them: terms, price, backing, supply. */
import {
  computeCreditsAbi, creditReserveAbi, demoUSDAbi, formatUnits, FUNDINGS, nameOf, RESOURCES, type ResourceName,
} from "@scrip/abi";
import type { Address, ContractFunctionReturnType } from "viem";

import type { App } from "./app.js";

type Terms = ContractFunctionReturnType<typeof computeCreditsAbi, "view", "classTerms">;

/** A payment token, as it describes itself. */
export interface Token {
  readonly address: Address;
  readonly symbol: string;
  readonly decimals: number;
}

/** One class. `price` is that of a million credits, undefined where its feed has none now. */
export interface CreditClass {
  readonly id: bigint;
  readonly terms: Terms;
  readonly resource: ResourceName;
  readonly token: Token;
  readonly price: bigint | undefined;
  readonly supply: bigint;
  readonly backing: bigint;
  readonly open: boolean;
}

const MILLION = 1_000_000n;

/** Every class, in order. */
export async function readClasses(app: App): Promise<CreditClass[]> {
  const at = { address: app.address("ComputeCredits"), abi: computeCreditsAbi } as const;
  const count = await app.client.readContract({ ...at, functionName: "classCount" });
  const ids = Array.from({ length: Number(count) }, (_, place) => BigInt(place + 1));
  return Promise.all(ids.map((id) => readClass(app, id)));
}

async function readClass(app: App, id: bigint): Promise<CreditClass> {
  const { client } = app;
  const at = { address: app.address("ComputeCredits"), abi: computeCreditsAbi } as const;
  const reserve = { address: app.address("CreditReserve"), abi: creditReserveAbi } as const;
  const args = [id] as const;
  const [terms, supply, backing, isOver] = await Promise.all([
    client.readContract({ ...at, functionName: "classTerms", args }),
    client.readContract({ ...at, functionName: "totalSupply", args }),
    client.readContract({ ...reserve, functionName: "backingOf", args }),
    client.readContract({ ...at, functionName: "isWoundDown", args }),
  ]);
  const forSale = nameOf(FUNDINGS, terms.funding) === "sale";
  const units = MILLION * 10n ** BigInt(terms.decimals);
  const [token, price] = await Promise.all([
    readToken(app, terms.paymentToken),
    forSale ? client.readContract({ ...reserve, functionName: "costOf", args: [id, units] }).catch(noPrice) : undefined,
  ]);
  return { id, terms, resource: nameOf(RESOURCES, terms.resource), token, price, supply, backing, open: !isOver };
}

/** A feed without a fresh answer is no reason to hide the class; a node that is gone is one to say so. */
function noPrice(error: unknown): undefined {
  if ((error as Error).name !== "ContractFunctionExecutionError") throw error;
  return undefined;
}

/** Symbol and decimals of an ERC-20. */
export async function readToken(app: App, address: Address): Promise<Token> {
  const at = { address, abi: demoUSDAbi } as const;
  const [symbol, decimals] = await Promise.all([
    app.client.readContract({ ...at, functionName: "symbol" }),
    app.client.readContract({ ...at, functionName: "decimals" }),
  ]);
  return { address, symbol, decimals };
}

/** "12.5 dUSD". */
export function money(token: Token, amount: bigint): string {
  return `${formatUnits(amount, token.decimals)} ${token.symbol}`;
}

/** "1,500 CPU-seconds"-like text of base units. */
export function credits(one: CreditClass, units: bigint): string {
  const text = formatUnits(units, one.terms.decimals);
  return `${text} ${one.resource}${text === "1" ? "" : "s"}`;
}

/** How a class is called in lists. */
export function labelOf(one: CreditClass): string {
  return `${one.id}: ${one.terms.name || one.resource}`;
}

/** Whether buyers can buy it from the reserve now. */
export function isForSale(one: CreditClass): boolean {
  return one.open && nameOf(FUNDINGS, one.terms.funding) === "sale";
}
