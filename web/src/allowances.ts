/** Allowances of a payment token: what a contract of ours may take of the account's. */
import { demoUSDAbi, revertOf, type ContractName } from "@scrip/abi";
import { encodeFunctionData, type Address } from "viem";

import type { App } from "./app.js";

/** What a contract may still take. */
export async function allowanceOf(app: App, token: Address, contract: ContractName): Promise<bigint> {
  const { address } = await app.wallet();
  const args = [address, app.address(contract)] as const;
  return app.client.readContract({ address: token, abi: demoUSDAbi, functionName: "allowance", args });
}

/** Let a contract take exactly this much, unless it may take as much already. Raises what refuses it. */
export async function allow(app: App, token: Address, contract: ContractName, amount: bigint, what: string): Promise<void> {
  const allowed = await allowanceOf(app, token, contract);
  if (allowed >= amount) return;
  const approve = (value: bigint): Promise<unknown> => {
    const data = encodeFunctionData({ abi: demoUSDAbi, functionName: "approve", args: [app.address(contract), value] });
    return app.send(what, { to: token, data });
  };
  try {
    await approve(amount);
  } catch (error) {
    // Some tokens, USDT among them, change an allowance only by way of none.
    if (allowed === 0n || !revertOf(error)) throw error;
    await approve(0n);
    await approve(amount);
  }
}
