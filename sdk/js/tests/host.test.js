/** What the host offers, played by #plinth/testing, and what an item may do and say. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import {
  ANOTHER_PASS,
  Problem,
  Rows,
  Schema,
  clock,
  config,
  driftTest,
  gate,
  http,
  kv,
  loader,
  log,
  model,
  nn,
  objects,
  pack,
  random,
  secrets,
  tables,
  transform,
  unpack,
} from "#plinth";
import {
  apply,
  evaluate,
  fit,
  fitAndApply,
  lend,
  load,
  logged,
  predict,
  rows,
  start,
  test as drift,
} from "#plinth/testing";

beforeEach(() => lend.nothing());

test("what a test lends is what the code sees", () => {
  lend.setting("model", "small");
  lend.setting("batch", 32);
  lend.secret("key", "s3cret");
  lend.object("mem://a", "bytes");
  lend.object("mem://b", Uint8Array.of(1));
  lend.table("data", [rows({ x: [1] }), rows({ x: [2, 3] })]);
  lend.answer("https://a/", { status: 404, headers: [["x-a", "1"]], body: '{"k": 1}' });
  assert.deepEqual(
    [config.get("model"), config.get("none"), config.all()],
    ["small", null, { batch: "32", model: "small" }],
  );
  assert.equal(secrets.get("key"), "s3cret");
  const object = objects.open("mem://a");
  assert.deepEqual([object.size, String.fromCharCode(...object.read(2, 99))], [5, "tes"]);
  object.close();
  assert.throws(() => object.read(0, 1), /closed/);
  assert.deepEqual(objects.list("mem://"), ["mem://a", "mem://b"]);
  assert.deepEqual(
    [...tables.open("data")].map((rows) => rows.length),
    [1, 2],
  );
  const answer = http.get("https://a/");
  assert.deepEqual(
    [answer.status, answer.ok, answer.header("X-A"), answer.header("b"), answer.json()],
    [404, false, "1", null, { k: 1 }],
  );
  assert.deepEqual([random.bytes(3).length, typeof random.u64(), random.float() < 1], [3, "bigint", true]);
  assert.ok(clock.monotonicNs() < clock.monotonicNs());
});

test("what was not lent is the host's problem", () => {
  const fails = (call, code) => assert.throws(call, (error) => error instanceof Problem && error.code === code);
  fails(() => secrets.get("key"), "denied");
  fails(() => objects.open("mem://a"), "not-found");
  fails(() => tables.open("data"), "not-found");
  fails(() => http.get("https://a/"), "denied");
  fails(() => nn.load("m"), "not-found");
});

test("the store keeps copies, in pages", () => {
  const value = Uint8Array.of(1);
  for (const key of ["b", "a", "c"]) kv.set(key, value);
  value[0] = 2;
  kv.set("text", "é");
  assert.deepEqual([kv.get("a")[0], kv.getText("text"), kv.get("none"), kv.getText("none")], [1, "é", null, null]);
  kv.delete("b");
  assert.deepEqual(kv.keys(), ["a", "c", "text"]);
  assert.deepEqual(kv.keys({ after: "a", max: 1 }), ["c"]);
  assert.deepEqual(kv.keys({ prefix: "t" }), ["text"]);
  assert.throws(() => kv.set("a", 5), TypeError);
  const swaps = [["n", "0", "1"], ["n", null, "1"], ["n", null, "2"], ["n", "1", "2"], ["n", "", "3"]];
  assert.deepEqual(swaps.map((each) => kv.swap(...each)), [false, true, false, true, false]);
  assert.equal(kv.getText("n"), "2");
});

test("more objects than a page are listed", () => {
  const names = Array.from({ length: 2001 }, (_, number) => `many://${String(number).padStart(4, "0")}`);
  for (const name of names) lend.object(name, "");
  assert.deepEqual(objects.list("many://"), names);
});

test("a request has a method, pairs of headers and a body of bytes", () => {
  lend.answer("https://a/", ({ method, headers, body }) => ({ body: `${method} ${headers} ${body}` }));
  assert.equal(http.send({ method: "POST", url: "https://a/", headers: { n: 5 }, body: "x" }).text(), "post n,5 120");
  assert.throws(() => http.send({ method: "brew", url: "https://a/" }), /no method `brew`/);
});

test("tensors go and come as typed arrays", () => {
  lend.model("double", {
    inputs: [{ name: "x", type: "fp32", dimensions: [-1, 2] }],
    compute: ([{ data, dimensions }]) => [
      {
        name: "y",
        type: "int64",
        dimensions,
        data: BigInt64Array.from(new Float32Array(data.buffer), (value) => BigInt(value * 2)),
      },
    ],
  });
  const graph = nn.load("double");
  assert.deepEqual(graph.inputs(), [{ name: "x", type: "fp32", dimensions: [-1, 2] }]);
  const [y] = graph.compute([{ name: "x", type: "fp32", dimensions: [1, 2], data: Float32Array.of(1, 2) }]);
  assert.deepEqual(y, { name: "y", type: "int64", dimensions: [1, 2], data: BigInt64Array.of(2n, 4n) });
});

test("the log shows what it is given", () => {
  log.warn("rows", 5, { a: 1n }, [null], Uint8Array.of(1, 2), "\ud800");
  assert.deepEqual(logged, [{ level: "warn", message: 'rows 5 {"a":"1"} [null] [1,2] \ufffd' }]);
});

test("a plain function is a transform, whose state is its options", () => {
  const clip = transform({
    name: "clip",
    summary: "Holds numbers within a range",
    options: { min: { type: "number", default: 0 }, max: { type: "number", required: true } },
    apply(rows, { min, max }) {
      const { data } = rows.column("x").expect("float64");
      data.forEach((value, row) => (data[row] = Math.min(Math.max(value, min), max)));
      return rows;
    },
  });
  const given = rows({ x: [-1, null, 5] });
  assert.deepEqual(fitAndApply(clip, given, { max: 2 }).column("x").values(), [0, null, 2]);
  assert.deepEqual(given.column("x").values(), [-1, null, 5]);
  assert.throws(() => start(clip, given.schema), { code: "bad-options", message: "option `max`: it is missing" });
  assert.throws(() => apply(clip, Uint8Array.of(1), given), { code: "bad-state" });
});

test("a transform may add columns, and need several passes", () => {
  const ranked = transform({
    name: "above",
    summary: "Whether a number is above the mean",
    Fitting: class {
      pass = 0;
      sum = 0;
      n = 0;
      update(rows) {
        if (this.pass === 0) for (const value of rows.column("x").numbers()) ((this.sum += value), (this.n += 1));
      }
      endPass() {
        return this.pass++ === 0 ? ANOTHER_PASS : pack({ mean: this.sum / this.n });
      }
    },
    Fitted: class {
      constructor(state, input) {
        this.schema = input.with({ name: "above", kind: "boolean" });
        this.mean = unpack(state).mean;
      }
      output() {
        return this.schema;
      }
      apply(rows) {
        return Rows.of(this.schema, [
          ...rows.columns(),
          rows
            .column("x")
            .numbers()
            .map((value) => value > this.mean),
        ]);
      }
    },
  });
  assert.deepEqual(
    fitAndApply(ranked, rows({ x: [1, 2, 6] }))
      .column("above")
      .values(),
    [false, false, true],
  );
  assert.throws(() => fit(ranked, [rows({ x: [1] }), rows({ x: [2] })]), { code: "not-mergeable" });
});

test("what a transform makes must be what it said", () => {
  const wrong = (name, apply) => transform({ name, summary: "s", apply });
  const given = rows({ x: [1, 2] });
  assert.throws(
    () =>
      fitAndApply(
        wrong("fewer", () => rows({ x: [1] })),
        given,
      ),
    { code: "bad-output" },
  );
  assert.throws(
    () =>
      fitAndApply(
        wrong("other", () => rows({ y: [1, 2] })),
        given,
      ),
    { code: "bad-output" },
  );
  assert.throws(
    () =>
      fitAndApply(
        wrong("none", () => undefined),
        given,
      ),
    /must return rows/,
  );
});

test("async code is refused, since a call is over when it returns", () => {
  const later = transform({
    name: "later",
    summary: "s",
    Fitting: class {
      async update() {}
      endPass() {}
    },
    Fitted: class {},
  });
  assert.throws(() => fit(later, rows({ x: [1] })), /`update` of Fitting of `later` is async/);
  const never = gate({ name: "never", summary: "s", evaluate: async () => [] });
  assert.throws(() => evaluate(never, { candidate: {} }), /`evaluate` of `never` is async/);
  const nothing = transform({ name: "nothing", summary: "s", Fitting: class {}, Fitted: class {} });
  assert.throws(() => fit(nothing, rows({ x: [1] })), /Fitting of `nothing` has no method `update`/);
});

test("what is thrown and is no problem is logged with its stack, and goes on", () => {
  const broken = gate({
    name: "broken",
    summary: "s",
    evaluate() {
      return null.checks;
    },
  });
  assert.throws(() => evaluate(broken, { candidate: {} }), TypeError);
  assert.equal(logged.length, 1);
  assert.equal(logged[0].level, "error");
  assert.match(logged[0].message, /TypeError: .*\n.*host\.test\.js/);
});

test("a gate sees metrics, slices, tags and a baseline; its words become text", () => {
  const seen = gate({
    name: "seen",
    summary: "s",
    evaluate: ({ candidate, baseline }) => [
      { name: "a", outcome: "warn", observed: candidate.metric("f1").value, expected: candidate.metric("f1", "s").n },
      { name: "b", outcome: "pass", observed: candidate.tag("k"), reason: baseline?.reference },
    ],
  });
  const candidate = {
    metrics: [
      { name: "f1", value: 0.5 },
      { name: "f1", value: 1, slice: "s", n: 3 },
    ],
    tags: { k: "v" },
  };
  assert.deepEqual(evaluate(seen, { candidate, baseline: { reference: "old" } }), [
    { name: "a", outcome: "warn", observed: "0.5", expected: "3", reason: "" },
    { name: "b", outcome: "pass", observed: "v", expected: "", reason: "old" },
  ]);
  const wrong = gate({ name: "wrong", summary: "s", evaluate: () => [{ name: "a", outcome: "ok" }] });
  assert.throws(() => evaluate(wrong, { candidate: {} }), /must be pass, warn or fail/);
});

test("a loader's reader is closed at its end, and gives no more than was asked for", () => {
  let closed = 0;
  const count = loader({
    name: "count",
    summary: "s",
    options: { most: { type: "integer" } },
    plan: () => ({ schema: rows({ x: [1] }).schema, partitions: [{ token: Uint8Array.of(3) }] }),
    Reader: class {
      constructor(source, options, schema, token) {
        Object.assign(this, { schema, left: token[0], options });
      }
      next(most) {
        if (this.left === 0) return null;
        const n = Math.min(this.options.most ?? most, this.left);
        this.left -= n;
        return Rows.of(this.schema, [new Float64Array(n)]);
      }
      close() {
        closed += 1;
      }
    },
  });
  assert.deepEqual(
    load(count, "s", {}, 2).map((rows) => rows.length),
    [2, 1],
  );
  assert.equal(closed, 1);
  assert.throws(() => load(count, "s", { most: 2 }, 1), { code: "bad-output" });
});

test("a drift test gets one column of a kind that it takes", () => {
  const item = {
    summary: "s",
    kinds: ["float64"],
    test: () => ({ statistic: 1, threshold: 2, verdict: "no-drift", nReference: 1, nCurrent: 1 }),
  };
  const one = driftTest({ ...item, name: "one" });
  const x = rows({ x: [1] });
  assert.deepEqual(drift(one, x, x), {
    statistic: 1,
    pValue: null,
    effectSize: null,
    threshold: 2,
    verdict: "no-drift",
    nReference: 1,
    nCurrent: 1,
    note: null,
  });
  assert.throws(() => drift(one, rows({ x: [1], y: [1] }), rows({ x: [1], y: [1] })), { code: "wrong-columns" });
  assert.throws(() => drift(one, rows({ x: ["a"] }), rows({ x: ["a"] })), { code: "wrong-kind", column: "x" });
  const odd = driftTest({ ...item, name: "odd", multivariate: true, test: () => ({ verdict: "maybe" }) });
  assert.throws(() => drift(odd, rows({ x: [1], y: [1] }), rows({ x: [1], y: [1] })), /has the verdict "maybe"/);
});

test("a model is loaded once, and predicts as often as it is asked", () => {
  let loaded = 0;
  const scaled = model({
    name: "scaled",
    summary: "s",
    options: { by: { type: "number", default: 2 } },
    Predictor: class {
      constructor(artifact, input, { by }) {
        loaded += 1;
        if (artifact.length !== 1) throw new Problem("bad-artifact", `${artifact.length} bytes are no artifact`);
        Object.assign(this, { by: by * artifact[0], at: input.require("x", "float64") });
      }
      output() {
        return new Schema([{ name: "scaled", kind: "float64" }]);
      }
      predict(rows) {
        return Rows.of(this.output(), [rows.data(this.at).map((value) => value * this.by)]);
      }
    },
  });
  const given = rows({ n: [1n, 2n], x: [1.5, 2] });
  assert.deepEqual(predict(scaled, Uint8Array.of(3), given).toObjects(), [{ scaled: 9 }, { scaled: 12 }]);
  assert.deepEqual(predict(scaled, "\u0001", given, { by: -1 }).column(0).values(), [-1.5, -2]);
  assert.equal(loaded, 2);
  assert.throws(() => predict(scaled, "", given), { code: "bad-artifact" });
  assert.throws(() => predict(scaled, "a", rows({ y: [1] })), { code: "unknown-column", column: "x" });
  assert.throws(() => predict(scaled, "a", given, { be: 1 }), { code: "bad-options" });
  assert.throws(() => fitAndApply(scaled, given), /this is no transform: give what transform\(\) returned/);
  assert.throws(() => predict({}, "a", given), /this is no predict: give what model\(\) returned/);
});

test("what a model returns must be what it said", () => {
  const given = rows({ x: [1, 2] });
  const wrong = (name, does, says = () => given.schema) => {
    const Predictor = class {
      output = says;
      predict = does;
    };
    return model({ name, summary: "s", Predictor });
  };
  const fails = (item, expected) => assert.throws(() => predict(item, "", given), expected);
  fails(
    wrong("too-few", () => rows({ x: [1] })),
    { code: "bad-output", message: "`too-few` made 1 rows of 2" },
  );
  fails(
    wrong("other-columns", () => rows({ y: [1, 2] })),
    { code: "bad-output" },
  );
  fails(
    wrong("no-rows", () => [1, 2]),
    /predict of `no-rows` must return rows/,
  );
  fails(
    wrong("later", async (rows) => rows),
    /`predict` of Predictor of `later` is async/,
  );
  fails(
    wrong(
      "no-schema",
      (rows) => rows,
      () => ({ fields: [] }),
    ),
    /output of `no-schema` must return a Schema/,
  );
  fails(model({ name: "no-output", summary: "s", Predictor: class {} }), /has no method `output`/);
  assert.throws(() => model({ name: "no-class", summary: "s" }), /needs a class `Predictor`/);
});

test("items that no host would take are refused when they are offered", () => {
  const good = { name: "good", summary: "s", evaluate() {} };
  assert.throws(() => gate({ ...good, name: "Not Kebab" }), /kebab-case/);
  assert.throws(() => gate({ ...good, summary: "" }), /summary/);
  assert.throws(() => gate({ ...good, evaluate: undefined }), /needs a function `evaluate`/);
  assert.throws(() => transform({ name: "good", summary: "s", Fitting: class {} }), /needs a class `Fitted`/);
  assert.throws(() => driftTest({ name: "good", summary: "s", test() {}, kinds: ["number"] }), /it has number/);
  gate(good);
  assert.throws(() => gate({ ...good }), /two items `good`/);
});
