//! Components that are not what they should be.

use plinth_e2e::{Done, Project, plugins, root};
use serde_json::Value;

/// The churn example, loading through another component.
fn with_loader(bytes: &[u8]) -> Project {
    let project = Project::churn();
    project.write("other.wasm", bytes);
    project.edit("plinth.yaml", "plugin: load-csv", "plugin: ./other.wasm");
    project
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    with_loader(b"hello").run(&["run"]).fails(9, "not-a-component", &["other.wasm"]);
    let core_module = b"\0asm\x01\0\0\0";
    with_loader(core_module).run(&["run"]).fails(9, "not-a-component", &["other.wasm"]);
}

#[test]
fn a_component_of_another_world_is_refused() {
    let bytes = std::fs::read(plugins().join("tabular.wasm")).expect("built");
    with_loader(&bytes).run(&["run"]).fails(9, "plugin-wrong-world", &["loader", "transform"]);
    // It wants objects, too; granting them would not make a transform of it.
    let project = Project::churn();
    project.edit("plinth.yaml", "plugin: tabular", "plugin: load-csv");
    project.run(&["run"]).fails(9, "plugin-wrong-world", &["load-csv", "transform", "loader"]);
}

#[test]
fn a_missing_plugin_gets_a_suggestion() {
    let project = Project::churn();
    project.edit("plinth.yaml", "plugin: load-csv", "plugin: load-cvs");
    project.run(&["run"]).fails(6, "plugin-not-found", &["load-cvs", "load-csv"]);
}

#[test]
fn the_plugin_of_the_readme_runs_in_the_stage_of_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let stage = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of YAML");
    let project = Project::churn();
    let pipeline = std::fs::read_to_string(project.path("plinth.yaml")).expect("the example");
    let (before, rest) = pipeline.split_once("  features:\n").expect("a stage of features");
    let (_, after) = rest.split_once("\n\n").expect("a stage behind it");
    project.write("plinth.yaml", format!("{before}{stage}\n{after}"));
    // Without the columns of text the model is worse than the gate allows, which the README says.
    project.run(&["run"]).fails(3, "gate-failed", &["f1"]);
}

/// A pipeline whose only transform is an evil one.
fn with_evil(item: &str) -> Project {
    let project = Project::empty();
    project.write("data.csv", "a,b\n1.5,2.5\n2.5,3.5\n3.5,4.5\n");
    // One needs memory enough to make more than it may return; the others meet their limits sooner with less.
    let memory = if item == "huge-return" { 1 << 30 } else { 64 << 20 };
    project.write(
        "plinth.toml",
        format!(
            "[limits.plugin]\ncall-ms-max = 2000\nmemory-bytes-max = {memory}\n\
             [plugins.evil]\ngrant = [\"objects\", \"tables\"]\n"
        ),
    );
    project.write(
        "plinth.yaml",
        format!("name: evil\nstages:\n  load: {{kind: load, plugin: load-csv, source: data.csv}}\n  features: {{kind: features, data: load, plugin: evil, item: {item}, options: {{}}}}\n"),
    );
    project
}

#[test]
fn evil_guests_end_with_their_own_code_and_nothing_else() {
    for (item, exit, code) in [
        ("infinite-loop", 9, "plugin-deadline"),
        ("memory-bomb", 9, "plugin-memory"),
        ("panic", 9, "plugin-trap"),
        ("lying-lengths", 9, "plugin-output"),
        ("huge-return", 9, "plugin-output"),
    ] {
        with_evil(item).run(&["run"]).fails(exit, code, &["evil"]);
    }
}

#[test]
fn a_capability_that_was_not_granted_is_denied_with_the_line_that_would_allow_it() {
    let project = Project::churn();
    // A transform has no business with files, so one that wants them is not even started.
    project.edit("plinth.yaml", "plugin: tabular\n    item: chain", "plugin: evil\n    item: good");
    project.run(&["run"]).fails(8, "plugin-denied", &["evil", "wants the capability", "[plugins.\"evil\"]", "grant ="]);
}

#[test]
fn a_pinned_hash_refuses_another_component() {
    let project = Project::churn();
    let other = "0".repeat(64);
    project.write("plinth.toml", format!("[plugins.\"load-csv\"]\nhash = \"{other}\"\n"));
    project.run(&["run"]).fails(7, "plugin-changed", &["load-csv", &other]);
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("no JSON: {}", done.stdout))
}

#[test]
fn a_plugin_is_tried_on_files_without_a_pipeline() {
    let project = Project::empty();
    project.write("a.csv", "x,y,s\n1,10,a\n2,20,b\n3,30,c\n");
    let rows = |from: u32| (0..200).map(|n| format!("{},{n}\n", from + n)).collect::<String>();
    project.write("jan.csv", format!("x,y\n{}", rows(0)));
    project.write("feb.csv", format!("x,y\n{}", rows(600)));
    let scaled = project.run(&[
        "plugin",
        "run",
        "tabular",
        "a.csv",
        "--item",
        "standard-scale",
        "--option",
        r#"columns=["x"]"#,
        "--rows",
        "2",
    ]);
    assert_eq!(scaled.succeeds().stdout, "x,y,s\n-1.224744871391589,10,a\n0.0,20,b\n");
    assert_eq!(
        project.run(&["plugin", "run", "load-csv", "a.csv", "--rows", "1"]).succeeds().stdout,
        "x,y,s\n1,10,a\n"
    );
    let wasserstein = ["plugin", "run", "drift-tests", "jan.csv", "--item", "wasserstein", "--json", "--current"];
    let same = json(&project.run(&[&wasserstein[..], &["jan.csv"]].concat()));
    assert_eq!(same["outcomes"][0]["outcome"]["statistic"], 0.0, "{same}");
    let moved = project.run(&[&wasserstein[..], &["feb.csv"]].concat());
    assert_eq!(moved.code, Some(4));
    let moved = json(&moved);
    assert_eq!(moved["outcomes"][0]["columns"], "x");
    assert_eq!(moved["outcomes"][1]["outcome"]["statistic"], 0.0, "{moved}");

    project.write(
        "evidence.json",
        r#"{"candidate": {"reference": "mine", "metrics": [{"name": "f1", "value": 0.9}]}, "baseline": null}"#,
    );
    let gate = |least: &str| {
        let options = format!(r#"{{"thresholds": [{{"metric": "f1", "min": {least}}}]}}"#);
        project.run(&["plugin", "run", "quality-gate", "evidence.json", "--item", "metrics", "--options", &options])
    };
    assert!(gate("0.8").succeeds().stdout.contains("f1 >= 0.8"));
    assert_eq!(gate("0.95").code, Some(3));

    let run = |rest: &[&str]| project.run(&[&["plugin", "run"], rest].concat());
    run(&["tabular", "a.csv"]).fails(6, "plugin-item-not-found", &["standard-scale"]);
    run(&["tabular", "none.csv", "--item", "impute"]).fails(6, "file-not-found", &["none.csv"]);
    run(&["drift-tests", "a.csv", "--item", "psi"]).fails(2, "usage", &["--current"]);
    run(&["load-csv", "a.csv", "--option", "x"]).fails(2, "usage", &["NAME=VALUE"]);
    run(&["load-csv", "a.csv", "--options", "[]"]).fails(2, "bad-options", &["--options"]);
}

#[test]
fn a_problem_says_in_which_row_and_column_it_is() {
    let project = Project::empty();
    project.write("rows.csv", "x\n1\n2\n");
    project.write("plinth.toml", "[plugins.evil]\ngrant = [\"objects\", \"tables\"]\n");
    let evil = ["plugin", "run", "evil", "rows.csv", "--item", "problem"];
    project.run(&evil).fails(5, "plugin-problem", &["a problem on command (evil-problem), row 7, column `evil`"]);
    let told = project.run(&[&evil[..], &["--json"]].concat());
    let error: Value = serde_json::from_str(&told.stderr).expect("JSON");
    assert_eq!(error["error"]["details"], serde_json::json!({"row": 7, "column": "evil"}));
}

#[test]
fn what_a_denial_says_to_write_is_what_allows_a_plugin_that_is_named_by_its_file() {
    let project = Project::empty();
    project.write("rows.csv", "x\n1\n2\n");
    std::fs::copy(plugins().join("evil.wasm"), project.path("evil.wasm")).expect("the plugin");
    let run_as = |plugin: &str| project.run(&["plugin", "run", plugin, "rows.csv", "--item", "impure"]);
    let run = || run_as("./evil.wasm");
    // It wants two things, and is told of them one after the other.
    for _ in 0..2 {
        let denied = run();
        denied.fails(8, "plugin-denied", &[r#"under [plugins."evil.wasm"]: grant = ["#]);
        let line = denied.stderr.split_once("\"]: ").expect("the line that would allow it").1;
        let line = line.split_inclusive(']').next().expect("a list");
        project.write("plinth.toml", format!("[plugins.\"evil.wasm\"]\n{line}\n"));
    }
    run().succeeds();
    // However its path is written, and however the line has it.
    let whole = project.path("evil.wasm").display().to_string();
    run_as(&whole).succeeds();
    for written in ["./evil.wasm", &whole] {
        std::fs::remove_file(project.path("plinth.toml")).expect("it is there");
        run().fails(8, "plugin-denied", &[]);
        project.run(&["plugin", "grant", written, "objects", "tables"]).succeeds();
        run().succeeds();
        let text = std::fs::read_to_string(project.path("plinth.toml")).expect("it is there");
        assert!(text.contains("[plugins.\"evil.wasm\"]"), "{text}");
        project.write("plinth.toml", text.replace("evil.wasm", written));
        run_as("evil.wasm").succeeds();
    }
    // A second line for the same file does not take away what the first one pins.
    let pinned = format!("[plugins.\"evil.wasm\"]\nhash = \"{}\"\n", "0".repeat(64));
    let granted = "[plugins.\"./evil.wasm\"]\ngrant = [\"objects\", \"tables\"]\n";
    project.write("plinth.toml", format!("{pinned}{granted}"));
    run().fails(7, "plugin-changed", &[]);
    run_as("evil.wasm").fails(8, "plugin-denied", &[]);
    // What was granted to a file that is gone can be taken back, and nothing is granted to one that never was.
    project.write("plinth.toml", granted);
    std::fs::rename(project.path("evil.wasm"), project.path("evil")).expect("writable");
    project.run(&["plugin", "grant", &whole, "objects", "--revoke"]).succeeds();
    project.run(&["plugin", "grant", "./evil.wasm", "kv"]).fails(6, "plugin-not-found", &["evil.wasm"]);
    let text = std::fs::read_to_string(project.path("plinth.toml")).expect("it is there");
    assert!(text.contains("grant = [\"tables\"]"), "{text}");
    // A file is never a plugin that has its name.
    project.write("plinth.toml", "[plugins.evil]\ngrant = [\"objects\", \"tables\"]\n");
    run_as("evil").succeeds();
    run_as("./evil").fails(8, "plugin-denied", &["[plugins.\"./evil\"]"]);
}

#[test]
fn a_component_is_checked_and_what_is_wrong_with_it_is_said() {
    let project = Project::empty();
    for plugin in ["tabular", "drift-tests", "quality-gate", "load-csv", "load-jsonl", "load-parquet", "clip"] {
        let told = json(&project.run(&["plugin", "check", plugin, "--json"]));
        assert_eq!(told["sound"], true, "{told}");
    }
    let objects = project.run(&["plugin", "check", "load-csv"]);
    let objects = &objects.succeeds().stdout;
    assert!(objects.contains("`objects` has to be granted"), "{objects}");
    project.write("text.wasm", "hello");
    let refused = project.run(&["plugin", "check", "text.wasm", "--json"]);
    assert_eq!((refused.code, &json(&refused)["sound"]), (Some(9), &Value::Bool(false)), "{}", refused.stdout);
}

/// A case of the README's plugin.
const CLIP: &str = r#"{"item": "clip", "options": {"min": 0, "max": 1},
    "fit": {"columns": [{"name": "x", "kind": "float64", "values": [-1, 0.5, null, "NaN", 7]}]}}"#;

#[test]
fn a_plugin_is_held_to_its_cases_bit_for_bit() {
    let project = Project::empty();
    project.write("cases/one.json", CLIP);
    let test = ["plugin", "test", "clip", "--cases", "cases", "--json"];
    // Nothing is expected yet.
    let done = project.run(&test);
    assert_eq!(done.code, Some(9), "{}", done.stderr);
    let blessed = project.run(&[&test[..], &["--bless"]].concat());
    assert_eq!(blessed.code, Some(0), "{}", blessed.stderr);
    let done = project.run(&test);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let tests = told["tests"].as_array().expect("tests");
    assert!(tests.len() > 5 && tests.iter().all(|test| test["fate"] == "pass"), "{told}");
    let case = std::fs::read_to_string(project.path("cases/one.json")).expect("the case");
    assert!(case.contains(r#""values":[0.0,0.5,null,0.0,1.0]"#), "{case}");
    // A negative zero is not a zero.
    project.write("cases/one.json", case.replace("[0.0,0.5,", "[-0.0,0.5,"));
    let done = project.run(&test);
    assert_eq!(done.code, Some(9));
    assert!(done.stdout.contains("output.columns[x].values[0] is 0.0, not -0.0"), "{}", done.stdout);
}

#[test]
fn a_plugin_that_breaks_a_promise_fails_the_suite() {
    let project = Project::empty();
    project.write("plinth.toml", "[plugins.evil]\ngrant = [\"objects\", \"tables\"]\n");
    for (item, promise, said) in [
        ("impure", "apply is pure, however rows are cut into blocks", "the same rows gave"),
        ("panic", "whatever the rows, there is an answer", "evil panic on command"),
        ("fewer-rows", "whatever the rows, there is an answer", "6 rows for 7 rows"),
    ] {
        let done = project.run(&["plugin", "test", "evil", "--item", item, "--json"]);
        assert_eq!(done.code, Some(9), "{item}: {}", done.stderr);
        let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
        let broken =
            told["tests"].as_array().expect("tests").iter().find(|test| test["test"] == promise).expect(promise);
        assert_eq!(broken["fate"], "fail", "{told}");
        assert!(broken["found"].as_str().expect("a text").contains(said), "{broken}");
    }
}

#[test]
fn a_case_that_is_none_says_what_is_wrong() {
    let project = Project::empty();
    for (case, said) in [
        ("{", "EOF"),
        (r#"{"item": "clip"}"#, "exactly one of"),
        (r#"{"item": "clip", "fit": "gone.csv"}"#, "gone.csv"),
    ] {
        project.write("cases/one.json", case);
        let done = project.run(&["plugin", "test", "clip", "--cases", "cases"]);
        assert!(done.code != Some(0) && done.stderr.contains(said), "{case}: {}", done.stderr);
    }
}

#[test]
fn a_plugin_is_measured_beside_the_built_in() {
    let project = Project::empty();
    let told = project.json(&["plugin", "bench", "standard-scale-rust", "--rows", "500", "--columns", "3"]);
    let has = |told: &Value, figures: &[&str], ratios: usize| {
        for figure in ["bytes", "load-from-cache-ms", "instance-us", "memory-bytes"].iter().chain(figures) {
            assert!(told["figures"][figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {told}");
        }
        let found = told["ratios"].as_object().expect("ratios");
        assert!(found.len() == ratios && found.values().all(|ratio| ratio.as_f64() > Some(0.0)), "{told}");
    };
    has(&told, &["load-us", "one-row-us", "rows-per-second"], 2);
    has(&project.json(&["plugin", "bench", "psi-rust"]), &["test-of-100-us", "rows-per-second"], 1);
    project.write("model.json", r#"{"intercept": 1, "coefficients": [{"column": "x1", "value": 2}]}"#);
    let made_up = ["--artifact", "model.json", "--rows", "500", "--columns", "3"];
    let told = project.json(&[&["plugin", "bench", "linear-model-rust"], &made_up[..]].concat());
    has(&told, &["load-us", "one-row-us", "rows-per-second"], 0);
    let thresholds = r#"{"thresholds": [{"metric": "f1", "min": 0.8}]}"#;
    let gate = ["plugin", "bench", "threshold-gate-rust", "--options", thresholds];
    has(&project.json(&gate), &["evaluation-us"], 1);
    let use_of = |more: &[&str]| project.run(&[&gate, more].concat());
    use_of(&["--artifact", "model.json"]).fails(2, "usage", &["--artifact is of no use with a gate"]);
    use_of(&["--rows", "0"]).fails(2, "usage", &["--rows"]);
    project.write("rows.txt", "  1\n 22\n333\n");
    let layout = r#"{"columns": [{"name": "n", "width": 3, "kind": "int64"}]}"#;
    let loader = ["plugin", "bench", "fixed-width-rust", "--options", layout];
    has(&project.json(&[&loader, &["--input", "rows.txt"][..]].concat()), &["plan-us", "rows-per-second"], 1);
    project.run(&loader).fails(2, "usage", &["a loader is measured with what it reads", "--input"]);
    project.run(&["plugin", "bench", "tabular", "--item", "nothing"]).fails(6, "plugin-item-not-found", &["nothing"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_hides_none() {
    let project = Project::empty();
    project.write("long.csv", format!("x\n{}", "1\n".repeat(200_000)));
    let (plinth, plugins) = (plinth_e2e::binary().display().to_string(), plugins().display().to_string());
    let piped = |command: &str| -> Done {
        let line = format!("{plinth} plugin run {plugins}/{command}");
        let mut bash = std::process::Command::new("bash");
        bash.args(["-o", "pipefail", "-c", &line]).current_dir(project.path(".")).output().expect("bash").into()
    };
    let all = "load-csv.wasm long.csv --rows 200000";
    for (flags, first) in [("", "x\n"), ("--json", "{\"x\":1}\n")] {
        let done = piped(&format!("{all} {flags} | head -1"));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), first, ""), "{flags}");
    }
    let done = piped("load-csv.wasm none.csv | head -1");
    assert!(done.code == Some(6) && done.stderr.contains("none.csv"), "{}", done.stderr);
}
