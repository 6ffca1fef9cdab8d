/** UTF-8, numbers out of text, packed values. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeUtf8, encodeUtf8, isUtf8, pack, toNumber, unpack } from "#plinth";
import { environment } from "./environment.js";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lossy = new TextDecoder("utf-8", { ignoreBOM: true });

test("every sequence of bytes reads as in the platform's own decoder", () => {
  const interesting = [
    0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1,
    0xf4, 0xf5, 0xff,
  ];
  const pick = (digits) => Uint8Array.from(digits, (digit) => interesting[digit]);
  const n = interesting.length;
  for (let code = 0; code < n ** 4; code++) {
    const bytes = pick([code % n, Math.floor(code / n) % n, Math.floor(code / n ** 2) % n, Math.floor(code / n ** 3)]);
    let valid = true;
    try {
      strict.decode(bytes);
    } catch {
      valid = false;
    }
    if (isUtf8(bytes) !== valid) assert.fail(`isUtf8 of ${bytes} is ${!valid}`);
    if (decodeUtf8(bytes) !== lossy.decode(bytes)) assert.fail(`decodeUtf8 of ${bytes}`);
  }
});

test("texts become the platform's bytes, half surrogates U+FFFD", () => {
  const encoder = new TextEncoder();
  for (const text of [
    "",
    "a",
    "é",
    "€",
    "\u{1f600}x",
    "\ud800",
    "\udc00\ud800a",
    "a".repeat(10_000),
    "日".repeat(5_000),
  ]) {
    assert.deepEqual(encodeUtf8(text), encoder.encode(text));
    assert.equal(decodeUtf8(encodeUtf8(text)), text.toWellFormed());
  }
});

test("long numbers are rounded by all of their digits", () => {
  // Number() is right in Node, so it tells here; an engine that looks at 38 digits is played by cutting off the others.
  const halfway = "0.500000000000000166533453693773481063544750213623046875";
  const texts = [
    halfway,
    `-${halfway}`,
    `${halfway}0000000001`,
    "9007199254740993.0000000000000000000000000000000000000001",
    "1e400",
    "-0",
    "12",
    "123456789012345678901234567890",
    "2.4703282292062327208e-324",
    "2.470328229206232720882843964341106861825299013071623822127928412503377536351043e-324",
    "2.4703282292062328e-324",
    `0.${"0".repeat(400)}1`,
    `1${"0".repeat(250)}e-250`,
    "abc",
  ];
  for (const text of texts) assert.ok(Object.is(toNumber(text), Number(text)), text);
  environment.withShortNumbers(() => {
    for (const text of texts) assert.ok(Object.is(toNumber(text), environment.exact(text)), text);
    assert.notEqual(Number(`${halfway}0000000001`), environment.exact(`${halfway}0000000001`));
  });
});

test("packed values come back, with what JSON lacks", () => {
  const value = { a: [NaN, Infinity, -Infinity, -0, 0.1], b: 2n ** 63n, c: null, d: "é", e: true };
  assert.deepEqual(unpack(pack(value)), value);
  assert.ok(Object.is(unpack(pack(-0)), -0));
  assert.throws(() => unpack(Uint8Array.of(0xff)), { code: "bad-state" });
  assert.throws(() => unpack(Uint8Array.of(0x7b)), { code: "bad-state" });
});
