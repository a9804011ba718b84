/** The forms for offers: make one, read one that was handed on, fill or cancel it. */
import { BadInput, parseUnits } from "@scrip/abi";
import { zeroAddress } from "viem";

import type { App } from "./app.js";
import { chosenClass, classOf } from "./class_list.js";
import { credits, money, type CreditClass } from "./classes.js";
import { byId, facts, field, make, valueOf } from "./dom.js";
import { addressFrom, fieldFrom, unitsFrom, wholeFrom } from "./input.js";
import { onSubmit, say, wire } from "./notices.js";
import {
  cancelOffer, fillOffer, fromText, makeOffer, priceOf, stateOfOffer, toText, type OfferState,
  type SignedOffer,
} from "./offers.js";
import { Hindrance, problemOf } from "./problems.js";
import { nextTime, when } from "./time.js";

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
  wire("offer-copy", () => copy(made));
  field(taking, "offer").addEventListener("input", () => void showOffer(app));
  onSubmit(taking, () => fill(app, taking));
  wire("offer-cancel", () => withdraw(app, taking));
}

async function sign(app: App, form: HTMLFormElement): Promise<SignedOffer> {
  const one = chosenClass(form);
  const now = await nextTime(app);
  const wanted = {
    classId: one.id,
    token: one.token.address,
    selling: valueOf(form, "side") === "sell",
    units: fieldFrom(form, "credits", (text) => someUnits(text, one)),
    price: unitsFrom(form, "price", one.token.decimals),
    expiry: now + wholeFrom(form, "hours", MOST_HOURS) * 3_600,
    taker: valueOf(form, "taker") ? addressFrom(form, "taker") : zeroAddress,
  };
  return makeOffer(app, wanted);
}

function someUnits(text: string, one: CreditClass): bigint {
  const units = parseUnits(text, one.terms.decimals);
  if (units === 0n) throw new BadInput("credits", text, "more than 0");
  return units;
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
    byId("offer-unit", HTMLSpanElement).textContent = `in ${one.resource}s`;
    const [state, now] = await Promise.all([stateOfOffer(app, signed), nextTime(app)]);
    show(facts(about(signed, one, state, now)));
  } catch (error) {
    show(make("p", { class: "bad" }, problemOf(error).sentence));
  }
}

function about({ offer }: SignedOffer, one: CreditClass, state: OfferState, now: number): [string, string][] {
  const { left, cancelled, signed } = state;
  const token = offer.token === one.token.address ? one.token : undefined;
  const price = token ? money(token, priceOf(offer, left)) : `${priceOf(offer, left)} base units of ${offer.token}`;
  return [
    ["Maker", `${offer.maker} ${offer.selling ? "sells" : "buys"}`],
    ["Left", credits(one, left)],
    ["Price of that", price],
    ["Holds until", when(offer.expiry)],
    ["For", offer.taker === zeroAddress ? "anyone" : offer.taker],
    ["Signature", signed ? "the maker's" : "NOT the maker's: don't fill it"],
    ["State", cancelled ? "cancelled" : left === 0n ? "filled" : now > offer.expiry ? "expired" : "open"],
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
  const units = valueOf(form, "credits") ? fieldFrom(form, "credits", (text) => someUnits(text, one)) : left;
  await fillOffer(app, signed, units);
  await showOffer(app);
  say(`Filled ${credits(one, units)}.`);
}

async function withdraw(app: App, form: HTMLFormElement): Promise<void> {
  await cancelOffer(app, fromText(valueOf(form, "offer")));
  await showOffer(app);
  say("The offer is cancelled.");
}
