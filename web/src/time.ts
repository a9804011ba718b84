/** Times for people: the chain's, which the machine's own clock only helps to guess. */
import type { App } from "./app.js";

const STEPS: readonly (readonly [number, string])[] = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];

/** Unix seconds as a local time with its zone. */
export function when(seconds: number | bigint): string {
  return new Date(Number(seconds) * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
}

/** A length of time by its two largest parts, such as "1 h 5 min"; nothing is less than "0 s". */
export function span(seconds: number | bigint): string {
  let rest = Math.max(0, Math.round(Number(seconds)));
  const first = STEPS.findIndex(([size]) => rest >= size);
  if (first < 0) return "0 s";
  const parts = STEPS.slice(first, first + 2).map(([size, name]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count ? `${count} ${name}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

/** Unix seconds that the next block will bear or pass: a quiet chain's last block may be old. */
export async function nextTime(app: App): Promise<number> {
  const { timestamp } = await app.client.getBlock();
  return Math.max(Number(timestamp), Math.floor(Date.now() / 1000));
}
