/** What the account holds, and sending credits on. */
import { computeCreditsAbi, creditReserveAbi, demoUSDAbi, FUNDINGS, nameOf, payOut } from "@scrip/abi";
import { encodeFunctionData, type Address } from "viem";

import type { App } from "./app.js";
import { chosenClass, classes } from "./class_list.js";
import { credits, labelOf, money, type CreditClass } from "./classes.js";
import { byId, facts, make, redraw } from "./dom.js";
import { addressFrom, unitsFrom } from "./input.js";
import { button, onSubmit, say } from "./notices.js";

/** Wire up the form. */
export function setUpHoldings(app: App): void {
  const form = byId("transfer-form", HTMLFormElement);
  onSubmit(form, async () => {
    const one = chosenClass(form);
    const units = unitsFrom(form, "credits", one.terms.decimals);
    const to = addressFrom(form, "recipient");
    await transfer(app, one, to, units);
    say(`Sent ${credits(one, units)} to ${to}.`);
  });
}

async function transfer(app: App, one: CreditClass, to: Address, units: bigint): Promise<void> {
  const { address: from } = await app.wallet();
  const data = encodeFunctionData({
    abi: computeCreditsAbi, functionName: "safeTransferFrom", args: [from, to, one.id, units, "0x"],
  });
  await app.send("Transfer", { to: app.address("ComputeCredits"), data });
}

/** Read what the account holds and show it. */
export async function showHoldings(app: App): Promise<void> {
  const place = byId("holding-list", HTMLDivElement);
  const holder = app.connection?.address;
  if (!holder) {
    redraw(place, make("p", {}, "Connect a wallet to see what it holds."));
    return;
  }
  const [held, paid] = await Promise.all([
    Promise.all(classes().map((one) => heldOf(app, one, holder))),
    payment(app, holder),
  ]);
  const rows = held.filter(({ balance }) => balance > 0n).map((one) => row(app, one));
  redraw(place, facts(paid), ...(rows.length ? rows : [make("p", {}, "No credits yet.")]));
}

interface Held {
  readonly one: CreditClass;
  readonly balance: bigint;
  readonly locked: bigint;
}

async function heldOf(app: App, one: CreditClass, holder: Address): Promise<Held> {
  const at = { address: app.address("ComputeCredits"), abi: computeCreditsAbi, args: [holder, one.id] } as const;
  const [balance, locked] = await Promise.all([
    app.client.readContract({ ...at, functionName: "balanceOf" }),
    app.client.readContract({ ...at, functionName: "lockedOf" }),
  ]);
  return { one, balance, locked };
}

function row(app: App, { one, balance, locked }: Held): HTMLElement {
  const free = balance - locked;
  const pairs: [string, string][] = [
    ["Held", credits(one, balance)],
    ["Locked in jobs", credits(one, locked)],
    ["Free", credits(one, free)],
  ];
  const canReclaim = !one.open && free > 0n;
  if (canReclaim && nameOf(FUNDINGS, one.terms.funding) === "sale") {
    pairs.push(["Your share", `${money(one.token, payOut(free, one.backing, one.supply))} for what is free`]);
  }
  const about = `Reclaim your share of class ${one.id}`;
  const actions = canReclaim ? [button("Reclaim your share", () => reclaim(app, one, free), about)] : [];
  return make("article", { "data-holding": String(one.id) }, make("h3", {}, labelOf(one)), facts(pairs), ...actions);
}

/** A class that is over: credits are burned for their share of what backs them. */
async function reclaim(app: App, one: CreditClass, units: bigint): Promise<void> {
  const data = encodeFunctionData({ abi: creditReserveAbi, functionName: "reclaim", args: [one.id, units] });
  await app.send("Reclaiming", { to: app.address("CreditReserve"), data });
  say(`Reclaimed your share for ${credits(one, units)}.`);
}

async function payment(app: App, holder: Address): Promise<[string, string][]> {
  const tokens = new Map(classes().map(({ token }) => [token.address, token]));
  return Promise.all(
    [...tokens.values()].map(async (token): Promise<[string, string]> => {
      const at = { address: token.address, abi: demoUSDAbi, args: [holder] } as const;
      return [token.symbol, money(token, await app.client.readContract({ ...at, functionName: "balanceOf" }))];
    }),
  );
}
