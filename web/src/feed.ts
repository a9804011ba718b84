/** Prices from feeds: how old one is, how old it may be, and what a purchase may cost at most. */
import { formatUnits, priceFeedAbi } from "@scrip/abi";
import { zeroAddress } from "viem";

import type { App } from "./app.js";
import type { CreditClass } from "./classes.js";
import { isLost } from "./problems.js";
import { nextTime, span, when } from "./time.js";

/** A feed's price may move before the transaction is mined; by more than this, the contract refuses. */
const SLIPPAGE_PERCENT = 1n;

/** Whether a feed prices the class. */
export function hasFeed(one: CreditClass): boolean {
  return one.terms.priceFeed !== zeroAddress;
}

/** The most that a purchase may take: `buy`'s `maxCost`. */
export function mostFor(one: CreditClass, cost: bigint): bigint {
  return hasFeed(one) ? cost + (cost * SLIPPAGE_PERCENT + 99n) / 100n : cost;
}

/** How old the feed's price is and what bounds it, in words; "" for a fixed price. Raises if the node is gone. */
export async function aboutFeed(app: App, one: CreditClass): Promise<string> {
  if (!hasFeed(one)) return "";
  const { priceFeed, maxPriceAge, maxDeviationBps, pricePerMillion } = one.terms;
  const price = `${formatUnits(pricePerMillion, one.token.decimals)} ${one.token.symbol}`;
  const within = `within ${maxDeviationBps / 100} % of ${price} per million`;
  const bounds = `The class takes a price at most ${span(maxPriceAge)} old and ${within}.`;
  const at = await observedAt(app, priceFeed);
  if (at === undefined) return `The price feed has no price now. ${bounds}`;
  return `Price from a feed, observed ${span((await nextTime(app)) - at)} ago (${when(at)}). ${bounds}`;
}

async function observedAt(app: App, address: CreditClass["terms"]["priceFeed"]): Promise<number | undefined> {
  try {
    const round = await app.client.readContract({ address, abi: priceFeedAbi, functionName: "latestRoundData" });
    return Number(round[3]);
  } catch (error) {
    if (isLost(error)) throw error;
    return undefined; // it has no round yet, or is no feed any more
  }
}
