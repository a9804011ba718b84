/** Budgets on chain: allowances that agents and teams spend within. The account's own are listed; it may revoke them. */
import { BadInput, formatUnits, NO_CAP, spendingBudgetsAbi } from "@scrip/abi";
import { encodeFunctionData, type Address, type ContractFunctionReturnType, type Hex } from "viem";

import type { App } from "./app.js";
import { classes } from "./class_list.js";
import { money, type Token } from "./classes.js";
import { byId, choices, facts, field, make, redraw, selectOf, valueOf } from "./dom.js";
import { addressFrom, addressOfText, fieldFrom, unitsFrom, wholeFrom } from "./input.js";
import { searched } from "./logs.js";
import { button, onSubmit, say } from "./notices.js";
import { Hindrance } from "./problems.js";
import { span, when } from "./time.js";

type Budget = ContractFunctionReturnType<typeof spendingBudgetsAbi, "view", "budgetOf">;
type Limits = Budget["limits"];

const MOST_PERIOD = 2 ** 32 - 1;

/** Wire up the form. */
export function setUpBudgets(app: App): void {
  const form = byId("budget-form", HTMLFormElement);
  onSubmit(form, async () => {
    await create(app, form);
    say("The budget is created.");
  });
}

/** Show the account's budgets, and the tokens that one can be in. */
export async function showBudgets(app: App): Promise<void> {
  const form = byId("budget-form", HTMLFormElement);
  choices(selectOf(form, "token"), tokens().map(({ address, symbol }) => [address, symbol]), "none");
  const place = byId("budget-list", HTMLDivElement);
  const owner = app.connection?.address;
  const own = owner ? await ownBudgets(app, owner) : [];
  const none = owner ? "No budgets yet." : "Connect a wallet to see its budgets.";
  redraw(place, ...(own.length ? own.map((one) => card(app, one)) : [make("p", {}, none)]));
}

function tokens(): Token[] {
  return [...new Map(classes().map(({ token }) => [token.address, token])).values()];
}

interface Own {
  readonly id: bigint;
  readonly budget: Budget;
  readonly left: bigint;
}

async function ownBudgets(app: App, owner: Address): Promise<Own[]> {
  const at = { address: app.address("SpendingBudgets"), abi: spendingBudgetsAbi, strict: true } as const;
  const events = await searched(app, (range) =>
    app.client.getContractEvents({ ...at, eventName: "BudgetCreated", args: { owner }, ...range }),
  );
  return Promise.all(
    events.map(async ({ args: { budgetId } }) => {
      const args = [budgetId] as const;
      const [budget, left] = await Promise.all([
        app.client.readContract({ ...at, functionName: "budgetOf", args }),
        app.client.readContract({ ...at, functionName: "leftOf", args }),
      ]);
      return { id: budgetId, budget, left };
    }),
  );
}

function card(app: App, { id, budget, left }: Own): HTMLElement {
  const { limits } = budget;
  const token = tokens().find(({ address }) => address === budget.token);
  const amount = (value: bigint) => (value >= NO_CAP ? "no cap" : token ? money(token, value) : `${value} base units`);
  const ended = limits.expiry !== 0 && limits.expiry * 1000 < Date.now();
  const pairs: [string, string][] = [
    ["State", budget.revoked ? "revoked" : ended ? "expired" : "in force"],
    ["Spender", limits.spender],
    ["Per action", amount(limits.perAction)],
    ["Per period", periodOf(limits, amount)],
    ["In all", amount(limits.lifetime)],
    ["Spent", amount(budget.spent)],
    ["Left now", amount(left)],
    ["Ends", limits.expiry ? when(limits.expiry) : "never"],
    ["Providers", limits.listed ? "listed ones only" : "any"],
  ];
  const actions = budget.revoked ? [] : [button("Revoke", () => revoke(app, id), `Revoke budget ${id}`)];
  return make("article", { "data-budget": String(id) }, make("h3", {}, `Budget ${id}`), facts(pairs), ...actions);
}

function periodOf({ period, perPeriod }: Limits, amount: (value: bigint) => string): string {
  return period && perPeriod < NO_CAP ? `${amount(perPeriod)} in ${span(period)}` : "no cap";
}

async function revoke(app: App, id: bigint): Promise<void> {
  const data = encodeFunctionData({ abi: spendingBudgetsAbi, functionName: "revoke", args: [id] });
  await sendTo(app, "Revoking the budget", data);
  say(`Budget ${id} is revoked.`);
}

async function create(app: App, form: HTMLFormElement): Promise<void> {
  const token = tokens().find(({ address }) => address === valueOf(form, "token"));
  if (!token) throw new Hindrance("Choose a payment token first.");
  const providers = fieldFrom(form, "providers", (text) =>
    text.split(/[\s,]+/).filter(Boolean).map((one) => addressOfText("provider", one)),
  );
  const limits = limitsFrom(form, token, providers.length > 0);
  const args = [token.address, limits, providers] as const;
  await sendTo(app, "Creating the budget", encodeFunctionData({ abi: spendingBudgetsAbi, functionName: "createBudget", args }));
  for (const name of ["spender", "perAction", "perPeriod", "lifetime", "providers"]) field(form, name).value = "";
}

function limitsFrom(form: HTMLFormElement, token: Token, listed: boolean): Limits {
  const cap = (name: string) => {
    if (!valueOf(form, name)) return NO_CAP;
    const value = unitsFrom(form, name, token.decimals);
    const limit = `at most ${formatUnits(NO_CAP, token.decimals)}, or empty for no cap`;
    return fieldFrom(form, name, (text) => {
      if (value > NO_CAP) throw new BadInput(name, text, limit);
      return value;
    });
  };
  const expiry = valueOf(form, "expiry");
  return {
    spender: addressFrom(form, "spender"),
    perAction: cap("perAction"),
    perPeriod: cap("perPeriod"),
    lifetime: cap("lifetime"),
    period: wholeFrom(form, "period", MOST_PERIOD, 0),
    expiry: expiry ? Math.floor(new Date(expiry).getTime() / 1000) : 0,
    listed,
  };
}

async function sendTo(app: App, what: string, data: Hex): Promise<void> {
  await app.send(what, { to: app.address("SpendingBudgets"), data });
}
