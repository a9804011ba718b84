/** A job's spec and its hash, byte for byte as `scrip.spec` makes them: only the hash goes on chain. */
import { BadInput } from "@scrip/abi";
import { keccak256, stringToBytes, type Hex } from "viem";

/** What JSON holds here: no fractions, because languages write them differently. */
export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [name: string]: Plain };

/** A template of the provider's catalogue and its parameters. */
export interface Spec {
  readonly template: string;
  readonly params: Readonly<Record<string, Plain>>;
}

/** keccak256 of the spec's canonical JSON. Raises BadInput. */
export function specHash(spec: Spec): Hex {
  return keccak256(stringToBytes(canonical({ params: spec.params, template: spec.template }, "spec")));
}

/** Sorted keys, no spaces, ASCII only. Raises BadInput for what isn't portable. */
export function canonical(value: Plain, path: string): string {
  if (typeof value === "string") return ascii(value, path);
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new BadInput(path, value, "a whole number of at most 53 bits");
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item, place) => canonical(item, `${path}[${place}]`)).join(",")}]`;
  const inside = Object.entries(value as Record<string, Plain>).sort(([one], [other]) => byCodePoint(one, other));
  return `{${inside.map(([name, item]) => `${ascii(name, path)}:${canonical(item, `${path}.${name}`)}`).join(",")}}`;
}

function ascii(text: string, path: string): string {
  if (/\p{Surrogate}/u.test(text)) throw new BadInput(path, text, "valid Unicode (no lone surrogates)");
  const code = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, code);
}

/** JavaScript compares UTF-16, which orders some characters otherwise. */
function byCodePoint(one: string, other: string): number {
  const [left, right] = [[...one], [...other]];
  for (let place = 0; place < Math.min(left.length, right.length); place += 1) {
    const difference = left[place]!.codePointAt(0)! - right[place]!.codePointAt(0)!;
    if (difference) return difference;
  }
  return left.length - right.length;
}
