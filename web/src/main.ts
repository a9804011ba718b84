/** Starts the page: configuration, wallet, sections. */
import { App } from "./app.js";
import { setUpBudgets, showBudgets } from "./budgets.js";
import { setUpBuying } from "./buy.js";
import { setUpClasses, showClasses } from "./class_list.js";
import { loadConfig } from "./config.js";
import { setUpWallet } from "./connect.js";
import { byId } from "./dom.js";
import { setUpHoldings, showHoldings } from "./holdings.js";
import { setUpJobs, showOwnJobs } from "./job_view.js";
import { attempt, reading, say, setUpNotices, tellOfRefresh, unsay } from "./notices.js";
import { setUpOffers, showOffer } from "./offer_forms.js";
import { setUpRedeeming } from "./redeem.js";

const READING = "Reading the chain.";

async function start(): Promise<void> {
  say(READING);
  const config = await loadConfig(new URLSearchParams(location.search), document.baseURI);
  const app = new App(config);
  showOrigin(app);
  setUpClasses();
  setUpWallet(app);
  setUpBuying(app);
  setUpHoldings(app);
  setUpRedeeming(app);
  setUpJobs(app);
  setUpBudgets(app);
  setUpOffers(app);
  const refresh = (): void => void reading(() => showAll(app)).catch((error: unknown) => tellOfRefresh(error, refresh));
  app.onChange(refresh);
  await attempt(async () => {
    await reading(() => showAll(app));
    unsay(READING);
  });
}

async function showAll(app: App): Promise<void> {
  await showClasses(app);
  await Promise.all([showHoldings(app), showOwnJobs(app), showBudgets(app), showOffer(app)]);
}

function showOrigin({ config, chain }: App): void {
  const origin = byId("origin", HTMLParagraphElement);
  origin.hidden = config.source !== "query";
  origin.textContent = `Chain and node come from the link you followed: ${chain.id}, ${config.rpcUrl}.`;
  byId("footer", HTMLParagraphElement).textContent = `${chain.name} (${chain.id}), read from ${config.rpcUrl}`;
}

setUpNotices();
void attempt(start);
