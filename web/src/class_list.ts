/** The classes on the page: a card each, and the lists in forms that name one. */
import { formatUnits, FUNDINGS, nameOf } from "@scrip/abi";
import { hexToString, trim, zeroAddress } from "viem";

import type { App } from "./app.js";
import { credits, isForSale, labelOf, money, readClasses, type CreditClass } from "./classes.js";
import { byId, choices, facts, make, redraw, valueOf } from "./dom.js";
import { hasFeed } from "./feed.js";
import { Hindrance } from "./problems.js";
import { span, when } from "./time.js";

let known: readonly CreditClass[] = [];

/** The classes that were read last. */
export function classes(): readonly CreditClass[] {
  return known;
}

/** The class that a form's list names. Raises Hindrance. */
export function chosenClass(form: HTMLFormElement): CreditClass {
  const id = valueOf(form, "class");
  const found = known.find((one) => String(one.id) === id);
  if (!found) throw new Hindrance("Choose a class first.");
  return found;
}

/** The class with an id, undefined for one that isn't there. */
export function classOf(id: bigint): CreditClass | undefined {
  return known.find((one) => one.id === id);
}

/** Read all classes anew and show them. */
export async function showClasses(app: App): Promise<void> {
  known = await readClasses(app);
  const cards = known.map(card);
  redraw(byId("class-list", HTMLDivElement), ...(cards.length ? cards : [make("p", {}, "No class yet.")]));
  for (const select of document.querySelectorAll<HTMLSelectElement>("select.class-choice")) {
    const shown = "forSale" in select.dataset ? known.filter(isForSale) : known;
    choices(select, shown.map((one) => [String(one.id), labelOf(one)]), "none");
    showUnits(select);
    select.dispatchEvent(new Event("change"));
  }
}

/** Wire up the lists that name a class: amounts next to one say what they are of. */
export function setUpClasses(): void {
  for (const select of document.querySelectorAll<HTMLSelectElement>("select.class-choice")) {
    select.addEventListener("change", () => showUnits(select));
  }
}

function showUnits(select: HTMLSelectElement): void {
  const one = known.find(({ id }) => String(id) === select.value);
  const units: Record<string, string> = { credits: one ? `${one.resource}s` : "", money: one?.token.symbol ?? "" };
  for (const place of select.form?.querySelectorAll<HTMLElement>("[data-unit]") ?? []) {
    const unit = units[place.dataset.unit ?? ""];
    place.textContent = unit ? `in ${unit}` : "";
  }
}

function card(one: CreditClass): HTMLElement {
  const titleId = `class-${one.id}`;
  return make(
    "article",
    { "aria-labelledby": titleId, "data-class": String(one.id) },
    make("h3", { id: titleId }, labelOf(one)),
    facts([
      ["Price", priceIn(one)],
      ["Supply", credits(one, one.supply)],
      ["Backing", money(one.token, one.backing)],
      ["Assurance", `at least ${one.terms.minAssurance}`],
      ["State", one.open ? "open" : "over: holders can reclaim their share"],
    ]),
    make("details", {}, make("summary", {}, "Terms"), facts(termsOf(one))),
  );
}

function priceIn(one: CreditClass): string {
  if (one.price === undefined) return one.hitch ? `none now: ${one.hitch}` : "not sold here";
  return `${money(one.token, one.price)} per million credits${hasFeed(one) ? ", by a feed" : ""}`;
}

function termsOf(one: CreditClass): [string, string][] {
  const { terms } = one;
  const cap = (units: bigint) => (units ? credits(one, units) : "none");
  return [
    ["Unit", `${one.resource}, ${terms.decimals} decimals`],
    ["Funding", nameOf(FUNDINGS, terms.funding)],
    ["Transferable", terms.transferable ? "yes" : "no"],
    ["Most in all", cap(terms.maxSupply)],
    ["Most per holder", cap(terms.maxPerHolder)],
    ["Expiry", terms.expiry ? when(terms.expiry) : "never"],
    ["Most per second", `${formatUnits(terms.maxRate, terms.decimals)} credits`],
    ["Watcher set", terms.watcherSet ? String(terms.watcherSet) : "none"],
    ["Challenge window", terms.challengeWindow ? span(terms.challengeWindow) : "none"],
    ["Eligibility", terms.eligibility === zeroAddress ? "anyone" : terms.eligibility],
    ["Region", hexToString(trim(terms.region, { dir: "right" }))],
    ...(hasFeed(one) ? feedTerms(one) : [["Price feed", "none: the price is fixed"] as [string, string]]),
    ["Issuer", terms.issuer],
    ["SKU", terms.sku],
  ];
}

function feedTerms({ terms, token }: CreditClass): [string, string][] {
  return [
    ["Price feed", terms.priceFeed],
    ["Oldest price", span(terms.maxPriceAge)],
    ["Price within", `${terms.maxDeviationBps / 100} % of ${money(token, terms.pricePerMillion)} per million credits`],
  ];
}
