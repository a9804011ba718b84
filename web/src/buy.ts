/** Buying from the reserve: a permit (ERC-2612) for the cost, then one transaction. */
import { creditReserveAbi, demoUSDAbi, parseUnits, permitForReserve, splitSignature } from "@scrip/abi";
import { encodeFunctionData, zeroAddress } from "viem";

import type { App } from "./app.js";
import { chosenClass } from "./class_list.js";
import { credits, money, type CreditClass } from "./classes.js";
import { byId, field, valueOf } from "./dom.js";
import { onSubmit, say } from "./notices.js";
import { Hindrance, problemOf } from "./problems.js";

const PERMIT_SECONDS = 600n;

/** Wire up the form. */
export function setUpBuying(app: App): void {
  const form = byId("buy-form", HTMLFormElement);
  const show = () => void showCost(app, form);
  field(form, "class").addEventListener("change", show);
  field(form, "credits").addEventListener("input", show);
  onSubmit(form, async () => {
    const one = chosenClass(form);
    const units = parseUnits(valueOf(form, "credits"), one.terms.decimals);
    await buy(app, one, units);
    say(`Bought ${credits(one, units)}.`);
  });
}

let asked = 0;

async function showCost(app: App, form: HTMLFormElement): Promise<void> {
  const output = byId("buy-cost", HTMLOutputElement);
  const turn = (asked += 1);
  const show = (text: string) => {
    if (turn === asked) output.textContent = text; // an answer to an earlier amount comes too late
  };
  if (!valueOf(form, "credits")) return show("enter an amount");
  try {
    const one = chosenClass(form);
    show(money(one.token, await costOf(app, one, parseUnits(valueOf(form, "credits"), one.terms.decimals))));
  } catch (error) {
    show(problemOf(error).sentence);
  }
}

function costOf(app: App, one: CreditClass, units: bigint): Promise<bigint> {
  const reserve = { address: app.address("CreditReserve"), abi: creditReserveAbi } as const;
  return app.client.readContract({ ...reserve, functionName: "costOf", args: [one.id, units] });
}

/** Buy base units of a class for the connected account. Raises what refuses it. */
async function buy(app: App, one: CreditClass, units: bigint): Promise<void> {
  const { address: buyer, signer } = await app.wallet();
  const cost = await costOf(app, one, units);
  // A feed's price may move before the transaction is mined; a fixed one can't.
  const most = one.terms.priceFeed === zeroAddress ? cost : cost + cost / 100n;
  const at = { address: one.token.address, abi: demoUSDAbi } as const;
  const [held, domain, nonce, block] = await Promise.all([
    app.client.readContract({ ...at, functionName: "balanceOf", args: [buyer] }),
    app.client.readContract({ ...at, functionName: "eip712Domain" }),
    app.client.readContract({ ...at, functionName: "nonces", args: [buyer] }),
    app.client.getBlock(),
  ]);
  if (held < cost) {
    throw new Hindrance(`This costs ${money(one.token, cost)}, the account has ${money(one.token, held)}.`);
  }
  const [, name, version] = domain;
  const deadline = block.timestamp + PERMIT_SECONDS;
  const token = { address: one.token.address, name, version };
  say(`Sign the permit for ${money(one.token, most)} in your wallet.`);
  const permit = permitForReserve(app.deployment, token, { owner: buyer, value: most, nonce, deadline });
  const { v, r, s } = splitSignature(await signer.signTypedData(permit));
  const data = encodeFunctionData({
    abi: creditReserveAbi,
    functionName: "buyWithPermit",
    args: [one.id, units, buyer, most, deadline, v, r, s],
  });
  await app.send("Purchase", { to: app.address("CreditReserve"), data });
}
