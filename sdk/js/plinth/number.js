/** Numbers out of text. */

/**
 * The number that a decimal text means, correctly rounded: as `Number(text)` in Node.
 *
 * QuickJS looks at the first 38 digits only, so that what comes after them decides nothing where they lie halfway
 * between two numbers. Here it does.
 */
export function toNumber(text) {
  const number = Number(text);
  if (text.length <= 19) return number;
  const parts = /^\s*([+-]?)([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?\s*$/.exec(text);
  if (!parts || parts[2].length + parts[3].length <= 19 || !Number.isFinite(number)) return number;
  const [, sign, whole, fraction, exponent = "0"] = parts;
  const power = Number(exponent) - fraction.length;
  // So small or so large that the last digits cannot matter; and powers of ten that nobody could compute.
  if (number === 0 && power + whole.length + fraction.length < -330) return number;
  const above = isAbove(BigInt(whole + fraction), power, Math.abs(number));
  const nearest = above ? following(Math.abs(number)) : Math.abs(number);
  return sign === "-" ? -nearest : nearest;
}

/** Whether digits * 10^power rounds to the number after this one. */
function isAbove(digits, power, number) {
  const { fraction, exponent } = parts(number);
  // Halfway to the number after it: (2 * fraction + 1) * 2^(exponent - 1).
  let [value, halfway] = [digits, 2n * fraction + 1n];
  const shift = exponent - 1;
  if (power >= 0) value *= 10n ** BigInt(power);
  else halfway *= 10n ** BigInt(-power);
  if (shift >= 0) halfway <<= BigInt(shift);
  else value <<= BigInt(-shift);
  return value > halfway || (value === halfway && (fraction & 1n) === 1n);
}

const scratch = new DataView(new ArrayBuffer(8));

/** A number that is not negative as fraction * 2^exponent. */
function parts(number) {
  scratch.setFloat64(0, number);
  const bits = scratch.getBigUint64(0);
  const exponent = Number(bits >> 52n);
  const fraction = bits & ((1n << 52n) - 1n);
  return exponent === 0
    ? { fraction, exponent: -1074 }
    : { fraction: fraction | (1n << 52n), exponent: exponent - 1075 };
}

/** The next greater number. */
function following(number) {
  scratch.setFloat64(0, number);
  scratch.setBigUint64(0, scratch.getBigUint64(0) + 1n);
  return scratch.getFloat64(0);
}
