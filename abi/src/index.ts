/** Scrip's contracts for dApps. Nothing here talks to a chain: use it with viem, ethers or anything else. */
export * from "./amounts.js";
export * from "./deployments.js";
export * from "./enums.js";
export * from "./errors.js";
export * from "./generated/index.js";
export * from "./messages.js";
export * from "./permits.js";
export * from "./problems.js";
export * from "./typed-data.js";
