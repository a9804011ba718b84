/** Redeeming: choose who does what, get the provider's quote, open the job. */
import {
  addressOf, computeCreditsAbi, formatUnits, jobId, jobMarketAbi, messageToJson, spendingBudgetsAbi,
  typedData, type JobTerms,
} from "@scrip/abi";
import { encodeFunctionData, isHex, recoverTypedDataAddress, type Address, type Hex, type TypedDataDefinition } from "viem";

import type { App } from "./app.js";
import { chosenClass } from "./class_list.js";
import type { CreditClass } from "./classes.js";
import { byId, choices, field, selectOf, valueOf } from "./dom.js";
import { unitsFrom, wholeFrom } from "./input.js";
import { showJob } from "./job_view.js";
import { onSubmit, reading, say, tell } from "./notices.js";
import { fieldsFor, isPaidIn, mostUnits, paramsFrom } from "./params.js";
import { Hindrance, ProviderProblem } from "./problems.js";
import { ask, candidatesFor, offerOf, type Candidate, type Offer, type Template } from "./providers.js";
import { specHash, type Spec } from "./spec.js";

const ACCEPT_SECONDS = 300;
const FINISH_SECONDS = 1_800;

/** What the lists of the form stand for. */
interface Choice {
  candidates: readonly Candidate[];
  offer: Offer | undefined;
}

/** Wire up the form. */
export function setUpRedeeming(app: App): void {
  const form = byId("redeem-form", HTMLFormElement);
  const choice: Choice = { candidates: [], offer: undefined };
  const quietly = (action: () => Promise<void>) => () => void reading(action).catch((error: unknown) => tell(error));
  field(form, "class").addEventListener("change", quietly(() => chooseClass(app, form, choice)));
  field(form, "provider").addEventListener("change", quietly(() => chooseProvider(app, form, choice)));
  field(form, "template").addEventListener("change", quietly(() => chooseTemplate(app, form, choice)));
  onSubmit(form, () => redeem(app, form, choice));
}

let turn = 0;

async function chooseClass(app: App, form: HTMLFormElement, choice: Choice): Promise<void> {
  if (!valueOf(form, "class")) return;
  const mine = (turn += 1);
  const found = await candidatesFor(app, chosenClass(form).id);
  if (mine !== turn) return; // another class was chosen meanwhile
  choice.candidates = found;
  choices(selectOf(form, "provider"), found.map(({ address }) => [address, address]), "no provider serves this class");
  await chooseProvider(app, form, choice);
}

async function chooseProvider(app: App, form: HTMLFormElement, choice: Choice): Promise<void> {
  const about = byId("provider-about", HTMLParagraphElement);
  const provider = valueOf(form, "provider") as Address | "";
  const select = selectOf(form, "template");
  let offer: Offer | undefined;
  let told = "";
  try {
    offer = provider ? await offerOf(app, provider) : undefined;
  } catch (error) {
    if (!(error instanceof ProviderProblem)) throw error;
    told = error.message;
  }
  if (valueOf(form, "provider") !== provider) return; // another was chosen meanwhile
  choice.offer = offer;
  about.textContent = offer?.simulated ? "GPU telemetry of this provider is SIMULATED." : told;
  const one = chosenClass(form);
  const offered = choice.offer?.templates.filter((template) => isPaidIn(template, one)) ?? [];
  choices(select, offered.map(({ name }) => [name, name]), "nothing to run");
  await chooseTemplate(app, form, choice);
}

async function chooseTemplate(app: App, form: HTMLFormElement, choice: Choice): Promise<void> {
  const place = byId("params", HTMLFieldSetElement);
  const template = choice.offer?.templates.find(({ name }) => name === valueOf(form, "template"));
  byId("template-about", HTMLParagraphElement).textContent = template?.title ?? "";
  // The same template again, after a refresh: what was typed stays.
  const one = chosenClass(form);
  const shown = template ? `${one.id} ${valueOf(form, "provider")} ${template.name}` : "";
  if (place.dataset.of === shown) return;
  place.dataset.of = shown;
  place.replaceChildren(place.querySelector("legend") ?? "", ...(template ? fieldsFor(template) : []));
  const typed = field(form, "most");
  typed.value = "";
  if (!template) return;
  const most = mostUnits(one, template, {});
  const free = await freeUnits(app, one);
  if (place.dataset.of !== shown || typed.value) return; // chosen or typed meanwhile
  const lock = most === undefined || (free > 0n && free < most) ? free : most;
  typed.value = lock ? formatUnits(lock, one.terms.decimals) : "";
}

async function freeUnits(app: App, one: CreditClass): Promise<bigint> {
  const holder = app.connection?.address;
  if (!holder) return 0n;
  const credits = { address: app.address("ComputeCredits"), abi: computeCreditsAbi } as const;
  return app.client.readContract({ ...credits, functionName: "availableOf", args: [holder, one.id] });
}

async function redeem(app: App, form: HTMLFormElement, choice: Choice): Promise<void> {
  const one = chosenClass(form);
  const provider = choice.candidates.find(({ address }) => address === valueOf(form, "provider"));
  const template = choice.offer?.templates.find(({ name }) => name === valueOf(form, "template"));
  if (!provider || !choice.offer || !template) throw new Hindrance("Choose a provider and a template first.");
  const spec = specFrom(template);
  const maxUnits = unitsFrom(form, "most", one.terms.decimals);
  const budgetId = BigInt(wholeFrom(form, "budget", Number.MAX_SAFE_INTEGER, 0));
  const terms = await termsOf(app, one, provider.address, spec, maxUnits, budgetId);
  say("Asking the provider for a quote.");
  const quote = await quoteOf(app, choice.offer.endpoint, provider, terms, spec);
  await open(app, terms, quote);
  say("The job is open.");
  await showJob(app, jobId(app.deployment, terms), { focus: true });
}

function specFrom(template: Template): Spec {
  return { template: template.name, params: paramsFrom(byId("params", HTMLFieldSetElement), template) };
}

async function termsOf(
  app: App,
  one: CreditClass,
  provider: Address,
  spec: Spec,
  maxUnits: bigint,
  budgetId: bigint,
): Promise<JobTerms> {
  const { address } = await app.wallet();
  const now = Number((await app.client.getBlock()).timestamp);
  const acceptBy = now + ACCEPT_SECONDS;
  const payer = budgetId ? await ownerOf(app, budgetId) : address;
  const salt = crypto.getRandomValues(new BigUint64Array(1))[0]!;
  return {
    payer, provider, classId: one.id, maxUnits, resources: 1, acceptBy, submitBy: acceptBy + FINISH_SECONDS,
    specHash: specHash(spec), budgetId, salt,
  };
}

function ownerOf(app: App, budgetId: bigint): Promise<Address> {
  const at = { address: app.address("SpendingBudgets"), abi: spendingBudgetsAbi } as const;
  return app.client.readContract({ ...at, functionName: "ownerOf", args: [budgetId] });
}

/** The provider's signed acceptance, checked to be of the key that the registry names. Raises ProviderProblem. */
async function quoteOf(app: App, endpoint: string, provider: Candidate, terms: JobTerms, spec: Spec): Promise<Hex> {
  const body = JSON.stringify({ terms: messageToJson("JobTerms", terms), spec });
  const headers = { "Content-Type": "application/json" };
  const { quote } = await ask(`${endpoint}/quotes`, { method: "POST", headers, body });
  if (!isHex(quote)) throw new ProviderProblem("The provider answered without a quote.", 0);
  const data = typedData(app.deployment, "Acceptance", { jobId: jobId(app.deployment, terms) });
  const signer = await recoverTypedDataAddress({ ...(data as TypedDataDefinition), signature: quote });
  if (signer !== provider.oracle) {
    throw new ProviderProblem(`The quote is signed by ${signer}, the provider's key is ${provider.oracle}.`, 0);
  }
  return quote;
}

async function open(app: App, terms: JobTerms, quote: Hex): Promise<void> {
  const functionName = terms.budgetId ? "openFor" : "open";
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName, args: [terms, quote] });
  await app.send("Opening the job", { to: addressOf(app.deployment, "JobMarket"), data });
}
