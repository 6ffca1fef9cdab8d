/** The gate of examples/, as the conformance suite specifies it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate } from "#plinth/testing";
import threshold from "../examples/threshold-gate/plugin.js";

const candidate = {
  reference: "models:/churn/3",
  metrics: [
    { name: "f1", value: 0.9 },
    { name: "f1", value: 0.7, slice: "state=KS" },
    { name: "auc", value: NaN },
    { name: "zero", value: -0 },
    { name: "large", value: 1e21 },
  ],
};
const judged = (...thresholds) => evaluate(threshold, { candidate }, { thresholds });

test("a metric is held to its bounds, which belong to them", () => {
  assert.deepEqual(judged({ metric: "f1", min: 0.9, max: 0.9 })[0], {
    name: "f1",
    outcome: "pass",
    observed: "0.9",
    expected: "0.9 to 0.9",
    reason: "",
  });
  assert.deepEqual(judged({ metric: "f1", min: 0.91 })[0].outcome, "fail");
  assert.deepEqual(judged({ metric: "f1", max: 0.8 })[0].expected, "at most 0.8");
});

test("slices are metrics of their own", () => {
  const [slice] = judged({ metric: "f1", slice: "state=KS", min: 0.8 });
  assert.deepEqual([slice.name, slice.outcome, slice.observed], ["f1 in state=KS", "fail", "0.7"]);
  assert.equal(judged({ metric: "auc", slice: "state=KS", min: 0 })[0].observed, "not measured");
});

test("what was not measured, and NaN, fail", () => {
  assert.deepEqual(judged({ metric: "rmse", max: 3 })[0], {
    name: "rmse",
    outcome: "fail",
    observed: "not measured",
    expected: "at most 3",
    reason: "the metric is not among those of models:/churn/3",
  });
  assert.deepEqual(
    [judged({ metric: "auc", min: 0 })[0]].map(({ outcome, observed }) => [outcome, observed]),
    [["fail", "NaN"]],
  );
});

test("numbers are written as JavaScript writes them", () => {
  const [zero, large] = judged({ metric: "zero", min: -0 }, { metric: "large", min: 1e-7, max: 1.5e300 });
  assert.deepEqual([zero.observed, zero.expected, zero.outcome], ["0", "at least 0", "pass"]);
  assert.deepEqual([large.observed, large.expected], ["1e+21", "1e-7 to 1.5e+300"]);
});

test("rules that would let everything pass are refused", () => {
  const refused = (options, message) =>
    assert.throws(() => evaluate(threshold, { candidate }, options), { code: "bad-options", message });
  refused({}, "option `thresholds`: it is missing");
  refused({ thresholds: [] }, "option `thresholds`: it has 0 elements, at least 1 are wanted");
  refused({ thresholds: [{ metric: "f1" }] }, "the threshold of `f1` has no bound: give min, max or both");
  refused({ thresholds: [{ min: 1 }] }, "option `thresholds[0].metric`: it is missing");
  refused(
    { thresholds: [{ metric: "f1", min: "1" }] },
    'option `thresholds[0].min`: it is "1", and a number is wanted',
  );
  refused({ thresholds: [{ metric: "f1", mim: 1 }] }, "unknown option `thresholds[0].mim`, did you mean `min`?");
});
