//! What the pipeline file accepts, and how it says no.

use std::path::PathBuf;

use plinth_core::Coded;
use serde::Deserialize;
use serde_json::json;

use crate::{Overrides, Pipeline, PipelineError};

const TEXT: &str = "\
name: churn
params:
  trainer: forest
  depth: 3
stages:
  load:
    kind: load
    source: data/${params.trainer}.csv
  train:
    kind: train
    after: load
    trainer: ${params.trainer}
    params:
      depth: ${params.depth}
";

fn parse(text: &str, params: &[&str], settings: &[&str]) -> Result<Pipeline, PipelineError> {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    let overrides = Overrides { params: owned(params), settings: owned(settings) };
    Pipeline::parse(text, "plinth.yaml", PathBuf::from("."), &overrides)
}

fn told(result: Result<impl Sized, PipelineError>) -> String {
    let error = result.err().unwrap();
    format!("[{}] {error} / {}", error.code(), error.hint().unwrap_or_default())
}

#[test]
fn parameters_keep_their_type_and_are_spelled_out_in_text() {
    let pipeline = parse(TEXT, &["trainer=boosting"], &["train.params.rounds=10"]).unwrap();
    assert_eq!(pipeline.experiment, "churn");
    assert_eq!(pipeline.stages[0].config["source"], json!("data/boosting.csv"));
    assert_eq!(pipeline.stages[1].config["params"], json!({"depth": 3, "rounds": 10}));
    assert_eq!(pipeline.stages[1].after, ["load"]);
}

#[test]
fn what_does_not_exist_is_named_with_its_place() {
    assert_eq!(
        told(parse(TEXT, &["trianer=x"], &[])),
        "[unknown-parameter] -p trianer=x: unknown parameter `trianer` / did you mean `trainer`?"
    );
    assert_eq!(
        told(parse(TEXT, &[], &["trian.depth=1"])),
        "[unknown-stage] --set trian.depth=1: `trian` names no stage / did you mean `train`?"
    );
    assert_eq!(
        told(parse(&TEXT.replace("params.depth}", "params.dept}"), &[], &[])),
        "[unknown-parameter] plinth.yaml:14:7: unknown parameter `dept` / did you mean `depth`?"
    );
    assert_eq!(
        told(parse(&TEXT.replace("params:\n  trainer", "parms:\n  trainer"), &[], &[])),
        "[bad-pipeline] plinth.yaml:2:1: unknown key `parms` / did you mean `params`?"
    );
}

#[test]
fn an_unknown_key_of_a_stage_names_its_line_or_its_argument() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Load {
        #[expect(dead_code, reason = "only its name matters here")]
        source: String,
    }
    let pipeline = parse(&TEXT.replace("    source:", "    sorce:"), &[], &[]).unwrap();
    assert_eq!(
        told(pipeline.stages[0].config::<Load>()),
        "[bad-pipeline] plinth.yaml:8:5: unknown key `sorce` in stage `load` (load) / did you mean `source`?"
    );
    let pipeline = parse(TEXT, &[], &["load.surce=1"]).unwrap();
    assert_eq!(
        told(pipeline.stages[0].config::<Load>()),
        "[bad-pipeline] --set load.surce=1: unknown key `surce` in stage `load` (load) / did you mean `source`?"
    );
}

#[test]
fn broken_files_are_refused_with_a_position() {
    for (text, expected) in [
        ("", "the file is empty"),
        ("name: x\nstages: {}\n", "at least one stage"),
        ("name: x\nstages:\n  a: {kind: load}\n  a: {kind: load}\n", "duplicate"),
        ("name: x\nstages:\n  a: 3\n", "plinth.yaml:3:3: stage `a` is not a mapping"),
        ("name: x\nstages:\n  a: {after: b}\n", "plinth.yaml:3:3: stage `a` needs a `kind`"),
        ("name: x\nstages:\n  a/b: {kind: load}\n", "cannot be the name of a stage"),
        ("name: [\n", "plinth.yaml:2:1"),
        ("name: x\nparams: {a: 1}\nstages:\n  a: {kind: load, x: ${params.a}}\n", "put it in quotes"),
        ("name: x\nstages:\n  a: {kind: load, x: '${params'}\n", "does not close"),
        ("name: x\nstages:\n  a: {kind: load, x: '${env.HOME}'}\n", "is not a parameter"),
    ] {
        let message = told(parse(text, &[], &[]));
        assert!(message.contains(expected), "{text:?} gave {message}");
        assert!(message.starts_with("[bad-pipeline] plinth.yaml"), "{message}");
    }
}
