/** The form for buying from the reserve: what it costs now and at most, then the purchase. */
import { creditReserveAbi, demoUSDAbi } from "@scrip/abi";

import type { App } from "./app.js";
import { chosenClass } from "./class_list.js";
import { credits, money, type CreditClass } from "./classes.js";
import { byId, field, valueOf } from "./dom.js";
import { aboutFeed, hasFeed, mostFor } from "./feed.js";
import { unitsFrom } from "./input.js";
import { onSubmit, say } from "./notices.js";
import { purchase } from "./payment.js";
import { FieldProblem, Hindrance, problemOf } from "./problems.js";

const FEED_MS = 10_000;

/** What the form says of an amount: the buyer agrees to `most`, and no more is taken. */
interface Quote {
  readonly id: bigint;
  readonly units: bigint;
  readonly cost: bigint;
  readonly most: bigint;
}

let shown: Quote | undefined;

/** Wire up the form. */
export function setUpBuying(app: App): void {
  const form = byId("buy-form", HTMLFormElement);
  const show = () => void showCost(app, form);
  field(form, "class").addEventListener("change", show);
  field(form, "credits").addEventListener("input", show);
  setInterval(() => followFeed(form, show), FEED_MS);
  onSubmit(form, async () => {
    const one = chosenClass(form);
    const units = unitsFrom(form, "credits", one.terms.decimals);
    await buy(app, one, units);
    say(`Bought ${credits(one, units)}.`);
  });
}

/** A feed's price moves and ages while people look at it. */
function followFeed(form: HTMLFormElement, show: () => void): void {
  if (!document.hidden && valueOf(form, "class") && hasFeed(chosenClass(form))) show();
}

let asked = 0;

async function showCost(app: App, form: HTMLFormElement): Promise<void> {
  const turn = (asked += 1);
  const show = (cost: string, feed: string, quote?: Quote) => {
    if (turn !== asked) return; // an answer to an earlier amount comes too late
    shown = quote;
    put("buy-cost", cost);
    put("buy-feed", feed);
  };
  let feed = "";
  try {
    const one = chosenClass(form);
    feed = await aboutFeed(app, one);
    if (!valueOf(form, "credits")) return show("enter an amount", feed);
    const quote = await quoteOf(app, one, unitsFrom(form, "credits", one.terms.decimals));
    show(inWords(one, quote), feed, quote);
  } catch (error) {
    show(error instanceof FieldProblem ? "enter an amount" : problemOf(error).sentence, feed);
  }
}

/** Only what is new is written: screen readers say it aloud. */
function put(id: string, text: string): void {
  const place = byId(id, HTMLElement);
  if (place.textContent !== text) place.textContent = text;
}

function inWords(one: CreditClass, { cost, most }: Quote): string {
  const now = money(one.token, cost);
  return most === cost ? now : `${now} now, ${money(one.token, most)} at most`;
}

async function quoteOf(app: App, one: CreditClass, units: bigint): Promise<Quote> {
  const reserve = { address: app.address("CreditReserve"), abi: creditReserveAbi } as const;
  const cost = await app.client.readContract({ ...reserve, functionName: "costOf", args: [one.id, units] });
  return { id: one.id, units, cost, most: mostFor(one, cost) };
}

/** Buy base units of a class for the connected account. Raises what refuses it. */
async function buy(app: App, one: CreditClass, units: bigint): Promise<void> {
  const { address } = await app.wallet();
  const agreed = shown?.id === one.id && shown.units === units ? shown : undefined;
  const { cost, most } = await quoteOf(app, one, units);
  if (agreed && cost > agreed.most) {
    field(byId("buy-form", HTMLFormElement), "class").dispatchEvent(new Event("change"));
    throw new Hindrance(`The price rose: this costs ${money(one.token, cost)} now. Look at it again, then buy.`);
  }
  const held = await app.client.readContract({
    address: one.token.address, abi: demoUSDAbi, functionName: "balanceOf", args: [address],
  });
  if (held < cost) {
    throw new Hindrance(`This costs ${money(one.token, cost)}, the account has ${money(one.token, held)}.`);
  }
  await purchase(app, one, units, agreed?.most ?? most);
}
