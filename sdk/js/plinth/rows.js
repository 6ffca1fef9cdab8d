/**
 * Rows: typed views of a block's columns, and blocks made of columns.
 *
 * Only here is it known where a block keeps a column: all columns of one type lie one after another in one list, in
 * schema order; bitmaps of validity likewise for the nullable ones, or none at all where the block has no null.
 */
import { Column } from "./column.js";
import { Problem } from "./problem.js";
import { Schema } from "./schema.js";
import { encodeUtf8 } from "./utf8.js";

/** The width of a column that has a slot for each row. */
const ROWS = (rows) => rows;

/** In which list of a block the columns of a kind lie, and of what its views are made. */
const LISTS = {
  boolean: { list: "bits", array: Uint8Array, width: (rows) => bitmapLength(rows) },
  int64: { list: "s64s", array: BigInt64Array, width: ROWS },
  "timestamp-us": { list: "s64s", array: BigInt64Array, width: ROWS },
  float32: { list: "f32s", array: Float32Array, width: ROWS },
  float64: { list: "f64s", array: Float64Array, width: ROWS },
  utf8: { list: "offsets", array: Uint32Array, width: (rows) => rows + 1 },
  binary: { list: "offsets", array: Uint32Array, width: (rows) => rows + 1 },
};

/** The lists of a block, empty. */
const EMPTY = {
  f64s: new Float64Array(0),
  f32s: new Float32Array(0),
  s64s: new BigInt64Array(0),
  bits: new Uint8Array(0),
  offsets: new Uint32Array(0),
  bytes: new Uint8Array(0),
  validity: new Uint8Array(0),
};

/** Rows of a table: some columns of equal length. */
export class Rows {
  #block;
  #layout;
  #columns = [];

  /** From a block as the host sends it, whose lists come as bytes, or one with typed arrays. */
  constructor(schema, block) {
    this.schema = schema;
    this.length = block.rows;
    // Written out: this is done in every call, and a loop over the names takes as long as all else.
    this.#block = {
      rows: block.rows,
      f64s: view(block.f64s, EMPTY.f64s, Float64Array, 3),
      f32s: view(block.f32s, EMPTY.f32s, Float32Array, 2),
      s64s: view(block.s64s, EMPTY.s64s, BigInt64Array, 3),
      bits: view(block.bits, EMPTY.bits, Uint8Array, 0),
      offsets: view(block.offsets, EMPTY.offsets, Uint32Array, 2),
      bytes: view(block.bytes, EMPTY.bytes, Uint8Array, 0),
      validity: view(block.validity, EMPTY.validity, Uint8Array, 0),
    };
    this.#layout = layoutOf(schema);
  }

  /**
   * Rows of a schema out of columns, which are given by name or, as an array, in order.
   *
   * A column is an array of values with null where there is none, a typed array, or a Column of other rows.
   * @throws {Problem} `bad-output` where a column is missing, too short, of another kind, or has a null it must not
   */
  static of(schema, columns, length = lengthOf(schema, columns)) {
    const given = Array.isArray(columns) ? columns : ordered(schema, columns);
    if (given.length !== schema.length) throw bad(`${given.length} columns were given for ${schema.length}`);
    return new Rows(schema, build(schema, given, length));
  }

  /** Whether some value may be null, of whichever column. */
  get hasNulls() {
    return this.#block.validity.length > 0;
  }

  /**
   * A column by its name or its place.
   * @throws {Problem} `unknown-column`; `bad-block` where the block does not fit the schema
   */
  column(which) {
    const index = typeof which === "number" ? which : this.schema.require(which);
    return (this.#columns[index] ??= this.#column(index));
  }

  /**
   * The `data` of a column by its name or its place, without the rest of it: the fast way where a call has few rows.
   * @throws {Problem} as `column`
   */
  data(which) {
    const index = typeof which === "number" ? which : this.schema.require(which);
    const place = this.#layout.places[index];
    if (place === undefined) throw new RangeError(`there is no column ${index}: there are ${this.schema.length}`);
    const { list, width, before } = place;
    const all = this.#block[list];
    const slots = width === ROWS ? this.length : width(this.length);
    const from = slots * before;
    if (all.length < from + slots) throw misfit(place.field);
    return all.subarray(from, from + slots);
  }

  /**
   * The `data` of all `float64` or all `float32` columns, one column after another: the fastest way where a call has few
   * rows of many columns. Those of a column begin at `schema.among(column) * length`.
   * @throws {Problem} `bad-block` where the block does not fit the schema
   */
  all(kind) {
    const double = kind === "float64";
    if (!double && kind !== "float32") throw new TypeError(`columns of ${kind} are not read all at once: take column()`);
    const columns = this.#layout.floats[kind];
    const all = double ? this.#block.f64s : this.#block.f32s;
    const slots = columns.length * this.length;
    if (all.length < slots) throw misfit(columns.at(-1));
    return all.length === slots ? all : all.subarray(0, slots);
  }

  /** All columns in order. */
  columns() {
    return this.schema.fields.map((_, index) => this.column(index));
  }

  /** Each row as an object, for looking at and for tests: slow. */
  toObjects() {
    const columns = this.columns().map((column) => [column.name, column.values()]);
    return Array.from({ length: this.length }, (_, row) =>
      Object.fromEntries(columns.map(([name, values]) => [name, values[row]])),
    );
  }

  /** The block for the host. Slots of nulls, which a plugin may have written to, are zero in it. */
  toBlock() {
    if (this.hasNulls) {
      this.schema.fields.forEach(({ kind, nullable }, index) => {
        if (nullable && kind !== "utf8" && kind !== "binary") zeroNulls(this.column(index));
      });
    }
    return this.#block;
  }

  #column(index) {
    const data = this.data(index);
    const { field, nullableBefore } = this.#layout.places[index];
    const { bytes, validity } = this.#block;
    let part;
    if (field.nullable && validity.length > 0) {
      const width = bitmapLength(this.length);
      const from = width * nullableBefore;
      if (validity.length < from + width) throw misfit(field);
      part = validity.subarray(from, from + width);
    }
    return new Column(field, this.length, data, bytes, part);
  }
}

function misfit({ name }) {
  return new Problem("bad-block", `the block does not fit its schema at column \`${name}\``, { column: name });
}

/** Bytes of one bit a row. */
export function bitmapLength(rows) {
  return (rows + 7) >>> 3;
}

const layouts = new WeakMap();

/**
 * How a block of a schema is laid out: where each column lies, which is its list and how many columns of it, and how many
 * nullable ones, stand before; how many columns each list has, which are floats, and how many are nullable.
 */
function layoutOf(schema) {
  let layout = layouts.get(schema);
  if (!layout) {
    const lists = new Map();
    let nullable = 0;
    const places = schema.fields.map((field) => {
      const { list, array, width } = LISTS[field.kind];
      const before = lists.get(list)?.columns ?? 0;
      lists.set(list, { list, array, width, columns: before + 1 });
      const place = { field, list, width, before, nullableBefore: nullable };
      if (field.nullable) nullable += 1;
      return place;
    });
    const of = (kind) => schema.fields.filter((field) => field.kind === kind);
    const floats = { float64: of("float64"), float32: of("float32") };
    layout = { places, lists: [...lists.values()], floats, nullable };
    layouts.set(schema, layout);
  }
  return layout;
}

/** A list of a block as the typed array it is. The bindings hand over the bytes of lists of numbers. */
function view(list, empty, type, shift) {
  if (list.length === 0) return empty;
  if (list instanceof type) return list;
  if (list instanceof Uint8Array) return new type(list.buffer, list.byteOffset, list.byteLength >>> shift);
  throw new TypeError("a list of the block arrived as an array: build the plugin with build.mjs");
}

function zeroNulls({ data, validity, length, kind }) {
  if (!validity) return;
  const zero = kind === "int64" || kind === "timestamp-us" ? 0n : 0;
  for (let byte = 0, bytes = validity.length; byte < bytes; byte++) {
    const bits = validity[byte];
    if (bits === 255) continue;
    if (kind === "boolean") {
      data[byte] &= bits;
      continue;
    }
    const end = Math.min(length, byte * 8 + 8);
    for (let row = byte * 8; row < end; row++) if (((bits >> (row & 7)) & 1) === 0) data[row] = zero;
  }
}

// ---- Making blocks ------------------------------------------------------------------------------------------------

function bad(message, column) {
  return new Problem("bad-output", message, { column });
}

function lengthOf(schema, columns) {
  const first = Array.isArray(columns) ? columns[0] : columns[schema.fields[0]?.name];
  return first?.length ?? 0;
}

function ordered(schema, columns) {
  for (const name of Object.keys(columns)) {
    if (schema.indexOf(name) < 0) throw bad(`column \`${name}\` is not in the schema`, name);
  }
  return schema.fields.map(({ name }) => {
    if (!Object.hasOwn(columns, name)) throw bad(`column \`${name}\` was not given`, name);
    return columns[name];
  });
}

function build(schema, given, length) {
  const { places, lists, nullable } = layoutOf(schema);
  const block = { ...EMPTY, rows: length };
  for (const { list, array, width, columns } of lists) block[list] = new array(columns * width(length));
  const bitmap = bitmapLength(length);
  const validity = new Uint8Array(nullable * bitmap);
  const texts = { parts: [], end: 0 };
  let anyNull = false;
  places.forEach(({ field, list, width, before, nullableBefore }, index) => {
    const values = given[index];
    if (values?.length !== length) {
      throw bad(`column \`${field.name}\` has ${values?.length ?? "no"} values in ${length} rows`, field.name);
    }
    const slots = width(length);
    const into = block[list].subarray(before * slots, (before + 1) * slots);
    const valid = field.nullable
      ? validity.subarray(nullableBefore * bitmap, (nullableBefore + 1) * bitmap)
      : undefined;
    const nulls = fill(field, values, into, valid, texts);
    if (nulls && !field.nullable) throw bad(`column \`${field.name}\` is not nullable and has a null`, field.name);
    anyNull ||= nulls;
  });
  if (anyNull) block.validity = validity;
  if (texts.end > 0) block.bytes = joined(texts);
  return block;
}

/** Writes one column; answers whether it has a null. */
function fill(field, values, into, validity, texts) {
  const text = field.kind === "utf8" || field.kind === "binary";
  if (values instanceof Column) {
    if (values.kind !== field.kind) {
      throw bad(`column \`${field.name}\` is ${field.kind}, and a ${values.kind} one was given`, field.name);
    }
    if (!text && !values.validity) {
      into.set(values.data);
      fillValid(validity, values.length);
      return false;
    }
    values = values.values();
  } else if (ArrayBuffer.isView(values) && !text && field.kind !== "boolean") {
    if (values.constructor !== into.constructor) {
      throw bad(`column \`${field.name}\` is ${field.kind}, and a ${values.constructor.name} was given`, field.name);
    }
    into.set(values);
    fillValid(validity, values.length);
    return false;
  }
  const write = WRITERS[field.kind];
  let nulls = false;
  if (text) into[0] = texts.end;
  for (let row = 0, end = values.length; row < end; row++) {
    const value = values[row];
    if (value === null || value === undefined) nulls = true;
    else {
      if (validity) validity[row >> 3] |= 1 << (row & 7);
      if (!write(into, row, value, texts)) {
        const message = `column \`${field.name}\` is ${field.kind}, and ${shown(value)} was given in row ${row}`;
        throw new Problem("bad-output", message, { column: field.name, row });
      }
    }
    if (text) into[row + 1] = texts.end;
  }
  return nulls;
}

/** How one value is written, by kind; each answers whether the value is of its kind. */
const WRITERS = {
  boolean(into, row, value) {
    if (value === true) into[row >> 3] |= 1 << (row & 7);
    return typeof value === "boolean";
  },
  int64: writeInteger,
  "timestamp-us": writeInteger,
  float32: writeFloat,
  float64: writeFloat,
  utf8: (_, __, value, texts) => typeof value === "string" && append(texts, encodeUtf8(value)),
  binary: (_, __, value, texts) => value instanceof Uint8Array && append(texts, value),
};

function writeFloat(into, row, value) {
  into[row] = typeof value === "number" ? value : 0;
  return typeof value === "number";
}

function writeInteger(into, row, value) {
  const whole = typeof value === "bigint" ? value : Number.isSafeInteger(value) ? BigInt(value) : undefined;
  if (whole === undefined || BigInt.asIntN(64, whole) !== whole) return false;
  into[row] = whole;
  return true;
}

function append(texts, bytes) {
  texts.parts.push(bytes);
  texts.end += bytes.length;
  if (texts.end > 0xffffffff) throw bad("more than 4 GiB of text in one block");
  return true;
}

function joined({ parts, end }) {
  const bytes = new Uint8Array(end);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Marks all rows as present. */
function fillValid(validity, rows) {
  if (!validity) return;
  validity.fill(255);
  if (rows & 7) validity[validity.length - 1] = (1 << (rows & 7)) - 1;
}

function shown(value) {
  if (typeof value === "string") return `"${value}"`;
  return typeof value === "object" ? `a ${value.constructor?.name ?? "object"}` : String(value);
}
