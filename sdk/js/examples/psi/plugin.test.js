// Runs in Node, without WebAssembly: node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { rows, test as drift } from "#plinth/testing";
import psi from "./plugin.js";

const january = rows({ x: Array.from({ length: 100 }, (_, i) => i) });
const february = rows({ x: Array.from({ length: 100 }, (_, i) => i + 50) });

test("a sample does not drift from itself, and does when it moves", () => {
  assert.equal(drift(psi, january, january).verdict, "no-drift");
  assert.equal(drift(psi, january, february).verdict, "drift");
  assert.equal(drift(psi, january, february, { threshold: 100 }).verdict, "no-drift");
});
