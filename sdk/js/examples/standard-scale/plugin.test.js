// Runs in Node, without WebAssembly: node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { apply, fit, fitAndApply, rows } from "#plinth/testing";
import scale from "./plugin.js";

test("a column is centred and scaled", () => {
  const scaled = fitAndApply(scale, rows({ x: [1, null, 3], name: ["a", "b", "c"] }));
  assert.deepEqual(scaled.column("x").values(), [-1, null, 1]);
});

test("what was learned in two places is what would have been learned in one", () => {
  const state = fit(scale, [rows({ x: [1, 2] }), rows({ x: [3] })]);
  assert.deepEqual(
    apply(scale, state, rows({ x: [2] }))
      .column("x")
      .values(),
    [0],
  );
});
