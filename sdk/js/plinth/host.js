/**
 * What the host offers. `log` and `config` are there for every plugin; the others are capabilities: a plugin that uses
 * one lists it in plugin.json (`"capabilities": ["kv"]`), and the operator grants it.
 *
 * In a component these are the host's functions; in tests `#plinth/testing` plays the host. They can be called only
 * while the plugin works on a call, not while its code is loaded.
 */
import { Problem } from "./problem.js";
import { Rows } from "./rows.js";
import { Schema } from "./schema.js";
import { decodeUtf8, encodeUtf8 } from "./utf8.js";

const connected = {};
let inComponent = false;

/** Connects the host's interfaces by their names. The module that build.mjs writes does so, and tests. */
export function connect(interfaces, { component = false } = {}) {
  Object.assign(connected, interfaces);
  inComponent = component;
}

function host(name) {
  if (connected[name]) return connected[name];
  if (!inComponent) {
    throw new Error(
      `\`${name}\` can be used only while the plugin works on a call; in a test import #plinth/testing first`,
    );
  }
  throw new Error(`this plugin does not ask for \`${name}\`: add "${name}" to capabilities in plugin.json`);
}

/** Calls the host; its problems become Problems. */
function asked(call) {
  try {
    return call();
  } catch (error) {
    const problem = error?.payload ?? error;
    if (error instanceof Problem || typeof problem?.code !== "string") throw error;
    throw new Problem(problem.code, problem.message, problem);
  }
}

/** Bytes of a text, or the bytes. */
function bytesOf(value) {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return encodeUtf8(value);
  throw new TypeError(`a text or a Uint8Array is wanted, not ${typeof value}`);
}

// ---- For every plugin ---------------------------------------------------------------------------------------------

const write =
  (level) =>
  (...words) =>
    host("log").log(level, words.map(shown).join(" ").toWellFormed());

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ? `${value.name}: ${value.message}\n${value.stack}` : String(value);
  if (typeof value !== "object" || value === null) return String(value);
  try {
    return (
      JSON.stringify(value, (_, value) => (ArrayBuffer.isView(value) ? plainOf(value) : plainOf([value])[0])) ??
      String(value)
    );
  } catch {
    return String(value);
  }
}

/** What JSON can show of a list. */
function plainOf(list) {
  return Array.from(list, (value) => (typeof value === "bigint" ? String(value) : value));
}

/** Messages for the operator: `log.info("...")`. */
export const log = Object.freeze({
  trace: write("trace"),
  debug: write("debug"),
  info: write("info"),
  warn: write("warn"),
  error: write("error"),
});

/** The plugin's own settings, given by the operator. */
export const config = Object.freeze({
  /** The value of one setting, or null: a text as it was written, anything else as JSON. */
  get: (key) => host("config").get(key) ?? null,
  /** All settings as an object. */
  all: () => Object.fromEntries(host("config").getAll()),
});

// ---- Capabilities -------------------------------------------------------------------------------------------------

/** An open source; it does not change while it is open. */
class SourceObject {
  #object;

  constructor(object) {
    this.#object = object;
    /** Size in bytes. */
    this.size = Number(object.size());
  }

  /** Reads `length` bytes from `offset`; fewer only at the end. */
  read(offset, length) {
    if (!this.#object) throw new Error("the source is closed");
    return asked(() => this.#object.read(offset, length));
  }

  /** Reads all of it. */
  readAll() {
    return this.read(0, this.size);
  }

  /** Gives it back to the host, which lends only so many at once. */
  close() {
    this.#object?.[Symbol.dispose ?? "dispose"]?.();
    this.#object = undefined;
  }
}

/** Bytes of sources, within what the operator granted: the capability `objects`. */
export const objects = Object.freeze({
  /** Opens a source by the URI that the plugin was given, or one below it. */
  open: (uri) => new SourceObject(asked(() => host("objects").open(uri))),
  /** The URIs below a prefix, sorted. */
  list(prefix) {
    const uris = [];
    // So many at a time; the host gives fewer where its limit is lower.
    const page = () => asked(() => host("objects").listObjects(prefix, uris.at(-1) ?? null, 1000));
    for (let more = page(); more.length > 0; more = page()) uris.push(...more);
    return uris;
  },
});

/** An open table, read once from its start. */
class Table {
  #table;

  constructor(table) {
    this.#table = table;
    /** Its columns. */
    this.schema = new Schema(table.schema().fields);
  }

  /** At most `most` rows; null at the end. */
  next(most = 8192) {
    const block = asked(() => this.#table.next(most));
    return block ? new Rows(this.schema, block) : null;
  }

  /** Its rows, some at a time. */
  *[Symbol.iterator]() {
    for (let rows = this.next(); rows; rows = this.next()) yield rows;
  }

  /** Gives it back to the host. */
  close() {
    this.#table[Symbol.dispose ?? "dispose"]?.();
  }
}

/** Tables lent for one call: the capability `tables`. */
export const tables = Object.freeze({
  /** Opens a lent table by name, such as `data` or `predictions`. */
  open: (name) => new Table(asked(() => host("tables").open(name))),
});

/** A small store of the plugin's own, with a quota: the capability `kv`. */
export const kv = Object.freeze({
  /** The bytes of a key, or null. */
  get: (key) => asked(() => host("kv").get(key)) ?? null,
  /** The text of a key, or null. */
  getText(key) {
    const bytes = kv.get(key);
    return bytes === null ? null : decodeUtf8(bytes);
  },
  /** Sets a key to bytes or a text, whole or not at all. */
  set(key, value) {
    asked(() => host("kv").set(key, bytesOf(value)));
  },
  /**
   * Sets a key if its value is still `expected`, or if it is not there for null, and says whether it did. Instances run
   * at the same time: to count, read a value, swap it, and begin again where another was faster.
   */
  swap: (key, expected, value) =>
    asked(() => host("kv").swap(key, expected === null ? null : bytesOf(expected), bytesOf(value))),
  /** Removes a key; one that is not there is no problem. */
  delete(key) {
    asked(() => host("kv").delete(key));
  },
  /** At most `max` keys that begin with `prefix`, sorted, of those after `after`. */
  keys: ({ prefix = "", after = null, max = 100 } = {}) => asked(() => host("kv").listKeys(prefix, after, max)),
});

/** The answer to a request, whatever its status. */
class Response {
  constructor({ status, headers, body }) {
    /** Such as 200. */
    this.status = status;
    /** Pairs of name, in lower case, and value, in the order they came. */
    this.headers = headers;
    /** The whole body. */
    this.body = body;
  }

  get ok() {
    return this.status >= 200 && this.status < 300;
  }

  /** The first header of a name; null where there is none. */
  header(name) {
    return this.headers.find(([key]) => key === name.toLowerCase())?.[1] ?? null;
  }

  text() {
    return decodeUtf8(this.body);
  }

  json() {
    return JSON.parse(this.text());
  }
}

/** Requests to hosts that the operator named: the capability `http`. Redirects are not followed. */
export const http = Object.freeze({
  /** Asks for a URL. */
  get: (url, headers = {}) => http.send({ url, headers }),
  /** Sends a request and waits for the whole answer. `headers` is an object, or pairs. */
  send({ method = "get", url, headers = {}, body = "" }) {
    const pairs = Array.isArray(headers) ? headers : Object.entries(headers);
    const request = {
      method: method.toLowerCase(),
      url: String(url),
      headers: pairs.map(([name, value]) => [name, String(value)]),
      body: bytesOf(body),
    };
    if (!METHODS.includes(request.method))
      throw new TypeError(`there is no method \`${method}\`, only ${METHODS.join(", ")}`);
    return new Response(asked(() => host("http").send(request)));
  },
});
const METHODS = ["get", "head", "post", "put", "patch", "delete"];

/** Time: the capability `clock`. */
export const clock = Object.freeze({
  /** Microseconds since 1970-01-01T00:00:00Z; stands still in the deterministic profile. */
  nowUs: () => Number(host("clock").nowUs()),
  /** Nanoseconds since some moment; never falls. */
  monotonicNs: () => Number(host("clock").monotonicNs()),
});

/** Random numbers: the capability `random`. */
export const random = Object.freeze({
  /** So many random bytes. */
  bytes: (length) => host("random").getBytes(length),
  /** A random BigInt of 64 bits. */
  u64() {
    const { buffer, byteOffset } = random.bytes(8);
    return new DataView(buffer, byteOffset).getBigUint64(0, true);
  },
  /** A random number from 0 up to 1. */
  float: () => Number(random.u64() >> 11n) / 2 ** 53,
});

/** Secrets that the operator named: the capability `secrets`. */
export const secrets = Object.freeze({
  /** The value of a granted secret. */
  get: (name) => asked(() => host("secrets").get(name)),
});

/** What the values of a tensor type lie in; those that are not here stay bytes. */
const TENSORS = {
  fp32: Float32Array,
  fp64: Float64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  boolean: Uint8Array,
};

/** A loaded model. */
class Graph {
  #graph;

  constructor(graph) {
    this.#graph = graph;
  }

  /** What it takes: name, type and dimensions, -1 for one that may vary. */
  inputs() {
    return this.#graph.inputs().map(tensorInfo);
  }

  /** What it gives. */
  outputs() {
    return this.#graph.outputs().map(tensorInfo);
  }

  /**
   * Runs it once: every input `{ name, type, dimensions, data }` with a typed array of its type; every output so, too.
   */
  compute(inputs) {
    const given = inputs.map(({ name, type, dimensions, data }) => ({
      name,
      dimensions: Uint32Array.from(dimensions),
      ty: type,
      data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    }));
    return asked(() => this.#graph.compute(given)).map(({ name, dimensions, ty, data }) => ({
      name,
      dimensions: Array.from(numbers(dimensions, Uint32Array), Number),
      type: ty,
      data: ty in TENSORS ? numbers(data, TENSORS[ty]) : data,
    }));
  }

  /** Gives it back to the host. */
  close() {
    this.#graph[Symbol.dispose ?? "dispose"]?.();
  }
}

function tensorInfo({ name, ty, dimensions }) {
  return { name, type: ty, dimensions: Array.from(numbers(dimensions, BigInt64Array), Number) };
}

/** A list of numbers, which the bindings hand over as its bytes. */
function numbers(list, type) {
  if (!(list instanceof Uint8Array) || type === Uint8Array) return list;
  return new type(list.buffer, list.byteOffset, list.byteLength / type.BYTES_PER_ELEMENT);
}

/** Models that the operator named, run by the host: the capability `nn`. */
export const nn = Object.freeze({
  /** Loads a granted model by the name that the operator gave it. */
  load: (name) => new Graph(asked(() => host("nn").loadByName(name))),
});
