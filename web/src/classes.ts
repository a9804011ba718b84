/** Credit classes as the chain has them: terms, price, backing, supply. */
import {
  computeCreditsAbi, creditReserveAbi, demoUSDAbi, formatUnits, FUNDINGS, nameOf, RESOURCES, type ResourceName,
} from "@scrip/abi";
import type { Address, ContractFunctionReturnType } from "viem";

import type { App } from "./app.js";
import { isLost, problemOf } from "./problems.js";

type Terms = ContractFunctionReturnType<typeof computeCreditsAbi, "view", "classTerms">;

/** A payment token, as it describes itself. */
export interface Token {
  readonly address: Address;
  readonly symbol: string;
  readonly decimals: number;
}

/** One class. `price` is that of a million credits; without one, `hitch` says why where its feed is in trouble. */
export interface CreditClass {
  readonly id: bigint;
  readonly terms: Terms;
  readonly resource: ResourceName;
  readonly token: Token;
  readonly price: bigint | undefined;
  readonly hitch: string;
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
  const [token, { price, hitch }] = await Promise.all([
    readToken(app, terms.paymentToken),
    forSale ? priceOf(app, id, terms.decimals) : { price: undefined, hitch: "" },
  ]);
  const resource = nameOf(RESOURCES, terms.resource);
  return { id, terms, resource, token, price, hitch, supply, backing, open: !isOver };
}

/** A feed without a fresh answer is no reason to hide the class; a node that is gone is one to say so. */
async function priceOf(app: App, id: bigint, decimals: number): Promise<Pick<CreditClass, "price" | "hitch">> {
  const reserve = { address: app.address("CreditReserve"), abi: creditReserveAbi } as const;
  const args = [id, MILLION * 10n ** BigInt(decimals)] as const;
  try {
    return { price: await app.client.readContract({ ...reserve, functionName: "costOf", args }), hitch: "" };
  } catch (error) {
    if (isLost(error)) throw error;
    return { price: undefined, hitch: problemOf(error).sentence };
  }
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
