/**
 * Between the component's bindings and the items that were registered.
 *
 * `build.mjs` writes a module that imports this one and the plugin, and exports `exported("transform")` and its like.
 * What a call throws: a Problem goes to the host as it is; anything else is a defect, whose stack goes to the host's
 * log before the instance ends in a trap.
 */
import { connect, log } from "./host.js";
import { ANOTHER_PASS, registered } from "./items.js";
import { readOptions } from "./options.js";
import { Problem, nearest } from "./problem.js";
import { Rows } from "./rows.js";
import { Schema } from "./schema.js";
import { pack, unpack } from "./bytes.js";
import { Subject } from "./subject.js";

export { connect };

/** What the component exports for an extension point. */
export function exported(point) {
  if (registered[point].length === 0) {
    throw new Error(`plugin.json says kind "${point}", and plugin.js offers no ${WORDS[point]}`);
  }
  return POINTS[point];
}

/** Fails where plugin.js offers items of a kind that plugin.json does not list. */
export function onlyOf(kinds) {
  for (const [point, items] of Object.entries(registered)) {
    if (items.length > 0 && !kinds.includes(point)) {
      throw new Error(
        `plugin.js offers the ${WORDS[point]} \`${items[0].name}\`: add "${point}" to kind in plugin.json`,
      );
    }
  }
}

const WORDS = { transform: "transform", loader: "loader", gate: "gate", drift: "drift test", predict: "model" };

// ---- What every call has ------------------------------------------------------------------------------------------

/** Where a thrown record keeps the Problem that it came from, for tests. */
export const PROBLEM = Symbol("problem");

/**
 * Does a call. A Problem becomes the plain record that the bindings want; the stack of anything else is logged, since
 * the trap that follows carries no message.
 */
function guarded(work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof Problem) {
      const { code, message, retryable, row, column } = error;
      throw { code, message, retryable, row, column, [PROBLEM]: error };
    }
    log.error(stackOf(error));
    throw error;
  }
}

function stackOf(error) {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const stack = String(error.stack ?? "");
  const head = `${error.name}: ${error.message}`;
  return (stack.includes(error.message) ? stack : `${head}\n${stack}`).trimEnd();
}

function find(point, name) {
  const items = registered[point];
  const found = items.find((item) => item.name === name);
  if (found) return found;
  const near = nearest(
    name,
    items.map((item) => item.name),
  );
  throw new Problem("unknown-item", `this component has no \`${name}\`${near}`);
}

function described({ name, summary, options }) {
  return { name, summary, optionsSchema: JSON.stringify(options) };
}

function describe(point) {
  return registered[point].map(described);
}

function bytesOf(value, what) {
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`${what} must be a Uint8Array: pack() makes one of a plain value`);
}

function rowsOf(value, what) {
  if (value instanceof Rows) return value;
  throw new TypeError(`${what} must return rows: those it was given, or Rows.of(schema, columns)`);
}

/** Calls the plugin's own code: `owner` says in errors whose method it is. */
function call(owner, object, name, ...given) {
  if (typeof object[name] !== "function") throw new TypeError(`${owner} has no method \`${name}\``);
  const made = object[name](...given);
  if (typeof made?.then === "function") {
    throw new TypeError(
      `\`${name}\` of ${owner} is async, and a call is over when it returns: leave async and await out`,
    );
  }
  return made;
}

// ---- Transforms ---------------------------------------------------------------------------------------------------

/** A transform that learns nothing: its state is its options. */
function stateless({ item, options }) {
  return {
    Fitting: class {
      constructor(_, given) {
        this.given = given;
      }
      update() {}
      partial = () => new Uint8Array(0);
      merge() {}
      endPass = () => pack(this.given);
    },
    Fitted: class {
      constructor(state, input) {
        this.input = input;
        this.given = readOptions(options, JSON.stringify(unpack(state)));
      }
      output = () => item.output?.(this.input, this.given) ?? this.input;
      apply = (rows) => item.apply(rows, this.given);
    },
  };
}

function classesOf(entry) {
  return entry.item.apply ? stateless(entry) : entry.item;
}

class Fitting {
  static start(name, input, options) {
    return guarded(() => {
      const entry = find("transform", name);
      const fitting = new Fitting();
      fitting.name = name;
      fitting.schema = new Schema(input.fields);
      fitting.made = new (classesOf(entry).Fitting)(fitting.schema, readOptions(entry.options, options));
      return fitting;
    });
  }

  update(rows) {
    guarded(() => this.#call("update", new Rows(this.schema, rows)));
  }

  partial() {
    return guarded(() => {
      this.#mergeable();
      return bytesOf(this.#call("partial"), "a partial");
    });
  }

  merge(partial) {
    guarded(() => {
      this.#mergeable();
      this.#call("merge", partial);
    });
  }

  endPass() {
    return guarded(() => {
      const state = this.#call("endPass");
      return state === ANOTHER_PASS ? { tag: "another-pass" } : { tag: "done", val: bytesOf(state, "a state") };
    });
  }

  #call(name, ...given) {
    return call(`Fitting of \`${this.name}\``, this.made, name, ...given);
  }

  #mergeable() {
    if (typeof this.made.partial === "function" && typeof this.made.merge === "function") return;
    throw new Problem(
      "not-mergeable",
      `\`${this.name}\` cannot learn from several partitions: it has no partial and merge`,
    );
  }
}

class Fitted {
  #owner;
  #what;

  static load(name, state, input) {
    return guarded(() => {
      const entry = find("transform", name);
      const fitted = new Fitted();
      fitted.name = name;
      fitted.#owner = `Fitted of \`${name}\``;
      fitted.#what = `apply of \`${name}\``;
      fitted.input = new Schema(input.fields);
      fitted.made = new (classesOf(entry).Fitted)(state, fitted.input);
      const output = fitted.made.output?.() ?? fitted.input;
      if (!(output instanceof Schema)) throw new TypeError(`output of \`${name}\` must return a Schema`);
      fitted.schema = output;
      return fitted;
    });
  }

  output() {
    return { fields: this.schema.fields };
  }

  apply(block) {
    return guarded(() => {
      const rows = new Rows(this.input, block);
      const made = rowsOf(call(this.#owner, this.made, "apply", rows), this.#what);
      checkOutput(made, this.schema, rows.length, this.name);
      return made.toBlock();
    });
  }
}

function checkOutput(made, schema, length, name) {
  if (made.length !== length) {
    throw new Problem("bad-output", `\`${name}\` made ${made.length} rows of ${length}`);
  }
  if (made.schema !== schema && JSON.stringify(made.schema) !== JSON.stringify(schema)) {
    throw new Problem("bad-output", `\`${name}\` made other columns than its output says`);
  }
}

// ---- Loaders ------------------------------------------------------------------------------------------------------

function plan(name, source, options) {
  return guarded(() => {
    const entry = find("loader", name);
    const made = call(`\`${name}\``, entry.item, "plan", source, readOptions(entry.options, options));
    if (!(made?.schema instanceof Schema))
      throw new TypeError(`plan of \`${name}\` must return a schema and partitions`);
    const partitions = Array.from(made.partitions ?? [], ({ token, rows = null, bytes = null }) => ({
      token: bytesOf(token, "the token of a partition"),
      rowsHint: rows === null ? null : Number(rows),
      bytesHint: bytes === null ? null : Number(bytes),
    }));
    return { schema: { fields: made.schema.fields }, partitions };
  });
}

class Reader {
  static open(name, source, options, schema, token) {
    return guarded(() => {
      const entry = find("loader", name);
      const reader = new Reader();
      reader.name = name;
      reader.schema = new Schema(schema.fields);
      reader.made = new entry.item.Reader(source, readOptions(entry.options, options), reader.schema, token);
      return reader;
    });
  }

  next(most) {
    return guarded(() => {
      const rows = call(`Reader of \`${this.name}\``, this.made, "next", most);
      if (rows !== null && rows !== undefined) {
        const made = rowsOf(rows, `next of \`${this.name}\``);
        checkOutput(made, this.schema, Math.min(made.length, most), this.name);
        return made.toBlock();
      }
      // The host may keep a reader that has ended; what it holds open is given back now.
      this.made.close?.();
      return null;
    });
  }
}

// ---- Gates --------------------------------------------------------------------------------------------------------

const OUTCOMES = ["pass", "warn", "fail"];

function evaluate(name, evidence, options) {
  return guarded(() => {
    const entry = find("gate", name);
    const given = {
      candidate: new Subject(evidence.candidate),
      baseline: evidence.baseline ? new Subject(evidence.baseline) : null,
    };
    const checks = call(`\`${name}\``, entry.item, "evaluate", given, readOptions(entry.options, options));
    if (!Array.isArray(checks)) throw new TypeError(`evaluate of \`${name}\` must return an array of checks`);
    return checks.map((check) => {
      if (!OUTCOMES.includes(check?.outcome)) {
        throw new TypeError(
          `a check of \`${name}\` has the outcome ${JSON.stringify(check?.outcome)}: it must be pass, warn or fail`,
        );
      }
      const words = (key) => String(check[key] ?? "").toWellFormed();
      return {
        name: words("name"),
        outcome: check.outcome,
        observed: words("observed"),
        expected: words("expected"),
        reason: words("reason"),
      };
    });
  });
}

// ---- Drift tests --------------------------------------------------------------------------------------------------

const VERDICTS = ["no-drift", "drift", "inconclusive"];

function describeTests() {
  return registered.drift.map((entry) => ({
    item: described(entry),
    kinds: entry.item.kinds,
    multivariate: Boolean(entry.item.multivariate),
    effect: entry.item.effect ?? null,
  }));
}

function test(name, schema, reference, current, options) {
  return guarded(() => {
    const { item, options: accepted } = find("drift", name);
    const columns = new Schema(schema.fields);
    if (columns.length === 0 || (!item.multivariate && columns.length !== 1)) {
      throw new Problem("wrong-columns", `\`${name}\` compares one column, ${columns.length} were given`);
    }
    const other = columns.fields.find(({ kind }) => !item.kinds.includes(kind));
    if (other) {
      const message = `\`${name}\` does not compare ${other.kind} columns such as \`${other.name}\``;
      throw new Problem("wrong-kind", message, { column: other.name });
    }
    const samples = [new Rows(columns, reference), new Rows(columns, current)];
    const made = call(`\`${name}\``, item, "test", ...samples, readOptions(accepted, options));
    if (!VERDICTS.includes(made?.verdict)) {
      throw new TypeError(
        `test of \`${name}\` has the verdict ${JSON.stringify(made?.verdict)}: it must be ${VERDICTS.join(", ")}`,
      );
    }
    const optional = (value) => (value === undefined || value === null ? null : Number(value));
    return {
      statistic: Number(made.statistic ?? 0),
      pValue: optional(made.pValue),
      effectSize: optional(made.effectSize),
      threshold: Number(made.threshold),
      verdict: made.verdict,
      nReference: Number(made.nReference ?? 0),
      nCurrent: Number(made.nCurrent ?? 0),
      note: made.note === undefined || made.note === null ? null : String(made.note).toWellFormed(),
    };
  });
}

// ---- Models -------------------------------------------------------------------------------------------------------

class Model {
  #owner;
  #what;

  static load(name, artifact, input, options) {
    return guarded(() => {
      const entry = find("predict", name);
      const model = new Model();
      model.name = name;
      model.#owner = `Predictor of \`${name}\``;
      model.#what = `predict of \`${name}\``;
      model.input = new Schema(input.fields);
      model.made = new entry.item.Predictor(artifact, model.input, readOptions(entry.options, options));
      model.schema = call(model.#owner, model.made, "output");
      if (!(model.schema instanceof Schema)) throw new TypeError(`output of \`${name}\` must return a Schema`);
      return model;
    });
  }

  output() {
    return { fields: this.schema.fields };
  }

  predict(block) {
    return guarded(() => {
      const rows = new Rows(this.input, block);
      const made = rowsOf(call(this.#owner, this.made, "predict", rows), this.#what);
      checkOutput(made, this.schema, rows.length, this.name);
      return made.toBlock();
    });
  }
}

const POINTS = {
  transform: { describe: () => describe("transform"), Fitting, Fitted },
  loader: { describe: () => describe("loader"), plan, Reader },
  gate: { describe: () => describe("gate"), evaluate },
  drift: { describe: describeTests, test },
  predict: { describe: () => describe("predict"), Model },
};
