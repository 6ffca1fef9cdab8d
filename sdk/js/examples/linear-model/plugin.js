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
      if (NUMERIC.includes(kind)) return { index, kind, among: input.among(index), coefficient: value };
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
    const { length } = rows;
    const sums = new Float64Array(length).fill(this.intercept);
    const floats = { float64: rows.all("float64"), float32: rows.all("float32") };
    for (const { index, kind, among, coefficient } of this.terms) {
      // The fastest way where there is one. A null counts as zero until it is taken out below.
      const fast = floats[kind];
      const values = fast ?? rows.column(index).numbers();
      let at = fast ? among * length : 0;
      for (let row = 0; row < length; row++) sums[row] += coefficient * values[at++];
    }
    if (this.link === "logistic") for (let row = 0; row < length; row++) sums[row] = 1 / (1 + exp(-sums[row]));
    return Rows.of(this.schema, [rows.hasNulls ? this.withoutNulls(rows, sums) : sums]);
  }

  // A row in which a value is null has no prediction.
  withoutNulls(rows, sums) {
    const columns = this.terms.map(({ index }) => rows.column(index)).filter((column) => column.hasNulls);
    return Array.from(sums, (sum, row) => (columns.some((column) => column.isNull(row)) ? null : sum));
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
