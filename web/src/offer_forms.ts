/** The forms for offers: make one, read one that was handed on, fill or cancel it. */
import { formatUnits, parseUnits } from "@scrip/abi";
import { zeroAddress } from "viem";

import type { App } from "./app.js";
import { chosenClass, classOf } from "./class_list.js";
import { credits, money, type CreditClass } from "./classes.js";
import { byId, facts, field, make, valueOf } from "./dom.js";
import { addressFrom, wholeFrom } from "./input.js";
import { attempt, onSubmit, say } from "./notices.js";
import {
  cancelOffer, fillOffer, fromText, makeOffer, priceOf, stateOfOffer, toText, wantedFrom, type SignedOffer,
} from "./offers.js";
import { Hindrance, problemOf } from "./problems.js";

const MOST_HOURS = 24 * 365;

/** Wire up the forms. */
export function setUpOffers(app: App): void {
  const making = byId("offer-form", HTMLFormElement);
  const taking = byId("offer-take", HTMLFormElement);
  const made = byId("offer-made", HTMLTextAreaElement);
  onSubmit(making, async () => {
    made.value = toText(await sign(app, making));
    say("The offer is signed: copy it and hand it on.");
  });
  byId("offer-copy", HTMLButtonElement).addEventListener("click", () => void attempt(() => copy(made)));
  field(taking, "offer").addEventListener("input", () => void showOffer(app));
  onSubmit(taking, () => fill(app, taking));
  const cancel = byId("offer-cancel", HTMLButtonElement);
  cancel.addEventListener("click", () => void attempt(() => withdraw(app, taking), cancel));
}

async function sign(app: App, form: HTMLFormElement): Promise<SignedOffer> {
  const taker = valueOf(form, "taker");
  const now = Number((await app.client.getBlock()).timestamp);
  const given = {
    classId: chosenClass(form).id,
    selling: valueOf(form, "side") === "sell",
    credits: valueOf(form, "credits"),
    price: valueOf(form, "price"),
    hours: wholeFrom("hours", valueOf(form, "hours"), MOST_HOURS),
    taker: taker ? addressFrom("taker", taker) : ("" as const),
  };
  return makeOffer(app, wantedFrom(given, now));
}

async function copy(from: HTMLTextAreaElement): Promise<void> {
  if (!from.value) throw new Hindrance("Sign an offer first.");
  try {
    await navigator.clipboard.writeText(from.value);
    say("Copied.");
  } catch {
    from.select(); // a browser that keeps its clipboard to itself
    say("Selected: copy it with your keyboard.");
  }
}

let turn = 0;

/** Read the offer that was pasted, and show what of it can be had now. */
export async function showOffer(app: App): Promise<void> {
  const form = byId("offer-take", HTMLFormElement);
  const place = byId("offer-read", HTMLDivElement);
  const mine = (turn += 1);
  const show = (...shown: Node[]) => {
    if (mine === turn) place.replaceChildren(...shown);
  };
  if (!valueOf(form, "offer")) return show();
  try {
    const signed = fromText(valueOf(form, "offer"));
    const one = classOfOffer(signed);
    const { left, cancelled, signed: genuine } = await stateOfOffer(app, signed);
    show(facts(about(signed, one, left, cancelled, genuine)));
  } catch (error) {
    show(make("p", { class: "bad" }, problemOf(error).sentence));
  }
}

function about(
  { offer }: SignedOffer,
  one: CreditClass,
  left: bigint,
  cancelled: boolean,
  genuine: boolean,
): [string, string][] {
  const token = offer.token === one.token.address ? one.token : undefined;
  const price = token ? money(token, priceOf(offer, left)) : `${priceOf(offer, left)} base units of ${offer.token}`;
  return [
    ["Maker", `${offer.maker} ${offer.selling ? "sells" : "buys"}`],
    ["Left", credits(one, left)],
    ["Price of that", price],
    ["Holds until", new Date(offer.expiry * 1000).toLocaleString()],
    ["For", offer.taker === zeroAddress ? "anyone" : offer.taker],
    ["Signature", genuine ? "the maker's" : "NOT the maker's: don't fill it"],
    ["State", cancelled ? "cancelled" : left === 0n ? "filled" : "open"],
  ];
}

function classOfOffer({ offer }: SignedOffer): CreditClass {
  const one = classOf(offer.classId);
  if (!one) throw new Hindrance(`The offer is of class ${offer.classId}, which isn't on this chain.`);
  return one;
}

async function fill(app: App, form: HTMLFormElement): Promise<void> {
  const signed = fromText(valueOf(form, "offer"));
  const one = classOfOffer(signed);
  const { left } = await stateOfOffer(app, signed);
  const text = valueOf(form, "credits") || formatUnits(left, one.terms.decimals);
  const units = parseUnits(text, one.terms.decimals);
  await fillOffer(app, signed, units);
  await showOffer(app);
  say(`Filled ${credits(one, units)}.`);
}

async function withdraw(app: App, form: HTMLFormElement): Promise<void> {
  await cancelOffer(app, fromText(valueOf(form, "offer")));
  await showOffer(app);
  say("The offer is cancelled.");
}
