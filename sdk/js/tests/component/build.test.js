/**
 * Components made by build.mjs, with the tool that makes them (`npm ci`): what they contain, and what is refused.
 * That they do in Plinth what they do in Node is for the conformance suite.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { exportsOf } from "../../plinth/build/raw-lists.mjs";
import { Reader, importedFunctions, mapModules, sections } from "../../plinth/build/wasm.mjs";

const sdk = fileURLToPath(new URL("../..", import.meta.url));
const work = fs.mkdtempSync(path.join(os.tmpdir(), "plinth-test-"));
after(() => fs.rmSync(work, { recursive: true }));

// A folder as `plinth plugin new` makes it: the SDK beside the plugin.
for (const name of ["plinth", "build.mjs", "package.json"])
  fs.cpSync(path.join(sdk, name), path.join(work, name), { recursive: true });
const wit = path.join(work, "plinth/wit");
if (!fs.existsSync(wit)) fs.cpSync(path.join(sdk, "../../wit"), wit, { recursive: true });
fs.symlinkSync(path.join(sdk, "node_modules"), path.join(work, "node_modules"));

function build(files, ...words) {
  const folder = fs.mkdtempSync(path.join(work, "plugin-"));
  for (const [name, content] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), content);
  const out = path.join(folder, "out.wasm");
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(work, "build.mjs"), folder, out, ...words],
    { encoding: "utf8" },
  );
  return { status, said: stdout + stderr, component: status === 0 ? fs.readFileSync(out) : undefined };
}

const manifest = (change) =>
  JSON.stringify({ name: "x-js", version: "0.1.0", kind: ["gate"], capabilities: [], ...change });
const GATE = 'gate({ name: "x", summary: "s", evaluate: () => [] });';

/** What a component imports: names that begin with `plinth:host/`, and WASI's. */
function imports(component) {
  const found = [];
  for (const { id, body } of sections(component)) {
    if (id !== 10) continue;
    const reader = new Reader(body);
    for (let left = reader.u32(); left > 0; left--) {
      reader.byte();
      found.push(reader.text());
      reader.take(2);
    }
  }
  return found;
}

test("each example builds, with its manifest at the end and no WASI", () => {
  for (const example of fs.readdirSync(path.join(sdk, "examples"))) {
    const folder = path.join(sdk, "examples", example);
    const files = Object.fromEntries(
      ["plugin.json", "plugin.js"].map((name) => [name, fs.readFileSync(path.join(folder, name))]),
    );
    const { status, said, component } = build(files);
    assert.equal(status, 0, said);
    const { id, body } = sections(component).at(-1);
    const reader = new Reader(body);
    assert.deepEqual(
      [id, reader.text(), body.subarray(reader.at).equals(files["plugin.json"])],
      [0, "plinth-manifest", true],
    );
    const { capabilities } = JSON.parse(files["plugin.json"]);
    const wanted = ["log", "config", ...capabilities].map((name) => `plinth:host/${name}@0.2.0`);
    assert.deepEqual(
      imports(component)
        .filter((name) => !name.startsWith("plinth:types/"))
        .sort(),
      wanted.sort(),
    );
  }
});

test("lists of numbers reach JavaScript as bytes: a function of ours is before the runtime's own", () => {
  const plugin = 'import { transform } from "#plinth"; transform({ name: "x", summary: "s", apply: (rows) => rows });';
  const { component } = build({ "plugin.json": manifest({ kind: ["transform"] }), "plugin.js": plugin });
  const found = [];
  mapModules(component, (module) => {
    const body = (id) => sections(module).find((section) => section.id === id)?.body;
    const exported = body(7) && exportsOf(body(7)).find(({ name }) => name === "wit_dylib_push_list");
    if (exported) found.push([exported.index, importedFunctions(module).length + new Reader(body(3)).u32() - 1]);
  });
  assert.equal(found.length, 1);
  assert.equal(...found[0]);
});

test("modules beside plugin.js, and packages below it, are built in", () => {
  const { status, said } = build({
    "plugin.json": manifest(),
    "rules.js": 'export const summary = "s";',
    "plugin.js":
      'import { gate } from "#plinth"; import { summary } from "./rules.js"; ' +
      'gate({ name: "x", summary, evaluate: () => [] });',
  });
  assert.equal(status, 0, said);
});

for (const [what, files, said] of [
  [
    "a syntax error",
    { "plugin.js": 'import { gate } from "#plinth";\nconst a = ;\n' },
    /^build\.mjs: .*unexpected token.*\n.*plugin\.js:2/,
  ],
  [
    "an error while it is loaded",
    { "plugin.js": 'throw new Error("too early");' },
    /^build\.mjs: .*too early\n.*plugin\.js:1/,
  ],
  ["an import of nothing", { "plugin.js": 'import "./nothing.js";' }, /nothing\.js/],
  ["a name that the SDK has not", { "plugin.js": 'import { gates } from "#plinth";' }, /'gates'/],
  ["no item", { "plugin.js": "" }, /plugin\.json says kind "gate", and plugin\.js offers no gate/],
  [
    "an item of a kind that is not listed",
    { "plugin.js": `import { gate } from "#plinth"; ${GATE}`, "plugin.json": manifest({ kind: ["drift"] }) },
    /offers the gate `x`: add "gate" to kind/,
  ],
  ["a bad item", { "plugin.js": 'import { gate } from "#plinth"; gate({ name: "X" });' }, /kebab-case/],
  [
    "the host while it is loaded",
    { "plugin.js": `import { gate, config } from "#plinth"; config.get("x"); ${GATE}` },
    /only while the plugin works on a call/,
  ],
]) {
  test(`${what} is told`, () => {
    const { status, said: told } = build({ "plugin.json": manifest(), ...files });
    assert.equal(status, 1);
    assert.match(told, said);
  });
}

test("without the tool it says how to get it", () => {
  fs.rmSync(path.join(work, "node_modules"));
  try {
    const { status, said } = build({
      "plugin.json": manifest(),
      "plugin.js": `import { gate } from "#plinth"; ${GATE}`,
    });
    assert.equal(status, 1);
    assert.match(said, /^build\.mjs: componentize-qjs, which makes the component, cannot be loaded: run `npm ci` in /);
  } finally {
    fs.symlinkSync(path.join(sdk, "node_modules"), path.join(work, "node_modules"));
  }
});
