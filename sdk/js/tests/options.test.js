/** Options: checked against the item's own schema, every error names the option. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeUtf8, parseJson } from "#plinth";
import { optionsSchema, readOptions } from "#plinth/options";

const schema = optionsSchema({
  bins: { type: "integer", minimum: 2, maximum: 10, default: 5 },
  rate: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
  mode: { enum: ["fast", "exact"], required: true },
  names: { type: "array", items: { type: "string", minLength: 1 }, minItems: 1, maxItems: 2 },
  inner: { type: "object", properties: { deep: { type: "boolean" } }, required: ["deep"], additionalProperties: false },
});

test("the short form is a JSON Schema", () => {
  assert.deepEqual(schema.required, ["mode"]);
  assert.equal(schema.additionalProperties, false);
  assert.equal(schema.properties.mode.required, undefined);
  assert.deepEqual(optionsSchema(schema), schema);
  assert.deepEqual(optionsSchema(), { type: "object", properties: {}, additionalProperties: false });
});

test("defaults are filled in, and null stands for nothing", () => {
  assert.deepEqual(readOptions(schema, '{"mode": "fast"}'), { bins: 5, mode: "fast" });
  assert.deepEqual(readOptions(schema, '{"mode": "fast", "bins": null}'), { bins: 5, mode: "fast" });
  assert.deepEqual(readOptions(optionsSchema(), " "), {});
  assert.deepEqual(
    readOptions(schema, '{"mode": "exact", "bins": 3.0, "rate": 0.5, "names": ["a"], "inner": {"deep": true}}'),
    {
      bins: 3,
      mode: "exact",
      rate: 0.5,
      names: ["a"],
      inner: { deep: true },
    },
  );
});

for (const [given, message] of [
  ['{"mode": "fast", "bins": 1}', "option `bins`: it is 1; it must be at least 2"],
  ['{"mode": "fast", "bins": 11}', "option `bins`: it is 11; it must be at most 10"],
  ['{"mode": "fast", "bins": 2.5}', "option `bins`: it is 2.5, and an integer is wanted"],
  ['{"mode": "fast", "bins": "3"}', 'option `bins`: it is "3", and an integer is wanted'],
  ['{"mode": "fast", "rate": 0}', "option `rate`: it is 0; it must be more than 0"],
  ['{"mode": "fast", "rate": 1}', "option `rate`: it is 1; it must be less than 1"],
  ['{"mode": "fats"}', 'option `mode`: it is "fats", and it must be one of "fast", "exact"'],
  ["{}", "option `mode`: it is missing"],
  ['{"mode": "fast", "bin": 3}', "unknown option `bin`, did you mean `bins`?"],
  ['{"mode": "fast", "names": []}', "option `names`: it has 0 elements, at least 1 are wanted"],
  ['{"mode": "fast", "names": ["a", "b", "c"]}', "option `names`: it has 3 elements, at most 2 are wanted"],
  ['{"mode": "fast", "names": ["a", 1]}', "option `names[1]`: it is 1, and a string is wanted"],
  ['{"mode": "fast", "names": [""]}', 'option `names[0]`: it is ""; it must be at least 1 characters long'],
  ['{"mode": "fast", "inner": {}}', "option `inner.deep`: it is missing"],
  ['{"mode": "fast", "inner": {"deep": true, "x": 1}}', "unknown option `inner.x`"],
  ['{"mode": "fast", "inner": []}', "option `inner`: it is an array, and an object is wanted"],
  ["[]", "bad options: an object is wanted"],
  ["null", "bad options: an object is wanted"],
]) {
  test(`${given} is refused`, () => {
    assert.throws(() => readOptions(schema, given), { code: "bad-options", message });
  });
}

test("other JSON is read as strictly", () => {
  const read = (text) =>
    parseJson(encodeUtf8(text), { ...schema.properties, mode: { enum: ["fast"], required: true } });
  assert.deepEqual(read('{"mode": "fast", "rate": 1e-9, "names": ["\\":", "é"]}'), {
    bins: 5,
    mode: "fast",
    rate: 1e-9,
    names: ['":', "é"],
  });
  for (const [text, message] of [
    ["{}", "field `mode`: it is missing"],
    ["[]", "an object is wanted"],
    ['{"mode": "fast", "bin": 3}', "unknown field `bin`, did you mean `bins`?"],
    ['{"mode": "fast", "bins": null}', "field `bins`: it is null, and an integer is wanted"],
    ['{"mode": null}', 'field `mode`: it is null, and it must be one of "fast"'],
    ['{"mode": "fast", "rate": 1e999}', "field `rate`: it is Infinity, and a number is wanted"],
    ['{"mode": "fast", "rate": 0.5, "rate" : 0.5}', "a name is given twice"],
    ['{"mode": "fast", "inner": {"deep": true, "de\\u0065p": true}}', "a name is given twice"],
  ]) {
    assert.throws(() => read(text), { message });
  }
  assert.throws(() => read('{"mode": "fast",}'), Error);
  assert.throws(() => parseJson(Uint8Array.of(255), {}), { message: "it is not UTF-8" });
  const nullable = { x: { type: ["number", "null"], required: true } };
  assert.deepEqual(parseJson(encodeUtf8('{"x": null}'), nullable), { x: null });
});

test("text that is no JSON is refused", () => {
  assert.throws(() => readOptions(schema, "{mode}"), { code: "bad-options" });
});

test("names of Object's own properties are options like any other", () => {
  assert.throws(() => readOptions(schema, '{"mode": "fast", "constructor": 1}'), {
    message: /unknown option `constructor`/,
  });
  assert.throws(() => readOptions(schema, '{"mode": "fast", "__proto__": 1}'), {
    message: /unknown option `__proto__`/,
  });
});
