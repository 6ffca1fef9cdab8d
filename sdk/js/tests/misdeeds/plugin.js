// A gate that misbehaves on command: the option `deed` is the misdeed.
import { gate } from "#plinth";

function evaluate(_evidence, { deed }) {
  let observed = "nothing";
  if (deed === "loop") for (;;);
  if (deed === "bomb") for (const held = []; ; ) held.push(new Uint8Array(1 << 20).fill(1));
  if (deed === "flood") for (let i = 0; i < 20_000; i++) console.log("x".repeat(1_000));
  if (deed === "lie") observed = "x".repeat(48 << 20); // more than any gate may return
  if (deed === "crash") throw new Error("evil crash on command");
  return [{ name: "behaves", outcome: "pass", observed, expected: "nothing", reason: "" }];
}

export default gate({
  name: "misdeeds",
  summary: "Misbehaves on command",
  options: { deed: { type: "string", default: "good" } },
  evaluate,
});
