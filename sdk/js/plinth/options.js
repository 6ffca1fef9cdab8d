/**
 * Options: JSON text from the host, checked against the JSON Schema that the item states.
 *
 * Checked is what item authors commonly write: type, enum, minimum, maximum, exclusiveMinimum, exclusiveMaximum,
 * minItems, maxItems, minLength, items, properties, required and additionalProperties; defaults are filled in. The host
 * checks options against the whole schema before any call; here the same holds in tests.
 */
import { Problem, nearest } from "./problem.js";

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
  let given;
  try {
    given = JSON.parse(text.trim() === "" ? "{}" : text);
  } catch (error) {
    throw bad(`bad options: ${error.message}`);
  }
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw bad("bad options: an object is wanted");
  return object(schema, given, "");
}

function bad(message) {
  return new Problem("bad-options", message);
}

function wrong(path, why) {
  return bad(`option \`${path}\`: ${why}`);
}

function object(schema, given, path) {
  const properties = schema.properties ?? {};
  const inside = (name) => (path === "" ? name : `${path}.${name}`);
  const read = {};
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(properties, name)) {
      if (schema.additionalProperties !== false) define(read, name, given[name]);
      else throw bad(`unknown option \`${inside(name)}\`${nearest(name, Object.keys(properties))}`);
    }
  }
  for (const [name, property] of Object.entries(properties)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    if (value !== undefined && value !== null) define(read, name, check(property, value, inside(name)));
    else if (schema.required?.includes(name)) throw wrong(inside(name), "it is missing");
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
  number: ["a number", (value) => typeof value === "number"],
  integer: ["an integer", (value) => Number.isInteger(value)],
  boolean: ["true or false", (value) => typeof value === "boolean"],
  array: ["an array", (value) => Array.isArray(value)],
  object: ["an object", (value) => typeof value === "object" && value !== null && !Array.isArray(value)],
};

function check(schema, value, path) {
  const types = [schema.type ?? []].flat().filter((type) => type in TYPES);
  if (types.length > 0 && !types.some((type) => TYPES[type][1](value))) {
    throw wrong(path, `it is ${shown(value)}, and ${types.map((type) => TYPES[type][0]).join(" or ")} is wanted`);
  }
  if (schema.enum && !schema.enum.includes(value)) {
    const near =
      typeof value === "string"
        ? nearest(
            value,
            schema.enum.filter((one) => typeof one === "string"),
          )
        : "";
    throw wrong(path, `it is ${shown(value)}, and it must be one of ${schema.enum.map(shown).join(", ")}${near}`);
  }
  const must = (holds, what) => {
    if (!holds) throw wrong(path, `it is ${shown(value)}; it must be ${what}`);
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
      throw wrong(path, `it has ${value.length} elements, at least ${schema.minItems} are wanted`);
    if (value.length > (schema.maxItems ?? Infinity))
      throw wrong(path, `it has ${value.length} elements, at most ${schema.maxItems} are wanted`);
    return schema.items ? value.map((element, at) => check(schema.items, element, `${path}[${at}]`)) : value;
  }
  return TYPES.object[1](value) && schema.properties ? object(schema, value, path) : value;
}

function shown(value) {
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" && value !== null ? "an object" : JSON.stringify(value);
}
