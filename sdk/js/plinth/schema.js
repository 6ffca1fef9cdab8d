/** Schemas: the columns of a table. */
import { Problem, nearest } from "./problem.js";

/** Every kind of column. */
export const KINDS = Object.freeze(["boolean", "int64", "timestamp-us", "float32", "float64", "utf8", "binary"]);

/** The kinds that are numbers. */
export const NUMERIC = Object.freeze(["boolean", "int64", "float32", "float64"]);

/** The columns of a table, first to last. Order matters: it says where each column lies in a block of rows. */
export class Schema {
  #fields;

  /** @param {Iterable<{ name: string, kind: string, nullable?: boolean }>} fields nullable unless they say otherwise */
  constructor(fields) {
    this.#fields = Object.freeze(
      Array.from(fields, ({ name, kind, nullable = true }) => {
        if (typeof name !== "string" || name === "") throw new TypeError("a column needs a name");
        if (!KINDS.includes(kind)) {
          throw new TypeError(`column \`${name}\`: there is no kind \`${kind}\`, only ${KINDS.join(", ")}`);
        }
        return Object.freeze({ name: name.toWellFormed(), kind, nullable: Boolean(nullable) });
      }),
    );
    const names = new Set();
    for (const { name } of this.#fields) {
      if (names.has(name)) throw new TypeError(`two columns are called \`${name}\``);
      names.add(name);
    }
  }

  /** The columns, each with name, kind and nullable. */
  get fields() {
    return this.#fields;
  }

  /** Number of columns. */
  get length() {
    return this.#fields.length;
  }

  /** Where a column stands, or -1. */
  indexOf(name) {
    return this.#fields.findIndex((field) => field.name === name);
  }

  /**
   * Where a column stands.
   * @throws {Problem} `unknown-column`, with the nearest name there is; `wrong-kind` where a kind is wanted
   */
  require(name, kind) {
    const index = this.indexOf(name);
    if (index < 0) {
      const near = nearest(
        name,
        this.#fields.map((field) => field.name),
      );
      throw new Problem("unknown-column", `unknown column \`${name}\`${near}`, { column: name });
    }
    if (kind !== undefined && this.#fields[index].kind !== kind) {
      const message = `column \`${name}\` is ${this.#fields[index].kind}, not ${kind}: cast it first`;
      throw new Problem("wrong-kind", message, { column: name });
    }
    return index;
  }

  /** Which of the columns of its kind a column is, counted from 0, by its name or its place: see `all` of rows. */
  among(which) {
    const index = typeof which === "number" ? which : this.require(which);
    if (!(index in this.#fields)) throw new RangeError(`there is no column ${index}: there are ${this.length}`);
    const { kind } = this.#fields[index];
    return this.#fields.slice(0, index).filter((field) => field.kind === kind).length;
  }

  /** This schema with more columns at its end. */
  with(...fields) {
    return new Schema([...this.#fields, ...fields]);
  }

  toJSON() {
    return { fields: this.#fields };
  }
}
