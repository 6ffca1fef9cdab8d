// Runs in Node, without WebAssembly: node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { predict, rows } from "#plinth/testing";
import linear from "./plugin.js";

const artifact = JSON.stringify({ intercept: 0.5, coefficients: [{ column: "x", value: 2 }] });

test("a row is predicted unless a value is null", () => {
  const predicted = predict(linear, artifact, rows({ x: [1, null, -0.25], name: ["a", "b", "c"] }));
  assert.deepEqual(predicted.column("prediction").values(), [2.5, null, 0]);
});

test("options name the column and make probabilities", () => {
  const predicted = predict(linear, artifact, rows({ x: [-0.25] }), { output: "p", link: "logistic" });
  assert.deepEqual(predicted.column("p").values(), [0.5]);
});

test("what is no artifact is refused", () => {
  assert.throws(() => predict(linear, "{}", rows({ x: [1] })), { code: "bad-artifact" });
});
