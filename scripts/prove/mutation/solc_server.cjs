#!/usr/bin/env node
/*
 * npm's solc, kept warm: one standard JSON input a line in, one answer a line out.
 *
 * A fresh process takes a second to load the compiler; the next compile of the same process takes a third of that.
 */
"use strict";

const path = require("path");
const readline = require("readline");

const ROOT = path.join(__dirname, "..", "..", "..");
const solc = require(path.join(ROOT, "node_modules", "solc"));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(solc.compile(line) + "\n");
});
