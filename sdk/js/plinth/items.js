/** The items that a plugin offers: registered when its code is loaded, called by the host by name. */
import { KINDS } from "./schema.js";
import { optionsSchema } from "./options.js";

/** What was registered, by extension point. */
export const registered = { transform: [], loader: [], gate: [], drift: [], predict: [] };

/** What `endPass` returns where the algorithm needs the same data once more. */
export const ANOTHER_PASS = Symbol("another pass");

/**
 * Offers a transform, either with `apply(rows, options)`, which learns nothing, or with two classes: `Fitting`, which
 * learns, and `Fitted`, which applies what was learned.
 */
export function transform(item) {
  if (item?.apply) needs(item, "transform", ["apply"]);
  else needs(item, "transform", ["Fitting", "Fitted"]);
  return register("transform", item);
}

/** Offers a loader: `plan(source, options)` and the class `Reader`. */
export function loader(item) {
  needs(item, "loader", ["plan", "Reader"]);
  return register("loader", item);
}

/** Offers a gate: `evaluate(evidence, options)`. */
export function gate(item) {
  needs(item, "gate", ["evaluate"]);
  return register("gate", item);
}

/** Offers a drift test: `test(reference, current, options)` for columns of `kinds`. */
export function driftTest(item) {
  needs(item, "drift test", ["test"]);
  const unknown = Array.isArray(item.kinds) ? item.kinds.find((kind) => !KINDS.includes(kind)) : "nothing";
  if (unknown !== undefined || item.kinds.length === 0) {
    throw new TypeError(
      `drift test \`${item.name}\`: kinds must be a list out of ${KINDS.join(", ")}; it has ${unknown ?? "nothing"}`,
    );
  }
  return register("drift", item);
}

/** Offers a model: the class `Predictor`, a model version that is loaded. */
export function model(item) {
  needs(item, "model", ["Predictor"]);
  return register("predict", item);
}

function needs(item, what, functions) {
  if (typeof item?.name !== "string" || !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(item.name)) {
    throw new TypeError(
      `a ${what} needs a name in kebab-case, such as "standard-scale"; this one has ${JSON.stringify(item?.name)}`,
    );
  }
  if (typeof item.summary !== "string" || item.summary === "" || item.summary.includes("\n")) {
    throw new TypeError(`${what} \`${item.name}\`: it needs a summary of one line`);
  }
  for (const name of functions) {
    if (typeof item[name] !== "function") {
      throw new TypeError(
        `${what} \`${item.name}\`: it needs ${/^[A-Z]/.test(name) ? "a class" : "a function"} \`${name}\``,
      );
    }
  }
}

function register(point, item) {
  if (registered[point].some(({ name }) => name === item.name))
    throw new TypeError(`there are two items \`${item.name}\``);
  const entry = { point, options: optionsSchema(item.options), item, name: item.name, summary: item.summary };
  registered[point].push(entry);
  return item;
}
