/** Providers: who may serve a class by the registry, and what each says of itself over HTTP. */
import { computeCreditsAbi, providerRegistryAbi } from "@scrip/abi";
import { zeroAddress, type Address } from "viem";

import type { App } from "./app.js";
import { searched } from "./logs.js";
import { ProviderProblem } from "./problems.js";

const SERVICE = "scrip";
const TIMEOUT_MS = 15_000;

/** One parameter of a template, from its JSON schema. */
export interface Parameter {
  readonly type?: string;
  readonly default?: unknown;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
}

/** What a provider says of a template: claims, which the receipt is there to check. */
export interface Template {
  readonly name: string;
  readonly title: string;
  readonly metered: readonly string[];
  readonly seconds: number;
  readonly properties: Readonly<Record<string, Parameter>>;
  readonly required: readonly string[];
}

/** A provider that may serve a class. */
export interface Candidate {
  readonly address: Address;
  readonly oracle: Address;
}

/** What its registration file says. */
export interface Offer {
  readonly endpoint: string;
  readonly simulated: boolean;
  readonly templates: readonly Template[];
}

/** Registered providers that may take jobs of a class. */
export async function candidatesFor(app: App, classId: bigint): Promise<Candidate[]> {
  const registry = { address: app.address("ProviderRegistry"), abi: providerRegistryAbi } as const;
  const events = await searched(app, (range) =>
    app.client.getContractEvents({ ...registry, eventName: "ProviderRegistered", strict: true, ...range }),
  );
  const addresses = [...new Set(events.map(({ args }) => args.provider))];
  const found = await Promise.all(addresses.map((address) => candidate(app, address, classId)));
  return found.filter((one) => one !== undefined);
}

async function candidate(app: App, address: Address, classId: bigint): Promise<Candidate | undefined> {
  const credits = { address: app.address("ComputeCredits"), abi: computeCreditsAbi } as const;
  const registry = { address: app.address("ProviderRegistry"), abi: providerRegistryAbi } as const;
  const terms = await app.client.readContract({
    ...credits, functionName: "providerTerms", args: [classId, address],
  });
  const oracle = await app.client.readContract({
    ...registry, functionName: "trustedOracleIfItQualifies", args: [address, terms.requirement],
  });
  return terms.listed && oracle !== zeroAddress ? { address, oracle } : undefined;
}

/** The registration file that the registry names for a provider. Raises ProviderProblem. */
export async function offerOf(app: App, provider: Address): Promise<Offer> {
  const registry = { address: app.address("ProviderRegistry"), abi: providerRegistryAbi } as const;
  const uri = await app.client.readContract({ ...registry, functionName: "uriOf", args: [provider] });
  const file = await ask(uri);
  const services = listOf(file.services).filter(isObject);
  const endpoint = services.find(({ name }) => name === SERVICE)?.endpoint;
  if (typeof endpoint !== "string" || !/^https?:\/\//.test(endpoint)) {
    throw new ProviderProblem("The provider's registration file names no API: choose another provider.", 0);
  }
  const own = isObject(file.scrip) ? file.scrip : {};
  const templates = listOf(own.templates).filter(isObject).map(templateOf);
  return { endpoint: endpoint.replace(/\/$/, ""), simulated: own.simulated === true, templates };
}

function templateOf(given: Record<string, unknown>): Template {
  const schema = isObject(given.params) ? given.params : {};
  const properties = isObject(schema.properties) ? schema.properties : {};
  return {
    name: String(given.name),
    title: String(given.title ?? ""),
    metered: listOf(given.metered).map(String),
    seconds: Number(given.seconds ?? 0),
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, one]) => [name, isObject(one) ? (one as Parameter) : {}]),
    ),
    required: listOf(schema.required).map(String),
  };
}

/** JSON from a provider's API. Raises ProviderProblem, with the provider's own reason where it gives one. */
export async function ask(url: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const answer = await fetched(url, init);
  const data: unknown = await answer.json().catch(() => undefined);
  if (!isObject(data)) throw new ProviderProblem("The provider answered something that isn't ours.", answer.status);
  return data;
}

/** An answer of a provider's API that isn't an error. Raises ProviderProblem. */
export async function fetched(url: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS), credentials: "omit" });
  } catch {
    const why = "is down, or doesn't admit pages of this origin (its api.web_origins)";
    throw new ProviderProblem(`The provider at ${originOf(url)} can't be reached: it ${why}.`, 0);
  }
  if (answer.ok) return answer;
  const data: unknown = await answer.json().catch(() => undefined);
  const error = isObject(data) && isObject(data.error) ? data.error : {};
  const reason = typeof error.message === "string" ? error.message : `HTTP ${answer.status}`;
  throw new ProviderProblem(`The provider refuses: ${reason.slice(0, 300)}`, answer.status);
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url.slice(0, 80);
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
