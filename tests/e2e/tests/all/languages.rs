//! Plugins in every language: what `plinth plugin new` begins builds and passes, and the plugins that all languages
//! have answer with the same bytes.

use plinth_e2e::{Done, Project, guests, root};
use serde_json::{Value, json};

/// Holds a language's plugins, one of each kind, to the cases that all of them answer alike. Each is also asked twice,
/// by the suite.
fn conforms(language: &str) {
    let project = Project::with_environment(vec![("PLINTH_DETERMINISTIC", "true".into())]);
    for (example, item, least) in [
        ("standard-scale", "standard-scale", 17),
        ("psi", "psi", 15),
        ("threshold-gate", "threshold", 10),
        ("fixed-width", "fixed-width", 45),
        ("linear-model", "linear-model", 17),
    ] {
        let component = guests::example(language, example).display().to_string();
        let cases = root().join("sdk/conformance/cases").join(item).display().to_string();
        let done = project.run(&["plugin", "test", &component, "--cases", &cases, "--json"]);
        let told: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{}", done.stderr));
        let failed: Vec<&Value> =
            told["tests"].as_array().expect("tests").iter().filter(|test| test["fate"] != "pass").collect();
        assert!(failed.is_empty() && done.code == Some(0), "{language} {example}: {failed:#?}");
        assert!(told["passed"].as_u64().expect("a number") > least, "{language} {example}: {told}");
        let done = project.run(&["plugin", "check", &component]);
        assert_eq!(done.code, Some(0), "{language} {example}: {}{}", done.stdout, done.stderr);
    }
}

#[test]
fn plugins_in_rust_answer_as_all_do() {
    conforms("rust");
}

#[test]
fn plugins_in_c_answer_as_all_do() {
    conforms("c");
}

#[test]
fn plugins_in_go_answer_as_all_do() {
    conforms("go");
}

#[test]
fn plugins_in_javascript_answer_as_all_do() {
    conforms("js");
}

#[test]
fn plugins_in_python_answer_as_all_do() {
    conforms("python");
}

#[test]
fn components_of_version_0_1_answer_as_all_do() {
    let project = Project::with_environment(vec![("PLINTH_DETERMINISTIC", "true".into())]);
    for (component, item, least) in [
        ("standard-scale", "standard-scale", 17),
        ("psi", "psi", 15),
        ("threshold-gate", "threshold", 10),
        ("fixed-width", "fixed-width", 45),
        ("linear-model", "linear-model", 17),
    ] {
        let path = root().join(format!("wit/frozen/0.1.0/components/{component}.wasm")).display().to_string();
        let cases = root().join("sdk/conformance/cases").join(item).display().to_string();
        let done = project.run(&["plugin", "test", &path, "--cases", &cases, "--json"]);
        let told: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{}", done.stderr));
        assert!(done.code == Some(0) && told["failed"] == 0, "{component}: {told:#}");
        assert!(told["passed"].as_u64().expect("a number") > least, "{component}: {told}");
        let checked = project.run(&["plugin", "check", &path]);
        let version = "built against 0.1.0; this host speaks that and newer, up to 0.2.0";
        assert!(checked.code == Some(0) && checked.stdout.contains(version), "{component}: {}", checked.stdout);
    }
    let newest = guests::example("rust", "psi").display().to_string();
    let checked = project.run(&["plugin", "check", &newest]);
    assert!(checked.stdout.contains("built against 0.2.0, the newest that this host speaks"), "{}", checked.stdout);
}

#[test]
fn a_component_of_a_later_version_is_refused_by_name() {
    let project = Project::empty();
    let component = std::fs::read(root().join("wit/frozen/0.1.0/components/psi.wasm")).expect("the component");
    // The names of interfaces, which stand in it several times, all of one length.
    let mut later = component;
    for start in 0..later.len() - 6 {
        if &later[start..start + 6] == b"@0.1.0" {
            later[start + 3] = b'3';
        }
    }
    project.write("later.wasm", later);
    project.run(&["plugin", "inspect", "later.wasm"]).fails(
        9,
        "plugin-version",
        &["0.3.0", "0.1 and 0.2", "update Plinth"],
    );
    let checked = project.run(&["plugin", "check", "later.wasm"]);
    assert!(checked.code == Some(9) && checked.stdout.contains("0.3.0"), "{}", checked.stdout);
}

/// Begins a plugin, builds it and tests it, as its author would.
fn begins(language: &str, kind: &str) {
    // The Rust example finds the standard library built where the first-party plugins have it.
    let target = root().join("plugins/target").display().to_string();
    let project = Project::with_environment(vec![("CARGO_TARGET_DIR", target)]);
    let good = |done: Done| {
        assert_eq!(done.code, Some(0), "{language} {kind}\n{}\n{}", done.stdout, done.stderr);
        done
    };
    good(project.run(&["plugin", "new", "my-plugin", "--kind", kind, "--lang", language]));
    good(project.run(&["plugin", "build", "my-plugin"]));
    let tested = good(project.run(&["plugin", "test", "my-plugin", "--json"]));
    let told: Value = serde_json::from_str(&tested.stdout).expect("JSON");
    assert_eq!(told["plugin"], "my-plugin");
    good(project.run(&["plugin", "check", "my-plugin"]));
    // Once more into the same folder would overwrite the author's work.
    project.run(&["plugin", "new", "my-plugin", "--kind", kind, "--lang", language]).fails(
        7,
        "already-exists",
        &["my-plugin"],
    );
}

#[test]
fn a_new_plugin_in_rust_builds_and_passes() {
    begins("rust", "transform");
}

#[test]
fn a_new_model_in_rust_builds_and_passes() {
    begins("rust", "predict");
}

#[test]
fn a_new_plugin_in_c_builds_and_passes() {
    begins("c", "loader");
}

#[test]
fn a_new_plugin_in_go_builds_and_passes() {
    begins("go", "gate");
}

#[test]
fn a_new_plugin_in_javascript_builds_and_passes() {
    begins("js", "drift");
}

#[test]
fn a_new_plugin_in_python_builds_and_passes() {
    begins("python", "transform");
}

#[test]
fn what_does_not_build_says_why() {
    let project = Project::empty();
    project.run(&["plugin", "new", "My Plugin", "--kind", "gate", "--lang", "c"]).fails(
        2,
        "usage",
        &["My Plugin", "my-scale"],
    );
    project.run(&["plugin", "build"]).fails(6, "file-not-found", &["no project of a plugin", "plinth plugin new"]);
    let new = project.run(&["plugin", "new", "p", "--kind", "gate", "--lang", "python"]);
    assert_eq!(new.code, Some(0), "{}", new.stderr);
    project.run(&["plugin", "test", "p"]).fails(6, "plugin-not-found", &["p.wasm", "plinth plugin build p"]);
    let source = std::fs::read_to_string(project.path("p/plugin.py")).expect("the plugin");
    project.write("p/plugin.py", format!("{source}\ndef broken(:\n"));
    project.run(&["plugin", "build", "p"]).fails(5, "plugin-build-failed", &["plugin.py", "def broken(:"]);
    project.write("p/plugin.py", source);
    let manifest = std::fs::read_to_string(project.path("p/plugin.json")).expect("the manifest");
    project.write("p/plugin.json", manifest.replace("\"gate\"", "\"gates\""));
    project.run(&["plugin", "build", "p"]).fails(5, "plugin-build-failed", &["`gates`", "transform"]);
    std::fs::remove_file(project.path("p/plugin.json")).expect("the manifest is there");
    project.run(&["plugin", "build", "p"]).fails(6, "file-not-found", &["plugin.json", "kind"]);
}

#[test]
fn what_c_prints_stands_in_the_error_of_its_fault() {
    let project = Project::empty();
    project.run(&["plugin", "new", "p", "--kind", "transform", "--lang", "c"]).succeeds();
    let source = std::fs::read_to_string(project.path("p/standard_scale.c")).expect("the plugin");
    let (before, after) = source.split_once("    const fitted *self = made;\n").expect("what applies it");
    let printing = format!(
        "#include <stdio.h>\n{before}    const fitted *self = made;\n    if (rows->rows > 2) {{\n        \
         fprintf(stderr, \"%zu rows are too many\\n\", (size_t)rows->rows);\n        abort();\n    }}\n{after}"
    );
    project.write("p/standard_scale.c", &printing);
    project.run(&["plugin", "build", "p"]).succeeds();
    project.write("two.csv", "x\n1.0\n2.0\n");
    project.write("three.csv", "x\n1.0\n2.0\n3.0\n");
    project.run(&["plugin", "run", "p", "two.csv"]).succeeds();
    project.run(&["plugin", "run", "p", "three.csv"]).fails(9, "plugin-trap", &["3 rows are too many"]);
    // What an earlier build left is not taken for what the author has just written.
    project.write("p/standard_scale.c", printing + "broken(\n");
    let words = ["standard_scale.c", "does not build", "p.wasm` is still of an earlier build"];
    project.run(&["plugin", "build", "p"]).fails(5, "plugin-build-failed", &words);
    let done = project.run(&["plugin", "run", "p", "two.csv"]);
    let words = "standard_scale.c` changed after `p/p.wasm` was built: run `plinth plugin build p`";
    assert!(done.succeeds().stderr.contains(words), "{}", done.stderr);
}

#[test]
fn a_missing_cargo_is_a_missing_tool() {
    let mut project = Project::empty();
    project.run(&["plugin", "new", "p", "--kind", "gate", "--lang", "rust"]).succeeds();
    project.set("PATH", "/nowhere");
    project.run(&["plugin", "build", "p"]).fails(12, "tool-not-found", &["`cargo`", "PATH"]);
}

/// Whatever a plugin is written in, the host ends its misdeeds the same way.
fn misbehaves(language: &str) {
    let project = Project::empty();
    project.write("plinth.toml", "[limits.plugin]\ncall-ms-max = 3000\nmemory-bytes-max = 268435456\n");
    project.write("e.json", r#"{"candidate": {"reference": "m", "metrics": []}, "baseline": null}"#);
    let component = guests::misdeeds(language).display().to_string();
    let run = |deed: &str| {
        let option = format!("deed={deed}");
        project.run(&["plugin", "run", &component, "e.json", "--option", &option, "--json"])
    };
    let good = run("good");
    good.succeeds();
    let raise = |limit: &str| format!("if the plugin needs it, raise [limits.plugin] {limit} in plinth.toml");
    for (deed, code, said, end, hint) in [
        ("loop", "plugin-deadline", "did not finish within 3000 ms", "", raise("call-ms-max")),
        // How much more it wants at a time is its language's affair, and where it gives up.
        (
            "bomb",
            "plugin-memory",
            "wanted ",
            " bytes of memory, more than the limit of one instance, 268435456",
            raise("memory-bytes-max"),
        ),
        ("crash", "plugin-trap", "trapped: ", "", "this is a defect of the plugin: report it to its author".into()),
    ] {
        let done = run(deed);
        assert_eq!(done.code, Some(9), "{language} {deed}: {}", done.stderr);
        // Before it there may be what the guest said.
        let error: Value = serde_json::from_str(done.stderr.lines().last().expect("an error")).expect("JSON");
        let (error, short) = (&error["error"], if language == "python" { "py" } else { language });
        let message = error["message"].as_str().expect("a text");
        let said = format!("misdeeds-{short}/misdeeds: `evaluate` {said}");
        assert!(message.starts_with(&said) && message.ends_with(end), "{message} is not {said}…{end}");
        let told = (&error["code"], &error["hint"], &error["retryable"]);
        assert_eq!(told, (&json!(code), &json!(hint), &json!(false)), "{language} {deed}");
        assert_eq!(run("good").stdout, good.stdout, "{language} after {deed}");
    }
    // Too much talk is cut, and what was dropped is counted; the call itself did nothing wrong.
    let flood = run("flood");
    assert_eq!(flood.succeeds().stdout, good.stdout, "{language}");
    assert!(flood.stderr.contains("dropped") && flood.stderr.len() < 200_000, "{}", flood.stderr.len());
    // 48 MiB where a line was expected arrive as what a person can read.
    let lie: Value = serde_json::from_str(&run("lie").succeeds().stdout).expect("JSON");
    let observed = lie["checks"][0]["observed"].as_str().expect("a text");
    assert!(observed.len() < 100_000 && observed.ends_with('…'), "{language}: {} bytes", observed.len());
}

#[test]
fn misdeeds_in_c_end_as_they_should() {
    misbehaves("c");
}

#[test]
fn misdeeds_in_go_end_as_they_should() {
    misbehaves("go");
}

#[test]
fn misdeeds_in_javascript_end_as_they_should() {
    misbehaves("js");
}

#[test]
fn misdeeds_in_python_end_as_they_should() {
    misbehaves("python");
}
