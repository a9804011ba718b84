/** What every part of the page shares: the chain, the wallet, and word when either changes. */
import { addressOf, revertOf, type ContractName, type Deployment } from "@scrip/abi";
import {
  createPublicClient, createWalletClient, custom, defineChain, http, type Account, type Address, type Chain, type Hex,
  type PublicClient, type TransactionReceipt, type Transport, type WalletClient,
} from "viem";

import type { Config } from "./config.js";
import { say } from "./notices.js";
import { Hindrance, isLost, WrongChain } from "./problems.js";
import { chainOf, type Provider } from "./wallets.js";

type Signer = WalletClient<Transport, Chain, Account>;

const TIMEOUT_MS = 10_000;
const POLL_MS = 1_000;

/** A connected wallet. */
export interface Connection {
  readonly address: Address;
  readonly provider: Provider;
  readonly signer: Signer;
}

/** A call of a contract, encoded. */
export interface Call {
  readonly to: Address;
  readonly data: Hex;
}

export class App {
  readonly chain: Chain;
  readonly client: PublicClient;
  connection: Connection | undefined;
  private readonly listeners: (() => void)[] = [];

  constructor(readonly config: Config) {
    this.chain = defineChain({
      id: config.deployment.chainId,
      name: config.chainName,
      nativeCurrency: { name: config.coin, symbol: config.coin, decimals: 18 },
      rpcUrls: { default: { http: [config.rpcUrl] } },
    });
    // Nodes take several questions at once, and a page asks many.
    const transport = http(config.rpcUrl, { batch: { batchSize: 50 }, timeout: TIMEOUT_MS, retryCount: 1 });
    this.client = createPublicClient({ chain: this.chain, transport, pollingInterval: POLL_MS, cacheTime: 0 });
  }

  get deployment(): Deployment {
    return this.config.deployment;
  }

  /** Address of one of our contracts. Raises NotFound. */
  address(contract: ContractName): Address {
    return addressOf(this.deployment, contract);
  }

  /** Use another wallet, or none. */
  connect(provider?: Provider, address?: Address): void {
    if (!provider || !address) this.connection = undefined;
    else {
      const signer = createWalletClient({ account: address, chain: this.chain, transport: custom(provider) });
      this.connection = { address, provider, signer };
    }
    this.changed();
  }

  /** The wallet, ready to sign for our chain. Raises Hindrance, WrongChain. */
  async wallet(): Promise<Connection> {
    const { connection } = this;
    if (!connection) throw new Hindrance("Connect a wallet first.");
    const given = await chainOf(connection.provider);
    if (given !== this.chain.id) throw new WrongChain(given, this.chain.id);
    return connection;
  }

  /** Try a call on the node, have the wallet send it, and wait until it is mined. Raises what refuses it. */
  async send(what: string, call: Call): Promise<TransactionReceipt> {
    const { signer, address } = await this.wallet();
    await this.attempt(address, call);
    say(`${what}: confirm the transaction in your wallet.`);
    const hash = await signer.sendTransaction(call);
    say(`${what}: sent, waiting for a block.`);
    const receipt = await this.mined(what, hash);
    if (receipt.status !== "success") throw new Hindrance(`${what}: the transaction ${hash} was reverted.`);
    this.changed();
    return receipt;
  }

  /** Wait until it is mined, through a node that is away: what was sent must not be sent again. */
  private async mined(what: string, hash: Hex): Promise<TransactionReceipt> {
    let fate = "";
    const onReplaced = ({ reason }: { reason: string }) => void (fate = reason);
    for (;;) {
      try {
        const receipt = await this.client.waitForTransactionReceipt({ hash, onReplaced });
        if (fate === "" || fate === "repriced") return receipt;
        break;
      } catch (error) {
        if (!isLost(error)) {
          throw new Hindrance(`${what}: ${hash} isn't mined yet. Don't send it again: your wallet follows it.`);
        }
      }
      say(`${what}: sent, but the chain's node doesn't answer. Waiting for it.`);
      await new Promise((resume) => setTimeout(resume, POLL_MS));
    }
    throw new Hindrance(`${what}: another transaction took the place of ${hash} in your wallet. Nothing came of this one.`);
  }

  /** As the next block would: the last one of a quiet chain is old, and a deadline may have passed since. */
  private async attempt(account: Address, call: Call): Promise<void> {
    try {
      await this.client.call({ account, blockTag: "pending", ...call });
    } catch (error) {
      if (revertOf(error) || isLost(error)) throw error;
      await this.client.call({ account, ...call }); // a node that knows no pending block
    }
  }

  /** Call `listener` when the wallet or what it holds changed. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Tell all listeners. */
  changed(): void {
    for (const listener of this.listeners) listener();
  }
}
