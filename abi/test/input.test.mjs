// What the package refuses, and says about it; deployments from JSON and from files.
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import * as scrip from "@scrip/abi";
import { loadDeployment } from "@scrip/abi/node";

const AT = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
const ID = `0x${"11".repeat(32)}`;
const deployment = { chainId: 31337, block: 1, contracts: { JobMarket: AT, MeteredSessions: AT } };
const terms = {
  payer: AT, provider: AT, classId: 1n, maxUnits: 5n, resources: 1, acceptBy: 10, submitBy: 20, specHash: ID,
  budgetId: 0n, salt: 1n,
};

function refusal(change) {
  try {
    scrip.jobId(deployment, { ...terms, ...change });
  } catch (error) {
    assert.ok(error instanceof scrip.BadInput, String(error));
    return error.message;
  }
  return assert.fail("accepted");
}

test("a field that is out of range or malformed is named", () => {
  assert.match(refusal({ acceptBy: 2 ** 40 }), /^JobTerms.acceptBy: given 1099511627776, must be an uint40/);
  assert.match(refusal({ maxUnits: -1n }), /^JobTerms.maxUnits: given -1/);
  assert.match(refusal({ maxUnits: 2n ** 128n }), /^JobTerms.maxUnits/);
  assert.match(refusal({ resources: 1.5 }), /^JobTerms.resources: given 1.5, must be an integer/);
  assert.match(refusal({ salt: 2 ** 53 }), /^JobTerms.salt: .* safe number/);
  assert.match(refusal({ payer: AT.replace("F", "f") }), /^JobTerms.payer: .* valid checksum/);
  assert.match(refusal({ specHash: ID.slice(2) }), /^JobTerms.specHash: .* 64 hex digits/);
  assert.match(refusal({ specHash: `${ID}00` }), /^JobTerms.specHash/);
});

test("missing and unknown fields are named", () => {
  const { salt, ...rest } = terms;
  assert.throws(() => scrip.messageFromJson("JobTerms", rest), /keys of JobTerms: given "salt"/);
  assert.match(refusal({ tip: 1n }), /keys of JobTerms: given "tip"/);
  assert.throws(() => scrip.messageFromJson("JobTerms", null), /JobTerms: given null, must be an object/);
});

test("nested fields and lists are named by their path", () => {
  const limits = {
    spender: AT, perAction: scrip.NO_CAP, perPeriod: 1n, lifetime: 1n, period: 0, expiry: 0, listed: "yes",
  };
  const message = { owner: AT, token: AT, limits, providers: [], nonce: 0n, deadline: 1n };
  assert.throws(() => scrip.messageFromJson("CreateBudget", message), /CreateBudget.limits.listed: given "yes"/);
  const listed = { ...message, limits: { ...limits, listed: false }, providers: [AT, "0x12"] };
  assert.throws(() => scrip.messageFromJson("CreateBudget", listed), /CreateBudget.providers\[1\]/);
});

test("a contract that the deployment hasn't got is named with those it has", () => {
  assert.throws(
    () => scrip.offerHash(deployment, {}),
    (error) => error instanceof scrip.NotFound && /chain 31337 has no CreditExchange: .* JobMarket/.test(error.message),
  );
  assert.throws(() => scrip.addressOf(deployment, "toString"), scrip.NotFound);
});

test("signatures of the wrong size are refused", () => {
  assert.throws(() => scrip.splitSignature("0x12"), /signature: .* 130 hex digits/);
});

test("deployments that aren't any are refused", () => {
  for (const data of [null, [], {}, { chainId: 1, block: 1, contracts: [] }, { ...deployment, chainId: "1" }]) {
    assert.throws(() => scrip.parseDeployment(data), scrip.BadInput);
  }
  assert.throws(
    () => scrip.parseDeployment({ ...deployment, contracts: { JobMarket: "0x12" } }),
    /deployment.contracts.JobMarket: given "0x12"/,
  );
  assert.throws(() => scrip.parseDeployment({ ...deployment, explorer: "ftp://x" }), /deployment.explorer/);
});

test("chains without a deployment are named, those with one are loaded", () => {
  assert.throws(() => scrip.deploymentOn(31337), /no deployment on chain 31337 is known .* load its deployment file/);
  for (const chain of scrip.knownChains()) assert.equal(scrip.deploymentOn(chain).chainId, chain);
});

test("deployment files: by name, by folder and chain, absent, broken, of another chain", async () => {
  const folder = mkdtempSync(join(tmpdir(), "scrip-abi-"));
  const file = join(folder, "31337.json");
  writeFileSync(file, JSON.stringify({ ...deployment, deployer: AT }));
  assert.deepEqual(await loadDeployment(file), deployment);
  assert.deepEqual(await loadDeployment(folder, 31337), deployment);
  await assert.rejects(loadDeployment(folder), /chainId: given undefined, must be given/);
  await assert.rejects(loadDeployment(folder, 5), scrip.NotFound);
  await assert.rejects(loadDeployment(file, 5), /deployment on chain 31337, wanted chain 5/);
  writeFileSync(join(folder, "7.json"), "{");
  await assert.rejects(loadDeployment(folder, 7), /must be JSON/);
});
