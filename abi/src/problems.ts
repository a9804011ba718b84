/** Base of every error that this package raises on purpose. */
export class ScripError extends Error {
  override name = "ScripError";
}

/** A value from outside is malformed or out of range: what it is, what was given, what is allowed. */
export class BadInput extends ScripError {
  override name = "BadInput";

  constructor(
    readonly field: string,
    readonly given: unknown,
    readonly limit: string,
  ) {
    super(`${field}: given ${clipped(given)}, must be ${limit}`);
  }
}

/** Something asked for by name or number isn't there. */
export class NotFound extends ScripError {
  override name = "NotFound";
}

function clipped(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
