/** The values of EIP-712 fields: checked one by one, and to and from the JSON that Scrip's HTTP interfaces speak. */
import { getAddress, isAddress, isHex, size } from "viem";

import { fieldsOf, isStruct, type StructName } from "./messages.js";
import { BadInput } from "./problems.js";

/** A struct with every value checked. Integers may come as number, bigint or decimal text. Raises BadInput. */
export function checkedStruct(name: StructName, value: unknown, path: string = name): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new BadInput(path, value, "an object");
  const fields = fieldsOf(name);
  const odd = differing(fields.map((field) => field.name), Object.keys(value));
  if (odd.length) {
    throw new BadInput(`keys of ${path}`, odd.join(", "), `exactly ${fields.map((field) => field.name).join(", ")}`);
  }
  const given = value as Record<string, unknown>;
  return Object.fromEntries(
    fields.map(({ name: field, type }) => [field, checked(type, given[field], `${path}.${field}`)]),
  );
}

/** The JSON form of a checked value: integers as decimal text. */
export function jsonOf(value: unknown): unknown {
  if (typeof value === "bigint" || typeof value === "number") return String(value);
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inside]) => [name, jsonOf(inside)]));
}

function checked(type: string, value: unknown, path: string): unknown {
  if (type.endsWith("[]")) {
    if (!Array.isArray(value)) throw new BadInput(path, value, "a list");
    return value.map((item, place) => checked(type.slice(0, -2), item, `${path}[${place}]`));
  }
  if (isStruct(type)) return checkedStruct(type, value, path);
  if (type === "address") return checkedAddress(value, path);
  if (type === "bool") return checkedBool(value, path);
  if (type.startsWith("bytes")) return checkedBytes(Number(type.slice(5)), value, path);
  return checkedInteger(type, value, path);
}

function checkedInteger(type: string, value: unknown, path: string): number | bigint {
  const signed = type.startsWith("int");
  const bits = BigInt(type.slice(signed ? 3 : 4));
  const number = integer(value, path);
  const [low, high] = signed ? [-(2n ** (bits - 1n)), 2n ** (bits - 1n)] : [0n, 2n ** bits];
  if (number < low || number >= high) throw new BadInput(path, value, `an ${type}: from ${low} to ${high - 1n}`);
  return bits <= 48n ? Number(number) : number;
}

function integer(value: unknown, path: string): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === "string" && /^-?[0-9]{1,78}$/.test(value)) return BigInt(value);
  throw new BadInput(path, value, "an integer: bigint, safe number or decimal text");
}

function checkedAddress(value: unknown, path: string): string {
  if (typeof value === "string" && isAddress(value)) return getAddress(value);
  throw new BadInput(path, value, "an address with a valid checksum: 0x and 40 hex digits");
}

function checkedBool(value: unknown, path: string): boolean {
  if (typeof value === "boolean") return value;
  throw new BadInput(path, value, "true or false");
}

function checkedBytes(length: number, value: unknown, path: string): string {
  if (isHex(value) && value.length === 2 + 2 * length && size(value) === length) return value.toLowerCase();
  throw new BadInput(path, value, `0x and ${2 * length} hex digits`);
}

function differing(wanted: readonly string[], given: readonly string[]): string[] {
  return [...wanted.filter((name) => !given.includes(name)), ...given.filter((name) => !wanted.includes(name))];
}
