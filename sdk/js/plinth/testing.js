/**
 * Tests of a plugin in Node, without WebAssembly: makes rows, calls items as the host does, plays the host.
 *
 * `import plugin from "./plugin.js"` gives what `transform(...)` and its like returned: what is called here.
 * Problems are thrown as they are; what the plugin is given is a copy, so that changing it changes nothing of the test.
 */
import { PROBLEM, exported } from "./component.js";
import { connect } from "./host.js";
import { registered } from "./items.js";
import { Problem } from "./problem.js";
import { Rows } from "./rows.js";
import { Schema } from "./schema.js";
import { encodeUtf8 } from "./utf8.js";

// ---- Rows ---------------------------------------------------------------------------------------------------------

/**
 * Rows of columns by name. Without kinds (`{ x: "int64" }`, or a Schema) they follow from the values: numbers are
 * float64, BigInts int64, a typed array is of its own type. Columns are nullable unless the schema says otherwise.
 */
export function rows(columns, kinds = {}) {
  const schema =
    kinds instanceof Schema
      ? kinds
      : new Schema(
          Object.entries(columns).map(([name, values]) => ({ name, kind: kinds[name] ?? kindOf(values, name) })),
        );
  return Rows.of(schema, columns);
}

function kindOf(values, name) {
  if (values instanceof Float64Array) return "float64";
  if (values instanceof Float32Array) return "float32";
  if (values instanceof BigInt64Array) return "int64";
  const value = Array.from(values).find((value) => value !== null && value !== undefined);
  if (value instanceof Uint8Array) return "binary";
  const kind = { number: "float64", bigint: "int64", boolean: "boolean", string: "utf8" }[typeof value];
  if (!kind) throw new TypeError(`column \`${name}\`: say its kind, since its values do not tell`);
  return kind;
}

/** A block as the bindings hand it to the plugin: each list as bytes of its own. */
function sent(rows) {
  const copy = (list) => new Uint8Array(list.buffer.slice(list.byteOffset, list.byteOffset + list.byteLength));
  const block = rows.toBlock();
  return Object.fromEntries(Object.entries(block).map(([key, list]) => [key, key === "rows" ? list : copy(list)]));
}

function plain(schema) {
  return { fields: schema.fields.map((field) => ({ ...field })) };
}

/** Calls what the host would call; its problems are Problems again. */
function called(call) {
  try {
    return call();
  } catch (error) {
    throw error?.[PROBLEM] ?? error;
  }
}

function entryOf(item, point) {
  const entry = registered[point].find((entry) => entry.item === item);
  if (!entry) throw new TypeError(`this is no ${point}: give what ${OFFERS[point] ?? point}() returned`);
  return entry;
}

/** The functions that offer items, where they are not called as the extension point is. */
const OFFERS = { drift: "driftTest", predict: "model" };

// ---- Calling items ------------------------------------------------------------------------------------------------

/** What a component would say of an item: its name, summary and options. */
export function described(item) {
  const entry = Object.values(registered)
    .flat()
    .find((entry) => entry.item === item);
  if (!entry) throw new TypeError("this is no item");
  return { name: entry.name, summary: entry.summary, options: entry.options };
}

/** A fit in progress: `update(rows)`, `partial()`, `merge(bytes)`; `endPass()` gives a state, or undefined. */
export function start(item, schema, options = {}) {
  const { name } = entryOf(item, "transform");
  const fitting = called(() => exported("transform").Fitting.start(name, plain(schema), text(options)));
  return {
    update: (rows) => called(() => fitting.update(sent(rows))),
    partial: () => called(() => fitting.partial()),
    merge: (partial) => called(() => fitting.merge(partial.slice())),
    endPass: () => called(() => fitting.endPass()).val,
  };
}

/** Fits a transform: gives its state. An array of rows is one for each partition, which are fitted apart and merged. */
export function fit(item, rows, options = {}) {
  const parts = Array.isArray(rows) ? rows : [rows];
  const fits = parts.map((part) => start(item, part.schema, options));
  for (;;) {
    fits.forEach((fit, at) => fit.update(parts[at]));
    const [first, ...others] = fits;
    for (const fit of others) first.merge(fit.partial());
    const state = first.endPass();
    if (state) return state;
    if (others.length > 0) throw new Error("a transform of several passes is fitted here on one partition only");
  }
}

/** Applies a fitted transform. */
export function apply(item, state, rows) {
  const name = entryOf(item, "transform").name;
  const fitted = called(() => exported("transform").Fitted.load(name, state.slice(), plain(rows.schema)));
  return new Rows(
    new Schema(fitted.output().fields),
    called(() => fitted.apply(sent(rows))),
  );
}

/** Fits a transform on rows and applies it to them. */
export function fitAndApply(item, rows, options = {}) {
  return apply(item, fit(item, rows, options), rows);
}

/** What a loader sees in a source: its schema and partitions, each with token, rows and bytes. */
export function plan(item, source, options = {}) {
  const { name } = entryOf(item, "loader");
  const made = called(() => exported("loader").plan(name, source, text(options)));
  const partitions = made.partitions.map(({ token, rowsHint, bytesHint }) => ({
    token,
    rows: rowsHint,
    bytes: bytesHint,
  }));
  return { schema: new Schema(made.schema.fields), partitions };
}

/** A partition being read: `next(most)` gives rows, or null at the end. */
export function open(item, source, options, schema, token) {
  const name = entryOf(item, "loader").name;
  const reader = called(() =>
    exported("loader").Reader.open(name, source, text(options), plain(schema), token.slice()),
  );
  return {
    next(most = 8192) {
      const block = called(() => reader.next(most));
      return block && new Rows(schema, block);
    },
  };
}

/** All that a loader reads, block after block, of all partitions. */
export function load(item, source, options = {}, most = 8192) {
  const { schema, partitions } = plan(item, source, options);
  const read = [];
  for (const { token } of partitions) {
    const reader = open(item, source, options, schema, token);
    for (let rows = reader.next(most); rows; rows = reader.next(most)) read.push(rows);
  }
  return read;
}

/** The checks of a gate. `evidence` is `{ candidate, baseline }`; metrics may be an object of names and values. */
export function evaluate(item, { candidate, baseline = null }, options = {}) {
  const name = entryOf(item, "gate").name;
  const evidence = { candidate: subject(candidate), baseline: baseline && subject(baseline) };
  return called(() => exported("gate").evaluate(name, evidence, text(options)));
}

function subject({ reference = "candidate", metrics = [], tags = [] }) {
  const list = Array.isArray(metrics) ? metrics : Object.entries(metrics).map(([name, value]) => ({ name, value }));
  return {
    reference,
    metrics: list.map(({ name, value, slice = null, n = null }) => ({ name, value, slice, n })),
    tags: Array.isArray(tags) ? tags : Object.entries(tags),
  };
}

/** The outcome of a drift test; both samples have the same columns. */
export function test(item, reference, current, options = {}) {
  const name = entryOf(item, "drift").name;
  return called(() =>
    exported("drift").test(name, plain(reference.schema), sent(reference), sent(current), text(options)),
  );
}

/** What a model predicts; `artifact` is bytes or a text, empty where the plugin is all there is. */
export function predict(item, artifact, rows, options = {}) {
  const name = entryOf(item, "predict").name;
  const bytes = typeof artifact === "string" ? encodeUtf8(artifact) : artifact.slice();
  const model = called(() => exported("predict").Model.load(name, bytes, plain(rows.schema), text(options)));
  return new Rows(
    new Schema(model.output().fields),
    called(() => model.predict(sent(rows))),
  );
}

function text(options) {
  return typeof options === "string" ? options : JSON.stringify(options);
}

// ---- Playing the host ---------------------------------------------------------------------------------------------

/** What the plugin wrote to the log: `{ level, message }`. */
export const logged = [];

const lent = {};

/** Lends the plugin under test what the host would. */
export const lend = {
  /** Bytes or a text under a URI. */
  object: (uri, content) => lent.objects.set(uri, typeof content === "string" ? encodeUtf8(content) : content),
  /** A table: rows, or several of one schema. */
  table: (name, rows) => lent.tables.set(name, Array.isArray(rows) ? rows : [rows]),
  /** A setting. */
  setting: (key, value) => lent.config.set(key, typeof value === "string" ? value : JSON.stringify(value)),
  /** A secret. */
  secret: (name, value) => lent.secrets.set(name, value),
  /** An answer to requests of a URL: `{ status, headers, body }`, or a function of the request that gives one. */
  answer: (url, response) => lent.http.set(url, response),
  /** A model: `{ inputs, outputs, compute(tensors) }`, with tensors as a Graph has them. */
  model: (name, model) => lent.nn.set(name, model),
  /** Takes back all that was lent, and forgets the log and the store. */
  nothing() {
    for (const name of ["objects", "tables", "config", "secrets", "http", "nn", "kv"]) lent[name] = new Map();
    lent.ticks = 1_000_000_000;
    lent.seed = 0n;
    logged.length = 0;
  },
};
lend.nothing();

function found(map, key, code, what) {
  if (map.has(key)) return map.get(key);
  throw new Problem(code, `no ${what} \`${key}\` was lent`);
}

const sorted = (names) => [...names].sort((a, b) => (a < b ? -1 : 1));

const pageOf = (map, prefix, after, max) =>
  sorted(map.keys())
    .filter((key) => key.startsWith(prefix) && (after === null || key > after))
    .slice(0, max);

connect({
  log: { log: (level, message) => logged.push({ level, message }) },
  config: {
    get: (key) => lent.config.get(key) ?? null,
    getAll: () => sorted(lent.config.keys()).map((key) => [key, lent.config.get(key)]),
  },
  objects: {
    open(uri) {
      const bytes = found(lent.objects, uri, "not-found", "source");
      return { size: () => bytes.length, read: (offset, length) => bytes.slice(offset, offset + length) };
    },
    listObjects: (prefix, after, max) => pageOf(lent.objects, prefix, after, max),
  },
  tables: {
    open(name) {
      const blocks = found(lent.tables, name, "not-found", "table");
      const left = [...blocks];
      return { schema: () => plain(blocks[0].schema), next: () => (left.length > 0 ? sent(left.shift()) : null) };
    },
  },
  kv: {
    get: (key) => lent.kv.get(key)?.slice() ?? null,
    set: (key, value) => void lent.kv.set(key, value.slice()),
    delete: (key) => void lent.kv.delete(key),
    swap(key, expected, value) {
      const kept = lent.kv.get(key) ?? null;
      const same = kept === null || expected === null ? kept === expected : String(kept) === String(expected);
      if (same) lent.kv.set(key, value.slice());
      return same;
    },
    listKeys: (prefix, after, max) => pageOf(lent.kv, prefix, after, max),
  },
  http: {
    send(request) {
      const answer = found(lent.http, request.url, "denied", "answer of");
      const { status = 200, headers = [], body = "" } = typeof answer === "function" ? answer(request) : answer;
      return { status, headers, body: typeof body === "string" ? encodeUtf8(body) : body };
    },
  },
  clock: { nowUs: () => 1_704_067_200_000_000, monotonicNs: () => (lent.ticks += 1_000) },
  random: {
    getBytes(length) {
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at++) bytes[at] = Number(splitMix() & 255n);
      return bytes;
    },
  },
  secrets: { get: (name) => found(lent.secrets, name, "denied", "secret") },
  nn: { loadByName: (name) => graph(found(lent.nn, name, "not-found", "model")) },
});

/** SplitMix64 of a fixed seed: the same numbers in every run. */
function splitMix() {
  lent.seed = BigInt.asUintN(64, lent.seed + 0x9e3779b97f4a7c15n);
  let mixed = lent.seed;
  mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n);
  mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
  return mixed ^ (mixed >> 31n);
}

function graph({ inputs = [], outputs = [], compute }) {
  const info = ({ name, type, dimensions }) => ({ name, ty: type, dimensions: BigInt64Array.from(dimensions, BigInt) });
  const bytes = (data) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return {
    inputs: () => inputs.map(info),
    outputs: () => outputs.map(info),
    compute: (tensors) =>
      compute(
        tensors.map(({ name, dimensions, ty, data }) => ({ name, dimensions: [...dimensions], type: ty, data })),
      ).map(({ name, dimensions, type, data }) => ({
        name,
        dimensions: Uint32Array.from(dimensions),
        ty: type,
        data: bytes(data),
      })),
  };
}
