// The package against vectors that scrip's Python code wrote (VECTORS names the file).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as scrip from "@scrip/abi";
import { TypedDataEncoder } from "ethers";

const file = JSON.parse(readFileSync(process.env.VECTORS, "utf8"));
const deployment = scrip.parseDeployment(file.deployment);

test("every message of the package has vectors", () => {
  const named = new Set(file.messages.map((row) => row.name));
  assert.deepEqual([...named].sort(), Object.keys(scrip.SIGNED_FOR).sort());
});

for (const { name, message, digest } of file.messages) {
  test(`${name} ${digest.slice(0, 10)}: digest by viem and by ethers, and back to JSON`, () => {
    const data = scrip.typedData(deployment, name, scrip.messageFromJson(name, message));
    assert.equal(scrip.digestOf(data), digest);
    assert.equal(TypedDataEncoder.hash(data.domain, data.types, data.message), digest);
    assert.deepEqual(scrip.messageToJson(name, data.message), message);
  });
}

test("ids and hashes are the digests of their terms", () => {
  for (const [name, id] of [["JobTerms", scrip.jobId], ["SessionTerms", scrip.sessionId], ["Offer", scrip.offerHash]]) {
    for (const row of file.messages.filter((one) => one.name === name)) {
      assert.equal(id(deployment, scrip.messageFromJson(name, row.message)), row.digest);
    }
  }
});

test("receipt hashes, and a batch over them", () => {
  const receipts = file.receiptHashes.map((row) => scrip.messageFromJson("Receipt", row.message));
  assert.deepEqual(receipts.map(scrip.receiptHash), file.receiptHashes.map((row) => row.hash));
  const batch = scrip.receiptBatch(deployment, receipts);
  assert.deepEqual(batch.message.receipts, file.receiptHashes.map((row) => row.hash));
});

test("words for numbers", () => {
  const { STATUSES, RESOURCES, FUNDINGS, OUTCOMES, FAULTS } = scrip;
  const ours = { Status: STATUSES, Resource: RESOURCES, Funding: FUNDINGS, Outcome: OUTCOMES, Fault: FAULTS };
  assert.deepEqual(ours, file.words);
  assert.deepEqual([...STATUSES.keys()].filter(scrip.isFinal), file.final);
  assert.equal(scrip.nameOf(STATUSES, 5n), "settled");
  assert.equal(scrip.numberOf(OUTCOMES, "failed"), 2);
  assert.throws(() => scrip.nameOf(STATUSES, 9), /value: given 9, must be between 0 and 8/);
});

test("amounts", () => {
  for (const { units, price, decimals, cost, affordable } of file.costs) {
    assert.equal(scrip.cost(BigInt(units), BigInt(price), decimals), BigInt(cost));
    assert.equal(scrip.affordable(BigInt(cost), BigInt(price), decimals), BigInt(affordable));
  }
  for (const { units, backing, supply, payOut } of file.payOuts) {
    assert.equal(scrip.payOut(BigInt(units), BigInt(backing), BigInt(supply)), BigInt(payOut));
  }
  for (const { decimals, units, text } of file.texts) {
    assert.equal(scrip.formatUnits(BigInt(units), decimals), text);
    if (!text.startsWith("-")) assert.equal(scrip.parseUnits(text, decimals), BigInt(units));
  }
});

test("amounts that are refused", () => {
  assert.throws(() => scrip.parseUnits("1.0005", 3), /at most 3 digits/);
  for (const text of ["", "1e3", "-1", "1,5", ".5", "1.", "0x10", "9".repeat(78)]) {
    assert.throws(() => scrip.parseUnits(text, 3), scrip.BadInput, text);
  }
  assert.throws(() => scrip.formatUnits(1n, 78), /between 0 and 77/);
  assert.throws(() => scrip.cost(-1n, 1n, 3), /units: given -1, must be at least 0/);
  assert.throws(() => scrip.affordable(1n, 0n, 3), /greater than 0/);
  assert.throws(() => scrip.payOut(2n, 1n, 1n), /at most the supply, 1/);
});
