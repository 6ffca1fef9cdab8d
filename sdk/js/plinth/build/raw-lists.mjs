/**
 * Lets lists of numbers reach JavaScript as bytes instead of as arrays.
 *
 * componentize-qjs hands a `list<u8>` to JavaScript as a `Uint8Array` that owns the very memory the host wrote, but
 * any other list as an array, element by element. That is slow, and it is wrong for `list<s64>`: each element becomes
 * a double, so that 9007199254740993 reads as 9007199254740992. (Lists that JavaScript returns have no such fault:
 * typed arrays are copied as they are.)
 *
 * A component of that tool has a runtime (QuickJS), and glue that calls the runtime's `wit_dylib_push_list(call, list,
 * bytes, length)` for each list and, where that answers no, goes on element by element. `list` is the number of the
 * list's type. Here that function is put behind one that says for a list of numbers: this is a list of bytes, so many
 * times as long. The SDK then lays a Float64Array or its like over the bytes.
 *
 * Which number is which type is read off the glue's code, by what it does with the elements. Where anything is not as
 * expected the build fails: the tool's version is pinned.
 */
import { Reader, SECTION, importedFunctions, leb, mapModules, section, sections, text, withSections } from "./wasm.mjs";

const PUSH_LIST = "wit_dylib_push_list";
const APPEND = "wit_dylib_list_append";
const WIDTHS = {
  wit_dylib_push_u16: 2,
  wit_dylib_push_s16: 2,
  wit_dylib_push_u32: 4,
  wit_dylib_push_s32: 4,
  wit_dylib_push_f32: 4,
  wit_dylib_push_u64: 8,
  wit_dylib_push_s64: 8,
  wit_dylib_push_f64: 8,
};

/** The component, with lists of numbers that reach JavaScript as bytes. */
export function rawLists(component) {
  let lists;
  mapModules(component, (module) => {
    if (importedFunctions(module).includes(PUSH_LIST)) lists = listsOf(module);
  });
  if (!lists) throw new Error(`the component has no glue that calls ${PUSH_LIST}`);
  if (lists.widths.size === 0) return component;
  if (lists.bytes === undefined) throw new Error("the component takes lists of numbers and no list of bytes");
  let changed = 0;
  const mapped = mapModules(component, (module) => {
    const runtime = withWrapper(module, lists);
    if (runtime) changed++;
    return runtime;
  });
  if (changed !== 1) throw new Error(`${changed} modules of the component export ${PUSH_LIST}, not 1`);
  return mapped;
}

/** From the glue: the number of `list<u8>`, and how wide the elements of the other lists of numbers are. */
export function listsOf(module) {
  const names = importedFunctions(module);
  const widths = new Map();
  let bytes;
  const code = new Reader(section(module, SECTION.code));
  for (let left = code.u32(); left > 0; left--) {
    const calls = callsOf(code.take(code.u32()));
    calls.forEach((call, at) => {
      if (names[call.callee] !== PUSH_LIST) return;
      const [element, then] = [names[calls[at + 1]?.callee], names[calls[at + 2]?.callee]];
      if (then !== APPEND) return;
      if (element === "wit_dylib_push_u8") bytes = call.constant;
      else if (element in WIDTHS) widths.set(call.constant, WIDTHS[element]);
    });
  }
  return { bytes, widths };
}

/** The calls of a function's body in order, each with the last `i32.const` before it. */
function callsOf(body) {
  const reader = new Reader(body);
  for (let left = reader.u32(); left > 0; left--) {
    reader.skipLeb();
    reader.byte();
  }
  const calls = [];
  let constant;
  while (!reader.done) {
    const opcode = reader.byte();
    if (opcode === 0x10) calls.push({ callee: reader.u32(), constant });
    else if (opcode === 0x41) constant = unsigned(reader);
    else skipOperands(reader, opcode);
  }
  return calls;
}

/** An `i32.const` that is not negative, which numbers of types are; nothing for any other. */
function unsigned(reader) {
  const from = reader.at;
  reader.skipLeb();
  const bytes = reader.bytes.subarray(from, reader.at);
  if (bytes[bytes.length - 1] & 64) return undefined;
  return new Reader(bytes).u32();
}

function skipOperands(reader, opcode) {
  if (opcode >= 0x02 && opcode <= 0x04)
    reader.skipLeb(); // block, loop, if: a type
  else if (opcode === 0x0c || opcode === 0x0d)
    reader.skipLeb(); // br, br_if
  else if (opcode === 0x0e)
    for (let left = reader.u32() + 1; left > 0; left--) reader.skipLeb(); // br_table
  else if (opcode === 0x11)
    (reader.skipLeb(), reader.skipLeb()); // call_indirect
  else if (opcode >= 0x20 && opcode <= 0x26)
    reader.skipLeb(); // locals, globals, table.get, table.set
  else if (opcode >= 0x28 && opcode <= 0x3e)
    (reader.skipLeb(), reader.skipLeb()); // loads and stores
  else if (opcode === 0x3f || opcode === 0x40)
    reader.skipLeb(); // memory.size, memory.grow
  else if (opcode === 0x42)
    reader.skipLeb(); // i64.const
  else if (opcode === 0x43)
    reader.take(4); // f32.const
  else if (opcode === 0x44)
    reader.take(8); // f64.const
  else if (opcode === 0xfc) {
    const more = reader.u32();
    if (more === 8 || more === 10 || more === 12 || more === 14) (reader.skipLeb(), reader.skipLeb());
    else if (more > 7) reader.skipLeb();
  } else if (opcode > 0xc4) throw new Error(`the component's glue has an instruction that is not known: ${opcode}`);
}

/** The runtime with a function before its `wit_dylib_push_list`; nothing for any other module. */
function withWrapper(module, lists) {
  const all = sections(module);
  const exported = all.find(({ id }) => id === SECTION.export)?.body;
  const entries = exported ? exportsOf(exported) : [];
  const entry = entries.find(({ name, kind }) => name === PUSH_LIST && kind === 0);
  if (!entry) return undefined;

  const imported = importedFunctions(module).length;
  const types = new Reader(section(module, SECTION.function));
  const functions = types.u32();
  let type;
  for (let at = 0; at <= entry.index - imported; at++) type = types.u32();

  const original = entry.index;
  entry.index = imported + functions;
  return withSections(
    module,
    all.map(({ id, body }) => {
      if (id === SECTION.function) return { id, body: appended(body, leb(type)) };
      if (id === SECTION.export) return { id, body: Buffer.concat([leb(entries.length), ...entries.map(exportEntry)]) };
      if (id === SECTION.code) {
        const code = wrapper(original, lists);
        return { id, body: appended(body, Buffer.concat([leb(code.length), code])) };
      }
      return { id, body };
    }),
  );
}

/** What a module's section of exports says. */
export function exportsOf(body) {
  const reader = new Reader(body);
  const entries = [];
  for (let left = reader.u32(); left > 0; left--) {
    entries.push({ name: reader.text(), kind: reader.byte(), index: reader.u32() });
  }
  return entries;
}

function exportEntry({ name, kind, index }) {
  return Buffer.concat([text(name), Buffer.from([kind]), leb(index)]);
}

/** A section that is a counted list, with one more in it. */
function appended(body, element) {
  const reader = new Reader(body);
  const length = reader.u32();
  return Buffer.concat([leb(length + 1), body.subarray(reader.at), element]);
}

/**
 * (func (param $call i32) (param $list i32) (param $bytes i32) (param $length i32) (result i32)
 *   for each list of numbers:
 *     (if (i32.eq (local.get $list) (i32.const NUMBER))
 *       (then (return (call ORIGINAL (local.get $call) (i32.const BYTES) (local.get $bytes)
 *                                    (i32.mul (local.get $length) (i32.const WIDTH))))))
 *   (call ORIGINAL (local.get $call) (local.get $list) (local.get $bytes) (local.get $length)))
 */
function wrapper(original, { bytes, widths }) {
  const local = (index) => [0x20, index];
  const constant = (number) => [0x41, ...signed(number)];
  const call = [0x10, ...leb(original)];
  const code = [0]; // no locals
  for (const [number, width] of widths) {
    code.push(...local(1), ...constant(number), 0x46, 0x04, 0x40);
    code.push(...local(0), ...constant(bytes), ...local(2), ...local(3), ...constant(width), 0x6c, ...call, 0x0f, 0x0b);
  }
  code.push(...local(0), ...local(1), ...local(2), ...local(3), ...call, 0x0b);
  return Buffer.from(code);
}

/** A number that is not negative in signed LEB128. */
function signed(number) {
  const bytes = [...leb(number)];
  if (bytes[bytes.length - 1] & 64) {
    bytes[bytes.length - 1] |= 128;
    bytes.push(0);
  }
  return bytes;
}
