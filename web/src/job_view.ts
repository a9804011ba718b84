/** One job on the page: followed until it ends, then its receipt with every check; and the list of one's own. */
import { formatUnits, isFinal, jobMarketAbi, nameOf, numberOf, OUTCOMES, STATUSES, type StatusName } from "@scrip/abi";
import { encodeFunctionData, isHex, keccak256, type Hex } from "viem";

import type { App } from "./app.js";
import { classOf } from "./class_list.js";
import { credits } from "./classes.js";
import { button, byId, facts, field, make, redraw, valueOf } from "./dom.js";
import { openingOf, openings, stateOf, type Ending, type Opening } from "./jobs.js";
import { attempt, onSubmit, say, tell } from "./notices.js";
import { outputOf } from "./output.js";
import { Hindrance, ProviderProblem } from "./problems.js";
import { ask, offerOf } from "./providers.js";
import { checkedReceipt, type Checked } from "./receipts.js";

const POLL_MS = 1_500;
const MOST_LISTED = 10;
const MOST_SHOWN = 20_000;

let followed: Hex | undefined;

/** Wire up the form; a job that the page's address names is shown at once. */
export function setUpJobs(app: App): void {
  const form = byId("job-form", HTMLFormElement);
  onSubmit(form, async () => {
    const id = valueOf(form, "job");
    if (!isHex(id) || id.length !== 66) throw new Hindrance("A job's id is 0x and 64 hex digits.");
    await showJob(app, id, { focus: true });
  });
}

/** Show a job and follow it until it ends. */
export async function showJob(app: App, id: Hex, { focus = false } = {}): Promise<void> {
  const opening = await openingOf(app, id);
  followed = id;
  field(byId("job-form", HTMLFormElement), "job").value = id;
  if (focus) byId("job-view", HTMLDivElement).focus();
  void follow(app, opening);
}

async function follow(app: App, opening: Opening): Promise<void> {
  let last = "";
  while (followed === opening.id) {
    try {
      const { status, ending } = await stateOf(app, opening);
      const more = ending ? undefined : await providersWord(app, opening);
      if (followed !== opening.id) return;
      if (last !== `${status} ${more}`) {
        say(`Job ${status}${more ? `, at the provider ${more}` : ""}.`);
        showState(app, opening, status, more, ending);
        last = `${status} ${more}`;
      }
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

function showState(
  app: App,
  opening: Opening,
  status: StatusName,
  more: string | undefined,
  ending: Ending | undefined,
): void {
  const { id, terms } = opening;
  const one = classOf(terms.classId);
  const units = (amount: bigint) => (one ? credits(one, amount) : `${amount} base units`);
  const pairs: [string, string][] = [
    ["Job", id],
    ["Status", status],
    ...(more ? [["At the provider", more] as [string, string]] : []),
    ["Class", String(terms.classId)],
    ["Provider", terms.provider],
    ["Locked at most", units(terms.maxUnits)],
    ...(ending ? [["Used", units(ending.units)] as [string, string]] : []),
  ];
  const ways = {
    open: [button("Cancel the job", () => end(app, opening, "cancel"))],
    running: [button("End it after its deadline", () => end(app, opening, "expire"))],
  };
  const way = status === "open" || status === "running" ? ways[status] : [];
  byId("job-view", HTMLDivElement).replaceChildren(
    make("h3", {}, "Job"), facts(pairs), ...way, make("div", { id: "receipt" }), make("div", { id: "output" }),
  );
}

/** Before a provider accepts, its payer may cancel; after its deadline anybody ends it. The credits come back. */
function end(app: App, { terms }: Opening, functionName: "cancel" | "expire"): void {
  void attempt(async () => {
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName, args: [terms] });
    await app.send("Ending the job", { to: app.address("JobMarket"), data });
  });
}

async function showReceipt(app: App, opening: Opening, ending: Ending): Promise<void> {
  const one = classOf(opening.terms.classId);
  const checked = await checkedReceipt(app, opening, ending, one?.terms.watcherSet ?? 0);
  const all = checked.checks.every(({ passed }) => passed);
  byId("receipt", HTMLDivElement).replaceChildren(
    make("h3", {}, "Receipt"),
    make("p", { class: all ? "good" : "bad" }, all ? "Every check passed." : "A check FAILED: don't rely on this receipt."),
    make("ul", { class: "checks" }, ...checked.checks.map(checkLine)),
    facts(receiptFacts(checked, one?.terms.decimals ?? 0)),
    button("Show output", () => void attempt(() => showOutput(app, opening, checked))),
  );
  say(`Job ${ending.status}. ${all ? "Its receipt passed every check." : "Its receipt FAILED a check."}`);
}

function checkLine({ name, passed, detail }: Checked["checks"][number]): HTMLElement {
  const mark = make("strong", { class: passed ? "good" : "bad" }, passed ? "✓ passed" : "✗ FAILED");
  return make("li", { "data-check": name }, mark, ` ${name}: ${detail}`);
}

function receiptFacts({ receipt, transaction }: Checked, decimals: number): [string, string][] {
  const time = (seconds: number) => new Date(seconds * 1000).toLocaleString();
  return [
    ["Outcome", nameOf(OUTCOMES, receipt.outcome)],
    ["Assurance", String(receipt.assurance)],
    ["Charged", `${formatUnits(receipt.units, decimals)} credits`],
    ["Energy", `${receipt.gpuMillijoules} mJ`],
    ["Tokens", `${receipt.inputTokens} in, ${receipt.outputTokens} out`],
    ["Started", time(receipt.startedAt)],
    ["Ended", time(receipt.endedAt)],
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
  const text = new TextDecoder().decode(bytes.slice(0, MOST_SHOWN));
  byId("output", HTMLDivElement).replaceChildren(
    make("h3", {}, "Output"),
    checkLine({ name: "Output hash", passed: isSame, detail: `${bytes.length} bytes, as the receipt says` }),
    make("pre", { tabindex: "0", "aria-label": "Output of the job" }, text),
  );
  say("Output shown.");
}

/** The account's latest jobs. */
export async function showOwnJobs(app: App): Promise<void> {
  const place = byId("job-mine", HTMLDivElement);
  const payer = app.connection?.address;
  const own = payer ? (await openings(app, { payer })).reverse().slice(0, MOST_LISTED) : [];
  const rows = own.map(({ id, terms }) => {
    const label = `${id.slice(0, 10)}… (class ${terms.classId})`;
    return make("li", {}, button(label, () => void attempt(() => showJob(app, id, { focus: true })), `Show job ${id}`));
  });
  redraw(place, ...(rows.length ? [make("h3", {}, "Your latest jobs"), make("ul", {}, ...rows)] : []));
}
