/** The manifest of a plugin: plugin.json. The host checks it again, and more of it, when it loads the plugin. */

/** The extension points that a plugin in JavaScript may have. */
export const KINDS = ["transform", "loader", "gate", "drift", "predict"];

/** What a plugin may ask for; `log` and `config` every plugin has. */
export const CAPABILITIES = ["objects", "tables", "kv", "http", "nn", "clock", "random", "secrets"];

/**
 * The name, kinds and capabilities that a manifest says.
 * @throws {Error} that says what is wrong
 */
export function readManifest(bytes) {
  const manifest = JSON.parse(bytes.toString());
  if (typeof manifest?.name !== "string" || !/^[a-z0-9][a-z0-9-]*$/.test(manifest.name)) {
    throw new Error(`"name" must be lower-case letters, digits and hyphens, not ${JSON.stringify(manifest?.name)}`);
  }
  if (typeof manifest.version !== "string") throw new Error(`"version" is missing: give one such as "0.1.0"`);
  const list = (key, known, least) => {
    const words = manifest[key] ?? [];
    if (!Array.isArray(words) || words.length < least)
      throw new Error(`"${key}" must be a list out of ${known.join(", ")}`);
    const unknown = words.find((word) => !known.includes(word));
    if (unknown !== undefined)
      throw new Error(`"${key}" has ${JSON.stringify(unknown)}; there are ${known.join(", ")}`);
    return words;
  };
  const capabilities = list("capabilities", [...CAPABILITIES, "log", "config"], 0);
  return {
    name: manifest.name,
    kind: list("kind", KINDS, 1),
    capabilities: CAPABILITIES.filter((name) => capabilities.includes(name)),
  };
}
