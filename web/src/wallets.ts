/** Wallets in the browser: found by EIP-6963 and as `window.ethereum`, spoken to by EIP-1193. */
import { getAddress, type Address } from "viem";

import type { Config } from "./config.js";

/** https://eips.ethereum.org/EIPS/eip-1193 */
export interface Provider {
  request(args: { method: string; params?: unknown }): Promise<unknown>;
  on?(event: string, listener: (value: unknown) => void): unknown;
}

/** A wallet that announced itself. */
export interface Found {
  readonly id: string;
  readonly name: string;
  readonly provider: Provider;
}

/** https://eips.ethereum.org/EIPS/eip-3085: the wallet doesn't know the chain. */
const UNKNOWN_CHAIN = 4902;

/** Call `found` for each wallet, now or later; `window.ethereum` counts where nothing announced itself. */
export function discover(found: (wallet: Found) => void): void {
  window.addEventListener("eip6963:announceProvider", (event) => {
    const detail = (event as CustomEvent<{ info?: { uuid?: unknown; name?: unknown }; provider?: Provider }>).detail;
    if (typeof detail?.provider?.request !== "function") return;
    found({ id: String(detail.info?.uuid), name: String(detail.info?.name), provider: detail.provider });
  });
  window.dispatchEvent(new Event("eip6963:requestProvider"));
  const injected = (window as { ethereum?: Provider }).ethereum;
  if (typeof injected?.request === "function") found({ id: "injected", name: "Browser wallet", provider: injected });
}

/** Ask for the account. Raises what the wallet raises. */
export async function accountOf(provider: Provider): Promise<Address> {
  return firstOf(await provider.request({ method: "eth_requestAccounts" }));
}

/** The first of the accounts that a wallet gave. */
export function firstOf(accounts: unknown): Address {
  const first: unknown = Array.isArray(accounts) ? accounts[0] : undefined;
  if (typeof first !== "string") throw new Error("The wallet shared no account: unlock it and choose one.");
  return getAddress(first);
}

/** The chain that the wallet is on. */
export async function chainOf(provider: Provider): Promise<number> {
  return Number(await provider.request({ method: "eth_chainId" }));
}

/** Ask the wallet to change to our chain, and to add it first where it doesn't know it. */
export async function switchChain(provider: Provider, config: Config): Promise<void> {
  const chainId = `0x${config.deployment.chainId.toString(16)}`;
  const change = () => provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
  try {
    await change();
  } catch (error) {
    if ((error as { code?: unknown }).code !== UNKNOWN_CHAIN) throw error;
    const nativeCurrency = { name: config.coin, symbol: config.coin, decimals: 18 };
    const chain = { chainId, chainName: config.chainName, rpcUrls: [config.rpcUrl], nativeCurrency };
    await provider.request({ method: "wallet_addEthereumChain", params: [chain] });
    await change();
  }
}
