// A dApp on ethers: approve and buy; the buyer signs the terms and the provider a quote, and a relayer opens the job.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import {
  addressOf, abis, cost, digestOf, errorName, jobId, nameOf, receiptBatch, revertOf, STATUSES, typedData,
} from "@scrip/abi";
import { Contract, JsonRpcProvider, verifyTypedData, Wallet } from "ethers";

import { classId, deployment, keys, receiptFor, rpc, SECONDS, termsFor, UNITS, USED } from "./world.mjs";

const options = { staticNetwork: true, cacheTimeout: -1, pollingInterval: 50 };
const node = new JsonRpcProvider(rpc, deployment.chainId, options);
after(() => node.destroy());
const [buyer, oracle, relayer] = [keys.buyer, keys.oracle, keys.relayer].map((key) => new Wallet(key, node));
const at = (name, signer) => new Contract(addressOf(deployment, name), abis[name], signer);
const now = async () => (await node.getBlock("latest")).timestamp;
const sign = (signer, data) => signer.signTypedData(data.domain, data.types, data.message);

async function send(contract, method, ...args) {
  await contract[method].staticCall(...args);
  const receipt = await (await contract[method](...args)).wait();
  assert.equal(receipt.status, 1);
  return receipt;
}

async function refusal(contract, method, ...args) {
  const thrown = await contract[method].staticCall(...args).then(
    () => assert.fail("accepted"),
    (error) => error,
  );
  return revertOf(thrown);
}

test("approve, buy and redeem through a relayer", async () => {
  const credits = at("ComputeCredits", buyer);
  const reserve = at("CreditReserve", buyer);
  const market = at("JobMarket", relayer);
  const terms = await credits.classTerms(classId);
  const price = cost(UNITS, terms.pricePerMillion, Number(terms.decimals));

  const poor = await refusal(reserve, "buy", classId, UNITS, buyer.address, price);
  assert.equal(poor.name, "ERC20InsufficientAllowance", poor.sentence);
  await send(at("DemoUSD", buyer), "approve", reserve.target, price);
  await send(reserve, "buy", classId, UNITS, buyer.address, price);
  assert.equal(await credits.balanceOf(buyer.address, classId), UNITS);

  const jobTerms = termsFor(buyer.address, await now(), 2n);
  const id = jobId(deployment, jobTerms);
  const opening = typedData(deployment, "JobTerms", jobTerms);
  const signature = await sign(buyer, opening);
  assert.equal(verifyTypedData(opening.domain, opening.types, opening.message, signature), buyer.address);
  const acceptance = typedData(deployment, "Acceptance", { jobId: id });
  assert.equal(await market.quoteDigest(id), digestOf(acceptance));
  const quote = await sign(oracle, acceptance);
  const other = await refusal(market, "openBySig", { ...jobTerms, salt: 3n }, signature, quote);
  assert.equal(other.name, "JobMarket_BadSignature", other.sentence);
  await send(market, "openBySig", jobTerms, signature, quote);
  assert.equal(nameOf(STATUSES, (await market.jobs(id)).status), "running");

  const startedAt = await now();
  await node.send("evm_increaseTime", [SECONDS]);
  await node.send("evm_mine", []);
  const receipt = receiptFor(id, startedAt);
  const signed = await sign(oracle, receiptBatch(deployment, [receipt]));
  await send(market, "submitBatch", [jobTerms], [receipt], 0n, { provider: signed, watchers: [] });
  assert.equal(nameOf(STATUSES, (await market.jobs(id)).status), "settled");
  assert.equal(await credits.balanceOf(buyer.address, classId), UNITS - USED);
  // A batch leaves out what it can't settle, and says why.
  const { logs } = await send(market, "submitBatch", [jobTerms], [receipt], 0n, { provider: signed, watchers: [] });
  const [skipped] = logs.map((log) => market.interface.parseLog(log));
  assert.equal(skipped.name, "RowSkipped");
  assert.equal(errorName(skipped.args.reason), "JobMarket_WrongStatus");
  const again = await refusal(market, "openBySig", jobTerms, signature, quote);
  assert.equal(again.name, "JobMarket_WrongStatus", again.sentence);
});
