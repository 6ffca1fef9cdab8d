/** One column of some rows: its values, easy or fast. */
import { Problem } from "./problem.js";
import { NUMERIC } from "./schema.js";
import { ascii, decodeUtf8, isAscii, isUtf8 } from "./utf8.js";

/** One column of some rows. */
export class Column {
  #field;
  #bytes;

  constructor(field, length, data, bytes, validity) {
    this.#field = field;
    this.#bytes = bytes;
    /** Number of rows. */
    this.length = length;
    /**
     * The values where the block has them, to be read fast and changed in place: a Float64Array, Float32Array or
     * BigInt64Array with a slot for each row (0 in a null's); bits for booleans; for text and bytes `length + 1`
     * offsets into `bytes`.
     */
    this.data = data;
    /** One bit a row, least significant first, 1 for a value; undefined where no row is null. */
    this.validity = validity;
  }

  get name() {
    return this.#field.name;
  }

  get kind() {
    return this.#field.kind;
  }

  get nullable() {
    return this.#field.nullable;
  }

  /** What the offsets of a column of text or bytes point into. */
  get bytes() {
    return this.#bytes;
  }

  /** Whether some row may be null. */
  get hasNulls() {
    return this.validity !== undefined;
  }

  /** Whether a row is null. */
  isNull(row) {
    return this.validity !== undefined && ((this.validity[row >> 3] >> (row & 7)) & 1) === 0;
  }

  /**
   * This column, if it is of that kind.
   * @throws {Problem} `wrong-kind`
   */
  expect(kind) {
    if (this.kind === kind) return this;
    throw this.#wrong(kind);
  }

  /**
   * All values, null where there is none: numbers, BigInt for int64 and timestamp-us (microseconds), booleans, texts,
   * Uint8Array for bytes.
   * @throws {Problem} `bad-block` where text is no UTF-8
   */
  values() {
    if (this.kind === "utf8") return this.#texts();
    if (this.#areValues) return Array.from(this.data);
    const values = new Array(this.length);
    for (let row = 0; row < this.length; row++) values[row] = this.isNull(row) ? null : this.#value(row);
    return values;
  }

  /** One value, or null. */
  get(row) {
    if (!(row >= 0 && row < this.length)) throw new RangeError(`there is no row ${row}: there are ${this.length}`);
    if (this.isNull(row)) return null;
    return this.kind === "utf8" ? this.#text(row) : this.#value(row);
  }

  /**
   * The values of a column of numbers as numbers, null where there is none. Booleans are 0 and 1, timestamps
   * microseconds; integers beyond 2^53 are rounded.
   * @throws {Problem} `wrong-kind` for text and bytes
   */
  numbers() {
    if (this.kind !== "timestamp-us" && !NUMERIC.includes(this.kind)) throw this.#wrong("a number");
    if (this.#areValues && this.kind.startsWith("float")) return Array.from(this.data);
    const values = new Array(this.length);
    const { data } = this;
    const integer = data instanceof BigInt64Array;
    const boolean = this.kind === "boolean";
    for (let row = 0; row < this.length; row++) {
      if (this.isNull(row)) values[row] = null;
      else if (boolean) values[row] = (data[row >> 3] >> (row & 7)) & 1;
      else values[row] = integer ? Number(data[row]) : data[row];
    }
    return values;
  }

  /** Whether `data` holds the values as they are. */
  get #areValues() {
    return this.validity === undefined && this.kind !== "boolean" && this.kind !== "binary";
  }

  #value(row) {
    if (this.kind === "boolean") return ((this.data[row >> 3] >> (row & 7)) & 1) === 1;
    return this.kind === "binary" ? this.#slice(row) : this.data[row];
  }

  #slice(row) {
    const [from, to] = [this.data[row], this.data[row + 1]];
    if (!(from <= to && to <= this.#bytes.length)) throw this.#bad("the block's offsets are wrong");
    return this.#bytes.slice(from, to);
  }

  #text(row) {
    const bytes = this.#slice(row);
    if (!isUtf8(bytes)) throw this.#bad("text is not UTF-8");
    return decodeUtf8(bytes);
  }

  /** All texts; where all of it is ASCII, it is decoded at once. */
  #texts() {
    const values = new Array(this.length);
    const first = this.data[0];
    const all = this.#bytes.subarray(first, this.data[this.length]);
    const whole = isAscii(all) ? ascii(all) : undefined;
    for (let row = 0; row < this.length; row++) {
      if (this.isNull(row)) values[row] = null;
      else
        values[row] =
          whole === undefined ? this.#text(row) : whole.slice(this.data[row] - first, this.data[row + 1] - first);
    }
    return values;
  }

  #wrong(wanted) {
    const message = `column \`${this.name}\` is ${this.kind}, not ${wanted}`;
    return new Problem("wrong-kind", message, { column: this.name });
  }

  #bad(message) {
    return new Problem("bad-block", message, { column: this.name });
  }
}
