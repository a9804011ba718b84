/**
 * Units and money, in bigint only. 1 credit = 10**decimals base units; payment tokens are in their own base units.
 * Rounding favours the reserve: a sale rounds up, a pay-out rounds down (`CreditReserve`).
 */
import { BadInput } from "./problems.js";

/** A class's price is that of this many whole credits, in payment-token base units. */
export const PRICE_SCALE = 1_000_000n;
/** A cap of `Limits` that doesn't bind. */
export const NO_CAP = 2n ** 96n - 1n;

const DECIMAL = /^([0-9]+)(?:\.([0-9]+))?$/;

/** Base units of a decimal text such as "12.5", exactly. Raises BadInput for any other text, or too many digits. */
export function parseUnits(text: string, decimals: number): bigint {
  const scale = scaleOf(decimals);
  const found = text.length <= 128 ? DECIMAL.exec(text.trim()) : null;
  if (!found) throw new BadInput("amount", text, "a decimal number such as 12 or 12.5");
  const fraction = (found[2] ?? "").replace(/0+$/, "");
  if (fraction.length > decimals) {
    throw new BadInput("amount", text, `a number with at most ${decimals} digits after the point`);
  }
  const value = BigInt(found[1]!) * scale + BigInt(fraction.padEnd(decimals, "0") || "0");
  if (value >= 2n ** 256n) throw new BadInput("amount", text, "less than 2**256 base units");
  return value;
}

/** Shortest exact decimal text of base units; `parseUnits` reads it back. */
export function formatUnits(units: bigint, decimals: number): string {
  const scale = scaleOf(decimals);
  const size = units < 0n ? -units : units;
  const fraction = (size % scale).toString().padStart(decimals, "0").replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}${size / scale}${fraction && `.${fraction}`}`;
}

/** Payment-token base units that `units` cost at a fixed price: `CreditReserve.buy`'s formula, rounded up. */
export function cost(units: bigint, pricePerMillion: bigint, decimals: number): bigint {
  const whole = scaleOf(decimals) * PRICE_SCALE;
  return (amount("units", units) * amount("pricePerMillion", pricePerMillion) + whole - 1n) / whole;
}

/** The most base units whose `cost` is within `budget`. Raises BadInput for a price of zero. */
export function affordable(budget: bigint, pricePerMillion: bigint, decimals: number): bigint {
  if (pricePerMillion <= 0n) throw new BadInput("pricePerMillion", pricePerMillion, "greater than 0");
  return (amount("budget", budget) * scaleOf(decimals) * PRICE_SCALE) / pricePerMillion;
}

/** Payment-token base units that settling `units` pays: `units * backing / supply`, both as before the burn. */
export function payOut(units: bigint, backing: bigint, supply: bigint): bigint {
  if (amount("units", units) > supply) throw new BadInput("units", units, `at most the supply, ${supply}`);
  return supply === 0n ? 0n : (units * amount("backing", backing)) / supply;
}

function scaleOf(decimals: number): bigint {
  if (!Number.isInteger(decimals) || decimals < 0 || decimals > 77) {
    throw new BadInput("decimals", decimals, "between 0 and 77");
  }
  return 10n ** BigInt(decimals);
}

function amount(field: string, value: bigint): bigint {
  if (value < 0n) throw new BadInput(field, value, "at least 0");
  return value;
}
