/** The numbers that contracts use for words, and the words. */
import { BadInput } from "./problems.js";

/** State of a job (`Status`). It never goes back. */
export const STATUSES = [
  "none", "open", "running", "submitted", "disputed", "settled", "refunded", "cancelled", "expired",
] as const;
/** What a class's credits are units of (`Resource`). */
export const RESOURCES = [
  "none", "GPU-second", "CPU-second", "output token", "input token", "GB-hour", "GB transferred",
] as const;
/** Where the backing of a class comes from (`Funding`). */
export const FUNDINGS = ["sale", "stake", "grant"] as const;
/** How a job's work ended (`Outcome`). */
export const OUTCOMES = ["none", "completed", "failed"] as const;
/** Who paid for a wrong receipt (`Fault`). */
export const FAULTS = ["none", "provider", "challenger"] as const;

export type StatusName = (typeof STATUSES)[number];
export type ResourceName = (typeof RESOURCES)[number];
export type FundingName = (typeof FUNDINGS)[number];
export type OutcomeName = (typeof OUTCOMES)[number];
export type FaultName = (typeof FAULTS)[number];

/** The word for a number that a contract answered, e.g. `nameOf(STATUSES, job.status)`. Raises BadInput. */
export function nameOf<const Names extends readonly string[]>(names: Names, value: number | bigint): Names[number] {
  const found = names[Number(value)];
  if (found === undefined) throw new BadInput("value", value, `between 0 and ${names.length - 1}`);
  return found;
}

/** The number of a word, e.g. `numberOf(OUTCOMES, "completed")`. */
export function numberOf<const Names extends readonly string[]>(names: Names, name: Names[number]): number {
  const found = names.indexOf(name);
  if (found < 0) throw new BadInput("name", name, `one of ${names.join(", ")}`);
  return found;
}

/** True if nothing can change a job of this status any more. A job that was never opened isn't final. */
export function isFinal(status: number | bigint): boolean {
  nameOf(STATUSES, status);
  return Number(status) >= STATUSES.indexOf("settled");
}
