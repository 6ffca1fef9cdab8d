/** The transform of examples/, as the conformance suite specifies it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Schema } from "#plinth";
import { apply, described, fit, fitAndApply, rows, start } from "#plinth/testing";
import scale from "../examples/standard-scale/plugin.js";

const two = { x: [1, 2, null, NaN, 3], n: [1n, 2n, 3n, 4n, 5n], y: [5, 5, 5, 5, 5] };

test("numbers are centred and scaled, nulls are zero, NaN stays", () => {
  const { x, n, y } = fitAndApply(scale, rows(two)).toObjects().reduce(columns, {});
  const deviation = Math.sqrt(2 / 3);
  assert.deepEqual(x, [-1 / deviation, 0, null, NaN, 1 / deviation]);
  assert.deepEqual(n, two.n);
  assert.deepEqual(y, [0, 0, 0, 0, 0]);
  const out = fitAndApply(scale, rows(two));
  assert.ok(Object.is(out.column("x").data[2], 0));
});

test("only the named columns are scaled, in any order", () => {
  const out = fitAndApply(scale, rows(two), { columns: ["y"] });
  assert.deepEqual(out.column("x").values(), two.x);
  assert.deepEqual([...out.column("y").data], [0, 0, 0, 0, 0]);
});

test("the state is index, mean and deviation", () => {
  const state = fit(scale, rows(two), { columns: ["y", "x"] });
  const view = new DataView(state.buffer);
  assert.equal(state.length, 40);
  assert.deepEqual([view.getUint32(0, true), view.getFloat64(4, true), view.getFloat64(12, true)], [2, 5, 1]);
  assert.deepEqual([view.getUint32(20, true), view.getFloat64(24, true)], [0, 2]);
});

test("partials are n, mean and m2, and merging an empty one changes nothing", () => {
  const fitting = start(scale, rows(two).schema, {});
  fitting.update(rows(two));
  const before = fitting.partial();
  const view = new DataView(before.buffer);
  assert.deepEqual(
    [0, 8, 16].map((at) => view.getFloat64(at, true)),
    [3, 2, 2],
  );
  fitting.merge(start(scale, rows(two).schema, {}).partial());
  assert.deepEqual(fitting.partial(), before);
});

test("partitions that are fitted apart learn the same mean", () => {
  const parts = [rows({ x: [1, 2, 3] }), rows({ x: [4, 5] }), rows({ x: [null, 6] })];
  const view = new DataView(fit(scale, parts).buffer);
  assert.equal(view.getFloat64(4, true), 3.5);
});

test("no rows at all: mean 0, deviation 1", () => {
  const none = rows({ x: new Float64Array(0) });
  const view = new DataView(fit(scale, none).buffer);
  assert.deepEqual([view.getFloat64(4, true), view.getFloat64(12, true)], [0, 1]);
  assert.equal(fitAndApply(scale, none).length, 0);
});

test("what cannot be done is a problem that names the column", () => {
  const fails = (options, expected) => assert.throws(() => start(scale, rows(two).schema, options), expected);
  fails({ columns: ["z"] }, { code: "unknown-column", column: "z" });
  fails(
    { columns: ["n"] },
    { code: "wrong-kind", column: "n", message: "column `n` is int64, not float64: cast it first" },
  );
  fails({ columns: ["x", "x"] }, { code: "bad-options" });
  fails({ columns: [1] }, { code: "bad-options", message: "option `columns[0]`: it is 1, and a string is wanted" });
  fails({ colums: ["x"] }, { code: "bad-options", message: "unknown option `colums`, did you mean `columns`?" });
});

test("bytes that are none of its own are problems", () => {
  const state = fit(scale, rows({ x: [1, 2] }));
  const fails = (bytes, given, expected) => assert.throws(() => apply(scale, bytes, given), expected);
  fails(state.slice(1), rows({ x: [1] }), { code: "bad-state" });
  fails(state, rows({ x: [1n] }), { code: "bad-state" });
  fails(state, rows({}, new Schema([])), { code: "bad-state" });
  assert.throws(() => start(scale, rows(two).schema).merge(new Uint8Array(24)), { code: "bad-partial" });
});

test("it says what it is", () => {
  assert.equal(described(scale).name, "standard-scale");
  assert.deepEqual(Object.keys(described(scale).options.properties), ["columns"]);
});

function columns(all, row) {
  for (const [name, value] of Object.entries(row)) (all[name] ??= []).push(value);
  return all;
}
