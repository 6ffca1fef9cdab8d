// A drift test: the population stability index over quantile bins of the reference.
import { NUMERIC, driftTest } from "#plinth";

// The values that count: not null, not NaN.
function sample(rows) {
  const counted = rows
    .column(0)
    .numbers()
    .filter((value) => value !== null && !Number.isNaN(value));
  return Float64Array.from(counted);
}

// The bounds between bins, out of sorted values.
function quantiles(sorted, bins) {
  const edges = [];
  for (let i = 1; i < bins; i++) {
    const edge = sorted[Math.floor((i * sorted.length) / bins)];
    if (edge !== edges.at(-1)) edges.push(edge);
  }
  return edges;
}

// How many values are in each bin; the bin of a value is the number of edges that are not above it.
function counts(values, edges) {
  const counted = new Array(edges.length + 1).fill(0);
  for (const value of values) {
    let low = 0;
    for (let high = edges.length; low < high;) {
      const middle = (low + high) >>> 1;
      if (edges[middle] <= value) low = middle + 1;
      else high = middle;
    }
    counted[low] += 1;
  }
  return counted;
}

// The natural logarithm out of + - * and /, so that it is the same to the last bit in every language: Math.log is not.
function ln(x) {
  let [f, exponent] = frexp(x);
  if (f < 0.7071067811865476) {
    f *= 2;
    exponent -= 1;
  }
  const s = (f - 1) / (f + 1);
  const z = s * s;
  let t = 1 / 23;
  for (let k = 21; k >= 1; k -= 2) t = t * z + 1 / k;
  return 2 * s * t + exponent * 0.6931471805599453;
}

// A positive number as f * 2^exponent, f from 0.5 up to 1: its bits, since JavaScript has no frexp.
function frexp(x) {
  if (x < 2 ** -1022) {
    const [f, exponent] = frexp(x * 2 ** 54);
    return [f, exponent - 54];
  }
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, x);
  const high = bits.getUint32(0);
  bits.setUint32(0, (high & 0x800fffff) | (1022 << 20));
  return [bits.getFloat64(0), ((high >>> 20) & 0x7ff) - 1022];
}

function indexOf(reference, current, edges) {
  const [r, c] = [counts(reference, edges), counts(current, edges)];
  // Half a row more in every bin keeps the index finite where one side has none.
  const extra = r.includes(0) || c.includes(0) ? 0.5 : 0;
  const n = reference.length + extra * r.length;
  const m = current.length + extra * c.length;
  let sum = 0;
  for (let bin = 0; bin < r.length; bin++) {
    const p = (r[bin] + extra) / n;
    const q = (c[bin] + extra) / m;
    sum += (q - p) * ln(q / p);
  }
  return sum;
}

export default driftTest({
  name: "psi",
  summary: "Population stability index over quantile bins of the reference",
  kinds: NUMERIC,
  effect: "the index itself",
  options: {
    bins: { type: "integer", minimum: 2, maximum: 1000, default: 10 },
    threshold: { type: "number", exclusiveMinimum: 0, default: 0.1 },
    "rows-min": { type: "integer", minimum: 1, default: 30 },
  },

  // Compares one column; what it answers is always a verdict, also when there are too few rows for one.
  test(referenceRows, currentRows, { bins, threshold, "rows-min": least }) {
    const [reference, current] = [sample(referenceRows), sample(currentRows)];
    const sizes = { threshold, nReference: reference.length, nCurrent: current.length };
    if (reference.length < least || current.length < least) {
      const [which, size] =
        reference.length < least ? ["reference", reference.length] : ["current sample", current.length];
      const note = `the ${which} has ${size} usable rows; a verdict needs ${least}`;
      return { ...sizes, statistic: 0, verdict: "inconclusive", note };
    }
    const index = indexOf(reference, current, quantiles(reference.slice().sort(), bins));
    return { ...sizes, statistic: index, effectSize: index, verdict: index >= threshold ? "drift" : "no-drift" };
  },
});
