/** Every EIP-712 message that Scrip's contracts and watchers check: its fields, and the contract it is bound to. */
import type { TypedDataDefinition } from "viem";

import type { ContractName } from "./deployments.js";

const TYPES = {
  Limits: [
    { name: "spender", type: "address" },
    { name: "perAction", type: "uint96" },
    { name: "perPeriod", type: "uint96" },
    { name: "lifetime", type: "uint96" },
    { name: "period", type: "uint32" },
    { name: "expiry", type: "uint40" },
    { name: "listed", type: "bool" },
  ],
  JobTerms: [
    { name: "payer", type: "address" },
    { name: "provider", type: "address" },
    { name: "classId", type: "uint256" },
    { name: "maxUnits", type: "uint128" },
    { name: "resources", type: "uint32" },
    { name: "acceptBy", type: "uint40" },
    { name: "submitBy", type: "uint40" },
    { name: "specHash", type: "bytes32" },
    { name: "budgetId", type: "uint256" },
    { name: "salt", type: "uint256" },
  ],
  Acceptance: [
    { name: "jobId", type: "bytes32" },
  ],
  Cancel: [
    { name: "jobId", type: "bytes32" },
    { name: "deadline", type: "uint256" },
  ],
  Verdict: [
    { name: "jobId", type: "bytes32" },
    { name: "units", type: "uint128" },
    { name: "fault", type: "uint8" },
  ],
  Receipt: [
    { name: "jobId", type: "bytes32" },
    { name: "outcome", type: "uint8" },
    { name: "units", type: "uint128" },
    { name: "gpuMillijoules", type: "uint64" },
    { name: "inputTokens", type: "uint64" },
    { name: "outputTokens", type: "uint64" },
    { name: "startedAt", type: "uint40" },
    { name: "endedAt", type: "uint40" },
    { name: "outputHash", type: "bytes32" },
    { name: "evidenceRoot", type: "bytes32" },
    { name: "assurance", type: "uint8" },
  ],
  ReceiptBatch: [
    { name: "receipts", type: "bytes32[]" },
  ],
  Commitment: [
    { name: "subject", type: "bytes32" },
    { name: "evidence", type: "bytes32" },
    { name: "seal", type: "bytes32" },
  ],
  Reveal: [
    { name: "subject", type: "bytes32" },
    { name: "evidence", type: "bytes32" },
    { name: "findings", type: "bytes32" },
    { name: "salt", type: "bytes32" },
  ],
  SessionTerms: [
    { name: "payer", type: "address" },
    { name: "provider", type: "address" },
    { name: "classId", type: "uint256" },
    { name: "key", type: "address" },
    { name: "expiresAt", type: "uint40" },
    { name: "budgetId", type: "uint256" },
    { name: "salt", type: "uint256" },
  ],
  OpenSession: [
    { name: "sessionId", type: "bytes32" },
    { name: "units", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  Voucher: [
    { name: "sessionId", type: "bytes32" },
    { name: "units", type: "uint256" },
  ],
  Overcharge: [
    { name: "sessionId", type: "bytes32" },
    { name: "units", type: "uint256" },
    { name: "reporter", type: "address" },
  ],
  CreateBudget: [
    { name: "owner", type: "address" },
    { name: "token", type: "address" },
    { name: "limits", type: "Limits" },
    { name: "providers", type: "address[]" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  CreateChild: [
    { name: "controller", type: "address" },
    { name: "parent", type: "uint256" },
    { name: "limits", type: "Limits" },
    { name: "providers", type: "address[]" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  SetBudget: [
    { name: "controller", type: "address" },
    { name: "budgetId", type: "uint256" },
    { name: "limits", type: "Limits" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  SetProviders: [
    { name: "controller", type: "address" },
    { name: "budgetId", type: "uint256" },
    { name: "providers", type: "address[]" },
    { name: "listed", type: "bool" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  Revoke: [
    { name: "controller", type: "address" },
    { name: "budgetId", type: "uint256" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  Approval: [
    { name: "owner", type: "address" },
    { name: "operator", type: "address" },
    { name: "approved", type: "bool" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
  Offer: [
    { name: "maker", type: "address" },
    { name: "selling", type: "bool" },
    { name: "classId", type: "uint256" },
    { name: "units", type: "uint128" },
    { name: "token", type: "address" },
    { name: "price", type: "uint128" },
    { name: "taker", type: "address" },
    { name: "expiry", type: "uint40" },
    { name: "epoch", type: "uint64" },
    { name: "salt", type: "uint256" },
  ],
  Capacity: [
    { name: "provider", type: "address" },
    { name: "sku", type: "bytes32" },
    { name: "watcherSet", type: "uint256" },
    { name: "count", type: "uint32" },
    { name: "until", type: "uint40" },
    { name: "observedAt", type: "uint40" },
  ],
  Answer: [
    { name: "roundId", type: "uint80" },
    { name: "answer", type: "int256" },
    { name: "observedAt", type: "uint40" },
  ],
} as const;

/** Contract whose domain each message is signed for. */
export const SIGNED_FOR = {
  JobTerms: "JobMarket",
  Acceptance: "JobMarket",
  Cancel: "JobMarket",
  Verdict: "JobMarket",
  Receipt: "ReceiptVerifier",
  ReceiptBatch: "ReceiptVerifier",
  Commitment: "ReceiptVerifier",
  Reveal: "ReceiptVerifier",
  SessionTerms: "MeteredSessions",
  OpenSession: "MeteredSessions",
  Voucher: "MeteredSessions",
  Overcharge: "MeteredSessions",
  CreateBudget: "SpendingBudgets",
  CreateChild: "SpendingBudgets",
  SetBudget: "SpendingBudgets",
  SetProviders: "SpendingBudgets",
  Revoke: "SpendingBudgets",
  Approval: "ComputeCredits",
  Offer: "CreditExchange",
  Capacity: "ProviderRegistry",
  Answer: "PriceFeed",
} as const satisfies Record<string, ContractName>;

/** Name of a message, e.g. "JobTerms". */
export type MessageName = keyof typeof SIGNED_FOR;
/** Name of a message or of a struct inside one. */
export type StructName = keyof typeof TYPES;

type Types = typeof TYPES;
type NestedOf<Name extends MessageName> = Name extends "CreateBudget" | "CreateChild" | "SetBudget" ? "Limits" : never;
/** The `types` of a message as wallets take them: its own struct and those inside it. ethers wants mutable lists. */
export type TypesOf<Name extends MessageName> = { -readonly [One in Name | NestedOf<Name>]: [...Types[One]] };
/** The fields of a message: number up to 48 bits, bigint above, hex text for bytes and addresses. */
export type Message<Name extends MessageName> = TypedDataDefinition<Types, Name>["message"];

export type JobTerms = Message<"JobTerms">;
export type Receipt = Message<"Receipt">;
export type SessionTerms = Message<"SessionTerms">;
export type Voucher = Message<"Voucher">;
export type Offer = Message<"Offer">;
export type Limits = Message<"CreateBudget">["limits"];

/** The fields of a struct, in the order of its encoding. */
export function fieldsOf(name: StructName): readonly { readonly name: string; readonly type: string }[] {
  return TYPES[name];
}

/** True if a Solidity type is one of our structs. */
export function isStruct(type: string): type is StructName {
  return Object.hasOwn(TYPES, type);
}

/** The `types` of a message. */
export function typesOf<const Name extends MessageName>(name: Name): TypesOf<Name> {
  const inside = fieldsOf(name).map((field) => field.type).filter(isStruct);
  return Object.fromEntries([name, ...inside].map((one) => [one, [...TYPES[one]]])) as unknown as TypesOf<Name>;
}
