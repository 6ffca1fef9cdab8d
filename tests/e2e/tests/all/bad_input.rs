//! Every wrong input gets a message that names the place, the value and the fix, a stable code and an exit code.

use plinth_e2e::{Done, Project};

/// The churn example with its data replaced.
fn with_data(change: impl Fn(Vec<String>) -> Vec<String>) -> Done {
    let project = Project::churn();
    let path = "data/mlc_churn_events.csv";
    let text = std::fs::read_to_string(project.path(path)).expect("the data");
    let lines = change(text.lines().map(str::to_owned).collect());
    project.write(path, lines.join("\n") + if lines.is_empty() { "" } else { "\n" });
    let done = project.run(&["run"]);
    assert_eq!(project.json(&["model", "list"]), serde_json::json!([]), "nothing is registered");
    done
}

/// Sets one cell; rows count from the first data line, as 1.
fn set(mut lines: Vec<String>, row: usize, column: usize, value: &str) -> Vec<String> {
    let mut cells: Vec<&str> = lines[row].split(',').collect();
    cells[column] = value;
    lines[row] = cells.join(",");
    lines
}

const LABEL: usize = 22;
const DAY_MINUTES: usize = 9;
/// Its type is inferred.
const EVE_MINUTES: usize = 12;

#[test]
fn a_missing_file_is_named() {
    let project = Project::churn();
    std::fs::remove_file(project.path("data/mlc_churn_events.csv")).expect("removable");
    project.run(&["run"]).fails(6, "file-not-found", &["mlc_churn_events.csv"]);
}

#[test]
fn a_missing_pipeline_file_is_named() {
    Project::empty().run(&["run", "other.yaml"]).fails(6, "file-not-found", &["other.yaml"]);
}

#[test]
fn an_empty_file_and_a_header_alone_are_empty_input() {
    with_data(|_| vec![]).fails(5, "empty-input", &["mlc_churn_events.csv"]);
    with_data(|lines| lines[..1].to_vec()).fails(5, "empty-input", &["mlc_churn_events.csv"]);
}

#[test]
fn a_ragged_row_is_named_by_its_line() {
    with_data(|mut lines| {
        lines[7].push_str(",surplus");
        lines
    })
    .fails(5, "bad-table", &["line 8"]);
}

#[test]
fn a_wrong_type_is_named_by_line_column_and_value() {
    with_data(|lines| set(lines, 4321, DAY_MINUTES, "lots")).fails(
        5,
        "bad-value",
        &["4322", "total_day_minutes", "lots"],
    );
}

#[test]
fn a_wrong_value_in_a_column_of_inferred_numbers_is_told() {
    let done = with_data(|lines| set(lines, 4321, EVE_MINUTES, "lots"));
    assert!(done.stderr.contains("`total_eve_minutes` is read as text"), "{}", done.stderr);
    assert!(done.stderr.contains("`lots`") && done.stderr.contains("types: {"), "{}", done.stderr);
}

#[test]
fn an_infinite_value_is_told_by_its_column() {
    with_data(|lines| set(lines, 4000, EVE_MINUTES, "inf")).fails(5, "not-finite", &["total_eve_minutes", "inf"]);
}

#[test]
fn a_wrong_command_line_is_json_where_json_was_asked_for() {
    let done = Project::empty().run(&["monitor", "check", "churn", "--json"]);
    assert_eq!(done.code, Some(2));
    let error: serde_json::Value = serde_json::from_str(done.stderr.trim()).expect("one JSON object");
    assert_eq!(error["error"]["code"], "usage");
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("--current")), "{error}");
}

#[test]
fn an_unknown_column_gets_a_suggestion() {
    let project = Project::churn();
    project.edit("plinth.yaml", "label: churn", "label: chrun");
    let done = project.run(&["run"]);
    assert!(["unknown-column", "bad-label"].iter().any(|code| done.stderr.contains(code)), "{}", done.stderr);
    assert_eq!(done.code, Some(5));
    assert!(done.stderr.contains("chrun") && done.stderr.contains("churn"), "{}", done.stderr);
}

#[test]
fn a_label_with_a_single_value_or_a_null_cannot_be_learned() {
    let single = |lines: Vec<String>| {
        let n = lines.len();
        (1..n).fold(lines, |lines, row| set(lines, row, LABEL, "no"))
    };
    let done = with_data(single);
    assert!(done.stderr.contains("churn"), "{}", done.stderr);
    assert!([Some(3), Some(5)].contains(&done.code), "{:?} {}", done.code, done.stderr);
    let done = with_data(|lines| set(lines, 100, LABEL, ""));
    assert!([Some(3), Some(5)].contains(&done.code), "{:?} {}", done.code, done.stderr);
}

#[test]
fn infinite_numbers_are_refused_by_name() {
    let done = with_data(|lines| set(lines, 10, DAY_MINUTES, "inf"));
    assert!([Some(3), Some(5)].contains(&done.code), "{:?} {}", done.code, done.stderr);
    assert!(
        done.stderr.contains("total_day_minutes") || done.stdout.contains("total_day_minutes"),
        "{}{}",
        done.stdout,
        done.stderr
    );
}

#[test]
fn unknown_keys_get_line_and_suggestion() {
    let project = Project::churn();
    project.edit("plinth.yaml", "label: churn", "lable: churn");
    project.run(&["run"]).fails(2, "bad-pipeline", &["plinth.yaml", "lable", "label"]);
    project.run(&["run", "-p", "trianer=x"]).fails(2, "unknown-parameter", &["trianer", "trainer"]);
}

#[test]
fn cycles_and_missing_dependencies_are_named() {
    let project = Project::empty();
    project.write(
        "plinth.yaml",
        "name: x\nstages:\n  a: {kind: features, data: b, plugin: tabular, item: chain, options: {steps: []}}\n  b: {kind: features, data: a, plugin: tabular, item: chain, options: {steps: []}}\n",
    );
    project.run(&["run"]).fails(2, "pipeline-cycle", &["a", "b"]);
    project.write("plinth.yaml", "name: x\nstages:\n  load: {kind: load, plugin: load-csv, source: a.csv}\n  check: {kind: validate, data: laod, plugin: quality-gate, item: expectations, options: {}}\n");
    project.run(&["run"]).fails(2, "unknown-stage", &["laod", "load"]);
}

#[test]
fn unknown_verbs_and_flags_get_a_suggestion() {
    let done = Project::empty().run(&["srve"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("serve"), "{}", done.stderr);
}

#[test]
fn unknown_models_are_named() {
    let project = Project::churn();
    project.run(&["serve", "models:/nobody@champion", "--port", "0"]).fails(6, "model-not-found", &["nobody"]);
    project.run(&["serve", "nobody", "--port", "0"]).fails(2, "bad-reference", &["nobody", "models:/"]);
    project.run(&["monitor", "check", "nobody", "--current", "data/mlc_churn_events.csv"]).fails(
        6,
        "model-not-found",
        &["nobody"],
    );
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let project = Project::churn();
    project.run(&["run", "--device", "cuda:7"]).fails(12, "device-not-found", &["cuda:7"]);
    project.run(&["run", "--device", "tpu"]).fails(2, "usage", &["tpu", "cuda:"]);
}

#[test]
fn a_pipe_is_no_file_and_nobody_waits_for_it() {
    let project = Project::empty();
    let made = std::process::Command::new("mkfifo").arg(project.path("pipe")).status().expect("mkfifo is there");
    assert!(made.success());
    project.run(&["plugin", "run", "load-csv", "pipe"]).fails(5, "file-unreadable", &["is not a file"]);
}

#[test]
fn a_wrong_command_line_has_a_code_like_every_error() {
    let project = Project::empty();
    for command in [&["serve", "--port", "many"][..], &["serv"], &["endpoint", "create"], &["sql", "--nope"]] {
        project.run(command).fails(2, "usage", &["error[usage]: "]);
    }
    // What is no error has none.
    let help = project.run(&["--help"]);
    assert!(help.succeeds().stderr.is_empty() && help.stdout.contains("Usage"), "{help:?}");
}

#[test]
fn what_a_statement_does_not_call_must_be_there_all_the_same() {
    let project = crate::rollouts::priced(&[[0.0, 1.0]]);
    let sql = |declared: &[&str]| project.run(&[&["sql", "select 1 as one", "--format", "csv"], declared].concat());
    sql(&["--model", "c=models:/price@nope"]).fails(6, "model-not-found", &["nope"]);
    sql(&["--model", "c=models:/prise/1"]).fails(6, "model-not-found", &["prise"]);
    sql(&["--function", "f=nobody:impute"]).fails(6, "plugin-not-found", &["nobody"]);
    assert_eq!(sql(&["--model", "c=models:/price/1"]).succeeds().stdout, "one\n1\n");
}

#[test]
fn a_file_without_rows_is_predicted_as_one() {
    let project = crate::rollouts::priced(&[[0.0, 1.0]]);
    project.write("none.csv", "x,y\n");
    project.run(&["predict", "models:/price/1", "--input", "none.csv", "--output", "out.csv"]).succeeds();
    assert_eq!(std::fs::read_to_string(project.path("out.csv")).expect("the file"), "prediction\n");
    assert_eq!(project.run(&["predict", "models:/price/1", "--input", "none.csv"]).succeeds().stdout, "prediction\n");
}

#[test]
fn a_file_that_is_no_onnx_model_is_named_with_what_it_may_be() {
    let project = Project::empty();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    for (file, content, hint) in [
        ("empty.onnx", "", "the file is empty"),
        ("pointer.onnx", lfs, "`git lfs pull` gets the file"),
        ("text.onnx", "a model", "one file in ONNX's own form"),
    ] {
        project.write(file, content);
        project.run(&["model", "register", "m", "--onnx", file]).fails(5, "bad-model", &[file, hint]);
    }
    project.run(&["model", "show", "m"]).fails(6, "model-not-found", &["m"]);
}
