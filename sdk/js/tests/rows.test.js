/** Blocks made of columns, and columns of blocks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Column, Rows, Schema } from "#plinth";
import { rows } from "#plinth/testing";

const schema = new Schema([
  { name: "a", kind: "float64", nullable: false },
  { name: "t", kind: "utf8" },
  { name: "b", kind: "float64" },
  { name: "on", kind: "boolean", nullable: false },
  { name: "raw", kind: "binary", nullable: false },
  { name: "n", kind: "int64", nullable: false },
  { name: "at", kind: "timestamp-us" },
  { name: "f", kind: "float32" },
]);
const columns = {
  a: [1, 2, 3],
  t: ["x", null, "öz"],
  b: [4, 5, null],
  on: [true, false, true],
  raw: [Uint8Array.of(0xff), new Uint8Array(0), Uint8Array.of(1, 2)],
  n: [7n, -(2n ** 63n), 2n ** 63n - 1n],
  at: [10n, null, 30],
  f: [0.5, null, -0],
};

test("what was built is what the columns show", () => {
  const made = Rows.of(schema, columns);
  for (const [name, values] of Object.entries({ ...columns, at: [10n, null, 30n] })) {
    assert.deepEqual(made.column(name).values(), values, name);
    values.forEach((value, row) => assert.deepEqual(made.column(name).get(row), value));
  }
  assert.equal(made.toObjects()[2].t, "öz");
});

test("the data of a column alone is that of the column, over the same memory", () => {
  const made = Rows.of(schema, columns);
  schema.fields.forEach(({ name }, index) => {
    assert.deepEqual(made.data(name), made.column(index).data, name);
    assert.equal(made.data(index).buffer, made.column(index).data.buffer);
  });
  made.data("b")[1] = 7;
  assert.deepEqual(made.column("b").values(), [4, 7, null]);
  assert.throws(() => made.data("c"), { code: "unknown-column", column: "c" });
  assert.throws(() => made.data(8), { name: "RangeError", message: "there is no column 8: there are 8" });
  const short = new Rows(schema, { ...made.toBlock(), f64s: new Float64Array(5) });
  assert.throws(() => short.data("b"), { code: "bad-block", column: "b" });
  assert.throws(() => short.column("b"), { code: "bad-block", column: "b" });
});

test("the floats of all columns are one after another, over the same memory", () => {
  const made = Rows.of(schema, columns);
  assert.deepEqual([schema.among("a"), schema.among("b"), schema.among(7), schema.among("t")], [0, 1, 0, 0]);
  assert.deepEqual([...made.all("float64")], [1, 2, 3, 4, 5, 0]);
  assert.deepEqual([...made.all("float32")], [0.5, 0, -0]);
  made.all("float64")[schema.among("b") * made.length] = 7;
  assert.deepEqual(made.column("b").values(), [7, 5, null]);
  assert.throws(() => made.all("int64"), { name: "TypeError" });
  assert.throws(() => schema.among("c"), { code: "unknown-column", column: "c" });
  assert.throws(() => schema.among(8), { name: "RangeError", message: "there is no column 8: there are 8" });
  const short = new Rows(schema, { ...made.toBlock(), f64s: new Float64Array(5) });
  assert.throws(() => short.all("float64"), { code: "bad-block", column: "b" });
  assert.equal(rows({ t: ["x"] }).all("float64").length, 0);
});

test("the block is column-major, with bitmaps of the nullable columns and zero in slots of nulls", () => {
  const block = Rows.of(schema, columns).toBlock();
  assert.deepEqual([...block.f64s], [1, 2, 3, 4, 5, 0]);
  assert.deepEqual([...block.s64s], [7n, -(2n ** 63n), 2n ** 63n - 1n, 10n, 0n, 30n]);
  assert.deepEqual([...block.f32s], [0.5, 0, -0]);
  assert.deepEqual([...block.bits], [0b101]);
  assert.deepEqual([...block.offsets], [0, 1, 1, 4, 4, 5, 5, 7]);
  assert.deepEqual([...block.validity], [0b101, 0b011, 0b101, 0b101]);
  assert.equal(block.rows, 3);
});

test("a block without a null carries no bitmap", () => {
  assert.equal(rows({ x: [1, 2] }).toBlock().validity.length, 0);
  assert.equal(rows({ x: [1, 2] }).column("x").hasNulls, false);
  assert.equal(rows({ x: [1, 2] }).hasNulls, false);
  assert.equal(rows({ x: [1, 2], y: [1, null] }).hasNulls, true);
});

test("bits after the last row are zero, whatever the number of rows", () => {
  for (const length of [1, 7, 8, 9, 16, 17]) {
    const made = rows(
      { x: new Float64Array(length), y: Array.from({ length }, (_, row) => row || null) },
      { y: "float64" },
    );
    const { validity } = made.toBlock();
    const bytes = Math.ceil(length / 8);
    const ones = [...validity.subarray(0, bytes)].reduce(
      (sum, byte) => sum + byte.toString(2).replaceAll("0", "").length,
      0,
    );
    assert.equal(ones, length);
    assert.equal(
      made
        .column("y")
        .values()
        .filter((value) => value === null).length,
      1,
    );
  }
});

test("lists that come as bytes are read where they lie", () => {
  const block = Rows.of(schema, columns).toBlock();
  const bytes = (list) => new Uint8Array(list.buffer, list.byteOffset, list.byteLength);
  const sent = Object.fromEntries(
    Object.entries(block).map(([key, list]) => [key, key === "rows" ? list : bytes(list)]),
  );
  const read = new Rows(schema, sent);
  assert.deepEqual(read.column("n").values(), columns.n);
  read.column("a").data[1] = 9;
  assert.equal(block.f64s[1], 9);
  assert.throws(() => new Rows(schema, { ...sent, s64s: [1, 2] }), /build\.mjs/);
});

test("values written over nulls are zero for the host", () => {
  const made = rows({ x: [1, null, 3], n: [1n, null, 3n], on: [true, null, true] });
  made.column("x").data.fill(5);
  made.column("n").data.fill(5n);
  made.column("on").data.fill(255);
  const block = made.toBlock();
  assert.deepEqual([...block.f64s], [5, 0, 5]);
  assert.deepEqual([...block.s64s], [5n, 0n, 5n]);
  assert.equal(block.bits[0] & 0b111, 0b101);
});

test("numbers of any numeric kind", () => {
  const made = Rows.of(schema, columns);
  assert.deepEqual(made.column("on").numbers(), [1, 0, 1]);
  assert.deepEqual(made.column("at").numbers(), [10, null, 30]);
  assert.deepEqual(made.column("n").numbers(), [7, -(2 ** 63), 2 ** 63]);
  assert.throws(() => made.column("t").numbers(), { code: "wrong-kind", column: "t" });
});

test("columns of other rows are taken over, nulls and text too", () => {
  const made = Rows.of(schema, columns);
  const more = schema.with({ name: "twice", kind: "float64" });
  const out = Rows.of(more, [...made.columns(), made.column("a").data.map((value) => value * 2)]);
  assert.deepEqual(out.column("twice").values(), [2, 4, 6]);
  assert.deepEqual(out.column("t").values(), columns.t);
  assert.deepEqual(out.column("b").values(), columns.b);
});

test("what does not fit is a problem that names the column", () => {
  const one = (kind, nullable, values) => () => Rows.of(new Schema([{ name: "x", kind, nullable }]), { x: values }, 1);
  const fails = (call, message) => assert.throws(call, { code: "bad-output", column: "x", message });
  fails(one("float64", true, ["1"]), 'column `x` is float64, and "1" was given in row 0');
  fails(one("float64", true, [1n]), "column `x` is float64, and 1 was given in row 0");
  fails(one("int64", true, [1.5]), "column `x` is int64, and 1.5 was given in row 0");
  fails(one("int64", true, [2n ** 63n]), `column \`x\` is int64, and ${2n ** 63n} was given in row 0`);
  fails(one("int64", true, [2 ** 53]), `column \`x\` is int64, and ${2 ** 53} was given in row 0`);
  fails(one("int64", true, new Float64Array(1)), "column `x` is int64, and a Float64Array was given");
  fails(one("boolean", true, [1]), "column `x` is boolean, and 1 was given in row 0");
  fails(one("utf8", true, [Uint8Array.of(1)]), "column `x` is utf8, and a Uint8Array was given in row 0");
  fails(one("utf8", false, [null]), "column `x` is not nullable and has a null");
  fails(one("float64", true, [1, 2]), "column `x` has 2 values in 1 rows");
  fails(() => Rows.of(new Schema([{ name: "x", kind: "utf8" }]), {}), "column `x` was not given");
  assert.throws(() => Rows.of(new Schema([]), { x: [1] }), { code: "bad-output", column: "x" });
});

test("blocks that do not fit are problems", () => {
  const block = Rows.of(schema, columns).toBlock();
  const read = (change, name) => new Rows(schema, { ...block, ...change }).column(name);
  assert.throws(() => read({ f64s: block.f64s.slice(0, 5) }, "b"), { code: "bad-block", column: "b" });
  assert.throws(() => read({ validity: block.validity.slice(0, 3) }, "f"), { code: "bad-block" });
  assert.throws(() => read({ bytes: Uint8Array.of(0xff, 2, 3, 4, 5, 6, 7) }, "t").values(), {
    code: "bad-block",
    column: "t",
  });
  const offsets = Uint32Array.of(0, 100, 1, 4, 4, 5, 5, 7);
  assert.throws(() => read({ offsets }, "t").get(0), { code: "bad-block" });
  assert.throws(() => read({}, "zz"), { code: "unknown-column", column: "zz" });
  assert.throws(() => Rows.of(schema, columns).column("on").expect("float64"), {
    code: "wrong-kind",
    message: "column `on` is boolean, not float64",
  });
  assert.ok(read({}, "on").expect("boolean") instanceof Column);
});

test("schemas refuse what no host would take", () => {
  assert.throws(() => new Schema([{ name: "", kind: "utf8" }]), /needs a name/);
  assert.throws(() => new Schema([{ name: "x", kind: "text" }]), /no kind `text`/);
  assert.throws(
    () =>
      new Schema([
        { name: "x", kind: "utf8" },
        { name: "x", kind: "utf8" },
      ]),
    /two columns/,
  );
  assert.throws(() => schema.require("att"), {
    code: "unknown-column",
    message: "unknown column `att`, did you mean `at`?",
  });
});
