#!/usr/bin/env node
/**
 * Builds a plugin in JavaScript:   node build.mjs FOLDER [OUT.wasm]
 *
 * FOLDER has plugin.json, which says who the plugin is and becomes its manifest, and plugin.js. OUT is
 * FOLDER/NAME.wasm if it is not given. Needed: Node 20 or newer, and `npm ci` once beside this file.
 *
 * --small       the smaller JavaScript engine: about 530 KB less, and 1.7 times as slow
 * PLINTH_WIT    the WIT packages [default: plinth/wit beside this file, then wit/ of Plinth's repository]
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readManifest } from "./plinth/build/manifest.mjs";
import { rawLists } from "./plinth/build/raw-lists.mjs";
import { withCustomSection } from "./plinth/build/wasm.mjs";
import { entryOf, undeclared, worldOf } from "./plinth/build/world.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));

/** What a person can mend; shown without a stack. */
class Refused extends Error {}

async function main(words) {
  const flags = words.filter((word) => word.startsWith("--"));
  const [folder, out, ...more] = words.filter((word) => !word.startsWith("--"));
  const unknown = flags.find((flag) => flag !== "--small");
  if (unknown) throw new Refused(`there is no option \`${unknown}\``);
  if (!folder || more.length > 0) throw new Refused("say which folder: node build.mjs FOLDER [OUT.wasm]");

  const { bytes, manifest } = read(path.join(folder, "plugin.json"), (bytes) => readManifest(bytes));
  const plugin = path.join(folder, "plugin.js");
  if (!fs.existsSync(plugin)) {
    const typed = fs.existsSync(path.join(folder, "plugin.ts"));
    throw new Refused(
      typed ? `there is a plugin.ts and no plugin.js in ${folder}: run npx tsc first` : `there is no ${plugin}`,
    );
  }
  const missing = undeclared(fs.readFileSync(plugin, "utf8"), manifest.capabilities);
  if (missing) throw new Refused(`plugin.js imports \`${missing}\`: add "${missing}" to capabilities in plugin.json`);

  const component = await componentOf(folder, manifest, flags.includes("--small"));
  const target = out ?? path.join(folder, `${manifest.name}.wasm`);
  const whole = withCustomSection(component, "plinth-manifest", bytes);
  fs.writeFileSync(`${target}.new`, whole);
  fs.renameSync(`${target}.new`, target);
  console.log(`${target}: ${Math.floor(whole.length / 1024)} KiB`);
}

function read(file, parse) {
  if (!fs.existsSync(file)) {
    throw new Refused(`there is no ${file}: it says the plugin's name, version, kind and capabilities`);
  }
  const bytes = fs.readFileSync(file);
  try {
    return { bytes, manifest: parse(bytes) };
  } catch (error) {
    throw new Refused(`${file}: ${error.message}`);
  }
}

/** The component of a plugin, without its manifest. */
async function componentOf(folder, manifest, small) {
  const { componentize } = await tool();
  const work = fs.mkdtempSync(path.join(os.tmpdir(), "plinth-js-"));
  try {
    const packages = witPackages();
    for (const name of fs.readdirSync(packages, { withFileTypes: true })) {
      // Older versions lie in a folder of their own.
      if (!name.isDirectory() || name.name === "frozen") continue;
      fs.cpSync(path.join(packages, name.name), path.join(work, "deps", name.name), { recursive: true });
    }
    fs.writeFileSync(path.join(work, "plugin.wit"), worldOf(manifest));
    const made = await componentize({
      witPath: work,
      world: "plugin",
      // The module is only in memory. Its imports are looked up from where a file lies: one beside plugin.js.
      jsPath: path.join(fs.realpathSync(folder), "plugin.json"),
      jsSource: entryOf(manifest),
      moduleRoot: projectOf(folder),
      stubWasi: true,
      sync: true,
      optSize: small,
    });
    return rawLists(made.component);
  } catch (error) {
    if (error instanceof Refused || error.code !== "GenericFailure") throw error;
    throw new Refused(readable(error.message));
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

async function tool() {
  try {
    return await import("componentize-qjs");
  } catch (error) {
    throw new Refused(
      `componentize-qjs, which makes the component, cannot be loaded: run \`npm ci\` in ${here} (${error.message})`,
    );
  }
}

function witPackages() {
  const places = [process.env.PLINTH_WIT, path.join(here, "plinth/wit"), path.join(here, "../../wit")];
  const found = places.find((place) => place && fs.existsSync(path.join(place, "types/types.wit")));
  return (
    found ??
    refuse(`there are no WIT packages in ${places.filter(Boolean).join(" or ")}: name their folder in PLINTH_WIT`)
  );
}

/** The nearest folder whose package.json says where `#plinth` is: modules are looked for in it and below. */
function projectOf(folder) {
  for (let at = fs.realpathSync(folder); ; at = path.dirname(at)) {
    const file = path.join(at, "package.json");
    if (fs.existsSync(file) && JSON.parse(fs.readFileSync(file, "utf8")).imports?.["#plinth"]) return at;
    if (at === path.dirname(at)) break;
  }
  return refuse(
    `no package.json in ${folder} or above it has "#plinth" among its imports: copy the one beside build.mjs`,
  );
}

function refuse(message) {
  throw new Refused(message);
}

/** What the tool says, without how it says it. */
function readable(message) {
  return message
    .replace(/^[:\s]*(Failed to [^:]*: )*/, "")
    .replace(/^Error: /, "")
    .trim();
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`build.mjs: ${error instanceof Refused ? error.message : error.stack}`);
  process.exitCode = 1;
}
