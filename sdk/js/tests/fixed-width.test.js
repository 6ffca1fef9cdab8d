/** The loader of examples/, as the conformance suite specifies it. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { lend, load, open, plan } from "#plinth/testing";
import fixedWidth from "../examples/fixed-width/plugin.js";

beforeEach(() => lend.nothing());

const column = (kind, width, nullable) => ({ name: "x", kind, width, ...(nullable === undefined ? {} : { nullable }) });
const layout = [
  { name: "id", kind: "int64", width: 4 },
  { name: "v", kind: "float64", width: 6 },
  { name: "s", kind: "utf8", width: 5 },
  { name: "on", kind: "boolean", width: 5, nullable: false },
];

/** One column of cells, each in a record of the widest of them. */
function cells(kind, texts, nullable) {
  const encoder = new TextEncoder();
  const bytes = texts.map((text) => (typeof text === "string" ? encoder.encode(text) : text));
  const width = Math.max(...bytes.map(({ length }) => length), 1);
  const records = bytes.flatMap((cell) => [...cell, ...new Array(width - cell.length).fill(0x20), 0x0a]);
  lend.object("mem://cells", Uint8Array.from(records));
  return load(fixedWidth, "mem://cells", { columns: [column(kind, width, nullable)] }).flatMap((rows) =>
    rows.column(0).values(),
  );
}

test("records become rows; blanks are nulls", () => {
  lend.object("mem://a", `   1  -2.5 h\u00e9 true \n7${" ".repeat(14)}false\n`);
  const read = load(fixedWidth, "mem://a", { columns: layout }).flatMap((rows) => rows.toObjects());
  assert.deepEqual(read, [
    { id: 1n, v: -2.5, s: "h\u00e9", on: true },
    { id: 7n, v: null, s: null, on: false },
  ]);
});

test("a source is planned in parts of so many rows", () => {
  lend.object("mem://a", "ab\ncd\nef\n");
  const { schema, partitions } = plan(fixedWidth, "mem://a", { columns: [column("utf8", 2)], "partition-rows": 2 });
  assert.deepEqual(schema.fields, [{ name: "x", kind: "utf8", nullable: true }]);
  assert.deepEqual(
    partitions.map(({ rows, bytes }) => [rows, bytes]),
    [
      [2, 6],
      [1, 3],
    ],
  );
  assert.deepEqual([...partitions[1].token], [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
  const read = load(fixedWidth, "mem://a", { columns: [column("utf8", 2)], "partition-rows": 2 }, 1);
  assert.deepEqual(
    read.map((rows) => rows.column("x").values()),
    [["ab"], ["cd"], ["ef"]],
  );
});

test("an empty source has a schema and no part", () => {
  lend.object("mem://a", "");
  assert.deepEqual(plan(fixedWidth, "mem://a", { columns: layout }).partitions, []);
});

test("no more than 8192 rows come at once", () => {
  lend.object("mem://a", "1\n".repeat(10_000));
  assert.deepEqual(
    load(fixedWidth, "mem://a", { columns: [column("int64", 1)] }, 100_000).map(({ length }) => length),
    [8192, 1808],
  );
});

test("integers are exact up to their bounds", () => {
  const texts = ["9223372036854775807", "-9223372036854775808", "9007199254740993", "-0", "007"];
  assert.deepEqual(cells("int64", texts), [2n ** 63n - 1n, -(2n ** 63n), 9007199254740993n, 0n, 7n]);
  assert.deepEqual(cells("int64", ["0".repeat(511)]), [0n]);
});

test("numbers are what JavaScript makes of them, -0 too", () => {
  const texts = ["-0", "1e5", "0.1", "2.2250738585072011e-308", "1e-400", "1e+2", "12.50"];
  cells("float64", texts).forEach((value, i) => assert.ok(Object.is(value, Number(texts[i])), texts[i]));
});

for (const [kind, bad] of Object.entries({
  int64: ["1.5", "+1", "0x1", "-", "1 1", "1_0", "1e3", "9223372036854775808", "\u0661", "0".repeat(512), "NaN"],
  float64: ["1.", ".5", "nan", "Infinity", "1E5", "1e", "1e999", "-", "0x1p3", "\t1", "1,5", "0".repeat(512)],
  boolean: ["True", "1", "yes", "constructor", "tru"],
  utf8: [[0xff], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x61, 0xe2, 0x82]].map((bytes) =>
    Uint8Array.from(bytes),
  ),
})) {
  test(`cells that are no ${kind} are named with their row and column`, () => {
    const good = { int64: "1", float64: "1", boolean: "true", utf8: "a" }[kind];
    for (const text of bad) {
      assert.throws(
        () => cells(kind, [good, text]),
        { code: "bad-value", row: 1, column: "x", message: new RegExp(`is no ${kind}$`) },
        String(text),
      );
    }
  });
}

test("a blank cell that must not be null", () => {
  assert.throws(() => cells("int64", ["1", " "], false), { code: "null-value", row: 1, column: "x" });
  assert.deepEqual(cells("utf8", ["a", " "], false), ["a", ""]);
});

test("of several bad cells that of the lowest row is told, in a row first the newline, then from left to right", () => {
  const options = {
    columns: [
      { ...column("int64", 1), name: "a" },
      { ...column("boolean", 4), name: "b" },
    ],
    "partition-rows": 2,
  };
  const fails = (text, expected) => {
    lend.object("mem://a", text);
    assert.throws(() => load(fixedWidth, "mem://a", options), expected);
  };
  fails("1true\n1nope\nxtrue\n", { code: "bad-value", row: 1, column: "b" });
  fails("1true\nxnope\n", { code: "bad-value", row: 1, column: "a" });
  fails("xtrue!1true\n", { code: "bad-row", row: 0, column: null });
  fails("1true\n1true\n1tru\n ", { code: "bad-row", row: 2 });
});

test("sources that are no whole number of records, or shorter than planned", () => {
  const options = { columns: [column("int64", 2)] };
  lend.object("mem://a", "12\n3");
  assert.throws(() => plan(fixedWidth, "mem://a", options), {
    code: "bad-source",
    message: "4 bytes are no whole number of records of 3 bytes",
  });
  lend.object("mem://a", "12\n34\n");
  const { schema, partitions } = plan(fixedWidth, "mem://a", options);
  lend.object("mem://a", "12\n");
  assert.throws(() => open(fixedWidth, "mem://a", options, schema, partitions[0].token).next(), { code: "bad-source" });
  assert.throws(() => open(fixedWidth, "mem://a", options, schema, Uint8Array.of(1)), { code: "bad-token" });
});

test("layouts that are none", () => {
  lend.object("mem://a", "");
  const refused = (options) =>
    assert.throws(() => plan(fixedWidth, "mem://a", options), { code: "bad-options" }, JSON.stringify(options));
  refused({});
  refused({ columns: [] });
  refused({ columns: [column("int64", 0)] });
  refused({ columns: [column("binary", 1)] });
  refused({ columns: [column("int64", 1), column("int64", 1)] });
  refused({ columns: [{ ...column("int64", 1), name: "" }] });
  refused({ columns: [column("utf8", 2 ** 24)] });
  refused({ columns: layout, "partition-rows": 0 });
});
