// The stock npm client at work: `node x402_client.mjs METHOD URL [BODY]`. It buys with its own `exact` scheme; for
// what is paid in credits it has the scheme below, which docs/x402.md shows. Prints the answer as JSON.
// Variables: KEY (private key), NETWORK (CAIP-2), ASSETS (comma separated), NOW (unix seconds of the chain).
import { ExactEvmScheme } from "@x402/evm";
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const JOB_TERMS = [
  ["payer", "address"], ["provider", "address"], ["classId", "uint256"], ["maxUnits", "uint128"],
  ["resources", "uint32"], ["acceptBy", "uint40"], ["submitBy", "uint40"], ["specHash", "bytes32"],
  ["budgetId", "uint256"], ["salt", "uint256"],
].map(([name, type]) => ({ name, type }));

class CreditEscrowScheme {
  scheme = "credit-escrow";

  constructor(account, now = () => Math.floor(Date.now() / 1000)) {
    this.account = account;
    this.now = now;
  }

  async createPaymentPayload(x402Version, required) {
    const { extra, network } = required;
    const acceptBy = this.now() + required.maxTimeoutSeconds;
    const terms = {
      payer: this.account.address, provider: required.payTo, classId: extra.tokenId, maxUnits: required.amount,
      resources: String(extra.resources), acceptBy: String(acceptBy), submitBy: String(acceptBy + extra.runSeconds),
      specHash: extra.specHash, budgetId: "0", salt: String(BigInt(`0x${crypto.randomUUID().replaceAll("-", "")}`)),
    };
    const signature = await this.account.signTypedData({
      domain: {
        name: extra.name, version: extra.version, chainId: Number(network.split(":")[1]), verifyingContract: extra.escrow,
      },
      types: { JobTerms: JOB_TERMS }, primaryType: "JobTerms", message: terms,
    });
    return { x402Version, payload: { kind: "job", terms, signature } };
  }
}

const { KEY, NETWORK, ASSETS, NOW } = process.env;
const [method, url, body] = process.argv.slice(2);
const account = privateKeyToAccount(KEY);
const pay = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [
    { network: NETWORK, client: new ExactEvmScheme(account) },
    { network: NETWORK, client: new CreditEscrowScheme(account, () => Number(NOW)) },
  ],
  spendControls: { allowedAssets: ASSETS.split(",").map((asset) => ({ network: NETWORK, asset })) },
});
const answer = await pay(url, { method, body, headers: body ? { "Content-Type": "application/json" } : {} });
const told = answer.headers.get("PAYMENT-RESPONSE");
console.log(JSON.stringify({
  status: answer.status, location: answer.headers.get("Location"), body: await answer.json(),
  payment: told && decodePaymentResponseHeader(told),
}));
