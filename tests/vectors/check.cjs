// Recomputes evidence.json from docs/evidence.md alone, with the keccak of js-sha3. Prints what differs; exits 1 then.
"use strict";
const fs = require("fs");
const path = require("path");
const { keccak256 } = require("js-sha3");

const bytes = (hex) => Buffer.from(hex.replace(/^0x/, ""), "hex");
const keccak = (...parts) => Buffer.from(keccak256.arrayBuffer(Buffer.concat(parts)));
const text = (string) => keccak(Buffer.from(string, "utf8"));
const word = (value) => {
  const hex = value.startsWith("0x") ? value.slice(2) : BigInt(value).toString(16);
  return bytes(hex.padStart(64, "0"));
};
const shown = (buffer) => "0x" + buffer.toString("hex");

// JSON with sorted keys, no spaces, non-ASCII escaped.
function canonical(value) {
  if (Array.isArray(value)) return "[" + value.map(canonical).join(",") + "]";
  if (value !== null && typeof value === "object") {
    const members = Object.keys(value).sort();
    return "{" + members.map((key) => canonical(key) + ":" + canonical(value[key])).join(",") + "}";
  }
  const escape = (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0");
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escape);
}

const DOMAIN = text("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
const TERMS =
  "JobTerms(address payer,address provider,uint256 classId,uint128 maxUnits,uint32 resources," +
  "uint40 acceptBy,uint40 submitBy,bytes32 specHash,uint256 budgetId,uint256 salt)";
const RECEIPT =
  "Receipt(bytes32 jobId,uint8 outcome,uint128 units,uint64 gpuMillijoules,uint64 inputTokens," +
  "uint64 outputTokens,uint40 startedAt,uint40 endedAt,bytes32 outputHash,bytes32 evidenceRoot,uint8 assurance)";

function hashStruct(type, struct) {
  const fields = type.slice(type.indexOf("(") + 1, -1).split(",").map((field) => field.split(" ")[1]);
  return keccak(text(type), ...fields.map((field) => word(struct[field])));
}

function digest(name, chainId, contract, struct) {
  const domain = keccak(DOMAIN, text(name), text("1"), word(chainId), word(contract));
  return keccak(bytes("1901"), domain, struct);
}

function root(leaves) {
  if (leaves.length === 1) return leaves[0];
  const level = [];
  for (let i = 0; i < leaves.length; i += 2) {
    level.push(i + 1 < leaves.length ? keccak(bytes("01"), leaves[i], leaves[i + 1]) : leaves[i]);
  }
  return root(level);
}

function recomputed(file, { bundle }) {
  const jobId = digest("Scrip JobMarket", file.chainId, file.market, hashStruct(TERMS, bundle.terms));
  const job = [word(bundle.chainId), word(bundle.market), jobId, word(bundle.nonce)];
  const seed = keccak(...job);
  const links = [];
  for (const sample of bundle.samples) {
    links.push(keccak(links.length ? links[links.length - 1] : seed, text(canonical(sample))));
  }
  const leaves = links.map((link) => keccak(bytes("00"), link));
  const receiptHash = hashStruct(RECEIPT, bundle.receipt);
  return {
    specHash: shown(text(canonical(bundle.spec))),
    jobId: shown(jobId),
    seed: shown(seed),
    canonical: bundle.samples.map(canonical),
    links: links.map(shown),
    rootOfFirst: Object.fromEntries(leaves.map((_, i) => [String(i + 1), shown(root(leaves.slice(0, i + 1)))])),
    gpuReportDigests: (bundle.gpuReports || []).map((report) => shown(text(canonical(report)))),
    gpuReportNonce: shown(keccak(...job, word(file.oracle))),
    evidenceRoot: shown(root(leaves)),
    outputHash: shown(keccak(Buffer.from(bundle.output, "base64"))),
    receiptHash: shown(receiptHash),
    receiptDigest: shown(digest("Scrip ReceiptVerifier", file.chainId, file.verifier, receiptHash)),
  };
}

const file = JSON.parse(fs.readFileSync(path.join(__dirname, "evidence.json"), "utf8"));
let wrong = 0;
let compared = 0;
file.jobs.forEach((job, number) => {
  const found = recomputed(file, job);
  for (const [name, value] of Object.entries(found)) {
    compared += 1;
    if (JSON.stringify(value) === JSON.stringify(job[name])) continue;
    wrong += 1;
    console.log(`job ${number} ${name}: ${JSON.stringify(value)}`);
  }
});
console.log(`${compared} values compared, ${wrong} differ`);
process.exit(wrong ? 1 : 0);
