//! The tracking server as a process: it starts, is killed while clients write, and comes back with all it acknowledged.

use std::sync::Mutex;

use plinth_e2e::{Project, Server};
use serde_json::{Value, json};

/// How often the server is killed.
const KILLS: usize = 50;
/// The same with a database in between, which changes nothing in how the server itself dies.
const KILLS_ON_POSTGRESQL: usize = 15;
/// Clients that write at the same time.
const WRITERS: usize = 4;
/// Batches that must be acknowledged before the next kill.
const BATCHES_BEFORE_A_KILL: usize = 8;

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let (status, text) = server.post(&format!("/api/2.0/mlflow/{path}"), body);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// One batch of a writer: a metric, a parameter and a tag that all carry its number.
fn batch(run: &str, writer: usize, number: usize) -> Value {
    json!({
        "run_id": run,
        "metrics": [{"key": format!("m{writer}"), "value": number, "timestamp": number, "step": number}],
        "params": [{"key": format!("p{writer}.{number}"), "value": number.to_string()}],
        "tags": [{"key": format!("t{writer}.{number}"), "value": number.to_string()}],
    })
}

#[test]
fn killed_fifty_times_under_load_it_loses_nothing_it_acknowledged_and_keeps_no_half_of_a_batch() {
    survives(&Project::empty(), KILLS);
}

#[test]
fn nor_does_it_with_its_catalog_on_postgresql() {
    survives(&Project::with_catalog(&plinth_test_catalog::postgres()), KILLS_ON_POSTGRESQL);
}

fn survives(project: &Project, kills: usize) {
    let mut server = project.up();
    let made = post(&server, "runs/create", &json!({"experiment_id": "0"}));
    let run = made["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
    let acknowledged: Mutex<Vec<(usize, usize)>> = Mutex::default();
    let mut next = [0_usize; WRITERS];
    for _ in 0..kills {
        let url = server.url("/api/2.0/mlflow/runs/log-batch");
        let before = acknowledged.lock().expect("no writer panics").len();
        std::thread::scope(|scope| {
            for (writer, number) in next.iter_mut().enumerate() {
                let (url, acknowledged, run) = (&url, &acknowledged, &run);
                scope.spawn(move || {
                    // Ends with the server.
                    loop {
                        *number += 1;
                        match plinth_e2e::try_post(url, &batch(run, writer, *number)) {
                            Some((200, _)) => acknowledged.lock().expect("no writer panics").push((writer, *number)),
                            Some((status, text)) => panic!("{status} {text}"),
                            None => break,
                        }
                    }
                });
            }
            while acknowledged.lock().expect("no writer panics").len() < before + BATCHES_BEFORE_A_KILL {
                std::thread::yield_now();
            }
            plinth_e2e::signal(server.pid(), "KILL");
        });
        server.kill();
        server = project.up();
    }
    let (status, text) = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={run}"));
    assert_eq!(status, 200, "{text}");
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let keys = |part: &str| -> std::collections::BTreeSet<String> {
        let list = found["run"]["data"][part].as_array().expect("a list");
        list.iter().map(|item| item["key"].as_str().expect("a key").to_owned()).collect()
    };
    let (params, tags) = (keys("params"), keys("tags"));
    let acknowledged = acknowledged.into_inner().expect("no writer panics");
    assert!(acknowledged.len() >= kills * BATCHES_BEFORE_A_KILL);
    for (writer, number) in &acknowledged {
        assert!(params.contains(&format!("p{writer}.{number}")), "batch {number} of writer {writer} is lost");
    }
    // What was not acknowledged may be there or not, but never in part.
    for writer in 0..WRITERS {
        let path = format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m{writer}");
        let history: Value = serde_json::from_str(&server.get(&path).1).expect("JSON");
        let steps = history["metrics"].as_array().map_or(&[][..], Vec::as_slice);
        let of = |keys: &std::collections::BTreeSet<String>, letter: char| {
            keys.iter().filter(|key| key.starts_with(&format!("{letter}{writer}."))).count()
        };
        assert_eq!((of(&params, 'p'), of(&tags, 't')), (steps.len(), steps.len()), "writer {writer}");
    }
    server.stop();
    let findings = project.json(&["doctor"]);
    assert!(!findings.to_string().contains("\"harmful\":true"), "{findings}");
}

#[test]
fn a_server_ends_in_order_on_sigterm_and_its_run_is_there_for_the_command_line() {
    let project = Project::empty();
    let server = project.up();
    let made = post(&server, "runs/create", &json!({"experiment_id": "0", "run_name": "from-a-client"}));
    server.stop();
    let run = made["run"]["info"]["run_id"].as_str().expect("an id");
    assert_eq!(project.json(&["runs", "show", run])["name"], "from-a-client");
}

#[test]
fn an_address_that_others_reach_needs_access_control() {
    Project::empty().run(&["up", "--host", "0.0.0.0", "--port", "0"]).fails(2, "usage", &["--auth", "--insecure"]);
}

#[test]
fn a_catalog_that_does_not_answer_is_named_without_its_password() {
    // Nobody listens on port 1.
    let project = Project::with_catalog("postgres://ann:s3cret@127.0.0.1:1/plinth");
    for command in [&["up", "--port", "0"][..], &["runs", "list"], &["model", "list"], &["gc", "--older-than", "30d"]] {
        std::fs::create_dir_all(project.path(".plinth")).expect("a writable project");
        let done = project.run(command);
        assert!(!format!("{done:?}").contains("s3cret"), "{done:?}");
        done.fails(12, "catalog-unavailable", &["postgres://127.0.0.1:1/plinth"]);
    }
    let shown = project.run(&["config", "show", "--origin"]);
    assert!(shown.stdout.contains("postgres://127.0.0.1:1/plinth") && !shown.stdout.contains("s3cret"), "{shown:?}");
}
