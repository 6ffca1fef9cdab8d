/**
 * What JavaScript has elsewhere and QuickJS in a plugin has not: console, text encoders, the time and chance.
 *
 * Imported before the plugin by the module that build.mjs writes; in tests Node has its own. Without it a look at the
 * clock would end in a trap without a word, and Math.random would give the numbers that it gave when the plugin was
 * built.
 */
import { clock, log, random } from "./host.js";
import { decodeUtf8, encodeUtf8, isUtf8 } from "./utf8.js";

globalThis.console = {
  trace: log.trace,
  debug: log.debug,
  log: log.info,
  info: log.info,
  warn: log.warn,
  error: log.error,
};

/** Milliseconds since 1970, if the plugin has the capability `clock`. */
const now = () => Math.floor(clock.nowUs() / 1000);

const RealDate = Date;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, made) => Reflect.construct(target, given.length === 0 ? [now()] : given, made),
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === "now" ? now : Reflect.get(target, name)),
});
globalThis.performance = { now: () => clock.monotonicNs() / 1e6 };

/** Needs the capability `random`. */
Math.random = () => random.float();

globalThis.TextEncoder ??= class TextEncoder {
  encoding = "utf-8";
  encode = (text = "") => encodeUtf8(String(text));
};

globalThis.TextDecoder ??= class TextDecoder {
  constructor(encoding = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^utf-?8$/i.test(encoding)) throw new RangeError(`there is no decoder of ${encoding} in a plugin, only utf-8`);
    Object.assign(this, { encoding: "utf-8", fatal, ignoreBOM });
  }

  decode(given = new Uint8Array(0)) {
    let bytes = ArrayBuffer.isView(given)
      ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength)
      : new Uint8Array(given);
    if (this.fatal && !isUtf8(bytes)) throw new TypeError("the bytes are not UTF-8");
    const mark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
    if (mark && !this.ignoreBOM) bytes = bytes.subarray(3);
    return decodeUtf8(bytes);
  }
};
