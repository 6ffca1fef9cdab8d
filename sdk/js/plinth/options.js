/**
 * Options: JSON text from the host, checked against the JSON Schema that the item states; and other JSON that a plugin
 * has to read, by the same rules.
 *
 * Checked is what item authors commonly write: type, enum, minimum, maximum, exclusiveMinimum, exclusiveMaximum,
 * minItems, maxItems, minLength, items, properties, required and additionalProperties; defaults are filled in. The host
 * checks options against the whole schema before any call; here the same holds in tests.
 */
import { Problem, nearest } from "./problem.js";
import { decodeUtf8, isUtf8 } from "./utf8.js";

/** The JSON Schema of an item: of the whole, or of properties with a short `required: true`. */
export function optionsSchema(options = {}) {
  if (options.type === "object" && typeof options.properties === "object") return options;
  const required = [];
  const properties = {};
  for (const [name, { required: needed = false, ...property }] of Object.entries(options)) {
    if (needed === true) required.push(name);
    properties[name] = Array.isArray(needed) ? { required: needed, ...property } : property;
  }
  const schema = { type: "object", properties };
  if (required.length > 0) schema.required = required;
  return { ...schema, additionalProperties: false };
}

/**
 * The options of a JSON object, with defaults; an empty text stands for `{}`, and an option that is null for none.
 * @throws {Problem} `bad-options`, which names the option
 */
export function readOptions(schema, text) {
  try {
    return whole(schema, parsed(text.trim() === "" ? "{}" : text), true);
  } catch (error) {
    if (!(error instanceof Misread)) throw error;
    throw new Problem("bad-options", error.told("option", "bad options: "));
  }
}

/**
 * An object of JSON of any other origin, such as the artifact of a model, by the fields that it may have: in the form
 * in which items state their options, and with defaults. As strict as options are, and more: a null is taken only where
 * `type` names "null", and no name may be given twice.
 * @throws {Error} that names the field: make a Problem of it, with a code of your own
 */
export function parseJson(bytes, fields) {
  if (!isUtf8(bytes)) throw new Misread("", "it is not UTF-8");
  const text = decodeUtf8(bytes);
  const given = parsed(text);
  const read = whole(optionsSchema(fields), given, false);
  if (namesIn(given) !== namesOf(text)) throw new Misread("", "a name is given twice");
  return read;
}

/** How many names the objects of a value have. */
function namesIn(value) {
  if (typeof value !== "object" || value === null) return 0;
  const names = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum, one) => sum + namesIn(one), names);
}

/** How many names the objects of a JSON text have, of which `JSON.parse` takes the last where they are the same. */
function namesOf(text) {
  let names = 0;
  for (const [, colon] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?/g)) if (colon) names++;
  return names;
}

/** What is wrong with a JSON text: the value at a path (the whole where there is none), or a name that nothing has. */
class Misread extends Error {
  constructor(path, why, unknown = false) {
    super();
    Object.assign(this, { path, why, unknown });
    this.message = this.told("field", "");
  }

  /** It in words, with what the text consists of, and what comes before where it is about the whole. */
  told(noun, before) {
    if (this.unknown) return `unknown ${noun} \`${this.path}\`${this.why}`;
    return this.path === "" ? `${before}${this.why}` : `${noun} \`${this.path}\`: ${this.why}`;
  }
}

/** How deep JSON may be nested: what reads it goes down by calling itself, and a component's stack is small. */
const NESTED_MAX = 128;

/** How deep a JSON text is nested. */
function depthOf(text) {
  let [open, deepest, quoted] = [0, 0, false];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (quoted && character === "\\") at++;
    else if (character === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (character === "{" || character === "[") deepest = Math.max(deepest, ++open);
    else if (character === "}" || character === "]") open--;
  }
  return deepest;
}

function parsed(text) {
  if (depthOf(text) > NESTED_MAX) throw new Misread("", `it is nested more than ${NESTED_MAX} deep`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Misread("", error.message);
  }
}

function whole(schema, given, nulls) {
  if (!TYPES.object[1](given)) throw new Misread("", "an object is wanted");
  return object(schema, given, "", nulls);
}

/** An object, checked; with `nulls`, a property that is null is one that was not given. */
function object(schema, given, path, nulls) {
  const properties = schema.properties ?? {};
  const inside = (name) => (path === "" ? name : `${path}.${name}`);
  const read = {};
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(properties, name)) {
      if (schema.additionalProperties !== false) define(read, name, given[name]);
      else throw new Misread(inside(name), nearest(name, Object.keys(properties)), true);
    }
  }
  for (const [name, property] of Object.entries(properties)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    const absent = value === undefined || (value === null && nulls);
    if (!absent) define(read, name, check(property, value, inside(name), nulls));
    else if (schema.required?.includes(name)) throw new Misread(inside(name), "it is missing");
    else if (property.default !== undefined) define(read, name, property.default);
  }
  return read;
}

/** Sets a property, also one called `__proto__`. */
function define(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
}

const TYPES = {
  string: ["a string", (value) => typeof value === "string"],
  number: ["a number", (value) => Number.isFinite(value)], // what is beyond is read as infinity
  integer: ["an integer", (value) => Number.isInteger(value)],
  boolean: ["true or false", (value) => typeof value === "boolean"],
  array: ["an array", (value) => Array.isArray(value)],
  object: ["an object", (value) => typeof value === "object" && value !== null && !Array.isArray(value)],
};

function check(schema, value, path, nulls) {
  const types = [schema.type ?? []].flat().filter((type) => type in TYPES);
  if (value === null && schema.type?.includes("null")) return null;
  if (types.length > 0 && !types.some((type) => TYPES[type][1](value))) {
    throw new Misread(path, `it is ${shown(value)}, and ${types.map((type) => TYPES[type][0]).join(" or ")} is wanted`);
  }
  if (schema.enum && !schema.enum.includes(value)) {
    const near =
      typeof value === "string"
        ? nearest(
            value,
            schema.enum.filter((one) => typeof one === "string"),
          )
        : "";
    throw new Misread(path, `it is ${shown(value)}, and it must be one of ${schema.enum.map(shown).join(", ")}${near}`);
  }
  const must = (holds, what) => {
    if (!holds) throw new Misread(path, `it is ${shown(value)}; it must be ${what}`);
  };
  if (typeof value === "number") {
    if (schema.minimum !== undefined) must(value >= schema.minimum, `at least ${schema.minimum}`);
    if (schema.maximum !== undefined) must(value <= schema.maximum, `at most ${schema.maximum}`);
    if (schema.exclusiveMinimum !== undefined)
      must(value > schema.exclusiveMinimum, `more than ${schema.exclusiveMinimum}`);
    if (schema.exclusiveMaximum !== undefined)
      must(value < schema.exclusiveMaximum, `less than ${schema.exclusiveMaximum}`);
  }
  if (typeof value === "string" && schema.minLength !== undefined) {
    must([...value].length >= schema.minLength, `at least ${schema.minLength} characters long`);
  }
  if (Array.isArray(value)) {
    if (value.length < (schema.minItems ?? 0))
      throw new Misread(path, `it has ${value.length} elements, at least ${schema.minItems} are wanted`);
    if (value.length > (schema.maxItems ?? Infinity))
      throw new Misread(path, `it has ${value.length} elements, at most ${schema.maxItems} are wanted`);
    return schema.items ? value.map((element, at) => check(schema.items, element, `${path}[${at}]`, nulls)) : value;
  }
  return TYPES.object[1](value) && schema.properties ? object(schema, value, path, nulls) : value;
}

function shown(value) {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return String(value);
  return typeof value === "object" && value !== null ? "an object" : JSON.stringify(value);
}
