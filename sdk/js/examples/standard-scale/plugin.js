// Standard scaling: (value - mean) / deviation, with the mean and the deviation of the training rows.
import { Problem, transform } from "#plinth";

// Learns: one pass over the training rows, perhaps in several places at once.
class Fitting {
  constructor(input, { columns }) {
    this.columns = chosen(input, columns).map((index) => ({ index, n: 0, mean: 0, m2: 0 }));
  }

  // Called with some rows at a time.
  update(rows) {
    for (const column of this.columns) {
      const values = rows.column(column.index);
      const { data, hasNulls } = values; // a Float64Array over the rows: the fast way
      let { n, mean, m2 } = column;
      for (let row = 0, end = data.length; row < end; row++) {
        const value = data[row];
        if (Number.isNaN(value) || (hasNulls && values.isNull(row))) continue;
        const apart = value - mean;
        n += 1;
        mean += apart / n;
        m2 += apart * (value - mean);
      }
      Object.assign(column, { n, mean, m2 });
    }
  }

  // What was learned here, for a fit elsewhere to take in: n, mean and m2 of each column.
  partial() {
    const bytes = new DataView(new ArrayBuffer(24 * this.columns.length));
    this.columns.forEach(({ n, mean, m2 }, i) => {
      [n, mean, m2].forEach((value, k) => bytes.setFloat64(24 * i + 8 * k, value, true));
    });
    return new Uint8Array(bytes.buffer);
  }

  merge(partial) {
    if (partial.length !== 24 * this.columns.length) {
      throw new Problem("bad-partial", `${partial.length} bytes are no partial of ${this.columns.length} columns`);
    }
    const bytes = new DataView(partial.buffer, partial.byteOffset);
    this.columns.forEach((into, i) => {
      const [n, mean, m2] = [0, 8, 16].map((at) => bytes.getFloat64(24 * i + at, true));
      if (n === 0) return;
      const all = into.n + n;
      const apart = mean - into.mean;
      into.m2 += m2 + apart * apart * ((into.n * n) / all);
      into.mean += apart * (n / all);
      into.n = all;
    });
  }

  // The state that is kept: for each column its place, mean and deviation.
  endPass() {
    const bytes = new DataView(new ArrayBuffer(20 * this.columns.length));
    this.columns.forEach(({ index, n, mean, m2 }, i) => {
      const deviation = n > 0 ? Math.sqrt(m2 / n) : 0;
      bytes.setUint32(20 * i, index, true);
      bytes.setFloat64(20 * i + 4, mean, true);
      bytes.setFloat64(20 * i + 12, deviation === 0 ? 1 : deviation, true);
    });
    return new Uint8Array(bytes.buffer);
  }
}

// Applies what was learned, here or on another machine.
class Fitted {
  constructor(state, input) {
    if (state.length % 20 !== 0) throw new Problem("bad-state", `${state.length} bytes are no state`);
    const bytes = new DataView(state.buffer, state.byteOffset);
    this.columns = Array.from({ length: state.length / 20 }, (_, i) => ({
      index: bytes.getUint32(20 * i, true),
      mean: bytes.getFloat64(20 * i + 4, true),
      deviation: bytes.getFloat64(20 * i + 12, true),
    }));
    if (this.columns.some(({ index }) => input.fields[index]?.kind !== "float64")) {
      throw new Problem("bad-state", "the state was fitted on other columns");
    }
    for (const column of this.columns) column.among = input.among(column.index);
  }

  // Changes the rows that it was given, which copies nothing. Slots of nulls become zero again by themselves.
  apply(rows) {
    const { length } = rows;
    const values = rows.all("float64");
    for (const { among, mean, deviation } of this.columns) {
      const end = (among + 1) * length;
      for (let at = among * length; at < end; at++) values[at] = (values[at] - mean) / deviation;
    }
    return rows;
  }
}

/** Places of the named columns; without names, of all that are float64. */
function chosen(input, names) {
  if (names) {
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw new Problem("bad-options", `option \`columns\`: \`${twice}\` is in it twice`);
    return names.map((name) => input.require(name, "float64"));
  }
  return [...input.fields.keys()].filter((index) => input.fields[index].kind === "float64");
}

export default transform({
  name: "standard-scale",
  summary: "Centres numbers on their mean and scales them by their standard deviation",
  options: {
    columns: {
      type: "array",
      items: { type: "string" },
      description: "Float64 columns to scale; without it all of them are",
    },
  },
  Fitting,
  Fitted,
});
