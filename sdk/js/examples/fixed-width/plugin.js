// A loader of text files whose columns have fixed widths.
import { Problem, Rows, Schema, decodeUtf8, isUtf8, loader, objects, toNumber } from "#plinth";

const ROWS_MOST = 8192;
const BYTES_MOST = 64 * 2 ** 20;
const RECORD_MOST = 2 ** 24;

// How a file is laid out: bytes of a record with its newline, and the schema.
function layoutOf({ columns }) {
  const names = columns.map(({ name }) => name);
  const twice = names.find((name, i) => name === "" || names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new Problem("bad-options", `option \`columns\`: the name \`${twice}\` is empty or there twice`);
  const record = columns.reduce((sum, { width }) => sum + width, 1);
  if (record > RECORD_MOST) throw new Problem("bad-options", "option `columns`: a record is over 16 MiB wide");
  return { record, schema: new Schema(columns) };
}

// What is in a source: its schema, and parts that can be read at the same time.
function plan(source, options) {
  const { record, schema } = layoutOf(options);
  const object = objects.open(source);
  const { size } = object;
  object.close();
  if (size % record !== 0) {
    throw new Problem("bad-source", `${size} bytes are no whole number of records of ${record} bytes`);
  }
  const partitions = [];
  for (let first = 0; first < size / record; first += options["partition-rows"]) {
    const rows = Math.min(size / record - first, options["partition-rows"]);
    partitions.push({ token: tokenOf(first, rows), rows, bytes: rows * record });
  }
  return { schema, partitions };
}

// A part is known by its first row and its number of rows.
function tokenOf(first, rows) {
  const token = new DataView(new ArrayBuffer(16));
  token.setBigUint64(0, BigInt(first), true);
  token.setBigUint64(8, BigInt(rows), true);
  return new Uint8Array(token.buffer);
}

// Reads one part, perhaps on another machine than the one that planned.
class Reader {
  constructor(source, options, schema, token) {
    this.columns = options.columns;
    this.record = layoutOf(options).record;
    if (token.length !== 16 || schema.length !== this.columns.length) {
      throw new Problem("bad-token", "the partition is none of this loader's");
    }
    const part = new DataView(token.buffer, token.byteOffset);
    this.schema = schema;
    this.row = Number(part.getBigUint64(0, true));
    this.end = this.row + Number(part.getBigUint64(8, true));
    this.object = objects.open(source);
  }

  next(most) {
    let count = Math.min(this.end - this.row, most, ROWS_MOST);
    while (count * this.record > BYTES_MOST) count = Math.floor(count / 2);
    if (count === 0) return null;
    const bytes = this.object.read(this.row * this.record, count * this.record);
    if (bytes.length !== count * this.record) {
      throw new Problem("bad-source", `the source ends before row ${this.row + count}`);
    }
    const columns = this.columns.map(() => new Array(count));
    for (let i = 0; i < count; i++) this.readRecord(bytes.subarray(i * this.record, (i + 1) * this.record), i, columns);
    this.row += count;
    return Rows.of(this.schema, columns, count);
  }

  readRecord(record, i, columns) {
    const row = this.row + i;
    if (record[record.length - 1] !== 0x0a) {
      throw new Problem("bad-row", `row ${row} does not end with a newline`, { row });
    }
    let at = 0;
    this.columns.forEach(({ width }, index) => {
      columns[index][i] = cell(this.schema.fields[index], record, at, at + width, row);
      at += width;
    });
  }

  // Called at the end; the host lends only so many sources at once.
  close() {
    this.object.close();
  }
}

// The value of a cell, null where there is none.
function cell({ name, kind, nullable }, record, from, to, row) {
  while (from < to && record[from] === 0x20) from++;
  while (from < to && record[to - 1] === 0x20) to--;
  if (from === to) {
    if (nullable) return null;
    if (kind === "utf8") return "";
    throw new Problem("null-value", `column \`${name}\` is empty and not nullable`, { row, column: name });
  }
  const bytes = record.subarray(from, to);
  const text = decodeUtf8(bytes);
  const value = kind === "utf8" ? (isUtf8(bytes) ? text : undefined) : PARSERS[kind](text);
  if (value === undefined) throw new Problem("bad-value", `\`${text}\` is no ${kind}`, { row, column: name });
  return value;
}

// Number() and BigInt() take more than is a number here, such as "", "0x10" and " 1". toNumber() is Number(), but
// rounds long texts right in a component too.
const PARSERS = {
  int64(text) {
    if (text.length >= 512 || !/^-?[0-9]+$/.test(text)) return undefined;
    const value = BigInt(text);
    return BigInt.asIntN(64, value) === value ? value : undefined;
  },
  float64(text) {
    if (text.length >= 512 || !/^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$/.test(text)) return undefined;
    const value = toNumber(text);
    return Number.isFinite(value) ? value : undefined;
  },
  boolean: (text) => (text === "true" ? true : text === "false" ? false : undefined),
};

export default loader({
  name: "fixed-width",
  summary: "Text files whose columns have fixed widths",
  options: {
    columns: {
      type: "array",
      minItems: 1,
      items: {
        type: "object",
        properties: {
          name: { type: "string" },
          width: { type: "integer", minimum: 1 },
          kind: { enum: ["int64", "float64", "utf8", "boolean"] },
          nullable: { type: "boolean", default: true },
        },
        required: ["name", "width", "kind"],
        additionalProperties: false,
      },
      required: true,
    },
    "partition-rows": { type: "integer", minimum: 1, default: 65536 },
  },
  plan,
  Reader,
});
