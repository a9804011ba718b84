/** One job on the page: followed until it ends, then its receipt with every check; and the list of one's own. */
import { BadInput, formatUnits, isFinal, nameOf, numberOf, OUTCOMES, STATUSES, type StatusName } from "@scrip/abi";
import { isHex, keccak256, toHex, type Hex } from "viem";

import type { App } from "./app.js";
import { classOf } from "./class_list.js";
import { credits, labelOf } from "./classes.js";
import { byId, facts, field, make, redraw } from "./dom.js";
import { fieldFrom } from "./input.js";
import { endingCall, outlookOf, type Outlook, type Way } from "./job_ways.js";
import { openingOf, openings, standing, stateOf, type Ending, type Opening } from "./jobs.js";
import { button, onSubmit, say, tell } from "./notices.js";
import { outputOf } from "./output.js";
import { ProviderProblem } from "./problems.js";
import { ask, offerOf } from "./providers.js";
import { checkedReceipt, type Checked } from "./receipts.js";
import { nextTime, when } from "./time.js";

const POLL_MS = 1_500;
const MOST_LISTED = 10;
const MOST_SHOWN = 20_000;
const SAVE_MS = 60_000;

let followed: Hex | undefined;

/** Wire up the form. */
export function setUpJobs(app: App): void {
  const form = byId("job-form", HTMLFormElement);
  onSubmit(form, async () => {
    const id = fieldFrom(form, "job", idOf);
    await showJob(app, id, { focus: true });
  });
}

function idOf(text: string): Hex {
  if (!isHex(text) || text.length !== 66) throw new BadInput("job", text, "0x and 64 hex digits");
  return text;
}

/** Show a job and follow it until it ends. */
export async function showJob(app: App, id: Hex, { focus = false } = {}): Promise<void> {
  const opening = await openingOf(app, id);
  followed = id;
  field(byId("job-form", HTMLFormElement), "job").value = id;
  void follow(app, opening, focus);
}

async function follow(app: App, opening: Opening, focus = false): Promise<void> {
  let last = "";
  while (followed === opening.id) {
    try {
      const { status, ending } = await stateOf(app, opening);
      const more = ending ? undefined : await providersWord(app, opening);
      const outlook = await outlookOf(app, opening, status, await nextTime(app));
      if (followed !== opening.id) return;
      const state = `${status} ${more}`;
      if (last !== state) say(`Job ${status}${more ? `, at the provider ${more}` : ""}.`);
      showState(app, opening, { status, more, ending, outlook }, last !== state);
      if (focus && !last) goTo(byId("job-view", HTMLDivElement));
      last = state;
      if (isFinal(numberOf(STATUSES, status))) {
        app.changed();
        if (ending?.receiptHash) await showReceipt(app, opening, ending);
        return;
      }
    } catch (error) {
      tell(error, () => void follow(app, opening));
      return;
    }
    await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
}

/** What the provider says it is doing; a provider that is silent doesn't stop us, the chain tells. */
async function providersWord(app: App, opening: Opening): Promise<string | undefined> {
  try {
    const { endpoint } = await offerOf(app, opening.terms.provider);
    const { state } = await ask(`${endpoint}/jobs/${opening.id}`);
    return typeof state === "string" ? state.toLowerCase() : undefined;
  } catch (error) {
    if (error instanceof ProviderProblem) return undefined;
    throw error;
  }
}

/** What is known of a job now. */
interface Seen {
  readonly status: StatusName;
  readonly more: string | undefined;
  readonly ending: Ending | undefined;
  readonly outlook: Outlook;
}

function showState(app: App, opening: Opening, seen: Seen, anew: boolean): void {
  const place = byId("job-view", HTMLDivElement);
  if (anew) {
    const hadFocus = place.contains(document.activeElement);
    place.replaceChildren(
      make("h3", {}, "Job"), facts(factsOf(opening, seen)), make("p", { id: "job-time" }), make("div", { id: "job-way" }),
      make("div", { id: "receipt" }), make("div", { id: "output" }),
    );
    if (hadFocus) goTo(place);
  }
  // The time runs on while the rest stays, and the focus with it.
  byId("job-time", HTMLParagraphElement).textContent = seen.outlook.text;
  showWay(app, opening, seen.outlook.way);
}

function goTo(place: HTMLElement): void {
  place.focus({ preventScroll: true });
  place.scrollIntoView({ block: "start" });
}

function showWay(app: App, opening: Opening, way: Way | undefined): void {
  const place = byId("job-way", HTMLDivElement);
  if (place.textContent === (way?.label ?? "")) return;
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(...(way ? [button(way.label, () => end(app, opening, way))] : []));
  if (hadFocus) (place.querySelector("button") ?? byId("job-view", HTMLDivElement)).focus();
}

function factsOf({ id, terms }: Opening, { status, more, ending }: Seen): [string, string][] {
  const one = classOf(terms.classId);
  const units = (amount: bigint) => (one ? credits(one, amount) : `${amount} base units`);
  return [
    ["Job", id],
    ["Status", status],
    ...(more ? [["At the provider", more] as [string, string]] : []),
    ["Class", one ? labelOf(one) : String(terms.classId)],
    ["Provider", terms.provider],
    ...(terms.budgetId ? [["Budget", String(terms.budgetId)] as [string, string]] : []),
    [ending ? "Was locked" : "Locked at most", units(terms.maxUnits)],
    ...(ending ? endFacts(units, terms.maxUnits, ending.units) : []),
  ];
}

function endFacts(units: (amount: bigint) => string, locked: bigint, used: bigint): [string, string][] {
  return [["Used", units(used)], ["Free again", units(locked - used)]];
}

async function end(app: App, opening: Opening, way: Way): Promise<void> {
  await app.send(way.label, endingCall(app, opening, way));
}

async function showReceipt(app: App, opening: Opening, ending: Ending): Promise<void> {
  const one = classOf(opening.terms.classId);
  const checked = await checkedReceipt(app, opening, ending, one?.terms.watcherSet ?? 0);
  const all = checked.checks.every(({ passed }) => passed);
  byId("receipt", HTMLDivElement).replaceChildren(
    make("h3", {}, "Receipt"),
    make("p", { class: all ? "good" : "bad" }, all ? "Every check passed." : "A check FAILED: don't rely on this receipt."),
    make("ul", { class: "checks" }, ...checked.checks.map(checkLine)),
    facts(receiptFacts(checked, one ? credits(one, checked.receipt.units) : `${checked.receipt.units} base units`)),
    button("Show output", () => showOutput(app, opening, checked)),
  );
  say(`Job ${ending.status}. ${all ? "Its receipt passed every check." : "Its receipt FAILED a check."}`);
}

function checkLine({ name, passed, detail }: Checked["checks"][number]): HTMLElement {
  const mark = make("strong", { class: passed ? "good" : "bad" }, passed ? "✓ passed" : "✗ FAILED");
  return make("li", { "data-check": name }, mark, ` ${name}: ${detail}`);
}

function receiptFacts({ receipt, transaction }: Checked, charged: string): [string, string][] {
  return [
    ["Outcome", nameOf(OUTCOMES, receipt.outcome)],
    ["Assurance", String(receipt.assurance)],
    ["Charged", charged],
    ["Energy", `${formatUnits(BigInt(receipt.gpuMillijoules), 3)} J`],
    ["Tokens", `${receipt.inputTokens} in, ${receipt.outputTokens} out`],
    ["Started", when(receipt.startedAt)],
    ["Ended", when(receipt.endedAt)],
    ["Output hash", receipt.outputHash],
    ["Evidence root", receipt.evidenceRoot],
    ["Transaction", transaction],
  ];
}

/** Output is for a job's parties: the wallet signs the request, and the bytes must hash to what the receipt says. */
async function showOutput(app: App, opening: Opening, { receipt }: Checked): Promise<void> {
  const { endpoint } = await offerOf(app, opening.terms.provider);
  const bytes = await outputOf(app, endpoint, opening.id);
  const isSame = keccak256(bytes) === receipt.outputHash;
  byId("output", HTMLDivElement).replaceChildren(
    make("h3", {}, "Output"),
    checkLine({ name: "Output hash", passed: isSame, detail: `${bytes.length} bytes, as the receipt says` }),
    make("pre", { tabindex: "0", "aria-label": "Output of the job" }, readable(bytes)),
    button("Save output", async () => save(bytes, `${opening.id}.bin`)),
  );
  say("Output shown.");
}

/** Bytes as the text they are, or else in hex; the first of many. */
function readable(bytes: Uint8Array): string {
  const first = bytes.slice(0, MOST_SHOWN);
  const more = bytes.length > MOST_SHOWN ? `\n… ${bytes.length - MOST_SHOWN} bytes more` : "";
  try {
    // A character that the limit cuts in two is no mistake of the output: only the end may be incomplete.
    return new TextDecoder("utf-8", { fatal: true }).decode(first, { stream: more !== "" }) + more;
  } catch {
    return toHex(first) + more;
  }
}

function save(bytes: Uint8Array, name: string): void {
  const href = URL.createObjectURL(new Blob([bytes.slice()]));
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), SAVE_MS);
}

/** The account's latest jobs, with how each stands: what is past its time can be taken back. */
export async function showOwnJobs(app: App): Promise<void> {
  const place = byId("job-mine", HTMLDivElement);
  const payer = app.connection?.address;
  const own = payer ? (await openings(app, { payer })).reverse().slice(0, MOST_LISTED) : [];
  const now = own.length ? await nextTime(app) : 0;
  const rows = await Promise.all(
    own.map(async (opening) => {
      const { id, terms } = opening;
      const open = button(`${id.slice(0, 10)}…`, () => showJob(app, id, { focus: true }), `Show job ${id}`);
      return make("li", {}, open, ` class ${terms.classId}, ${await standing(app, opening, now)}`);
    }),
  );
  redraw(place, ...(rows.length ? [make("h3", {}, "Your latest jobs"), make("ul", { class: "jobs" }, ...rows)] : []));
}
