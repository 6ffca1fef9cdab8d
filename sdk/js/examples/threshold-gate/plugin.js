// A gate: metrics of the candidate within bounds.
import { Problem, gate } from "#plinth";

function expected({ min, max }) {
  if (max === undefined) return `at least ${min}`;
  return min === undefined ? `at most ${max}` : `${min} to ${max}`;
}

function check(candidate, rule) {
  const { metric, slice, min = -Infinity, max = Infinity } = rule;
  const measured = candidate.metric(metric, slice);
  const holds = measured !== undefined && measured.value >= min && measured.value <= max; // NaN does not
  return {
    name: slice === undefined ? metric : `${metric} in ${slice}`,
    outcome: holds ? "pass" : "fail",
    observed: measured ? String(measured.value) : "not measured",
    expected: expected(rule),
    reason: measured ? "" : `the metric is not among those of ${candidate.reference}`,
  };
}

function evaluate({ candidate }, { thresholds }) {
  for (const { metric, min, max } of thresholds) {
    if (min === undefined && max === undefined) {
      throw new Problem("bad-options", `the threshold of \`${metric}\` has no bound: give min, max or both`);
    }
  }
  return thresholds.map((rule) => check(candidate, rule));
}

export default gate({
  name: "threshold",
  summary: "Metrics of the candidate within bounds",
  options: {
    thresholds: {
      type: "array",
      minItems: 1,
      items: {
        type: "object",
        properties: {
          metric: { type: "string" },
          min: { type: "number" },
          max: { type: "number" },
          slice: { type: "string" },
        },
        required: ["metric"],
        additionalProperties: false,
      },
      required: true,
    },
  },
  evaluate,
});
