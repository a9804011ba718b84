/** What people type, checked: what it can't be is told next to its field. */
import { BadInput, parseUnits } from "@scrip/abi";
import { getAddress, isAddress, type Address } from "viem";

import { field, valueOf } from "./dom.js";
import { FieldProblem } from "./problems.js";

/** What `read` makes of the text in a form's field. Raises FieldProblem where it refuses. */
export function fieldFrom<Value>(form: HTMLFormElement, name: string, read: (text: string) => Value): Value {
  return reading(field(form, name), () => read(valueOf(form, name)));
}

/** What `read` returns; its refusal is of that field. Raises FieldProblem. */
export function reading<Value>(of: FieldProblem["field"], read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof BadInput)) throw error;
    throw new FieldProblem(of, `${labelOf(of)}: must be ${error.limit}.`);
  }
}

/** Base units from an amount in a form's field. Raises FieldProblem. */
export function unitsFrom(form: HTMLFormElement, name: string, decimals: number): bigint {
  return fieldFrom(form, name, (text) => parseUnits(text, decimals));
}

/** An address from a form's field. Raises FieldProblem. */
export function addressFrom(form: HTMLFormElement, name: string): Address {
  return fieldFrom(form, name, (text) => addressOfText(name, text));
}

/** An address from a text. Raises BadInput. */
export function addressOfText(name: string, text: string): Address {
  // Lower case only has no checksum that could be wrong; a checksum that is there must be right.
  if (!isAddress(text)) throw new BadInput(name, text, "an address, copied whole: 0x and 40 hex digits");
  return getAddress(text);
}

/** A whole number from 0 to `most` from a form's field; an empty one is `empty`. Raises FieldProblem. */
export function wholeFrom(form: HTMLFormElement, name: string, most: number, empty?: number): number {
  return fieldFrom(form, name, (text) => {
    if (!text && empty !== undefined) return empty;
    const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : NaN;
    if (!(value <= most)) throw new BadInput(name, text, `a whole number up to ${most}`);
    return value;
  });
}

/** What its label calls a field, without the field and its unit. */
function labelOf(of: FieldProblem["field"]): string {
  const label = of.labels?.[0]?.cloneNode(true);
  if (!(label instanceof HTMLLabelElement)) return of.name;
  label.querySelectorAll("input, select, textarea, .unit").forEach((one) => one.remove());
  return label.textContent?.trim() || of.name;
}
