/**
 * Just enough of WebAssembly's binary format to read and rewrite sections of components and of the modules in them.
 */

/** Ids of the sections that are looked at, of a core module and (the last two) of a component. */
export const SECTION = { custom: 0, type: 1, import: 2, function: 3, export: 7, code: 10 };
const COMPONENT = { coreModule: 1, component: 4 };

const MODULE_VERSION = 1;

/** Whether these bytes are a core module (and not a component). */
export function isModule(bytes) {
  return bytes.length >= 8 && bytes.readUInt32LE(0) === 0x6d736100 && bytes.readUInt32LE(4) === MODULE_VERSION;
}

/** A number in unsigned LEB128. */
export function leb(number) {
  const bytes = [];
  for (; number > 127; number >>>= 7) bytes.push((number & 127) | 128);
  bytes.push(number);
  return Buffer.from(bytes);
}

/** A text with its length before it. */
export function text(string) {
  const bytes = Buffer.from(string);
  return Buffer.concat([leb(bytes.length), bytes]);
}

/** Reads numbers, texts and bytes one after another. */
export class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  get done() {
    return this.at >= this.bytes.length;
  }

  byte() {
    if (this.done) throw new Error("WebAssembly ends too early");
    return this.bytes[this.at++];
  }

  /** An unsigned LEB128 number of 32 bits. */
  u32() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }

  /** Skips a LEB128 number of any size. */
  skipLeb() {
    while (this.byte() >= 128);
  }

  take(length) {
    if (this.at + length > this.bytes.length) throw new Error("WebAssembly ends too early");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text() {
    return this.take(this.u32()).toString();
  }
}

/** The sections of a module or a component: `{ id, body }` in order. */
export function sections(bytes) {
  const reader = new Reader(bytes, 8);
  const found = [];
  while (!reader.done) {
    const id = reader.byte();
    found.push({ id, body: reader.take(reader.u32()) });
  }
  return found;
}

/** A module or component of these sections, with the header of `like`. */
export function withSections(like, sections) {
  const parts = [like.subarray(0, 8)];
  for (const { id, body } of sections) parts.push(Buffer.from([id]), leb(body.length), body);
  return Buffer.concat(parts);
}

/** The section of an id, if a module has it. */
export function section(module, id) {
  return sections(module).find((section) => section.id === id)?.body;
}

/**
 * Changes the core modules of a component, those of components in it too.
 * `change` is given each module and answers what it is to be, or nothing to leave it.
 */
export function mapModules(component, change) {
  const mapped = sections(component).map(({ id, body }) => {
    if (id === COMPONENT.component) return { id, body: mapModules(body, change) };
    if (id === COMPONENT.coreModule) return { id, body: change(body) ?? body };
    return { id, body };
  });
  return withSections(component, mapped);
}

/** The names of what a module imports as functions, in order, which is how its code counts them. */
export function importedFunctions(module) {
  const body = section(module, SECTION.import);
  if (!body) return [];
  const reader = new Reader(body);
  const names = [];
  for (let left = reader.u32(); left > 0; left--) {
    reader.text();
    const name = reader.text();
    const kind = reader.byte();
    if (kind === 0) {
      names.push(name);
      reader.skipLeb();
    } else if (kind === 1) {
      reader.byte();
      skipLimits(reader);
    } else if (kind === 2) {
      skipLimits(reader);
    } else {
      reader.take(2);
    }
  }
  return names;
}

function skipLimits(reader) {
  const flags = reader.byte();
  reader.skipLeb();
  if (flags & 1) reader.skipLeb();
}

/** A component or module with a custom section after all others. */
export function withCustomSection(bytes, name, content) {
  const body = Buffer.concat([text(name), content]);
  return Buffer.concat([bytes, Buffer.from([SECTION.custom]), leb(body.length), body]);
}
