/** From whatever was thrown to a sentence for people: what happened, and what to do next. */
import { revertOf, ScripError } from "@scrip/abi";
import { BaseError } from "viem";

import { refusalOf } from "./reverts.js";

/** Something is missing before anything can be sent; its message is already for people. */
export class Hindrance extends Error {
  override name = "Hindrance";
}

/** The wallet is on another chain than this page. */
export class WrongChain extends Hindrance {
  override name = "WrongChain";

  constructor(given: number, wanted: number) {
    super(`Your wallet is on chain ${given}, this page is of chain ${wanted}.`);
  }
}

/** A provider refused or didn't answer. `status` is 0 where there was no answer. */
export class ProviderProblem extends Error {
  override name = "ProviderProblem";

  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** What was typed into a field can't be; it is told next to the field, too. */
export class FieldProblem extends Hindrance {
  override name = "FieldProblem";

  constructor(
    readonly field: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement,
    message: string,
  ) {
    super(message);
  }
}

/** What to tell, and whether trying the same again can help. */
export interface Problem {
  readonly sentence: string;
  readonly retry: boolean;
  readonly wrongChain: boolean;
}

/** https://eips.ethereum.org/EIPS/eip-1193#provider-errors */
const REJECTED = 4001;
const PENDING = -32002;
const UNSUPPORTED = [4200, -32601, -32004];
const LOST = ["HttpRequestError", "TimeoutError", "WebSocketRequestError", "SocketClosedError"];

/** The sentence for an error, whoever threw it: a contract, the wallet, a node, a provider or this page. */
export function problemOf(thrown: unknown): Problem {
  const told = (sentence: string, retry = false): Problem => ({ sentence, retry, wrongChain: false });
  if (thrown instanceof WrongChain) return { sentence: thrown.message, retry: true, wrongChain: true };
  if (thrown instanceof Hindrance) return told(thrown.message);
  if (thrown instanceof ProviderProblem) return told(thrown.message, thrown.status === 0 || thrown.status >= 429);
  if (thrown instanceof ScripError) return told(sentence(thrown.message));
  if (codes(thrown).includes(REJECTED)) {
    return told("You declined the request in your wallet. Nothing was sent and nothing was spent.", true);
  }
  if (codes(thrown).includes(PENDING)) return told("Your wallet waits for an answer to an earlier request: open it.");
  const names = namesOf(thrown);
  if (names.includes("ChainMismatchError")) {
    return { sentence: "Your wallet is on another chain. Switch it, then try again.", retry: true, wrongChain: true };
  }
  if (names.includes("InsufficientFundsError") || /insufficient funds/i.test(textOf(thrown))) {
    return told("The account has too little of the chain's own coin to pay for gas. Send it some, then try again.");
  }
  const revert = revertOf(thrown);
  if (revert) return told(refusalOf(revert));
  if (isLost(thrown)) {
    return told("The chain's node doesn't answer. Check your connection, then try again.", true);
  }
  if (thrown instanceof BaseError) return told(sentence(thrown.shortMessage), true);
  return told(sentence(textOf(thrown)), true);
}

/** Whether no node answered: then nothing is known, neither that something isn't there. */
export function isLost(thrown: unknown): boolean {
  return namesOf(thrown).some((name) => LOST.includes(String(name)));
}

/** Whether a wallet says that it can't do what was asked, rather than that its owner doesn't want to. */
export function isUnsupported(thrown: unknown): boolean {
  return codes(thrown).some((code) => UNSUPPORTED.includes(Number(code)));
}

function sentence(text: string): string {
  const line = text.split("\n")[0]?.trim().slice(0, 300) || "Something went wrong";
  return /[.!?]$/.test(line) ? line : `${line}.`;
}

function textOf(thrown: unknown): string {
  const message = isObject(thrown) ? thrown.message : thrown;
  return typeof message === "string" ? message : "Something went wrong";
}

/** The error and what caused it, innermost last. */
function* layers(thrown: unknown): Generator<Record<string, unknown>> {
  let layer = thrown;
  for (let depth = 0; depth < 10 && isObject(layer); depth += 1) {
    yield layer;
    layer = layer.cause;
  }
}

function codes(thrown: unknown): unknown[] {
  return [...layers(thrown)].map((layer) => layer.code);
}

function namesOf(thrown: unknown): unknown[] {
  return [...layers(thrown)].map((layer) => layer.name);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
