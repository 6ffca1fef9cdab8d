/**
 * Write Plinth plugins in JavaScript.
 *
 * Offer items with `transform`, `loader`, `gate`, `driftTest` or `model`; README.md has an example of each. The same code runs
 * in Node for tests (`#plinth/testing`) and, once built, in a WebAssembly component.
 */
export { pack, unpack } from "./bytes.js";
export { Column } from "./column.js";
export { clock, config, http, kv, log, nn, objects, random, secrets, tables } from "./host.js";
export { ANOTHER_PASS, driftTest, gate, loader, model, transform } from "./items.js";
export { toNumber } from "./number.js";
export { parseJson } from "./options.js";
export { Problem } from "./problem.js";
export { Rows } from "./rows.js";
export { KINDS, NUMERIC, Schema } from "./schema.js";
export { decodeUtf8, encodeUtf8, isUtf8 } from "./utf8.js";
