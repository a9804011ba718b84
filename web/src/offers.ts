/** Offers: signed by a maker off chain, handed on as JSON, filled or cancelled on chain. */
import {
  BadInput, computeCreditsAbi, creditExchangeAbi, messageFromJson, messageToJson, offerHash,
  typedData, type Offer,
} from "@scrip/abi";
import { encodeFunctionData, isHex, type Address, type Hex, type TypedDataDefinition } from "viem";

import { allow } from "./allowances.js";
import type { App } from "./app.js";
import { say } from "./notices.js";

/** An offer and its maker's signature; its JSON is that of `scrip.offers.SignedOffer`. */
export interface SignedOffer {
  readonly offer: Offer;
  readonly signature: Hex;
}

/** What of an offer can be had now. */
export interface OfferState {
  readonly left: bigint;
  readonly cancelled: boolean;
  readonly signed: boolean;
}

/** Sign an offer of the account and let the exchange take what it gives. Raises what refuses it. */
export async function makeOffer(app: App, wanted: Omit<Offer, "maker" | "epoch" | "salt">): Promise<SignedOffer> {
  const { address: maker, signer } = await app.wallet();
  const epoch = await app.client.readContract({ ...exchange(app), functionName: "epochOf", args: [maker] });
  const salt = crypto.getRandomValues(new BigUint64Array(1))[0]!;
  const offer: Offer = { ...wanted, maker, epoch, salt };
  const data = typedData(app.deployment, "Offer", offer);
  if (offer.selling) await allowCredits(app);
  else await allowTokens(app, offer.token, offer.price);
  say("Sign the offer in your wallet.");
  return { offer, signature: await signer.signTypedData(data as TypedDataDefinition & { account?: never }) };
}

/** The text to hand on. */
export function toText({ offer, signature }: SignedOffer): string {
  return JSON.stringify({ offer: messageToJson("Offer", offer), signature }, undefined, 2);
}

/** Inverse of `toText`. Raises BadInput. */
export function fromText(text: string): SignedOffer {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new BadInput("offer", text, "the JSON that its maker handed on");
  }
  const { offer, signature } = (typeof data === "object" && data !== null ? data : {}) as Record<string, unknown>;
  if (!isHex(signature)) throw new BadInput("offer.signature", signature, "0x and hex digits");
  return { offer: messageFromJson("Offer", offer), signature };
}

/** What is left of an offer, and whether its maker really signed it. */
export async function stateOfOffer(app: App, { offer, signature }: SignedOffer): Promise<OfferState> {
  const args = [offerHash(app.deployment, offer)] as const;
  const data = typedData(app.deployment, "Offer", offer) as TypedDataDefinition;
  const [filled, cancelled, signed] = await Promise.all([
    app.client.readContract({ ...exchange(app), functionName: "filledOf", args }),
    app.client.readContract({ ...exchange(app), functionName: "isCancelled", args }),
    app.client.verifyTypedData({ ...data, address: offer.maker, signature }),
  ]);
  return { left: offer.units > filled ? offer.units - filled : 0n, cancelled, signed };
}

/** Tokens for a part of an offer: rounded up when the taker buys, down when it sells (`ICreditExchange.fill`). */
export function priceOf(offer: Offer, units: bigint): bigint {
  const up = offer.selling ? offer.units - 1n : 0n;
  return (units * offer.price + up) / offer.units;
}

/** Fill base units of an offer for exactly its price. Raises what refuses it. */
export async function fillOffer(app: App, { offer, signature }: SignedOffer, units: bigint): Promise<void> {
  const limit = priceOf(offer, units);
  if (offer.selling) await allowTokens(app, offer.token, limit);
  else await allowCredits(app);
  const args = [{ offer, signature, units, limit }] as const;
  const data = encodeFunctionData({ abi: creditExchangeAbi, functionName: "fill", args });
  await app.send("Filling the offer", { to: app.address("CreditExchange"), data });
}

/** Withdraw an offer of the account's own. Raises what refuses it. */
export async function cancelOffer(app: App, { offer }: SignedOffer): Promise<void> {
  const data = encodeFunctionData({ abi: creditExchangeAbi, functionName: "cancel", args: [offer] });
  await app.send("Cancelling the offer", { to: app.address("CreditExchange"), data });
}

function exchange(app: App) {
  return { address: app.address("CreditExchange"), abi: creditExchangeAbi } as const;
}

/** ERC-1155 knows no amounts: the exchange may move all credits, and does so only for signed or sent orders. */
async function allowCredits(app: App): Promise<void> {
  const { address } = await app.wallet();
  const operator = app.address("CreditExchange");
  const at = { address: app.address("ComputeCredits"), abi: computeCreditsAbi } as const;
  if (await app.client.readContract({ ...at, functionName: "isApprovedForAll", args: [address, operator] })) return;
  const data = encodeFunctionData({ abi: computeCreditsAbi, functionName: "setApprovalForAll", args: [operator, true] });
  await app.send("Letting the exchange move your credits", { to: at.address, data });
}

function allowTokens(app: App, token: Address, amount: bigint): Promise<void> {
  return allow(app, token, "CreditExchange", amount, "Letting the exchange take the price");
}
