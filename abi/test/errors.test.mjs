// Custom errors by name, from bare data and from what libraries throw.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as scrip from "@scrip/abi";
import { Interface } from "ethers";
import { encodeErrorResult, toHex } from "viem";

// Not exported: read from the package's files.
const inside = (file) => import(new URL(file, import.meta.resolve("@scrip/abi")));
const { hints } = await inside("hints.js");
const { notices } = await inside("generated/notices.js");

const ID = `0x${"11".repeat(32)}`;
const abi = Object.values(scrip.abis).flat();
const names = [...new Set(abi.filter((entry) => entry.type === "error").map((entry) => entry.name))];
const revert = (errorName, args) => scrip.decodeRevert(encodeErrorResult({ abi, errorName, args }));

const SAMPLE = {
  address: "0x5FbDB2315678afecb367f032d93F642f64180aa3", bytes32: ID, string: "text", int256: -3n,
};
const sample = (type) => SAMPLE[type] ?? 3n;

test("every error of every contract is decoded by name with its arguments, as ethers encodes it", () => {
  assert.ok(names.length > 150, String(names.length));
  for (const [contract, entries] of Object.entries(scrip.abis)) {
    const coder = new Interface(entries);
    for (const entry of entries.filter((one) => one.type === "error")) {
      const data = coder.encodeErrorResult(entry.name, entry.inputs.map((input) => sample(input.type)));
      const found = scrip.decodeRevert(data);
      assert.equal(found.name, entry.name, contract);
      assert.deepEqual(Object.keys(found.args), entry.inputs.map((input) => input.name));
      assert.match(found.sentence, /^([A-Za-z0-9]+ refuses|Refused): .+[.]$/s);
      assert.ok(!found.sentence.includes("\n"));
    }
  }
});

test("sentences say what, the values, and the next step", () => {
  assert.equal(
    revert("CreditReserve_CostAboveMax", [1n, 5n, 4n]).sentence,
    "CreditReserve refuses: cost above max (classId 1, given 5, limit 4). " +
      "The price is higher than what you allowed: read it again and sign anew.",
  );
  const status = revert("JobMarket_WrongStatus", [ID, 5n, 2n]);
  assert.match(status.sentence, /wrong status \(.*given settled, limit running\)/);
  const address = BigInt("0x5FbDB2315678afecb367f032d93F642f64180aa3");
  assert.match(revert("JobMarket_NotPayer", [ID, address, 0n]).sentence, /given 0x5fbdb2315678af/);
  const approval = revert("ERC1155MissingApprovalForAll", [SAMPLE.address, SAMPLE.address]);
  assert.match(approval.sentence, /^Refused: ERC1155 missing approval for all \(operator 0x/);
  assert.match(revert("CreditReserve_WrongPayment", [1n, 1n, 2n]).sentence, /The token delivered less, or more/);
});

test("Solidity's own errors", () => {
  const text = "0x08c379a0" + new Interface(["error Error(string)"]).encodeErrorResult("Error", ["no"]).slice(10);
  assert.equal(scrip.decodeRevert(text).sentence, "The call reverted: no.");
  const panic = "0x4e487b71" + toHex(0x11n, { size: 32 }).slice(2);
  assert.equal(scrip.decodeRevert(panic).sentence, "The call reverted: arithmetic overflow.");
});

test("data that is none of ours, cut off, or absent", () => {
  assert.equal(scrip.decodeRevert("0xdeadbeef").name, "Unknown");
  assert.match(scrip.decodeRevert("0xdeadbeef").sentence, /doesn't know \(0xdeadbeef\)/);
  const whole = encodeErrorResult({ abi, errorName: "JobMarket_ZeroUnits", args: [ID, 0n, 1n] });
  assert.equal(scrip.decodeRevert(whole.slice(0, -2)).name, "Unknown");
  assert.match(scrip.decodeRevert("0x").sentence, /no reason given/);
  assert.equal(scrip.errorName("0xdeadbeef"), undefined);
  assert.equal(scrip.errorName(whole.slice(0, 10)), "JobMarket_ZeroUnits");
});

test("nodes and wallets wrap the data in many ways", () => {
  const data = encodeErrorResult({ abi, errorName: "JobMarket_ZeroUnits", args: [ID, 0n, 1n] });
  const wrapped = [
    data, { data }, { data: { data } }, { data: `Reverted ${data}` }, { cause: { cause: { raw: data } } },
    { info: { error: { data } } }, { data: { originalError: { data } } }, { error: { data } },
  ];
  for (const thrown of wrapped) assert.equal(scrip.revertOf(thrown)?.name, "JobMarket_ZeroUnits");
  const endless = {};
  endless.cause = endless;
  for (const other of [undefined, null, 5, "no", new Error("no"), { transaction: { data } }, endless]) {
    assert.equal(scrip.revertOf(other), undefined);
  }
});

test("every hint and every notice is of an error that there is", () => {
  for (const name of [...Object.keys(hints), ...Object.keys(notices)]) assert.ok(names.includes(name), name);
});
