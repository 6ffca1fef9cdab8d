/** The plugin of the README does what it says there. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readManifest } from "../plinth/build/manifest.mjs";

const sdk = fileURLToPath(new URL("..", import.meta.url));

test("the example passes its own test", () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "plinth-test-"));
  try {
    for (const name of ["plinth", "package.json"])
      fs.cpSync(path.join(sdk, name), path.join(folder, name), { recursive: true });
    const text = fs.readFileSync(path.join(sdk, "README.md"), "utf8");
    const blocks = [...text.matchAll(/^`([^`]+)`[^\n]*:\n\n```js(?:on)?\n([^]*?)```/gm)];
    assert.deepEqual(
      blocks.map(([, name]) => name),
      ["plugin.js", "plugin.json", "plugin.test.js"],
    );
    for (const [, name, content] of blocks) fs.writeFileSync(path.join(folder, name), content);
    assert.equal(readManifest(fs.readFileSync(path.join(folder, "plugin.json"))).name, "ratio");
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const { status, stdout } = spawnSync(process.execPath, ["--test", "--test-reporter=tap"], {
      cwd: folder,
      encoding: "utf8",
      env,
    });
    assert.equal(status, 0, stdout);
    assert.match(stdout, /# pass 1\n/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
