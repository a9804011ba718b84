/** The wallet in the header: choose, connect, switch the chain, follow what the wallet changes. */
import type { App } from "./app.js";
import { byId, choices } from "./dom.js";
import { clearProblem, onWrongChain, say, wire } from "./notices.js";
import { Hindrance } from "./problems.js";
import { accountOf, chainOf, discover, firstOf, switchChain, type Found, type Provider } from "./wallets.js";

const wallets: Found[] = [];
const followed = new Set<Provider>();

/** Wire up the header. */
export function setUpWallet(app: App): void {
  discover(add);
  wire("connect", () => connectTo(app));
  wire("switch", () => changeChain(app));
  onWrongChain(() => changeChain(app));
  app.onChange(() => void showAccount(app));
}

function add(wallet: Found): void {
  if (wallets.some(({ id, provider }) => id === wallet.id || provider === wallet.provider)) return;
  wallets.push(wallet);
  const select = byId("wallet-choice", HTMLSelectElement);
  choices(select, wallets.map(({ id, name }) => [id, name]), "none");
  select.hidden = wallets.length < 2;
  byId("wallet-label", HTMLLabelElement).hidden = select.hidden;
}

async function connectTo(app: App): Promise<void> {
  const wanted = byId("wallet-choice", HTMLSelectElement).value;
  const wallet = wallets.find(({ id }) => id === wanted);
  if (!wallet) throw new Hindrance("No wallet was found in this browser: install one, then load the page again.");
  say("Allow the connection in your wallet.");
  const { provider } = wallet;
  app.connect(provider, await accountOf(provider));
  follow(app, provider);
  say("Connected.");
}

function follow(app: App, provider: Provider): void {
  if (followed.has(provider)) return;
  followed.add(provider);
  provider.on?.("accountsChanged", (accounts) => {
    if (app.connection?.provider !== provider) return;
    const some = Array.isArray(accounts) && accounts.length > 0;
    app.connect(some ? provider : undefined, some ? firstOf(accounts) : undefined);
  });
  provider.on?.("chainChanged", () => app.changed());
}

async function changeChain(app: App): Promise<void> {
  const { connection, config } = app;
  if (!connection) throw new Hindrance("Connect a wallet first.");
  say("Allow the change of chain in your wallet.");
  await switchChain(connection.provider, config);
  clearProblem();
  say(`Your wallet is on ${config.chainName} now.`);
  app.changed();
}

async function showAccount(app: App): Promise<void> {
  const { connection, chain } = app;
  const shown = byId("account", HTMLParagraphElement);
  const change = byId("switch", HTMLButtonElement);
  change.textContent = `Switch to ${chain.name}`;
  byId("connect", HTMLButtonElement).textContent = connection ? "Connect another account" : "Connect wallet";
  if (!connection) {
    shown.textContent = "No wallet connected";
    change.hidden = true;
    return;
  }
  const given = await chainOf(connection.provider).catch(() => undefined);
  const wrong = given !== undefined && given !== chain.id;
  change.hidden = !wrong;
  shown.textContent = connection.address + (wrong ? `, on chain ${given}: this page is of chain ${chain.id}` : "");
}
