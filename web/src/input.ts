/** What people type, checked. */
import { BadInput } from "@scrip/abi";
import { getAddress, isAddress, type Address } from "viem";

/** An address. Raises BadInput. */
export function addressFrom(name: string, text: string): Address {
  if (!isAddress(text)) throw new BadInput(name, text, "an address: 0x and 40 hex digits");
  return getAddress(text);
}

/** A whole number from 0 to `most`. Raises BadInput. */
export function wholeFrom(name: string, text: string, most: number): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
  if (!(value <= most)) throw new BadInput(name, text, `a whole number up to ${most}`);
  return value;
}
