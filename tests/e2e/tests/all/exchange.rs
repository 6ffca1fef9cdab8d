//! Stores of MLflow's, taken over and handed on. The stores in `fixtures/mlflow` were made by MLflow's own client, and
//! `expected.json` beside each is what that client says of it.

use std::{fs, path::Path, process::Stdio};

use plinth_e2e::{Project, Server, root};
use serde_json::{Value, json};

fn fixture(name: &str) -> std::path::PathBuf {
    root().join("tests/e2e/fixtures/mlflow").join(name)
}

fn write(project: &Project, path: &str, content: impl AsRef<[u8]>) {
    let folder = project.path(path);
    fs::create_dir_all(folder.parent().expect("a file lies in a folder")).expect("a writable project");
    project.write(path, content);
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

fn expected(kind: &str) -> Value {
    let path = fixture(kind).join("expected.json");
    serde_json::from_str(&fs::read_to_string(path).expect("it is there")).expect("JSON")
}

fn ask(server: &Server, path: &str) -> Value {
    let (status, text) = server.get(&format!("/api/2.0/mlflow/{path}"));
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// A list of `{key, value}` as an object.
fn pairs(list: &Value) -> Value {
    let list = list.as_array().cloned().unwrap_or_default();
    Value::Object(
        list.iter().map(|pair| (pair["key"].as_str().expect("a key").to_owned(), pair["value"].clone())).collect(),
    )
}

/// A number as JSON has it, or as a word; compared as numbers.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => match text.as_str() {
            "NaN" | "nan" => f64::NAN,
            "Infinity" | "inf" => f64::INFINITY,
            "-Infinity" | "-inf" => f64::NEG_INFINITY,
            other => other.parse().expect("a number"),
        },
        other => other.as_f64().expect("a number"),
    }
}

/// MLflow's store of files forgets the step of a metric that was measured on a data set when it reads it back.
fn misread(key: &str) -> bool {
    key == "f1"
}

/// A store that was handed on keeps infinities as the largest numbers, as MLflow's database does.
fn same(a: f64, b: f64) -> bool {
    let finite = |x: f64| x.clamp(-f64::MAX, f64::MAX);
    (a.is_nan() && b.is_nan()) || finite(a).total_cmp(&finite(b)).is_eq()
}

/// Compares everything that a server says with what MLflow's client said.
fn compare(server: &Server, expected: &Value) {
    for (name, facts) in expected["experiments"].as_object().expect("experiments") {
        let id = facts[0].as_str().expect("an id");
        let found = &ask(server, &format!("experiments/get?experiment_id={id}"))["experiment"];
        assert_eq!(found["name"], json!(name));
        assert_eq!((&found["lifecycle_stage"], &found["creation_time"]), (&facts[1], &facts[2]), "{name}");
        assert_eq!(pairs(&found["tags"]), facts[3], "{name}");
    }
    for (id, run) in expected["runs"].as_object().expect("runs") {
        let found = &ask(server, &format!("runs/get?run_id={id}"))["run"];
        let info = &found["info"];
        let head: Vec<&Value> = ["run_name", "experiment_id", "status", "start_time", "end_time", "lifecycle_stage"]
            .iter()
            .map(|key| &info[*key])
            .collect();
        assert_eq!(json!(head), run["head"], "{id}");
        assert_eq!(pairs(&found["data"]["params"]), run["params"], "{id}");
        assert_eq!(pairs(&found["data"]["tags"]), run["tags"], "{id}");
        for (key, points) in run["history"].as_object().expect("histories") {
            let path = format!("metrics/get-history?run_id={id}&metric_key={}", key.replace('/', "%2F"));
            let history = ask(server, &path);
            let found = history["metrics"].as_array().expect("points");
            let points = points.as_array().expect("points");
            assert_eq!(found.len(), points.len(), "{id} {key}");
            for point in points {
                let is = |found: &&Value| {
                    (found["step"] == point[0] || misread(key))
                        && found["timestamp"] == point[1]
                        && same(number(&found["value"]), number(&point[2]))
                };
                assert!(found.iter().any(|found| is(&found)), "{id} {key}: {point} is not in {found:?}");
            }
        }
        let inputs = found["inputs"]["dataset_inputs"].as_array().cloned().unwrap_or_default();
        let inputs: Vec<Value> = inputs
            .iter()
            .map(|input| {
                let (set, tags) = (&input["dataset"], input["tags"].as_array().cloned().unwrap_or_default());
                let tags: Vec<Value> = tags.iter().map(|tag| json!([tag["key"], tag["value"]])).collect();
                json!([
                    set["name"],
                    set["digest"],
                    set["source_type"],
                    set["source"],
                    set["schema"],
                    set["profile"],
                    tags
                ])
            })
            .collect();
        assert_eq!(json!(inputs), run["inputs"], "{id}");
        let ids = |list: &Value| -> Vec<Value> {
            list.as_array().into_iter().flatten().map(|model| model["model_id"].clone()).collect()
        };
        assert_eq!(json!(ids(&found["inputs"]["model_inputs"])), run["models_in"], "{id}");
        let made: Vec<Value> = run["models_out"].as_array().into_iter().flatten().map(|made| made[0].clone()).collect();
        assert_eq!(ids(&found["outputs"]["model_outputs"]), made, "{id}");
        for file in run["files"].as_array().expect("files") {
            let path = format!("/get-artifact?run_id={id}&path={}", file[0].as_str().expect("a path"));
            let (status, body) = server.get(&path);
            assert_eq!((status, body.len() as u64), (200, file[1].as_u64().expect("a size")), "{path}: {body}");
        }
    }
    for (id, facts) in expected["logged_models"].as_object().expect("logged models") {
        let found = &ask(server, &format!("logged-models/{id}"))["model"];
        assert_eq!((&found["info"]["name"], &found["info"]["experiment_id"]), (&facts[0], &facts[1]), "{id}");
        assert_eq!(pairs(&found["data"]["params"]), facts[7], "{id}");
    }
    for (name, facts) in expected["models"].as_object().expect("models") {
        let found = &ask(server, &format!("registered-models/get?name={name}"))["registered_model"];
        assert_eq!(found["description"].as_str().unwrap_or_default(), facts[0].as_str().expect("text"), "{name}");
        assert_eq!((&found["creation_timestamp"], &found["last_updated_timestamp"]), (&facts[1], &facts[2]), "{name}");
        // What makes a model a prompt is not shown by the client.
        let mut tags = pairs(&found["tags"]);
        tags.as_object_mut().expect("an object").remove("mlflow.prompt.is_prompt");
        assert_eq!(tags, facts[3], "{name}");
        for (alias, version) in facts[4].as_object().into_iter().flatten() {
            let found = &ask(server, &format!("registered-models/alias?name={name}&alias={alias}"))["model_version"];
            assert_eq!(found["version"], json!(version.to_string()), "{name}@{alias}");
        }
    }
    for (key, facts) in expected["versions"].as_object().expect("versions") {
        let (name, version) = key.split_once('/').expect("a version");
        let path = format!("model-versions/get?name={name}&version={version}");
        let found = &ask(server, &path)["model_version"];
        assert_eq!((&found["creation_timestamp"], &found["current_stage"]), (&facts[1], &facts[3]), "{key}");
        assert_eq!(found["run_id"].as_str().unwrap_or_default(), facts[5].as_str().expect("text"), "{key}");
        assert_eq!(pairs(&found["tags"]), facts[6], "{key}");
        // No version leads to the files of the machine that it came from.
        let uri = ask(server, &format!("model-versions/get-download-uri?name={name}&version={version}"));
        let uri = uri["artifact_uri"].as_str().expect("a URI").to_owned();
        assert!(!uri.starts_with('/') && !uri.starts_with("file:"), "{key}: {uri}");
    }
    for (id, trace) in expected["traces"].as_object().expect("traces") {
        let (status, body) = server.get(&format!("/api/3.0/mlflow/traces/get?trace_id={id}&allow_partial=true"));
        assert_eq!(status, 200, "{id}: {body}");
        let found: Value = serde_json::from_str(&body).expect("JSON");
        let (info, spans) = (&found["trace"]["trace_info"], &found["trace"]["spans"]);
        assert_eq!(info["state"].as_str(), Some("OK"), "{id}");
        for (key, value) in trace["tags"].as_object().expect("tags") {
            assert_eq!(info["tags"][key], *value, "{id} {key}");
        }
        for (key, value) in trace["metadata"].as_object().expect("metadata") {
            assert_eq!(info["trace_metadata"][key], *value, "{id} {key}");
        }
        let said = trace["assessments"].as_array().expect("assessments");
        assert_eq!(info["assessments"].as_array().map_or(0, Vec::len), said.len(), "{id}");
        let names = |spans: &Value| -> Vec<String> {
            let name = |span: &Value| span["name"].as_str().expect("a name").to_owned();
            spans.as_array().expect("spans").iter().map(name).collect()
        };
        assert_eq!(names(spans), names(&trace["spans"]), "{id}");
    }
}

/// Taken over, looked at, taken over again, handed on, taken back.
fn there_and_back(kind: &str, store: &str, artifacts: &[&str]) {
    let project = Project::empty();
    let import = [&["import", "mlflow", store], artifacts].concat();
    let dry = project.json(&[import.as_slice(), &["--dry-run"]].concat());
    assert!(!project.path(".plinth/catalog.db").exists(), "a dry run makes nothing");
    let first = project.json(&import);
    assert_eq!(first["records"]["runs"]["read"], dry["records"]["runs"]["read"]);
    assert_eq!(first["records"]["runs"]["added"], first["records"]["runs"]["read"], "{first:#}");
    assert_eq!(first["artifacts"]["found"], dry["artifacts"]["found"]);
    assert_eq!(first["left_out"], json!([]), "{first:#}");
    let second = project.json(&import);
    for (kind, count) in second["records"].as_object().expect("counts") {
        assert_eq!(
            (&count["known"], &count["added"], &count["grown"]),
            (&count["read"], &json!(0), &json!(0)),
            "{kind}"
        );
    }
    assert_eq!(second["artifacts"]["added"], json!(0), "{second:#}");
    let told = expected(kind);
    let server = project.up();
    compare(&server, &told);
    server.stop();
    let export = project.json(&["export", "mlflow", "sqlite:///out/new.db", "--artifacts", "out/files"]);
    assert_eq!(export["left_out"], json!([]), "{export:#}");
    project.run(&["export", "mlflow", "sqlite:///out/new.db", "--artifacts", "out/files"]).fails(
        7,
        "already-exists",
        &["new.db"],
    );
    let back = Project::empty();
    let (db, files) = (text(&project.path("out/new.db")), text(&project.path("out/files")));
    let again = back.json(&["import", "mlflow", &format!("sqlite:///{db}"), "--artifacts", &files]);
    assert_eq!(again["left_out"], json!([]), "{again:#}");
    for (kind, count) in first["records"].as_object().expect("counts") {
        assert_eq!(again["records"][kind]["read"], count["read"], "{kind}");
    }
    let server = back.up();
    compare(&server, &told);
    server.stop();
}

#[test]
fn a_database_is_taken_over_and_handed_on_whole() {
    let (db, files) = (text(&fixture("database/mlflow.db")), text(&fixture("database/artifacts")));
    there_and_back("database", &format!("sqlite:///{db}"), &["--artifacts", &files]);
}

#[test]
fn a_folder_of_files_is_taken_over_and_handed_on_whole() {
    there_and_back("tree", &text(&fixture("tree/mlruns")), &[]);
}

#[test]
fn an_import_that_is_killed_goes_on_and_the_numbers_of_experiments_that_are_taken_change() {
    const RUNS: usize = 300;
    let project = Project::empty();
    for run in 0..RUNS {
        let folder = format!("mlruns/1/{run:032x}");
        write(
            &project,
            &format!("{folder}/meta.yaml"),
            format!(
                "artifact_uri: file:///gone/mlruns/1/{run:032x}/artifacts\nend_time: 2\nexperiment_id: '1'\n\
                 lifecycle_stage: active\nrun_id: {run:032x}\nrun_name: r{run}\nstart_time: 1\nstatus: 3\nuser_id: me\n"
            ),
        );
        let points: String = (0..50).map(|step| format!("{step} 0.5 {step}\n")).collect();
        write(&project, &format!("{folder}/metrics/loss"), points);
        write(&project, &format!("{folder}/artifacts/own.txt"), run.to_string());
    }
    write(&project, "mlruns/1/meta.yaml", "experiment_id: '1'\nname: theirs\nlifecycle_stage: active\n");
    let server = project.up();
    let (status, body) = server.post("/api/2.0/mlflow/experiments/create", &json!({"name": "mine"}));
    assert_eq!((status, body.contains("\"1\"")), (200, true), "{body}");
    let mut command = project.command(&["import", "mlflow", "mlruns"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    // Killed as soon as some of its files are stored.
    let stored = || fs::read_dir(project.path(".plinth/blobs")).map_or(0, Iterator::count);
    while stored() < 20 && child.try_wait().expect("it can be asked").is_none() {
        std::thread::yield_now();
    }
    plinth_e2e::signal(child.id(), "KILL");
    child.wait().expect("it ends");
    let after = project.json(&["import", "mlflow", "mlruns"]);
    assert_eq!(after["records"]["runs"]["read"], json!(RUNS), "{after:#}");
    assert_eq!(after["experiments_renumbered"], json!({"1": "2"}), "{after:#}");
    assert_eq!(after["left_out"], json!([]), "{after:#}");
    let again = project.json(&["import", "mlflow", "mlruns"]);
    assert_eq!(again["records"]["runs"]["known"], json!(RUNS), "{again:#}");
    assert_eq!(again["artifacts"]["known"], json!(RUNS), "{again:#}");
    let found = ask(&server, &format!("runs/get?run_id={:032x}", RUNS - 1));
    assert_eq!(found["run"]["info"]["experiment_id"], json!("2"));
    let history = ask(&server, &format!("metrics/get-history?run_id={:032x}&metric_key=loss", RUNS - 1));
    assert_eq!(history["metrics"].as_array().map(Vec::len), Some(50));
    server.stop();
}

#[test]
fn stores_that_are_none_are_named_and_nothing_is_made() {
    let project = Project::empty();
    write(&project, "text.db", "this is no database, however long it may be, and however often it is read ".repeat(20));
    let import = |store: &str| project.run(&["import", "mlflow", store]);
    import("sqlite:///text.db").fails(5, "not-a-store", &["text.db", "SQLite"]);
    import("sqlite:///none.db").fails(6, "file-not-found", &["none.db"]);
    import("nowhere").fails(6, "file-not-found", &["nowhere"]);
    import("postgresql://host/db").fails(2, "usage", &["sqlite:///"]);
    write(&project, "empty/x", "");
    import("empty").fails(5, "not-a-store", &["empty", "mlruns"]);
    let db = fs::read(fixture("database/mlflow.db")).expect("it is there");
    let revision = b"dc11669786a5";
    let at = db.windows(revision.len()).position(|window| window == revision).expect("a revision");
    let mut unknown = db.clone();
    unknown[at..at + revision.len()].copy_from_slice(b"ffffffffffff");
    write(&project, "new.db", &unknown);
    import("sqlite:///new.db").fails(5, "store-revision", &["ffffffffffff", "dc11669786a5"]);
    let mut damaged = db.clone();
    for byte in &mut damaged[8 * 512..] {
        *byte = 0xa5;
    }
    write(&project, "damaged.db", &damaged);
    let done = import("sqlite:///damaged.db");
    assert!(matches!(done.code, Some(5 | 13)), "{done:?}");
    write(&project, "whole.db", &db);
    let missing = project.run(&["import", "mlflow", "sqlite:///whole.db", "--artifacts", "not-there"]);
    missing.fails(6, "file-not-found", &["not-there"]);
    assert!(!project.path(".plinth/catalog.db").exists());
    // Without its files, it says so.
    let told = project.json(&["import", "mlflow", "sqlite:///whole.db"]);
    let reason = told["left_out"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("--artifacts"), "{told:#}");
}

#[test]
fn files_that_lie_elsewhere_are_not_read_and_are_told() {
    let project = Project::empty();
    write(&project, "secret/artifacts/key", "secret");
    let run = format!("{:032x}", 1);
    write(&project, "mlruns/0/meta.yaml", "experiment_id: '0'\nname: Default\nlifecycle_stage: active\n");
    let secret = text(&project.path("secret"));
    for (run, uri) in [
        (run.clone(), format!("file://{secret}/artifacts")),
        (format!("{:032x}", 2), "mlflow-artifacts:/../secret/artifacts".to_owned()),
        ("../../secret".to_owned(), "mlflow-artifacts:/x".to_owned()),
    ] {
        let folder = run.replace(['/', '.'], "_");
        write(
            &project,
            &format!("mlruns/0/{folder}/meta.yaml"),
            format!("artifact_uri: {uri}\nexperiment_id: '0'\nrun_id: {run}\nstart_time: 1\nstatus: 3\n"),
        );
    }
    let links = format!("mlruns/0/{:032x}/artifacts", 3);
    write(&project, &format!("{links}/own"), "x");
    write(
        &project,
        &format!("mlruns/0/{:032x}/meta.yaml", 3),
        format!("artifact_uri: file:///gone/0/{:032x}/artifacts\nrun_id: {:032x}\nstart_time: 1\nstatus: 3\n", 3, 3),
    );
    std::os::unix::fs::symlink(project.path("secret/artifacts/key"), project.path(&format!("{links}/key")))
        .expect("a link");
    let report = project.json(&["import", "mlflow", "mlruns"]);
    assert_eq!(report["artifacts"]["added"], json!(1), "{report:#}");
    let told = report["left_out"].to_string();
    assert!(told.contains("leads out") && told.contains("its id is not"), "{told}");
    let server = project.up();
    for path in ["key", "artifacts/key"] {
        let (status, body) = server.get(&format!("/get-artifact?run_id={run}&path={path}"));
        assert!(status == 404 && !body.contains("secret\n"), "{status} {body}");
    }
    server.stop();
}
