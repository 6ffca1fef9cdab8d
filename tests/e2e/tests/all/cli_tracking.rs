//! The tracking store on the command line, beside a running server: every noun, what its JSON looks like, what a wrong
//! word is answered with, what a kill leaves.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use plinth_e2e::{Done, Project, Server, signal};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Keys and types of a value: what programs rely on. A list shows its first item.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        Value::Array(items) => format!("[{}]", items.first().map(shape).unwrap_or_default()),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", shape(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let (status, text) = server.post(&format!("/api/2.0/mlflow/{path}"), body);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn log(server: &Server, run: &str, key: &str, value: &Value, step: usize) {
    let metric = json!({"key": key, "value": value, "timestamp": 1_000 + step, "step": step});
    post(server, "runs/log-batch", &json!({"run_id": run, "metrics": [metric]}));
}

/// A store with two runs that differ, a model with a version, and the server over it.
struct World {
    project: Project,
    server: Server,
    brave: String,
    calm: String,
}

impl World {
    fn new() -> Self {
        let project = Project::empty();
        let server = project.up();
        let made = project.json(&["experiment", "create", "churn", "--tag", "team=growth"]);
        let experiment = made["experiment_id"].as_str().expect("an id").to_owned();
        let start = |name: &str, rate: &str| {
            let made = post(
                &server,
                "runs/create",
                &json!({"experiment_id": experiment, "run_name": name, "start_time": 1_000}),
            );
            let id = made["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
            let params = json!([{"key": "rate", "value": rate}, {"key": "model", "value": "tree"}]);
            let tags = json!([{"key": "team", "value": "growth"}]);
            post(&server, "runs/log-batch", &json!({"run_id": id, "params": params, "tags": tags}));
            for step in 0..4 {
                log(&server, &id, "loss", &json!(1.0 / (step + 1 + name.len()) as f64), step);
            }
            let dataset = json!({"name": "events", "digest": name, "source_type": "local", "source": "events.csv"});
            post(&server, "runs/log-inputs", &json!({"run_id": id, "datasets": [{"dataset": dataset, "tags": []}]}));
            id
        };
        let (brave, calm) = (start("brave", "0.1"), start("calm", "0.01"));
        for (name, id) in [("brave", &brave), ("calm", &calm)] {
            project.write("note.txt", name);
            project.write("same.txt", "same");
            project.run(&["artifact", "put", id, "note.txt", "same.txt", "--to", "notes"]).succeeds();
            post(&server, "runs/update", &json!({"run_id": id, "status": "FINISHED", "end_time": 3_000}));
        }
        post(&server, "registered-models/create", &json!({"name": "churn"}));
        let version = json!({"name": "churn", "source": format!("runs:/{brave}/notes"), "run_id": brave});
        post(&server, "model-versions/create", &version);
        Self { project, server, brave, calm }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.project.json(arguments)
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.project.run(arguments)
    }
}

const EXPERIMENT: &str = "experiment_id: text, name: text, artifact_location: text, lifecycle: text, created: number, \
                          updated: number, tags: {team: text}";
const HEAD: &str = "run_id: text, experiment_id: text, name: text, status: text, source: text, user: text, \
                    start: number, end: number, lifecycle: text, artifact_location: text";
const LOGGED: &str = "params: {model: text, rate: text}, metrics: [{key: text, value: number, time: number, \
                      step: number}], tags: {mlflow.runName: text, team: text}, datasets: [{name: text, digest: text, \
                      source_type: text, source: text, schema: null, profile: null, tags: []}], models_in: [], \
                      models_out: []";
const VERSION: &str = "model: text, version: number, description: text, user: text, source: text, run_id: text, \
                       model_id: null, status: text, stage: text, created: number, updated: number, tags: {}, \
                       aliases: []";

#[test]
fn every_noun_answers_in_json_of_a_known_shape_beside_a_server() {
    let world = World::new();
    let check = |arguments: &[&str], expected: &str| {
        let done = world.run(&[arguments, &["--json"]].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
        assert_eq!(done.stderr, "", "{arguments:?} talks to programs");
        let value: Value = serde_json::from_str(&done.stdout).expect("stdout is JSON and nothing else");
        assert_eq!(shape(&value), expected, "{arguments:?}");
    };
    let page = |name: &str, item: &str| format!("{{{name}: [{{{item}}}], next_page_token: null}}");
    let list = |item: &str| format!("[{{{item}}}]");
    check(&["experiment", "list"], &list(EXPERIMENT));
    check(&["experiment", "search", "name = 'churn'"], &page("experiments", EXPERIMENT));
    check(&["experiment", "show", "churn"], &format!("{{{EXPERIMENT}, runs: [{{{HEAD}}}], more_runs: bool}}"));
    check(&["run", "list"], &list(HEAD));
    check(&["runs", "list", "--experiment", "churn"], &list(HEAD));
    check(&["run", "search", "metrics.loss < 1"], &page("runs", &format!("{HEAD}, {LOGGED}")));
    let files = "artifacts: [{path: text, blob: text, bytes: number}]";
    check(&["run", "show", "brave"], &format!("{{{HEAD}, {LOGGED}, {files}}}"));
    let two = |value: &str| format!("{{key: text, values: [{value}], differs: bool");
    let compared = format!(
        "{{runs: [{{{HEAD}}}], params: [{text}}}], metrics: [{number}, deltas: [number]}}], tags: [{text}}}], datasets: \
         [{text}}}], artifacts: [{file}}}]}}",
        text = two("text"),
        number = two("number"),
        file = two("{blob: text, bytes: number}")
    );
    check(&["run", "compare", "brave", "calm"], &compared);
    let point = "key: text, value: number, time: number, step: number";
    check(
        &["metrics", "history", "brave", "loss"],
        &format!("{{points: [{{{point}}}], next_page_token: null, run_id: text, key: text}}"),
    );
    let points = "points: [{x: number, step: number, time: number, value: number}]";
    check(
        &["metrics", "plot", "brave", "calm", "loss"],
        &format!("{{plots: [{{key: text, x: text, runs: [{{run_id: text, name: text, {points}}}]}}]}}"),
    );
    check(&["artifact", "list", "brave"], "[{path: text, bytes: number, blob: text}]");
    check(
        &["artifact", "get", "brave", "notes", "--output", "out"],
        "{written: [{path: text, bytes: number, blob: text, to: text}], kept: number}",
    );
    let alias = "aliases: [{alias: text, version: number}]";
    check(&["model", "alias", "set", "churn", "champion", "1"], "{model: text, alias: text, version: number}");
    check(
        &["model", "list"],
        &list(&format!("name: text, description: text, versions: [number], {alias}, created: number")),
    );
    let latest = VERSION;
    check(
        &["model", "search", "name LIKE 'ch%'"],
        &page(
            "models",
            &format!(
                "name: text, description: text, created: number, updated: number, tags: {{}}, {alias}, \
                 latest_versions: [{{{latest}}}]"
            ),
        ),
    );
    let named = VERSION.replace("aliases: []", "aliases: [text]");
    check(&["model", "version", "search", "name = 'churn'"], &page("versions", &named));
    let whole = "model: text, version: number, run_id: text, spec: {}, files: [{role: text, path: text, hash: text, \
                 bytes: number}], aliases: [text], created: number, updated: number, description: text, user: text, \
                 source: text, status: text, stage: text, model_id: null, tags: {}";
    check(&["model", "version", "show", "churn", "1"], &format!("{{{whole}}}"));
    check(&["model", "show", "models:/churn@champion"], &format!("{{{whole}}}"));
    check(
        &["model", "show", "churn"],
        &format!(
            "{{name: text, description: text, {alias}, created: number, updated: number, tags: {{}}, version_count: \
             number, versions: [{{{whole}}}]}}"
        ),
    );
    check(&["trace", "list"], "[]");
    check(&["trace", "search", "status = 'OK'"], "{traces: [], next_page_token: null}");
    world.server.stop();
}

#[test]
fn what_the_command_line_changes_the_server_sees_and_the_other_way_round() {
    let world = World::new();
    let (brave, server) = (&world.brave, &world.server);
    let get = |path: &str| -> Value { serde_json::from_str(&server.get(path).1).expect("JSON") };
    let run_path = format!("/api/2.0/mlflow/runs/get?run_id={brave}");
    world.run(&["run", "tag", "brave", "reviewed=yes", "--remove", "team"]).succeeds();
    let tags = get(&run_path)["run"]["data"]["tags"].to_string();
    assert!(tags.contains("reviewed") && !tags.contains("growth"), "{tags}");
    world.run(&["run", "delete", "brave", "--yes"]).succeeds();
    assert_eq!(get(&run_path)["run"]["info"]["lifecycle_stage"], "deleted");
    assert_eq!(world.json(&["run", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(world.json(&["run", "list", "--view", "deleted"])[0]["run_id"], brave.as_str());
    world.run(&["artifact", "rm", "brave", "notes/note.txt", "--yes"]).fails(7, "invalid-state", &["deleted"]);
    world.run(&["run", "restore", "brave"]).succeeds();
    assert_eq!(get(&run_path)["run"]["info"]["lifecycle_stage"], "active");
    world.run(&["artifact", "rm", "brave", "notes/note.txt", "--yes"]).succeeds();
    let listed = get(&format!("/api/2.0/mlflow/artifacts/list?run_id={brave}&path=notes"));
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(1), "{listed}");
    // Experiments.
    world.run(&["experiment", "rename", "churn", "leavers"]).succeeds();
    world.run(&["experiment", "tag", "leavers", "owner=ann", "--remove", "team"]).succeeds();
    let found = get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=leavers");
    assert_eq!(found["experiment"]["tags"], json!([{"key": "owner", "value": "ann"}]));
    world.run(&["experiment", "delete", "leavers", "--yes"]).succeeds();
    assert_eq!(world.json(&["run", "list"]), json!([]));
    world.run(&["experiment", "restore", "leavers"]).succeeds();
    assert_eq!(world.json(&["run", "list"]).as_array().map(Vec::len), Some(2));
    // Models.
    world.run(&["model", "tag", "churn", "team=growth"]).succeeds();
    world.run(&["model", "tag", "models:/churn/1", "reviewed=yes"]).succeeds();
    world.run(&["model", "stage", "churn", "1", "staging"]).succeeds();
    world.run(&["model", "alias", "churn", "champion", "1"]).succeeds();
    let version = get("/api/2.0/mlflow/model-versions/get?name=churn&version=1");
    let version = &version["model_version"];
    assert_eq!((&version["current_stage"], &version["aliases"]), (&json!("Staging"), &json!(["champion"])));
    assert_eq!(version["tags"], json!([{"key": "reviewed", "value": "yes"}]));
    world.run(&["artifact", "put", "models:/churn/1", "note.txt"]).fails(7, "invalid-state", &["models:/churn/1"]);
    world.run(&["model", "alias", "delete", "churn", "champion"]).succeeds();
    world.run(&["model", "delete", "models:/churn/1", "--yes"]).succeeds();
    assert_eq!(world.json(&["model", "show", "churn"])["version_count"], 0);
    world.run(&["model", "delete", "churn", "--yes"]).succeeds();
    assert_eq!(world.json(&["model", "list"]), json!([]));
    let log = world.json(&["audit", "log"]).to_string();
    for action in ["run.delete", "experiment.rename", "model.delete", "(command line)"] {
        assert!(log.contains(action), "{action} is not in {log}");
    }
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    let world = World::new();
    let id = world.brave.as_str();
    let table: &[(&[&str], i32, &str, &[&str])] = &[
        (&["experiment", "show", "chrun"], 6, "experiment-not-found", &["chrun", "`churn`"]),
        (&["run", "list", "--experiment", "77"], 6, "experiment-not-found", &["77"]),
        (&["run", "show", "brav"], 6, "run-not-found", &["brav", "`brave`"]),
        (&["run", "show", "0123456789abcdef0123456789abcdef"], 6, "run-not-found", &["0123456789"]),
        (&["run", "show", &id[..1]], 2, "usage", &["2 runs", id, "more of the id"]),
        (&["run", "search", "metrics.loss <"], 5, "bad-request", &[]),
        (&["run", "search", "metric.loss ~ 3"], 5, "bad-request", &[]),
        (&["run", "search", "--order-by", "metrics.loss SIDEWAYS"], 5, "bad-request", &[]),
        (&["run", "search", "--page-token", "abc"], 2, "usage", &["abc", "next_page_token"]),
        (&["run", "list", "--columns", "run,staus"], 2, "usage", &["staus", "`status`"]),
        (&["run", "compare", "brave", "clam"], 6, "run-not-found", &["`calm`"]),
        (&["run", "watch", "brave", "--metric", "los"], 6, "metric-not-found", &["`loss`"]),
        (&["run", "tag", "brave", "--remove", "taem"], 6, "tag-not-found", &["taem"]),
        (&["run", "delete", "brave"], 2, "usage", &["brave", "--yes"]),
        (&["run", "lst"], 6, "file-not-found", &["`plinth run list`"]),
        (&["run", "--force", "list"], 6, "file-not-found", &["right after `run`"]),
        (&["metrics", "history", "brave", "los"], 6, "metric-not-found", &["los", "`loss`"]),
        (&["metrics", "plot", "brave", "los"], 6, "metric-not-found", &["los", "`loss`"]),
        (&["metrics", "plot", "brave"], 2, "usage", &["no metric", "loss"]),
        (&["metrics", "plot", "nobody", "loss"], 6, "run-not-found", &["nobody"]),
        (&["artifact", "list", "brave", "nots"], 6, "artifact-not-found", &["nots", "`notes`"]),
        (&["artifact", "get", "brave", "notes/not.txt"], 6, "artifact-not-found", &["`notes/note.txt`"]),
        (&["artifact", "get", "brave", "--output", "-"], 2, "usage", &["2 files"]),
        (&["artifact", "put", "brave", "absent.txt"], 6, "file-not-found", &["absent.txt"]),
        (&["artifact", "put", "brave", "note.txt", "--to", "../up"], 2, "bad-reference", &["../up"]),
        (&["artifact", "list", "models:/chrun/1"], 6, "model-not-found", &["`churn`"]),
        (&["artifact", "list", "m-0123"], 6, "model-not-found", &["m-0123"]),
        (&["model", "show", "chrun"], 6, "model-not-found", &["chrun", "`churn`"]),
        (&["model", "version", "show", "churn", "9"], 6, "model-not-found", &["9", "there is 1"]),
        (&["model", "alias", "set", "churn", "latest", "1"], 5, "bad-request", &["latest"]),
        (&["model", "alias", "delete", "churn", "champion"], 6, "model-not-found", &["champion"]),
        (&["model", "alias", "ste", "churn", "champion", "1"], 2, "usage", &["ste", "set"]),
        (&["model", "stage", "churn", "1", "Prodution"], 2, "usage", &["`Production`"]),
        (&["model", "tag", "churn", "--remove", "team"], 6, "tag-not-found", &["team"]),
        (&["model", "delete", "churn"], 2, "usage", &["1 versions", "--yes"]),
        (&["trace", "show", "tr-0"], 6, "trace-not-found", &["tr-0"]),
        (&["trace", "search", "nonsense = 3"], 5, "bad-request", &[]),
        (&["experiment", "create", "churn"], 7, "already-exists", &["churn"]),
        (&["experiment", "create", "x", "--artifact-location", "/tmp/../etc?a"], 5, "bad-request", &[]),
    ];
    for (arguments, exit, code, words) in table {
        let done = world.run(arguments);
        assert_eq!(done.stdout, "", "{arguments:?} failed, so there is no data");
        done.fails(*exit, code, words);
        // The same for programs: one object on stderr, nothing on stdout.
        let done = world.run(&[&["--json"], *arguments].concat());
        let error: Value = serde_json::from_str(done.stderr.trim()).unwrap_or_else(|_| panic!("{}", done.stderr));
        assert_eq!((&error["error"]["code"], &error["error"]["exit_code"]), (&json!(code), &json!(exit)));
    }
    // Clap's own part.
    let done = world.run(&["experimnt", "list"]);
    assert!(done.code == Some(2) && done.stderr.contains("experiment"), "{}", done.stderr);
    let done = world.run(&["run", "tag", "brave", "novalue"]);
    assert!(done.code == Some(2) && done.stderr.contains("KEY=VALUE"), "{}", done.stderr);
    assert_eq!(world.run(&["run", "tag", "brave"]).code, Some(2));
}

#[test]
fn pages_follow_each_other_and_tables_say_what_is_missing() {
    let world = World::new();
    let all = ["run", "search", "--order-by", "attributes.run_name", "--limit", "1"];
    let first = world.json(&all);
    assert_eq!(first["runs"][0]["name"], "brave");
    let token = first["next_page_token"].as_str().expect("there is more");
    let second = world.json(&[&all[..], &["--page-token", token]].concat());
    assert_eq!((&second["runs"][0]["name"], &second["next_page_token"]), (&json!("calm"), &Value::Null));
    let done = world.run(&["run", "search", "--columns", "name,metrics.los,params.rate"]);
    assert!(done.stderr.contains("did you mean `loss`?"), "{}", done.stderr);
    assert!(done.stdout.contains("0.01"), "{}", done.stdout);
    let done = world.run(&all);
    assert!(done.stderr.contains("--page-token"), "{}", done.stderr);
    // By the start of an id as well as by name; marks where something differs.
    let start = &world.calm[..world.calm.len() - 1];
    let done = world.run(&["run", "compare", "brave", start]);
    let marked: Vec<&str> = done.succeeds().stdout.lines().filter(|line| line.starts_with('*')).collect();
    let marked: Vec<&str> = marked.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(marked, ["rate", "loss", "events", "notes/note.txt"], "{}", done.stdout);
    let done = world.run(&["run", "compare", "brave", "calm", "--differences"]);
    assert!(!done.stdout.contains("same.txt") && done.stdout.contains("note.txt"), "{}", done.stdout);
}

#[test]
fn plots_are_plain_where_nobody_looks_and_numbers_that_are_none_do_no_harm() {
    let world = World::new();
    let run = post(&world.server, "runs/create", &json!({"experiment_id": "0", "run_name": "odd"}));
    let id = run["run"]["info"]["run_id"].as_str().expect("an id");
    for (step, value) in [json!("NaN"), json!("Infinity"), json!(1), json!(2)].iter().enumerate() {
        log(&world.server, id, "odd", value, step);
    }
    log(&world.server, id, "none", &json!("NaN"), 0);
    let done = world.run(&["metrics", "plot", "brave", "calm", "loss", "--width", "60", "--height", "6"]);
    assert!(!done.succeeds().stdout.contains('\x1b'), "{}", done.stdout);
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 60), "{}", done.stdout);
    assert_eq!(done.stdout.matches("loss over step").count(), 2, "a chart for each run:\n{}", done.stdout);
    let done = world.run(&["metrics", "plot", "odd", "odd", "none", "--x", "time"]);
    assert!(done.succeeds().stdout.contains("none: no finite value"), "{}", done.stdout);
    let history = world.json(&["metrics", "history", "odd", "odd"]);
    let values: Vec<&Value> = history["points"].as_array().expect("a list").iter().map(|p| &p["value"]).collect();
    assert_eq!(values[..2], [&json!("NaN"), &json!("Infinity")]);
    let plot = world.json(&["metrics", "plot", "odd", "--key", "odd"]);
    assert_eq!(plot["plots"][0]["runs"][0]["points"].as_array().map(Vec::len), Some(4));
}

/// A command that goes on, and its stdout line by line.
fn follow(project: &Project, arguments: &[&str]) -> (Child, Receiver<Value>) {
    let mut command = project.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(serde_json::from_str(&line).expect("a line of JSON")).is_err() {
                break;
            }
        }
    });
    (child, lines)
}

fn next(lines: &Receiver<Value>, event: &str) -> Value {
    loop {
        let value = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no `{event}` came"));
        if value["event"] == event {
            return value;
        }
    }
}

#[test]
fn watching_tells_what_a_run_logs_and_ends_with_it() {
    let project = Project::empty();
    let server = project.up();
    let made = post(&server, "runs/create", &json!({"experiment_id": "0", "run_name": "live"}));
    let id = made["run"]["info"]["run_id"].as_str().expect("an id");
    log(&server, id, "loss", &json!(9.0), 0);
    let (mut child, lines) =
        follow(&project, &["run", "watch", "live", "--json", "--exit-status", "--interval", "50ms"]);
    let (mut other, others) = follow(&project, &["run", "watch", id, "--json"]);
    assert_eq!(next(&lines, "run")["status"], "RUNNING");
    assert_eq!(next(&lines, "metric")["value"], 9.0);
    // Several at once are told one by one.
    let metrics: Vec<Value> =
        (1..4).map(|step| json!({"key": "loss", "value": step, "timestamp": 1_000 + step, "step": step})).collect();
    post(&server, "runs/log-batch", &json!({"run_id": id, "metrics": metrics, "params": [{"key": "a", "value": "b"}]}));
    assert_eq!(next(&lines, "param")["key"], "a");
    for step in 1..4 {
        assert_eq!(next(&lines, "metric")["step"], step);
    }
    // Ctrl-C ends the watching, not the run.
    next(&others, "metric");
    signal(other.id(), "INT");
    assert_eq!(other.wait().expect("it ends").code(), Some(130));
    post(&server, "runs/update", &json!({"run_id": id, "status": "FAILED", "end_time": 5_000}));
    assert_eq!(next(&lines, "end")["status"], "FAILED");
    assert_eq!(child.wait().expect("it ends").code(), Some(7), "--exit-status tells");
    let done = project.run(&["run", "watch", "live"]);
    assert!(done.succeeds().stdout.contains("failed after"), "{}", done.stdout);
}

#[test]
fn a_killed_download_leaves_nothing_half_and_the_next_one_finishes() {
    const BYTES: usize = 48 << 20;
    let project = Project::empty();
    let server = project.up();
    let made = post(&server, "runs/create", &json!({"experiment_id": "0", "run_name": "big"}));
    let id = made["run"]["info"]["run_id"].as_str().expect("an id");
    let bytes: Vec<u8> =
        (0..BYTES / 8).flat_map(|n| (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect();
    project.write("big.bin", &bytes);
    project.write("small.txt", "small");
    project.run(&["artifact", "put", id, "big.bin", "small.txt"]).succeeds();
    let folder = project.path("out");
    let halves = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part")).collect::<Vec<_>>()
    };
    let mut caught = false;
    for _ in 0..50 {
        let mut child = project
            .command(&["artifact", "get", id, "--output", "out"])
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        // Something of it is there, or it was too quick.
        let begun = || halves(&folder).iter().any(|half| half.metadata().is_ok_and(|meta| meta.len() > 0));
        while !begun() && child.try_wait().expect("it is ours").is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().expect("it is ours");
        let target = folder.join("big.bin");
        if !target.exists() {
            caught = !halves(&folder).is_empty();
            if caught {
                break;
            }
            continue;
        }
        assert!(std::fs::read(&target).expect("readable") == bytes, "a file under its name is whole");
        std::fs::remove_file(&target).expect("removable");
    }
    assert!(caught, "no download was caught half way");
    let got = project.json(&["artifact", "get", id, "--output", "out"]);
    assert!(got["written"].as_array().is_some_and(|written| !written.is_empty()), "{got}");
    assert!(std::fs::read(folder.join("big.bin")).expect("it is there") == bytes);
    assert_eq!(std::fs::read_to_string(folder.join("small.txt")).expect("it is there"), "small");
    assert!(halves(&folder).is_empty(), "what was half is gone");
    assert_eq!(project.json(&["artifact", "get", id, "--output", "out"])["kept"], 2);
    // What differs is not overwritten unasked.
    project.write("out/small.txt", "other");
    project.run(&["artifact", "get", id, "--output", "out"]).fails(7, "already-exists", &["small.txt", "--force"]);
    project.run(&["artifact", "get", id, "--output", "out", "--force"]).succeeds();
    assert_eq!(std::fs::read_to_string(folder.join("small.txt")).expect("it is there"), "small");
    // One file to stdout, as it is.
    assert_eq!(project.run(&["artifact", "get", id, "small.txt", "--output", "-"]).stdout, "small");
    server.stop();
}

#[test]
fn completions_know_every_noun() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let done = Project::empty().run(&["completions", shell]);
        for word in ["experiment", "metrics", "artifact", "compare", "watch", "alias", "trace"] {
            assert!(done.succeeds().stdout.contains(word), "{word} in {shell}");
        }
    }
}
