/**
 * EIP-712 messages, ready to sign. With viem: `walletClient.signTypedData(data)`; with ethers:
 * `signer.signTypedData(data.domain, data.types, data.message)`.
 */
import { hashStruct, hashTypedData, type Address, type Hex, type TypedDataDefinition } from "viem";

import { addressOf, type ContractName, type Deployment } from "./deployments.js";
import { checkedStruct, jsonOf } from "./fields.js";
import {
  SIGNED_FOR, typesOf, type JobTerms, type Message, type MessageName, type Offer, type Receipt, type SessionTerms,
  type TypesOf,
} from "./messages.js";

/** EIP-712 domain of one of our contracts. */
export interface Domain {
  readonly name: string;
  readonly version: "1";
  readonly chainId: number;
  readonly verifyingContract: Address;
}

/** A message with its domain and types, as `eth_signTypedData_v4` takes them. */
export interface TypedData<Name extends MessageName> {
  readonly domain: Domain;
  readonly types: TypesOf<Name>;
  readonly primaryType: Name;
  readonly message: Message<Name>;
}

/** The domain of a contract of this deployment. Raises NotFound. */
export function domainOf(deployment: Deployment, contract: ContractName): Domain {
  const verifyingContract = addressOf(deployment, contract);
  return { name: `Scrip ${contract}`, version: "1", chainId: deployment.chainId, verifyingContract };
}

/** A message to sign, every field checked. Raises BadInput, which names the field. */
export function typedData<const Name extends MessageName>(
  deployment: Deployment,
  name: Name,
  message: Message<Name>,
): TypedData<Name> {
  return {
    domain: domainOf(deployment, SIGNED_FOR[name]),
    types: typesOf(name),
    primaryType: name,
    message: checkedStruct(name, message) as Message<Name>,
  };
}

/** A message from its JSON form (integers as decimal text), as Scrip's HTTP interfaces give it. Raises BadInput. */
export function messageFromJson<const Name extends MessageName>(name: Name, data: unknown): Message<Name> {
  return checkedStruct(name, data) as Message<Name>;
}

/** The JSON form of a message, as Scrip's HTTP interfaces take it. */
export function messageToJson<const Name extends MessageName>(name: Name, message: Message<Name>): unknown {
  return jsonOf(checkedStruct(name, message));
}

/** The 32 bytes that get signed. */
export function digestOf<const Name extends MessageName>(data: TypedData<Name>): Hex {
  return hashTypedData(data as unknown as TypedDataDefinition);
}

/** Id of the job that these terms describe: known before anything is sent, and what its payer signs. */
export function jobId(deployment: Deployment, terms: JobTerms): Hex {
  return digestOf(typedData(deployment, "JobTerms", terms));
}

/** Id of the session that these terms describe. */
export function sessionId(deployment: Deployment, terms: SessionTerms): Hex {
  return digestOf(typedData(deployment, "SessionTerms", terms));
}

/** Hash of an offer, by which the exchange counts what was filled. */
export function offerHash(deployment: Deployment, offer: Offer): Hex {
  return digestOf(typedData(deployment, "Offer", offer));
}

/** hashStruct of a receipt: what `JobSettled` names, and a row of a `ReceiptBatch`. It is bound to no chain. */
export function receiptHash(receipt: Receipt): Hex {
  const types: Record<string, readonly { name: string; type: string }[]> = typesOf("Receipt");
  return hashStruct({ data: checkedStruct("Receipt", receipt), primaryType: "Receipt", types });
}

/** A batch of receipts to sign at once, in the order in which `submitBatch` gets them. */
export function receiptBatch(deployment: Deployment, receipts: readonly Receipt[]): TypedData<"ReceiptBatch"> {
  return typedData(deployment, "ReceiptBatch", { receipts: receipts.map(receiptHash) });
}
