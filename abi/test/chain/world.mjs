// What both libraries do with the same chain: the deployment and the parties come from the test that starts this one.
import { loadDeployment } from "@scrip/abi/node";

const { RPC, DEPLOYMENT, CLASS_ID, BUYER_KEY, PROVIDER, ORACLE_KEY, RELAYER_KEY } = process.env;

export const rpc = RPC;
export const classId = BigInt(CLASS_ID);
export const provider = PROVIDER;
export const keys = { buyer: BUYER_KEY, oracle: ORACLE_KEY, relayer: RELAYER_KEY };
export const deployment = await loadDeployment(DEPLOYMENT, 31337);
export const UNITS = 1_500n;
export const MAX_UNITS = 1_000n;
export const USED = 400n;
export const SECONDS = 10;

export function termsFor(payer, now, salt) {
  return {
    payer, provider, classId, maxUnits: MAX_UNITS, resources: 1, acceptBy: now + 600, submitBy: now + 1_200,
    specHash: `0x${"5e".repeat(32)}`, budgetId: 0n, salt,
  };
}

export function receiptFor(jobId, startedAt) {
  return {
    jobId, outcome: 1, units: USED, gpuMillijoules: 0n, inputTokens: 0n, outputTokens: 0n, startedAt,
    endedAt: startedAt + SECONDS, outputHash: `0x${"0f".repeat(32)}`, evidenceRoot: `0x${"ef".repeat(32)}`,
    assurance: 0,
  };
}
