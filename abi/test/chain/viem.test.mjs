// A dApp on viem: buy with an authorisation and with a permit, open, be accepted and settled; errors as the client
// throws them.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  addressOf, authorizationForReserve, computeCreditsAbi, cost, creditReserveAbi, demoUSDAbi, isFinal, jobId,
  jobMarketAbi, nameOf, payOut, permitForReserve, receiptHash, revertOf, splitSignature, STATUSES, typedData,
} from "@scrip/abi";
import { createPublicClient, createTestClient, createWalletClient, http, parseEventLogs } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { anvil } from "viem/chains";

import { classId, deployment, keys, provider, receiptFor, rpc, SECONDS, termsFor, UNITS, USED } from "./world.mjs";

const options = { chain: anvil, transport: http(rpc), pollingInterval: 50 };
const client = createPublicClient(options);
const chain = createTestClient({ ...options, mode: "anvil" });
const [buyer, oracle, relayer] = [keys.buyer, keys.oracle, keys.relayer].map(privateKeyToAccount);
const at = (name, abi) => ({ address: addressOf(deployment, name), abi });
const credits = at("ComputeCredits", computeCreditsAbi);
const reserve = at("CreditReserve", creditReserveAbi);
const market = at("JobMarket", jobMarketAbi);
const token = at("DemoUSD", demoUSDAbi);
const read = (contract, functionName, ...args) => client.readContract({ ...contract, functionName, args });

async function send(account, contract, functionName, ...args) {
  const { request } = await client.simulateContract({ ...contract, account, functionName, args });
  const hash = await createWalletClient({ ...options, account }).writeContract(request);
  const receipt = await client.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, "success");
  return receipt;
}

async function refusal(account, contract, functionName, ...args) {
  const thrown = await client.simulateContract({ ...contract, account, functionName, args }).then(
    () => assert.fail("accepted"),
    (error) => error,
  );
  return revertOf(thrown);
}

async function tokenOf() {
  const [, name, version] = await read(token, "eip712Domain");
  return { address: token.address, name, version };
}

test("an authorisation, sent by somebody else, buys for its signer what it was signed for", async () => {
  const recipient = buyer.address;
  const salt = `0x${"07".repeat(32)}`;
  const { timestamp } = await client.getBlock();
  const fields = { from: recipient, value: 10n ** 6n, validAfter: 0n, validBefore: timestamp + 600n };
  const data = authorizationForReserve(deployment, await tokenOf(), { classId, units: 7n, recipient, salt }, fields);
  const auth = { ...fields, salt, ...splitSignature(await buyer.signTypedData(data)) };
  const more = await refusal(relayer, reserve, "buyWithAuthorization", classId, 8n, recipient, auth);
  assert.equal(more.name, "DemoUSD_BadSignature", more.sentence);
  const before = await read(credits, "balanceOf", recipient, classId);
  await send(relayer, reserve, "buyWithAuthorization", classId, 7n, recipient, auth);
  assert.equal((await read(credits, "balanceOf", recipient, classId)) - before, 7n);
  await send(buyer, credits, "safeTransferFrom", recipient, relayer.address, classId, 7n, "0x");
});

test("buy with a permit and redeem", async () => {
  const terms = await read(credits, "classTerms", classId);
  const price = cost(UNITS, terms.pricePerMillion, terms.decimals);
  const nonce = await read(token, "nonces", buyer.address);
  const { timestamp } = await client.getBlock();
  const fields = { owner: buyer.address, value: price, nonce, deadline: timestamp + 600n };
  const permit = permitForReserve(deployment, await tokenOf(), fields);
  const { v, r, s } = splitSignature(await buyer.signTypedData(permit));
  const paid = await read(token, "balanceOf", buyer.address);

  const purchase = (most) => [classId, UNITS, buyer.address, most, fields.deadline, v, r, s];
  const low = await refusal(buyer, reserve, "buyWithPermit", ...purchase(price - 1n));
  assert.equal(low.name, "CreditReserve_CostAboveMax", low.sentence);
  assert.deepEqual(low.args, { classId, given: price, limit: price - 1n });

  await send(buyer, reserve, "buyWithPermit", ...purchase(price));
  assert.equal(await read(credits, "balanceOf", buyer.address, classId), UNITS);
  assert.equal(paid - (await read(token, "balanceOf", buyer.address)), price);

  const now = Number((await client.getBlock()).timestamp);
  const jobTerms = termsFor(buyer.address, now, 1n);
  const id = jobId(deployment, jobTerms);
  assert.equal(await read(market, "hashTerms", jobTerms), id);
  const opened = await send(buyer, market, "open", jobTerms, "0x");
  const [event] = parseEventLogs({ ...market, logs: opened.logs, eventName: "JobOpened" });
  assert.equal(event.args.jobId, id);
  await send(oracle, market, "accept", jobTerms);
  const job = await read(market, "jobs", id);
  assert.equal(nameOf(STATUSES, job.status), "running");

  const startedAt = Number((await client.getBlock()).timestamp);
  await chain.increaseTime({ seconds: SECONDS });
  await chain.mine({ blocks: 1 });
  const receipt = receiptFor(id, startedAt);
  const signed = await oracle.signTypedData(typedData(deployment, "Receipt", receipt));
  const forged = await buyer.signTypedData(typedData(deployment, "Receipt", receipt));
  const refused = await refusal(buyer, market, "submit", jobTerms, receipt, { provider: forged, watchers: [] });
  assert.equal(refused.name, "JobMarket_BadSignature", refused.sentence);

  const supply = await read(credits, "totalSupply", classId);
  const due = payOut(USED, await read(reserve, "backingOf", classId), supply);
  const earned = await read(reserve, "earningsOf", provider, token.address);
  const settled = await send(oracle, market, "submit", jobTerms, receipt, { provider: signed, watchers: [] });
  const [end] = parseEventLogs({ ...market, logs: settled.logs, eventName: "JobSettled" });
  assert.equal(end.args.receiptHash, receiptHash(receipt));
  const { status } = await read(market, "jobs", id);
  assert.ok(isFinal(status) && nameOf(STATUSES, status) === "settled");
  assert.equal(await read(credits, "balanceOf", buyer.address, classId), UNITS - USED);
  assert.equal(await read(credits, "availableOf", buyer.address, classId), UNITS - USED);
  assert.equal((await read(reserve, "earningsOf", provider, token.address)) - earned, due);

  const again = await refusal(oracle, market, "submit", jobTerms, receipt, { provider: signed, watchers: [] });
  assert.equal(again.name, "JobMarket_WrongStatus");
  assert.match(again.sentence, /given settled, limit running/);
});
