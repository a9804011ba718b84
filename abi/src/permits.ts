/** What a payment token's holder signs, so that buying takes one transaction: ERC-2612 and ERC-3009. */
import { encodeAbiParameters, keccak256, parseAbiParameters, parseSignature, type Address, type Hex } from "viem";

import { addressOf, type Deployment } from "./deployments.js";
import { BadInput } from "./problems.js";

const PERMIT = [
  { name: "owner", type: "address" },
  { name: "spender", type: "address" },
  { name: "value", type: "uint256" },
  { name: "nonce", type: "uint256" },
  { name: "deadline", type: "uint256" },
] as const;
const AUTHORIZATION = [
  { name: "from", type: "address" },
  { name: "to", type: "address" },
  { name: "value", type: "uint256" },
  { name: "validAfter", type: "uint256" },
  { name: "validBefore", type: "uint256" },
  { name: "nonce", type: "bytes32" },
] as const;

const PURCHASE = parseAbiParameters("address, uint256, uint256, uint256, address, bytes32");

/** A payment token: `name` and `version` are its EIP-712 domain's (ERC-5267's `eip712Domain()` tells them). */
export interface Token {
  readonly address: Address;
  readonly name: string;
  readonly version: string;
}

/** Lets the reserve take `value` of the owner's tokens: for `CreditReserve.buyWithPermit`. */
export function permitForReserve(
  deployment: Deployment,
  token: Token,
  fields: { owner: Address; value: bigint; nonce: bigint; deadline: bigint },
) {
  return {
    domain: tokenDomain(deployment, token),
    types: { Permit: PERMIT },
    primaryType: "Permit" as const,
    message: { ...fields, spender: addressOf(deployment, "CreditReserve") },
  };
}

/** What an authorisation pays for. `salt` is yours, so that the same purchase can be made again. */
export interface Purchase {
  readonly classId: bigint;
  readonly units: bigint;
  readonly recipient: Address;
  readonly salt: Hex;
}

/** Pays the reserve at most `value` for one purchase, whoever sends it: for `CreditReserve.buyWithAuthorization`. */
export function authorizationForReserve(
  deployment: Deployment,
  token: Token,
  purchase: Purchase,
  fields: { from: Address; value: bigint; validAfter: bigint; validBefore: bigint },
) {
  return {
    domain: tokenDomain(deployment, token),
    types: { ReceiveWithAuthorization: AUTHORIZATION },
    primaryType: "ReceiveWithAuthorization" as const,
    message: {
      ...fields, to: addressOf(deployment, "CreditReserve"), nonce: purchaseNonce(deployment, purchase),
    },
  };
}

/** The nonce that binds an authorisation to its purchase (`CreditReserve.purchaseNonce`). */
export function purchaseNonce(deployment: Deployment, { classId, units, recipient, salt }: Purchase): Hex {
  const reserve = addressOf(deployment, "CreditReserve");
  const values = [reserve, BigInt(deployment.chainId), classId, units, recipient, salt] as const;
  return keccak256(encodeAbiParameters(PURCHASE, values));
}

/** `v`, `r` and `s` of a 65-byte signature, as `buyWithPermit` takes them. Raises BadInput. */
export function splitSignature(signature: Hex): { v: number; r: Hex; s: Hex } {
  if (!/^0x[0-9a-fA-F]{130}$/.test(signature)) throw new BadInput("signature", signature, "0x and 130 hex digits");
  const { r, s, yParity } = parseSignature(signature);
  return { v: 27 + yParity, r, s };
}

function tokenDomain(deployment: Deployment, token: Token) {
  return {
    name: token.name, version: token.version, chainId: deployment.chainId, verifyingContract: token.address,
  };
}
