/** What a plugin keeps as bytes, when plain JSON will do. */
import { Problem } from "./problem.js";
import { decodeUtf8, encodeUtf8, isUtf8 } from "./utf8.js";

/**
 * Bytes of a plain value: objects, arrays, texts, booleans, null, numbers (also NaN, infinities and -0, which JSON
 * lacks) and BigInt. For a state or a partial of your own layout use a DataView.
 */
export function pack(value) {
  return encodeUtf8(
    JSON.stringify(value, (_, value) => {
      const number = typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0));
      if (number) return { $number: Object.is(value, -0) ? "-0" : String(value) };
      return typeof value === "bigint" ? { $bigint: String(value) } : value;
    }),
  );
}

/**
 * The value of packed bytes.
 * @throws {Problem} `bad-state` where they are none
 */
export function unpack(bytes) {
  try {
    if (!isUtf8(bytes)) throw new SyntaxError("it is no UTF-8");
    return JSON.parse(decodeUtf8(bytes), (_, value) => {
      if (typeof value?.$number === "string") return Number(value.$number);
      return typeof value?.$bigint === "string" ? BigInt(value.$bigint) : value;
    });
  } catch (error) {
    throw new Problem("bad-state", `${bytes.length} bytes are no packed value: ${error.message}`, { cause: error });
  }
}
