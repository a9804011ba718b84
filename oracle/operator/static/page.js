// The operator's page: draws what the node tells, and asks it nothing else.
import { byId, chip, element, id, KEPT, rows, setText, spark, time } from "./rows.js";

const AGAIN_MS = 10_000;
const SVG = "http://www.w3.org/2000/svg";
const history = new Map();
const cards = new Map();

const draw = { node, gpus, jobs, queue, receipts, earnings, costs, faults };

function take(message) {
  link("live", "good");
  for (const [name, section] of Object.entries(JSON.parse(message.data))) draw[name]?.(section);
}

function connect() {
  const source = new EventSource("/operator/events");
  source.addEventListener("snapshot", take);
  source.addEventListener("update", take);
  source.addEventListener("open", () => link("live", "good"));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) refused();
    else link("reconnecting", "warn");
  });
}

/** The node answered, but not with the stream: say why, and come back. */
async function refused() {
  link("not connected", "bad");
  try {
    const answer = await fetch("/operator/events", { signal: AbortSignal.timeout(5_000) });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) link((await answer.json()).error.message, "bad");
    else await answer.body.cancel();
  } catch {
    // It is away: the next try will tell.
  }
  setTimeout(connect, AGAIN_MS);
}

function link(text, tone) {
  setText(byId("link"), text);
  byId("link").className = `chip ${tone}`;
}

const name = (one) => {
  const made = element("span", "", one.name);
  made.title = `class ${one.id}${one.resource ? `, ${one.resource}` : ""}`;
  return made;
};

function node(section) {
  const badges = [chip(section.well ? "well" : "not well", section.well ? "good" : "bad")];
  if (section.simulated) badges.push(chip("simulated GPUs", "warn"));
  if (section.dryRun) badges.push(chip("dry run", "warn"));
  if (!section.leads) badges.push(chip("stands by", "warn"));
  byId("badges").replaceChildren(...badges);
  byId("who").replaceChildren("Provider ", id(section.provider), ", oracle key ", id(section.oracle),
    `, chain ${section.chainId}, up since `, time(section.startedMs));
}

function gpus(section) {
  for (const gpu of section) {
    if (!cards.has(gpu.uuid)) cards.set(gpu.uuid, card(gpu));
    show(cards.get(gpu.uuid), gpu);
  }
  byId("gpus").classList.toggle("empty", section.length === 0);
  const milliwatts = section.reduce((sum, gpu) => sum + Number(gpu.powerMw ?? 0), 0);
  setText(byId("tile-power"), section.length ? `${(milliwatts / 1000).toFixed(1)} W` : "–");
}

function card(gpu) {
  const parts = { load: document.createElement("meter"), chip: element("span", "chip") };
  parts.load.max = 100;
  parts.load.setAttribute("aria-label", "utilisation");
  parts.line = document.createElementNS(SVG, "svg");
  parts.line.setAttribute("class", "spark");
  parts.line.setAttribute("viewBox", "0 0 100 30");
  parts.line.setAttribute("preserveAspectRatio", "none");
  parts.line.setAttribute("role", "img");
  parts.line.append(document.createElementNS(SVG, "polygon"), document.createElementNS(SVG, "polyline"));
  const facts = ["utilisation", "power", "energy", "memory"].map((fact) => {
    parts[fact] = element("dd", "", "–");
    return element("div", "", element("dt", "", fact === "energy" ? "energy since start" : fact), parts[fact]);
  });
  const heading = element("h3", "", gpu.name, parts.chip);
  const made = element("article", "gpu", heading, element("p", "id", gpu.uuid), parts.load, element("dl", "", ...facts),
    parts.line, element("p", "quiet", `power, the last ${KEPT} readings`));
  made.setAttribute("aria-label", gpu.name);
  byId("gpus").append(made);
  return parts;
}

function show(parts, gpu) {
  const values = history.get(gpu.uuid) ?? [];
  if (gpu.powerMw !== null) values.push(Number(gpu.powerMw));
  history.set(gpu.uuid, values.slice(-KEPT));
  parts.load.value = gpu.utilPct ?? 0;
  setText(parts.utilisation, gpu.utilPct === null ? "–" : `${gpu.utilPct} %`);
  setText(parts.power, gpu.power ?? "–");
  setText(parts.energy, gpu.used ?? "–");
  setText(parts.memory, gpu.memory ?? "–");
  const [word, tone] = gpu.problem ? ["not readable", "bad"] : gpu.jobs.length ? [`${gpu.jobs.length} running`, "busy"] : ["idle", ""];
  setText(parts.chip, word);
  parts.chip.className = `chip ${tone}`;
  spark(parts.line, history.get(gpu.uuid), 0);
  parts.line.setAttribute("aria-label", `power of the last minutes, now ${gpu.power ?? "unknown"}`);
}

function jobs(section) {
  const counts = Object.entries(section.counts).map(([state, count]) => `${count} ${state}`);
  setText(byId("job-counts"), counts.join(", "));
  setText(byId("tile-settled"), String(section.counts.settled ?? 0));
  rows(byId("jobs"), section.rows, (job) => job.id, (job) => [
    ["", id(job.id)],
    ["", [chip(job.state), job.simulated ? element("span", "quiet", " simulated") : null].filter(Boolean)],
    ["name", name(job.class)],
    ["num", job.units?.text],
    ["num", job.most.text],
    ["", id(job.buyer)],
    ["", time(job.sinceMs)],
    ["why", job.reason],
  ]);
}

function queue(section) {
  setText(byId("queue-room"), `${section.slots} at once, ${section.places} more may wait`);
  setText(byId("tile-running"), `${section.running} of ${section.slots}`);
  setText(byId("tile-waiting"), `${section.waiting} of ${section.places}`);
  rows(byId("queue"), section.rows, (job) => job.id, (job) => [
    ["", id(job.id)], ["", chip(job.state)], ["name", name(job.class)], ["num", job.most.text], ["", id(job.buyer)],
    ["", time(job.sinceMs)],
  ]);
}

function receipts(section) {
  rows(byId("receipts"), section, (receipt) => receipt.id, (receipt) => {
    const by = (state) => receipt.watchers.filter((watcher) => watcher.state === state);
    const people = (found) => found.flatMap((watcher, index) => [index ? " " : "", id(watcher.address)]);
    const refusals = by("refused").flatMap((watcher) => [id(watcher.address), ` ${watcher.reason} `]);
    const alone = receipt.watcherSet === "0";
    const count = `${by("signed").length} of ${receipt.threshold || "?"} `;
    return [
      ["", id(receipt.id)],
      ["name", name(receipt.class)],
      ["num", receipt.units.text],
      ["", alone ? "no watchers needed" : [count, ...people(by("signed"))]],
      ["", by("missing").length ? people(by("missing")) : "–"],
      ["", refusals.length ? refusals : "–"],
      ["why", receipt.notes.join("; ") || waits(receipt, alone)],
      ["", time(receipt.sinceMs)],
    ];
  });
}

function waits(receipt, alone) {
  if (receipt.state !== "signing") return "to be signed, alone or with others";
  return alone ? "the node signs it" : "watchers are checking";
}

function earnings(section) {
  byId("earnings-problem").hidden = !section.problem;
  setText(byId("earnings-problem"), section.problem ? `The chain doesn’t answer: ${section.problem}` : "");
  setText(byId("earnings-block"), section.block === null ? "Reading the chain…" : `As of block ${section.block}.`);
  const waiting = section.tokens.map((token) => token.withdrawable.text);
  setText(byId("tile-withdraw"), waiting.join(", ") || "–");
  rows(byId("purses"), section.tokens, (token) => token.token, (token) => [
    ["", token.symbol], ["num", token.settled.text], ["num", token.withdrawable.text], ["num", token.fee.text],
    ["num", token.withdrawn.text],
  ]);
  rows(byId("paid"), section.classes, (one) => one.class.id, (one) => [
    ["name", name(one.class)], ["num", one.units.text], ["num", one.amount.text],
  ]);
}

function costs(section) {
  rows(byId("costs"), section, (cost) => cost.class.id, (cost) => [
    ["name", name(cost.class)], ["num", cost.input], ["num", cost.cached], ["num", cost.output], ["num", cost.blended],
    ["num", cost.gpuSeconds], ["num", cost.joules],
  ]);
}

function faults(section) {
  const declined = section.declined.map((one) => `${one.count} for ${one.reason}`);
  setText(byId("declined"), declined.length ? `Quotes declined since the start: ${declined.join(", ")}.` : "");
  rows(byId("faults"), section.rows, (one) => `${one.kind} ${one.what} ${one.reason} ${one.job ?? ""}`, (one) => [
    ["", time(one.atMs)], ["name", [chip(one.level), ` ${one.what}`]], ["why", one.reason], ["", id(one.job)],
    ["num", String(one.count)],
  ]);
}

connect();
