/** What the build does before and after the tool that makes the component: manifest, world, sections, lists. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readManifest } from "../plinth/build/manifest.mjs";
import { listsOf } from "../plinth/build/raw-lists.mjs";
import { Reader, leb, sections, withCustomSection } from "../plinth/build/wasm.mjs";
import { entryOf, undeclared, worldOf } from "../plinth/build/world.mjs";

const sdk = fileURLToPath(new URL("..", import.meta.url));
const manifest = (change) =>
  Buffer.from(JSON.stringify({ name: "x-js", version: "0.1.0", kind: ["gate"], capabilities: [], ...change }));

test("a manifest says name, version, kinds and capabilities", () => {
  assert.deepEqual(readManifest(manifest({ capabilities: ["kv", "log", "tables"] })), {
    name: "x-js",
    kind: ["gate"],
    capabilities: ["tables", "kv"],
  });
  for (const [change, message] of [
    [{ name: "Nope" }, /"name" must be/],
    [{ version: 1 }, /"version" is missing/],
    [{ kind: ["gates"] }, /"kind" has "gates"; there are transform, loader, gate, drift, predict/],
    [{ kind: [] }, /"kind" must be a list/],
    [{ kind: "gate" }, /"kind" must be a list/],
    [{ capabilities: ["disk"] }, /"capabilities" has "disk"/],
  ]) {
    assert.throws(() => readManifest(manifest(change)), message);
  }
  assert.throws(() => readManifest(Buffer.from("{")), SyntaxError);
});

test("a world imports what was asked for and no more", () => {
  const world = worldOf({ kind: ["gate", "drift"], capabilities: ["kv"] });
  assert.deepEqual(world.match(/(import|export) [^;]*/g), [
    "import plinth:host/log@0.2.0",
    "import plinth:host/config@0.2.0",
    "import plinth:host/kv@0.2.0",
    "export plinth:gate/gate@0.2.0",
    "export plinth:drift/drift@0.2.0",
  ]);
  const entry = entryOf({ kind: ["gate"], capabilities: ["kv"] });
  assert.match(entry, /import kv from "plinth:host\/kv@0\.2\.0"/);
  assert.doesNotMatch(entry, /http/);
  assert.ok(entry.indexOf("environment") < entry.indexOf("plugin.js"));
});

test("a capability that is imported and not listed is found", () => {
  assert.equal(undeclared('import { gate, kv as store } from "#plinth";', []), "kv");
  assert.equal(undeclared('import {\n  gate,\n  kv,\n  http,\n} from "#plinth";', ["kv"]), "http");
  assert.equal(undeclared('import { gate, log, config } from "#plinth"; import { kv } from "other";', []), undefined);
});

test("numbers and sections are written as they are read", () => {
  for (const number of [0, 1, 127, 128, 300, 16_383, 16_384, 2 ** 31, 2 ** 32 - 1])
    assert.equal(new Reader(leb(number)).u32(), number);
  const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 13, 0, 1, 0]);
  const content = Buffer.alloc(300, 7);
  const [section] = sections(withCustomSection(empty, "plinth-manifest", content));
  const reader = new Reader(section.body);
  assert.deepEqual(
    [section.id, reader.text(), reader.take(300).equals(content), reader.done],
    [0, "plinth-manifest", true, true],
  );
  assert.throws(() => sections(Buffer.concat([empty, Buffer.from([0, 5, 1])])), /ends too early/);
});

test("types of lists are told from what the glue does with their elements", () => {
  const names = [
    "wit_dylib_push_list",
    "wit_dylib_push_u8",
    "wit_dylib_push_s64",
    "wit_dylib_push_string",
    "wit_dylib_list_append",
  ];
  const text = (string) => [string.length, ...Buffer.from(string)];
  const lists = [
    [3, 1],
    [4, 2],
    [200, 3],
  ]; // number of the list's type, function of its elements
  const constant = (number) => (number < 64 ? [0x41, number] : [0x41, (number & 127) | 128, number >> 7]);
  const body = [0, ...lists.flatMap(([number, push]) => [...constant(number), 0x10, 0, 0x10, push, 0x10, 4]), 0x0b];
  const section = (id, content) => [id, ...leb(content.length), ...content];
  const module = Buffer.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(2, [names.length, ...names.flatMap((name) => [...text("env"), ...text(name), 0, 0])]),
    ...section(10, [1, body.length, ...body]),
  ]);
  assert.deepEqual(listsOf(module), { bytes: 3, widths: new Map([[4, 8]]) });
});

/** Runs build.mjs on a folder of these files; answers what it said against it. */
function refused(files, ...words) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "plinth-test-"));
  try {
    for (const [name, content] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), content);
    execFileSync(process.execPath, [path.join(sdk, "build.mjs"), folder, ...words], {
      encoding: "utf8",
      stdio: "pipe",
    });
  } catch (error) {
    return error.stderr.replaceAll(folder, "FOLDER").trim();
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
  return assert.fail("it was built");
}

test("what is missing or wrong in a folder is said in a line", () => {
  assert.equal(
    refused({}),
    "build.mjs: there is no FOLDER/plugin.json: it says the plugin's name, version, kind and capabilities",
  );
  assert.match(refused({ "plugin.json": "{" }), /^build\.mjs: FOLDER\/plugin\.json: .*JSON/);
  assert.match(
    refused({ "plugin.json": manifest({ kind: ["gates"] }) }),
    /^build\.mjs: FOLDER\/plugin\.json: "kind" has "gates"/,
  );
  assert.equal(refused({ "plugin.json": manifest() }), "build.mjs: there is no FOLDER/plugin.js");
  assert.equal(
    refused({ "plugin.json": manifest(), "plugin.ts": "" }),
    "build.mjs: there is a plugin.ts and no plugin.js in FOLDER: run npx tsc first",
  );
  const kv = { "plugin.json": manifest(), "plugin.js": 'import { gate, kv } from "#plinth";' };
  assert.equal(refused(kv), 'build.mjs: plugin.js imports `kv`: add "kv" to capabilities in plugin.json');
  assert.match(refused(kv, "out", "more"), /say which folder/);
  assert.match(refused(kv, "--big"), /no option `--big`/);
});
