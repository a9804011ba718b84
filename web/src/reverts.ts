/** What a contract refused, where its numbers are times or prices: `@scrip/abi` words all others. */
import type { Revert } from "@scrip/abi";

import { span, when } from "./time.js";

/** Contracts give what was met and what is needed; a time this large is no count. */
type Numbers = { readonly given: bigint; readonly limit: bigint };

const LATER = "Nothing was spent. Try again once the feed has a fresh price, or take an offer.";
const SOME_TIME = 1_000_000_000n;

const SENTENCES: Readonly<Record<string, (numbers: Numbers) => string>> = {
  JobMarket_DeadlineNotReached: ({ given, limit }) =>
    `Too early: this is possible from ${when(limit)} on, in ${span(limit - given)}.`,
  ComputeCredits_Paused: ({ given, limit }) =>
    `Sales and new jobs of this class are paused until ${when(limit)}, for another ${span(limit - given)}.`,
  CreditReserve_BadPrice: badPrice,
  CreditReserve_PriceDeviates: ({ given, limit }) =>
    `The price feed is ${given > limit ? "above" : "below"} what the class allows, so its sales rest. ${LATER}`,
  CreditReserve_SequencerDown: ({ given, limit }) =>
    given
      ? `The chain came back from an outage only ${span(given)} ago: sales by a feed's price start again in ` +
        `${span(limit - given)}.`
      : "The chain's sequencer is reported down: sales by a feed's price rest until it is back, and an hour more.",
  PriceFeed_NoData: () => `The class's price feed has no price yet. ${LATER}`,
};

/** One sentence for what a contract refused, and the next step. */
export function refusalOf({ name, args, sentence }: Revert): string {
  const { given, limit } = args;
  const told = SENTENCES[name];
  return told && typeof given === "bigint" && typeof limit === "bigint" ? told({ given, limit }) : sentence;
}

/** `ClassPrice.feedRate`: an answer that is none, one too large, or a time too late or too early. */
function badPrice({ given, limit }: Numbers): string {
  if (given < SOME_TIME || limit > SOME_TIME * SOME_TIME) {
    return `The class's price feed answers no price that can be counted with. ${LATER}`;
  }
  if (given > limit) return `The class's price feed answers a price of the future, ${when(given)}. ${LATER}`;
  return `The class's price is too old: it is of ${when(given)}, ${span(limit - given)} more than the class allows. ${LATER}`;
}
