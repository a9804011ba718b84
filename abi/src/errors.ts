/** From what a wallet or a node throws to the name of the contract's error, its arguments and a sentence for people. */
import { decodeErrorResult, isHex, toFunctionSelector, toHex, type Abi, type Hex } from "viem";
import { formatAbiItem } from "viem/utils";

import { STATUSES } from "./enums.js";
import { abis } from "./generated/index.js";
import { notices } from "./generated/notices.js";
import { hints } from "./hints.js";

type AbiError = Extract<Abi[number], { type: "error" }>;

/** A decoded revert. `name` is the custom error's, or "Error" or "Panic"; "Unknown" if it is none of ours. */
export interface Revert {
  readonly name: string;
  /** The contract that the error's name begins with, "" if there is none. */
  readonly contract: string;
  readonly args: Readonly<Record<string, unknown>>;
  /** One line: what, the values given and allowed, and where there is one the next step. */
  readonly sentence: string;
  readonly data: Hex;
}

/** https://docs.soliditylang.org/en/latest/control-structures.html#panic-via-assert-and-error-via-require */
const PANICS: Readonly<Record<string, string>> = {
  "1": "assertion failed", "17": "arithmetic overflow", "18": "division by zero", "33": "no such enum value",
  "50": "index out of range", "65": "out of memory",
};
const BUILT_IN: readonly AbiError[] = [
  { type: "error", name: "Error", inputs: [{ name: "reason", type: "string" }] },
  { type: "error", name: "Panic", inputs: [{ name: "code", type: "uint256" }] },
];
/** Where libraries and nodes put revert data. Not "transaction" or "request": those hold the call's own data. */
const PLACES = ["raw", "data", "cause", "error", "info", "originalError"] as const;
const DEPTH = 12;

let table: ReadonlyMap<string, AbiError> | undefined;

/** Built when it is first needed: selectors cost hashing. */
function entryOf(selector: string): AbiError | undefined {
  table ??= new Map(
    [...BUILT_IN, ...Object.values(abis).flat()]
      .filter((entry): entry is AbiError => entry.type === "error")
      .map((entry) => [toFunctionSelector(formatAbiItem(entry)), entry]),
  );
  return table.get(selector.toLowerCase());
}

/** Name of the error with this selector, e.g. the `reason` of a `RowSkipped`; undefined if it is none of ours. */
export function errorName(selector: Hex): string | undefined {
  return entryOf(selector)?.name;
}

/** The error that revert data stands for; `name` is "Unknown" if it is none of ours or doesn't fit. */
export function decodeRevert(data: Hex): Revert {
  const entry = entryOf(data.slice(0, 10));
  if (!entry) return unknown(data);
  try {
    const values: readonly unknown[] = decodeErrorResult({ abi: [entry], data }).args ?? [];
    const args = Object.fromEntries(entry.inputs.map((input, place) => [input.name || `arg${place}`, values[place]]));
    return { name: entry.name, contract: contractOf(entry.name), args, sentence: sentenceOf(entry.name, args), data };
  } catch {
    return unknown(data);
  }
}

/** The revert inside whatever viem, ethers, a wallet or a node threw; undefined if it wasn't a revert with data. */
export function revertOf(thrown: unknown): Revert | undefined {
  const found = [...revertData(thrown, DEPTH)].map(decodeRevert);
  return found.find((revert) => revert.name !== "Unknown") ?? found[0];
}

function* revertData(value: unknown, depth: number): Generator<Hex> {
  if (typeof value === "string") {
    const text = value.replace(/^Reverted /, "");
    if (isHex(text) && text.length >= 10 && text.length % 2 === 0) yield text;
  } else if (typeof value === "object" && value !== null && depth > 0) {
    for (const place of PLACES) yield* revertData((value as Record<string, unknown>)[place], depth - 1);
  }
}

function unknown(data: Hex): Revert {
  const what = data.length > 2 ? `an error this package doesn't know (${data.slice(0, 10)})` : "no reason given";
  return { name: "Unknown", contract: "", args: { data }, sentence: `The call reverted: ${what}.`, data };
}

function contractOf(name: string): string {
  return name.includes("_") ? name.slice(0, name.indexOf("_")) : "";
}

function sentenceOf(name: string, args: Record<string, unknown>): string {
  if (name === "Error") return `The call reverted: ${String(args.reason)}.`;
  if (name === "Panic") return `The call reverted: ${PANICS[String(args.code)] ?? `panic code ${String(args.code)}`}.`;
  const contract = contractOf(name);
  const reason = words(name.slice(contract ? contract.length + 1 : 0));
  const values = Object.entries(args).map(([field, value]) => `${field} ${shown(name, field, value)}`);
  const where = contract ? `${contract} refuses: ` : "Refused: ";
  const first = `${where}${reason}${values.length ? ` (${values.join(", ")})` : ""}.`;
  const more = (hints as Record<string, string>)[name] ?? (notices as Record<string, string>)[name];
  return more ? `${first} ${more}` : first;
}

/** "CostAboveMax" -> "cost above max", "ERC1155InsufficientBalance" -> "ERC1155 insufficient balance". */
function words(name: string): string {
  const parts = name.match(/[A-Z]+[0-9]+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+/g) ?? [name];
  return parts.map((part) => (/[0-9]/.test(part) ? part : part.toLowerCase())).join(" ");
}

function shown(name: string, field: string, value: unknown): string {
  if (name === "JobMarket_WrongStatus" && field !== "jobId") return STATUSES[Number(value)] ?? String(value);
  // Contracts whose errors are all alike give addresses and hashes as numbers.
  if (typeof value === "bigint" && value >= 2n ** 128n) return toHex(value);
  return String(value);
}
