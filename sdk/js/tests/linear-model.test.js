/** The model of examples/, as the conformance suite specifies it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Schema } from "#plinth";
import { described, predict, rows } from "#plinth/testing";
import linear from "../examples/linear-model/plugin.js";

const given = rows({ s: ["a", "b", "c"], x: [1, null, -0.25], n: [1n, 2n, 2n ** 53n + 1n], b: [true, null, true] });

function predicted(terms, intercept = 0, options = {}, from = given) {
  const coefficients = Object.entries(terms).map(([column, value]) => ({ column, value }));
  return predict(linear, JSON.stringify({ intercept, coefficients }), from, options);
}

test("sums of numbers of any kind, and none where one is null", () => {
  const made = predicted({ n: -1, b: 0.5 }, 0.5);
  assert.deepEqual(made.schema.fields, [{ name: "prediction", kind: "float64", nullable: true }]);
  assert.deepEqual(made.column("prediction").values(), [0, null, -(2 ** 53)]);
  assert.deepEqual([...made.column("prediction").data], [0, 0, -(2 ** 53)]);
  assert.deepEqual(predicted({ x: 2, n: 1 }).column(0).values(), [3, null, 2 ** 53]);
  const single = rows({ f: Float32Array.of(0.1, -1) });
  assert.deepEqual(predicted({ f: 2 }, 0, {}, single).column(0).values(), [2 * Math.fround(0.1), -2]);
});

test("what cannot be null is not nullable", () => {
  const whole = rows({ x: [1, 2] }, new Schema([{ name: "x", kind: "float64", nullable: false }]));
  const made = predicted({ x: 0.5 }, 1, { output: "score" }, whole);
  assert.deepEqual(made.schema.fields, [{ name: "score", kind: "float64", nullable: false }]);
  assert.deepEqual(made.column("score").values(), [1.5, 2]);
  assert.deepEqual(predicted({}, 7).schema.fields[0].nullable, false);
  assert.deepEqual(predicted({}, 7).column(0).values(), [7, 7, 7]);
});

test("a probability is 1 / (1 + exp(-sum)), also at its ends", () => {
  const of = (...values) =>
    predicted({ x: 1 }, 0, { link: "logistic" }, rows({ x: values }))
      .column(0)
      .values();
  assert.deepEqual(of(0, 1, -1, 4), [0.5, 0.7310585786300049, 0.2689414213699951, 0.9820137900379085]);
  assert.deepEqual(of(1e308, -1e308, Infinity, -Infinity, NaN, null), [1, 0, 1, 0, NaN, null]);
  assert.deepEqual(of(-709.5, -709.9), [7.38014831401258e-309, 0]);
  for (let x = -700; x < 40; x += 0.37) {
    const wanted = 1 / (1 + Math.exp(-x));
    assert.ok(Math.abs(of(x)[0] - wanted) <= 4e-16 * wanted, String(x));
  }
});

test("what is no artifact, or wants other columns, is a problem", () => {
  const start = 'the artifact is no {"intercept": 0.5, "coefficients": [...]}: ';
  for (const [artifact, message] of [
    ["{}", "field `coefficients`: it is missing"],
    ['{"weights": [1]}', "unknown field `weights`"],
    ['{"coefficients": [], "intercept": null}', "field `intercept`: it is null, and a number is wanted"],
    ['{"coefficients": [1]}', "field `coefficients[0]`: it is 1, and an object is wanted"],
  ]) {
    assert.throws(() => predict(linear, artifact, given), { code: "bad-artifact", message: start + message });
  }
  for (const artifact of ["", "\ufeff{}", Uint8Array.of(255), '{"coefficients": [{"column": "x", "value": 1e999}]}']) {
    assert.throws(() => predict(linear, artifact, given), { code: "bad-artifact" }, artifact);
  }
  assert.throws(() => predicted({ x: 1, z: 1 }), { code: "unknown-column", column: "z" });
  const message = "column `s` is utf8, which is no number";
  assert.throws(() => predicted({ s: 1 }), { code: "wrong-kind", column: "s", message });
  for (const options of [{ output: "" }, { link: "probit" }, { outptu: "p" }]) {
    assert.throws(() => predicted({}, 0, options), { code: "bad-options" }, JSON.stringify(options));
  }
});

test("it says what it is", () => {
  const { name, options } = described(linear);
  assert.deepEqual([name, Object.keys(options.properties)], ["linear-model", ["output", "link"]]);
  assert.equal(options.additionalProperties, false);
});
