//! Components that are not what they should be.

use plinth_e2e::{Project, plugins, root};

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
    project.run(&["run"]).fails(8, "plugin-denied", &["evil", "objects", "[plugins.\"evil\"]", "grant ="]);
}

#[test]
fn a_pinned_hash_refuses_another_component() {
    let project = Project::churn();
    let other = "0".repeat(64);
    project.write("plinth.toml", format!("[plugins.\"load-csv\"]\nhash = \"{other}\"\n"));
    project.run(&["run"]).fails(7, "plugin-changed", &["load-csv", &other]);
}
