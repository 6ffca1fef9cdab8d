/** The drift test of examples/, as the conformance suite specifies it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rows, test as drift } from "#plinth/testing";
import psi from "../examples/psi/plugin.js";

const numbers = (n, value) => rows({ x: Float64Array.from({ length: n }, (_, i) => value(i)) });

test("alike samples do not drift, shifted ones do", () => {
  const reference = numbers(1000, (i) => i);
  const same = drift(psi, reference, reference);
  assert.deepEqual(
    [same.statistic, same.effectSize, same.verdict, same.pValue, same.note],
    [0, 0, "no-drift", null, null],
  );
  const moved = drift(
    psi,
    reference,
    numbers(1000, (i) => i + 300),
  );
  assert.equal(moved.verdict, "drift");
  assert.equal(moved.threshold, 0.1);
});

test("the index is the sum of (q - p) ln(q / p)", () => {
  const { statistic } = drift(
    psi,
    numbers(100, (i) => i % 2),
    numbers(100, (i) => (i % 4 === 0 ? 0 : 1)),
    { bins: 2 },
  );
  const wanted = (0.25 - 0.5) * Math.log(0.5) + (0.75 - 0.5) * Math.log(1.5);
  // One edge, at 1: half below it, half not.
  assert.ok(Math.abs(statistic - wanted) < 1e-15, `${statistic} is not ${wanted}`);
});

test("an empty bin takes half a row more everywhere", () => {
  const { statistic } = drift(
    psi,
    numbers(40, (i) => i % 2),
    numbers(40, () => 1),
    { bins: 2 },
  );
  const [p, q] = [
    [20.5 / 41, 20.5 / 41],
    [0.5 / 41, 40.5 / 41],
  ];
  const wanted = (q[0] - p[0]) * Math.log(q[0] / p[0]) + (q[1] - p[1]) * Math.log(q[1] / p[1]);
  assert.ok(Math.abs(statistic - wanted) < 1e-14);
});

test("nulls and NaN do not count, and too few rows are inconclusive", () => {
  const few = rows({ x: [1, null, NaN, 2, 3] });
  assert.deepEqual(
    drift(
      psi,
      few,
      numbers(100, (i) => i),
    ),
    {
      statistic: 0,
      pValue: null,
      effectSize: null,
      threshold: 0.1,
      verdict: "inconclusive",
      nReference: 3,
      nCurrent: 100,
      note: "the reference has 3 usable rows; a verdict needs 30",
    },
  );
  assert.equal(
    drift(
      psi,
      numbers(100, (i) => i),
      few,
    ).note,
    "the current sample has 3 usable rows; a verdict needs 30",
  );
  assert.equal(drift(psi, few, few, { "rows-min": 3 }).verdict, "no-drift");
});

test("booleans, integers and float32 are numbers; -0 is 0", () => {
  const bits = rows({ x: Array.from({ length: 100 }, (_, i) => i % 3 === 0) });
  assert.equal(drift(psi, bits, bits).verdict, "no-drift");
  const whole = rows({ x: BigInt64Array.from({ length: 100 }, (_, i) => BigInt(i)) });
  assert.equal(drift(psi, whole, whole).statistic, 0);
  const zeros = drift(
    psi,
    numbers(60, (i) => (i % 2 ? 0 : -0)),
    numbers(60, () => 0),
  );
  assert.equal(zeros.statistic, 0);
  assert.throws(() => drift(psi, rows({ x: ["a"] }), rows({ x: ["a"] })), { code: "wrong-kind" });
});

test("infinities and subnormals have their bins", () => {
  const wide = numbers(400, (i) => [-Infinity, Infinity, 5e-324, -5e-324, 1e308][i % 5]);
  assert.equal(drift(psi, wide, wide).statistic, 0);
});

test("options are held to their bounds", () => {
  const x = numbers(100, (i) => i);
  for (const options of [{ bins: 1 }, { bins: 1001 }, { bins: 2.5 }, { threshold: 0 }, { "rows-min": 0 }, { bin: 3 }]) {
    assert.throws(() => drift(psi, x, x, options), { code: "bad-options" }, JSON.stringify(options));
  }
});
