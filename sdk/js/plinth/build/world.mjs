/** What a manifest means for the component: its world, and the module that ties the plugin to it. */
import { CAPABILITIES } from "./manifest.mjs";

const VERSION = "0.2.0";
const ALWAYS = ["log", "config"];

/** The world of a plugin: what it asks for, and no more, since all that a world imports has to be granted. */
export function worldOf({ kind, capabilities }) {
  const imports = [...ALWAYS, ...capabilities].map((name) => `  import plinth:host/${name}@${VERSION};\n`);
  const exports = kind.map((point) => `  export plinth:${point}/${point}@${VERSION};\n`);
  return `package plinth:plugin;\n\nworld plugin {\n${imports.join("")}${exports.join("")}}\n`;
}

/** The module that the component runs: the environment, the plugin, then what it is tied to. */
export function entryOf({ kind, capabilities }) {
  const granted = [...ALWAYS, ...capabilities];
  return [
    `import "#plinth/environment";`,
    `import "./plugin.js";`,
    `import { connect, exported, onlyOf } from "#plinth/component";`,
    ...granted.map((name) => `import ${name} from "plinth:host/${name}@${VERSION}";`),
    `connect({ ${granted.join(", ")} }, { component: true });`,
    `onlyOf(${JSON.stringify(kind)});`,
    ...kind.map((point) => `export const ${point} = exported("${point}");`),
    "",
  ].join("\n");
}

/** A capability that a module imports by name and that is not among those of the manifest. */
export function undeclared(source, capabilities) {
  for (const [, names] of source.matchAll(/\bimport\s*\{([^}]*)\}\s*from\s*["']#plinth["']/g)) {
    for (const name of names.split(",").map((name) => name.trim().split(/\s+as\s+/)[0])) {
      if (CAPABILITIES.includes(name) && !capabilities.includes(name)) return name;
    }
  }
  return undefined;
}
