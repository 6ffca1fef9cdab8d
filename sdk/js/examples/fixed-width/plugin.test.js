// Runs in Node, without WebAssembly: node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { lend, load } from "#plinth/testing";
import fixedWidth from "./plugin.js";

const options = {
  columns: [
    { name: "id", width: 3, kind: "int64" },
    { name: "name", width: 4, kind: "utf8" },
  ],
};

test("records become rows", () => {
  lend.object("file.txt", "  1anna\n 22    \n");
  const [rows] = load(fixedWidth, "file.txt", options);
  assert.deepEqual(rows.toObjects(), [
    { id: 1n, name: "anna" },
    { id: 22n, name: null },
  ]);
});

test("a bad cell is a problem that says where", () => {
  lend.object("file.txt", "  1anna\n  xbert\n");
  assert.throws(() => load(fixedWidth, "file.txt", options), { code: "bad-value", row: 1, column: "id" });
});
