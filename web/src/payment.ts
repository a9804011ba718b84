/** How the reserve is paid: by a permit (ERC-2612), or by an allowance where token or account can't sign one. */
import { BadInput, creditReserveAbi, demoUSDAbi, permitForReserve, splitSignature, type Token as Signed } from "@scrip/abi";
import { domainSeparator, encodeFunctionData, recoverTypedDataAddress, type Address, type Hex } from "viem";

import { allow, allowanceOf } from "./allowances.js";
import type { App } from "./app.js";
import { money, type CreditClass, type Token } from "./classes.js";
import { say } from "./notices.js";
import { isLost, isUnsupported } from "./problems.js";

const PERMIT_SECONDS = 600n;
/** https://eips.ethereum.org/EIPS/eip-7702: code of an account that its key still signs for. */
const DELEGATED = "0xef0100";

interface Permit {
  readonly deadline: bigint;
  readonly v: number;
  readonly r: Hex;
  readonly s: Hex;
}

/** Buy base units of a class for the account, for `most` at most. Raises what refuses it. */
export async function purchase(app: App, one: CreditClass, units: bigint, most: bigint): Promise<void> {
  const { address: buyer } = await app.wallet();
  const permit = await permitFor(app, one.token, buyer, most);
  if (!permit) await allow(app, one.token.address, "CreditReserve", most, `Letting the reserve take ${money(one.token, most)}`);
  const abi = creditReserveAbi;
  const data = permit
    ? encodeFunctionData({
        abi, functionName: "buyWithPermit",
        args: [one.id, units, buyer, most, permit.deadline, permit.v, permit.r, permit.s],
      })
    : encodeFunctionData({ abi, functionName: "buy", args: [one.id, units, buyer, most] });
  await app.send("Purchase", { to: app.address("CreditReserve"), data });
}

/** The account's signed permit; undefined where none is needed, or token or account can't make one. */
async function permitFor(app: App, token: Token, owner: Address, value: bigint): Promise<Permit | undefined> {
  const [allowed, code] = await Promise.all([
    allowanceOf(app, token.address, "CreditReserve"),
    app.client.getCode({ address: owner }),
  ]);
  // A contract has no key: its word is ERC-1271's, which a permit's v, r and s have no room for.
  if (allowed >= value || (code && !code.startsWith(DELEGATED))) return undefined;
  const [signed, nonce, { timestamp }] = await Promise.all([
    domainOf(app, token.address),
    known(app.client.readContract({ address: token.address, abi: demoUSDAbi, functionName: "nonces", args: [owner] })),
    app.client.getBlock(),
  ]);
  if (!signed || nonce === undefined) return undefined;
  const deadline = timestamp + PERMIT_SECONDS;
  return sign(app, permitForReserve(app.deployment, signed, { owner, value, nonce, deadline }), money(token, value));
}

async function sign(app: App, data: ReturnType<typeof permitForReserve>, amount: string): Promise<Permit | undefined> {
  const { signer } = await app.wallet();
  const { owner, deadline } = data.message;
  say(`Sign the permit for ${amount} in your wallet.`);
  try {
    const signature = await signer.signTypedData(data);
    const split = splitSignature(signature);
    return (await recoverTypedDataAddress({ ...data, signature })) === owner ? { deadline, ...split } : undefined;
  } catch (error) {
    // A wallet that can't sign this, or signs as a contract that isn't deployed yet.
    if (isUnsupported(error) || error instanceof BadInput) return undefined;
    throw error;
  }
}

/** The domain that a token's permits are signed in, if what it says of itself adds up to its separator. */
async function domainOf(app: App, address: Address): Promise<Signed | undefined> {
  const at = { address, abi: demoUSDAbi } as const;
  const separator = await known(app.client.readContract({ ...at, functionName: "DOMAIN_SEPARATOR" }));
  if (separator === undefined) return undefined;
  const told = await known(app.client.readContract({ ...at, functionName: "eip712Domain" }));
  // Older tokens, USDC among them, have no ERC-5267; their version has a function of its own, or is 1.
  const name = told?.[1] ?? (await known(app.client.readContract({ ...at, functionName: "name" })));
  const version = told?.[2] ?? (await known(app.client.readContract({ address, abi: VERSION, functionName: "version" }))) ?? "1";
  if (name === undefined) return undefined;
  const domain = { name, version, chainId: app.chain.id, verifyingContract: address };
  return domainSeparator({ domain }) === separator ? { address, name, version } : undefined;
}

const VERSION = [
  { type: "function", name: "version", stateMutability: "view", inputs: [], outputs: [{ name: "", type: "string" }] },
] as const;

/** What a token answers, undefined where it knows no such function. */
async function known<Value>(asked: Promise<Value>): Promise<Value | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isLost(error)) throw error;
    return undefined;
  }
}
