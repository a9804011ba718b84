/** The classes on the page: a card each, and the lists in forms that name one. */
import { formatUnits, FUNDINGS, nameOf } from "@scrip/abi";
import { hexToString, trim, zeroAddress } from "viem";

import type { App } from "./app.js";
import { credits, isForSale, labelOf, money, readClasses, type CreditClass } from "./classes.js";
import { byId, choices, facts, make, redraw, valueOf } from "./dom.js";
import { Hindrance } from "./problems.js";

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
    select.dispatchEvent(new Event("change"));
  }
}

function card(one: CreditClass): HTMLElement {
  const titleId = `class-${one.id}`;
  return make(
    "article",
    { "aria-labelledby": titleId, "data-class": String(one.id) },
    make("h3", { id: titleId }, labelOf(one)),
    facts([
      ["Price", one.price === undefined ? "none now" : `${money(one.token, one.price)} per million credits`],
      ["Supply", credits(one, one.supply)],
      ["Backing", money(one.token, one.backing)],
      ["Assurance", `at least ${one.terms.minAssurance}`],
      ["State", one.open ? "open" : "over: holders can reclaim their share"],
    ]),
    make("details", {}, make("summary", {}, "Terms"), facts(termsOf(one))),
  );
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
    ["Expiry", terms.expiry ? new Date(terms.expiry * 1000).toLocaleString() : "never"],
    ["Most per second", `${formatUnits(terms.maxRate, terms.decimals)} credits`],
    ["Watcher set", terms.watcherSet ? String(terms.watcherSet) : "none"],
    ["Challenge window", terms.challengeWindow ? `${terms.challengeWindow} s` : "none"],
    ["Eligibility", terms.eligibility === zeroAddress ? "anyone" : terms.eligibility],
    ["Region", hexToString(trim(terms.region, { dir: "right" }))],
    ["Price feed", terms.priceFeed === zeroAddress ? "fixed price" : terms.priceFeed],
    ["Issuer", terms.issuer],
    ["SKU", terms.sku],
  ];
}
