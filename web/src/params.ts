/** Fields for a template's parameters, from its JSON schema, and what was typed into them. */
import { BadInput, type ResourceName } from "@scrip/abi";

import type { CreditClass } from "./classes.js";
import { make } from "./dom.js";
import { reading } from "./input.js";
import type { Parameter, Template } from "./providers.js";
import type { Plain } from "./spec.js";

const LONG = 300;
const SEED = "^0x[0-9a-f]{64}$";

/** How a provider names what our words are for (`Resource` in `scrip.types`). */
const METERED: Readonly<Partial<Record<ResourceName, string>>> = {
  "GPU-second": "GPU_SECOND", "CPU-second": "CPU_SECOND", "output token": "OUTPUT_TOKEN",
  "input token": "INPUT_TOKEN", "GB-hour": "GB_HOUR", "GB transferred": "GB_TRANSFER",
};

/** Whether a template can be paid with credits of a class. */
export function isPaidIn(template: Template, one: CreditClass): boolean {
  return template.metered.includes(METERED[one.resource] ?? "");
}

/** A field for each parameter. */
export function fieldsFor(template: Template): HTMLElement[] {
  return Object.entries(template.properties).map(([name, parameter]) => {
    const isLong = parameter.type === "string" && (parameter.maxLength ?? 0) > LONG;
    const field = make(isLong ? "textarea" : "input", { "data-param": name, autocomplete: "off" });
    if (template.required.includes(name)) field.required = true;
    if (parameter.type === "integer") field.inputMode = "numeric";
    field.value = startOf(parameter);
    const bounds = make("span", { class: "unit" }, boundsOf(parameter));
    return make("label", {}, make("span", {}, `${name} `, bounds), field);
  });
}

/** "from 1 to 64", where a provider says so. */
function boundsOf({ minimum, maximum }: Parameter): string {
  const from = typeof minimum === "number" ? `from ${minimum}` : "";
  const to = typeof maximum === "number" ? `${from ? "" : "up "}to ${maximum}` : "";
  return [from, to].filter(Boolean).join(" ");
}

/** A seed may be any: a random one spares people the typing. */
function startOf({ default: given, pattern }: Parameter): string {
  if (pattern === SEED) {
    return `0x${[...crypto.getRandomValues(new Uint8Array(32))].map((one) => one.toString(16).padStart(2, "0")).join("")}`;
  }
  return given === undefined || given === null ? "" : String(given);
}

/** The parameters that were typed; an empty field that isn't required is left out. Raises FieldProblem. */
export function paramsFrom(place: HTMLElement, template: Template): Record<string, Plain> {
  const found: Record<string, Plain> = {};
  for (const field of place.querySelectorAll<HTMLInputElement | HTMLTextAreaElement>("[data-param]")) {
    const name = field.dataset.param ?? "";
    if (field.value === "" && !template.required.includes(name)) continue;
    found[name] = reading(field, () => valueFrom(name, field.value, template.properties[name] ?? {}));
  }
  return found;
}

function valueFrom(name: string, text: string, parameter: Parameter): Plain {
  const { type, minimum = -Infinity, maximum = Infinity } = parameter;
  if (text === "") throw new BadInput(name, text, "given");
  if (type === "string") return text;
  if (type === "integer") {
    const value = /^-?[0-9]{1,16}$/.test(text.trim()) ? Number(text) : NaN;
    if (!Number.isSafeInteger(value) || value < minimum || value > maximum) {
      throw new BadInput(name, text, `a whole number ${boundsOf(parameter)}`.trim());
    }
    return value;
  }
  try {
    return JSON.parse(text) as Plain;
  } catch {
    throw new BadInput(name, text, "JSON");
  }
}

/** The most base units that a job can cost, undefined where its template doesn't tell (`scrip.cli.choosing`). */
export function mostUnits(one: CreditClass, template: Template, params: Record<string, Plain>): bigint | undefined {
  const scale = 10n ** BigInt(one.terms.decimals);
  if (one.resource === "output token") {
    const most = params.max_tokens ?? template.properties.max_tokens?.default;
    return typeof most === "number" ? BigInt(most) * scale : undefined;
  }
  const isTimed = one.resource === "GPU-second" || one.resource === "CPU-second";
  return isTimed && Number.isSafeInteger(template.seconds) ? BigInt(template.seconds) * scale : undefined;
}
