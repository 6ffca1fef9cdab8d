// A model: intercept + sum of coefficient * value, with the coefficients as its artifact.
import { NUMERIC, Problem, Rows, Schema, model, parseJson } from "#plinth";

// The model, bound to the columns of the rows to come.
class Predictor {
  constructor(artifact, input, { output, link }) {
    const { intercept, coefficients } = read(artifact);
    this.intercept = intercept;
    this.link = link;
    // Where a column stands, and what its values are multiplied by.
    this.terms = coefficients.map(({ column, value }) => {
      const index = input.require(column);
      const { kind } = input.fields[index];
      if (NUMERIC.includes(kind)) return { index, coefficient: value };
      throw new Problem("wrong-kind", `column \`${column}\` is ${kind}, which is no number`, { column });
    });
    const nullable = this.terms.some(({ index }) => input.fields[index].nullable);
    this.schema = new Schema([{ name: output, kind: "float64", nullable }]);
  }

  output() {
    return this.schema;
  }

  // Sums are in the order of the artifact, so that the same rows are the same bits on every machine.
  predict(rows) {
    const sums = new Float64Array(rows.length).fill(this.intercept);
    const unknown = new Set();
    for (const { index, coefficient } of this.terms) {
      const column = rows.column(index);
      // The fast way where there is one. A null counts as zero until it is taken out below.
      const values = column.kind.startsWith("float") ? column.data : column.numbers();
      for (let row = 0, end = sums.length; row < end; row++) sums[row] += coefficient * values[row];
      if (column.hasNulls) for (let row = 0; row < rows.length; row++) if (column.isNull(row)) unknown.add(row);
    }
    if (this.link === "logistic") for (let row = 0; row < sums.length; row++) sums[row] = 1 / (1 + exp(-sums[row]));
    // A row in which a value is null has no prediction.
    const predictions = unknown.size === 0 ? sums : Array.from(sums, (sum, row) => (unknown.has(row) ? null : sum));
    return Rows.of(this.schema, [predictions]);
  }
}

function read(artifact) {
  try {
    return parseJson(artifact, ARTIFACT);
  } catch (error) {
    const message = `the artifact is no {"intercept": 0.5, "coefficients": [...]}: ${error.message}`;
    throw new Problem("bad-artifact", message);
  }
}

// What is registered with a model version, as JSON.
const ARTIFACT = {
  intercept: { type: "number", default: 0 },
  coefficients: {
    type: "array",
    items: {
      type: "object",
      properties: { column: { type: "string" }, value: { type: "number" } },
      required: ["column", "value"],
      additionalProperties: false,
    },
    required: true,
  },
};

// e to the power x out of + - * and /, as a power of 2 and a series: Math.exp differs in its last bit between engines.
function exp(x) {
  if (Number.isNaN(x)) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.1332191019411) return 0;
  // x = k * ln 2 + r, with ln 2 in two parts, so that what is left has all its bits.
  const k = Math.floor(x * 1.4426950408889634 + 0.5);
  const r = x - k * 0.693145751953125 - k * 1.4286068203094172e-6;
  let power = 1;
  for (let n = 13; n > 0; n--) power = 1 + (power * r) / n;
  // 2 ** k in two parts: one alone may be beyond what a number holds where the result is not.
  const half = Math.trunc(k / 2);
  return power * 2 ** half * 2 ** (k - half);
}

export default model({
  name: "linear-model",
  summary: "A linear or logistic model whose coefficients are its artifact",
  options: {
    output: {
      type: "string",
      minLength: 1,
      default: "prediction",
      description: "Name of the column of predictions",
    },
    link: {
      enum: ["identity", "logistic"],
      default: "identity",
      description: "What becomes of the sum: itself, or a probability",
    },
  },
  Predictor,
});
