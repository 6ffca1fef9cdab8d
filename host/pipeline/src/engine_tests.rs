//! What the engine runs, what it links, and what it leaves behind when it is stopped.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use plinth_core::{Code, Coded, codes};
use plinth_store::StoreError;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Cache, Cancel, Graph, Handlers, InputRef, Observer, Output, Overrides, Pipeline, PipelineError, Report, RunOptions,
    StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageReport, StageSpec, run,
};

/// Writes `text` after what its inputs hold; counts its runs.
#[derive(Clone, Default)]
struct Append {
    runs: Arc<AtomicUsize>,
    fail: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    text: String,
    from: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("it was told to fail")]
struct Told;

impl Coded for Told {
    fn code(&self) -> Code {
        codes::GATE_FAILED
    }
}

impl StageHandler for Append {
    fn kind(&self) -> &'static str {
        "append"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        let inputs = config.from.map(|from| InputRef::new("from", from)).into_iter().collect();
        Ok(StagePlan { inputs, params: json!({"text": config.text}), outputs: vec!["text", "copy"] })
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let config: Config = stage.stage.config()?;
        if self.fail.load(Ordering::Relaxed) && config.text == "c" {
            return Err(Told.into());
        }
        if self.stop.load(Ordering::Relaxed) && config.text == "b" {
            stage.cancel.stop();
            stage.cancel.check()?;
        }
        let blobs = stage.cache.store().blobs();
        let mut text = match stage.inputs.get("from") {
            Some(input) => blobs.get(&input.blob)?.to_vec(),
            None => Vec::new(),
        };
        text.extend_from_slice(config.text.as_bytes());
        let blob = blobs.put(&text)?;
        let output = |name: &str| Output { name: name.into(), blob, bytes: text.len() as u64 };
        Ok(StageOutcome { outputs: vec![output("text"), output("copy")], ..StageOutcome::default() })
    }
}

#[derive(Default)]
struct Quiet {
    begun: AtomicUsize,
    abandoned: Mutex<Vec<String>>,
}

impl Observer for Quiet {
    fn begin(&self) -> Result<String, StageFailure> {
        Ok(format!("run{}", self.begun.fetch_add(1, Ordering::Relaxed)))
    }
    fn started(&self, _stage: &str, abandoned: Option<&str>) {
        self.abandoned.lock().unwrap().extend(abandoned.map(str::to_owned));
    }
    fn progress(&self, _stage: &str, _done: u64, _total: Option<u64>) {}
    fn finished(&self, _stage: &StageReport) {}
}

const CHAIN: &str = "\
name: x
params: {word: b}
stages:
  one: {kind: append, text: a}
  two: {kind: append, text: '${params.word}', from: one}
  three: {kind: append, text: c, from: two.copy}
  aside: {kind: append, text: z, from: one}
";

struct Bench {
    dir: tempfile::TempDir,
    append: Append,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), append: Append::default() }
    }

    fn cache(&self) -> Cache {
        Cache::new(Arc::new(
            plinth_store::Store::open(&self.dir.path().join("state"), plinth_store::Access::Shared).unwrap(),
        ))
    }

    fn run_with(&self, text: &str, params: &[&str], options: &RunOptions<'_>) -> Result<Report, PipelineError> {
        let params = params.iter().map(|p| (*p).to_owned()).collect();
        let overrides = Overrides { params, settings: vec![] };
        let pipeline = Pipeline::parse(text, "plinth.yaml", PathBuf::from("."), &overrides)?;
        let handlers = Handlers::default().with(self.append.clone());
        let graph = Graph::new(&pipeline, &handlers)?;
        run(&graph, &self.cache(), &Quiet::default(), &Cancel::new(), options)
    }

    fn run(&self, params: &[&str]) -> Result<Report, PipelineError> {
        self.run_with(CHAIN, params, &RunOptions::default())
    }

    fn runs(&self) -> usize {
        self.append.runs.swap(0, Ordering::Relaxed)
    }
}

fn ran(report: &Report) -> Vec<&str> {
    report.stages.iter().filter(|stage| !stage.cached).map(|stage| stage.name.as_str()).collect()
}

#[test]
fn a_second_run_does_nothing_and_one_parameter_runs_only_what_depends_on_it() {
    let bench = Bench::new();
    let first = bench.run(&[]).unwrap();
    assert_eq!(ran(&first), ["one", "two", "three", "aside"]);
    assert_eq!(bench.runs(), 4);
    let second = bench.run(&[]).unwrap();
    assert!(second.nothing_to_do() && second.run_id.is_none());
    assert_eq!(bench.runs(), 0);
    let keys = |report: &Report| report.stages.iter().map(|stage| stage.key).collect::<Vec<_>>();
    assert_eq!(keys(&first), keys(&second));
    let changed = bench.run(&["word=B"]).unwrap();
    assert_eq!(ran(&changed), ["two", "three"]);
    let back = bench.run(&[]).unwrap();
    assert!(back.nothing_to_do(), "both results stay filed");
}

#[test]
fn a_stage_whose_inputs_turn_out_the_same_is_not_run_again() {
    let bench = Bench::new();
    bench.run_with(CHAIN, &[], &RunOptions::default()).unwrap();
    // Another first stage that makes the same bytes.
    let text = CHAIN
        .replace("one: {kind: append, text: a}", "zero: {kind: append}\n  one: {kind: append, text: a, from: zero}");
    let report = bench.run_with(&text, &[], &RunOptions::default()).unwrap();
    assert_eq!(ran(&report), ["zero", "one"]);
}

#[test]
fn one_stage_brings_what_it_needs_and_force_runs_it_again() {
    let bench = Bench::new();
    let only = RunOptions { only: Some("two"), force: false };
    assert_eq!(ran(&bench.run_with(CHAIN, &[], &only).unwrap()), ["one", "two"]);
    let force = RunOptions { only: Some("two"), force: true };
    assert_eq!(ran(&bench.run_with(CHAIN, &[], &force).unwrap()), ["two"]);
    let unknown = RunOptions { only: Some("tow"), force: false };
    let error = bench.run_with(CHAIN, &[], &unknown).unwrap_err();
    assert_eq!((error.code(), error.hint().unwrap().as_str()), (codes::UNKNOWN_STAGE, "did you mean `two`?"));
}

#[test]
fn a_failed_run_goes_on_where_it_failed() {
    let bench = Bench::new();
    bench.append.fail.store(true, Ordering::Relaxed);
    let error = bench.run(&[]).unwrap_err();
    assert_eq!(error.to_string(), "stage `three`: it was told to fail");
    assert_eq!(error.code(), codes::GATE_FAILED);
    bench.append.fail.store(false, Ordering::Relaxed);
    let report = bench.run(&[]).unwrap();
    assert!(ran(&report).contains(&"three") && !ran(&report).contains(&"two"), "{:?}", ran(&report));
}

#[test]
fn a_stopped_run_says_so_and_gives_its_lease_back() {
    let bench = Bench::new();
    bench.append.stop.store(true, Ordering::Relaxed);
    let error = bench.run(&[]).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (codes::INTERRUPTED, "stopped by the user in stage `two`"));
    bench.append.stop.store(false, Ordering::Relaxed);
    assert!(ran(&bench.run(&[]).unwrap()).contains(&"two"));
}

#[test]
fn the_lease_of_a_dead_run_is_gone_after_the_next_although_no_stage_wants_it() {
    let bench = Bench::new();
    let store = bench.cache().store().clone();
    let leases =
        || store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT owner FROM leases", &[])).unwrap().len();
    bench.run(&[]).unwrap();
    let insert = "INSERT INTO leases (stage_key, owner, deadline_us) VALUES ('old', '1@0 gone', 9000000000000000)";
    store.catalog().write::<_, StoreError>(|tx| tx.execute(insert, &[]).map(|_| ())).unwrap();
    assert!(bench.run(&[]).unwrap().nothing_to_do());
    assert_eq!(leases(), 0);
}

#[test]
fn a_blob_that_is_gone_is_made_again() {
    let bench = Bench::new();
    let report = bench.run(&[]).unwrap();
    let blob = report.stage("two").unwrap().outcome.outputs[0].blob;
    std::fs::remove_file(bench.cache().store().blobs().path(&blob)).unwrap();
    assert_eq!(ran(&bench.run(&[]).unwrap()), ["two"]);
}

#[test]
fn circles_are_named_from_the_stage_that_comes_first() {
    let bench = Bench::new();
    for (text, circle) in [
        (
            "name: x\nstages:\n  a: {kind: append, from: c}\n  b: {kind: append, from: a}\n  c: {kind: append, from: b}\n",
            "a -> b -> c -> a",
        ),
        ("name: x\nstages:\n  z: {kind: append}\n  a: {kind: append, from: a}\n", "a -> a"),
        (
            "name: x\nstages:\n  a: {kind: append}\n  b: {kind: append, after: c}\n  c: {kind: append, from: b}\n",
            "b -> c -> b",
        ),
    ] {
        let error = bench.run_with(text, &[], &RunOptions::default()).unwrap_err();
        assert_eq!(error.code(), codes::PIPELINE_CYCLE);
        assert!(error.to_string().ends_with(&format!("in a circle: {circle}")), "{error}");
    }
}

#[test]
fn unknown_kinds_stages_and_outputs_get_a_suggestion() {
    let bench = Bench::new();
    for (from, to, code, text, hint) in [
        (
            "kind: append, text: z",
            "kind: apend, text: z",
            codes::BAD_PIPELINE,
            "plinth.yaml:7:11: stage `aside` has the unknown kind `apend`",
            "did you mean `append`?",
        ),
        (
            "from: two.copy",
            "from: tow.copy",
            codes::UNKNOWN_STAGE,
            "plinth.yaml:6:34: stage `three`: `tow` names no stage",
            "did you mean `two`?",
        ),
        (
            "from: two.copy",
            "from: two.cop",
            codes::UNKNOWN_STAGE,
            "plinth.yaml:6:34: stage `two` has no output `cop`",
            "did you mean `copy`?",
        ),
    ] {
        let error = bench.run_with(&CHAIN.replace(from, to), &[], &RunOptions::default()).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
        assert_eq!(error.hint().unwrap(), hint);
    }
}
