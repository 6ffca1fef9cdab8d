// Runs in Node, without WebAssembly: node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate } from "#plinth/testing";
import threshold from "./plugin.js";

test("a metric below its bound stops the candidate", () => {
  const candidate = { reference: "models:/churn/3", metrics: { f1: 0.7 } };
  const [check] = evaluate(threshold, { candidate }, { thresholds: [{ metric: "f1", min: 0.8 }] });
  assert.deepEqual([check.outcome, check.observed, check.expected], ["fail", "0.7", "at least 0.8"]);
});
