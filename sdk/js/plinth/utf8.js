/** UTF-8 to text and back. QuickJS has no TextDecoder and no TextEncoder. */

const CHUNK = 4096;

// The length of a typed array is a call in QuickJS, and so is asked for once, before a loop.

/** Whether bytes are UTF-8: no overlong forms, no surrogates, nothing cut off. */
export function isUtf8(bytes) {
  for (let at = 0, end = bytes.length; at < end;) {
    const length = sequence(bytes, at);
    if (length === 0) return false;
    at += length;
  }
  return true;
}

/** Text of UTF-8 bytes; what is no UTF-8 becomes U+FFFD. */
export function decodeUtf8(bytes) {
  if (isAscii(bytes)) return ascii(bytes);
  let text = "";
  for (let at = 0, end = bytes.length; at < end;) {
    const length = sequence(bytes, at);
    text += length === 0 ? "\ufffd" : String.fromCodePoint(codePoint(bytes, at, length));
    at += length === 0 ? broken(bytes, at) : length;
  }
  return text;
}

/** UTF-8 of a text; half a surrogate pair becomes U+FFFD. */
export function encodeUtf8(text) {
  const bytes = new Uint8Array(text.length * 3);
  let end = 0;
  for (let at = 0; at < text.length; at++) {
    let code = text.charCodeAt(at);
    if (code < 0x80) {
      bytes[end++] = code;
      continue;
    }
    if (code >= 0xd800 && code < 0xe000) {
      code = text.codePointAt(at);
      if (code >= 0x10000) at++;
      else code = 0xfffd;
    }
    if (code < 0x800) {
      bytes[end++] = 0xc0 | (code >> 6);
    } else if (code < 0x10000) {
      bytes[end++] = 0xe0 | (code >> 12);
      bytes[end++] = 0x80 | ((code >> 6) & 0x3f);
    } else {
      bytes[end++] = 0xf0 | (code >> 18);
      bytes[end++] = 0x80 | ((code >> 12) & 0x3f);
      bytes[end++] = 0x80 | ((code >> 6) & 0x3f);
    }
    bytes[end++] = 0x80 | (code & 0x3f);
  }
  return bytes.slice(0, end);
}

/** Whether no byte is over 127. */
export function isAscii(bytes) {
  for (let at = 0, end = bytes.length; at < end; at++) if (bytes[at] > 127) return false;
  return true;
}

/** Text of bytes that are ASCII. */
export function ascii(bytes) {
  if (bytes.length <= CHUNK) return String.fromCharCode.apply(null, bytes);
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + CHUNK));
  }
  return text;
}

/** Bytes of the character that begins here, or 0 where none does. */
function sequence(bytes, at) {
  const lead = bytes[at];
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  return length !== 0 && continuation(bytes, at, length) === length ? length : 0;
}

/** How many bytes from here fit a character of `length` bytes: `length` for a whole one. */
function continuation(bytes, at, length) {
  const lead = bytes[at];
  let low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  let high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  for (let more = 1; more < length; more++) {
    const byte = bytes[at + more];
    if (!(byte >= low && byte <= high)) return more;
    low = 0x80;
    high = 0xbf;
  }
  return length;
}

/** How many bytes become one U+FFFD: the longest beginning of a character, as browsers do it. */
function broken(bytes, at) {
  const lead = bytes[at];
  const length = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
  return continuation(bytes, at, length);
}

function codePoint(bytes, at, length) {
  const lead = bytes[at];
  if (length === 1) return lead;
  let code = lead & (0x7f >> length);
  for (let more = 1; more < length; more++) code = (code << 6) | (bytes[at + more] & 0x3f);
  return code;
}
