//! What a server keeps of its requests, through the built binary: how much, for how long, and what another version makes
//! of it.

use plinth_e2e::Project;
use serde_json::{Value, json};

use crate::rollouts::{ask, evil, priced, serve};

/// Asks for these, and has what was asked stored.
fn asked(project: &Project, xs: impl IntoIterator<Item = f64>) {
    let server = serve(project, &[]);
    for x in xs {
        let told = ask(&server, x, &[]);
        assert_eq!(told.status, 200, "{}", told.body);
    }
    server.stop();
}

fn replayed(project: &Project, to: &str, more: &[&str]) -> Value {
    project.json(&[&["replay", "models:/price/1", to], more].concat())
}

#[test]
fn captured_requests_are_asked_again_of_another_version() {
    let project = priced(&[[0.0, 1.0], [0.25, 1.0]]);
    evil(&project, "panic", false);
    let nothing = project.run(&["replay", "models:/price/1", "models:/price/2"]);
    nothing.fails(5, "empty-input", &["no request to models:/price/1 was captured"]);
    // The one that is evil looks at the first row of what it gets.
    asked(&project, (13..33).map(f64::from));

    let found = replayed(&project, "models:/price/2", &[]);
    assert_eq!((&found["rows"], &found["differing"], &found["failed"]), (&json!(20), &json!(20), &json!(0)), "{found}");
    let output = &found["outputs"][0];
    assert_eq!((&output["mean_difference"], &output["max_difference"]), (&json!(0.25), &json!(0.25)), "{found}");
    assert_eq!(replayed(&project, "models:/price/1", &[])["differing"], json!(0));
    assert_eq!(replayed(&project, "models:/price/2", &["--tolerance", "0.3"])["differing"], json!(0));
    assert_eq!(replayed(&project, "models:/price/2", &["--rows", "7"])["rows"], json!(7));

    let replay = ["replay", "models:/price/1", "models:/price/2"];
    project.run(&[&replay[..], &["--max-differing", "99.9%"]].concat()).fails(4, "answers-differ", &["100.00 %"]);
    project.run(&[&replay[..], &["--max-differing", "100"]].concat()).succeeds();
    for (flag, value, fix) in [("--max-differing", "101", "percentage"), ("--tolerance", "nan", "0 or more")] {
        let wrong = project.run(&[&replay[..], &[flag, value]].concat());
        assert!(wrong.code == Some(2) && wrong.stderr.contains(fix), "{wrong:?}");
    }
    project.run(&[&replay[..], &["--since", "0s"]].concat()).fails(5, "empty-input", &["since 0s"]);
    project.run(&["replay", "models:/price/1", "models:/price/9"]).fails(6, "model-not-found", &["9"]);

    // One row of these cannot be scored; the others can, and the file has both answers to each.
    let found = replayed(&project, "models:/evil/1", &["--output", "differ.jsonl"]);
    assert_eq!((&found["rows"], &found["failed"]), (&json!(20), &json!(1)), "{found}");
    assert_eq!(found["errors"].as_array().map(Vec::len), Some(1));
    let rows = std::fs::read_to_string(project.path("differ.jsonl")).expect("the file is there");
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("a row is JSON")).collect();
    assert_eq!(rows.len() as u64, found["differing"].as_u64().unwrap_or_default());
    let failed = rows.iter().find(|row| row["input.x"] == json!(13.0)).expect("the row that failed");
    assert!(failed["request_id"].is_string() && failed["output.prediction"] == json!(13.0), "{failed}");
    assert!(failed.as_object().is_some_and(|row| row.iter().any(|(k, v)| k.starts_with("replayed.") && v.is_null())));
}

#[test]
fn a_part_is_kept_without_what_is_redacted_and_not_for_ever() {
    let project = priced(&[[0.0, 1.0], [0.25, 1.0]]);
    project.write("plinth.toml", "[serve]\ncapture-part = 0.5\nredact = [\"y\"]\n");
    asked(&project, (0..200).map(f64::from));
    let kept = project.run(&["sql", "select * from 'captures:/price/1'", "--format", "csv"]);
    let kept: Vec<&str> = kept.succeeds().stdout.lines().collect();
    // 100 expected; four standard deviations are 28.
    assert!((72..=128).contains(&(kept.len() - 1)), "{}", kept.len());
    assert!(kept[0].contains("input.x") && !kept[0].contains("input.y"), "{}", kept[0]);
    // What is not there cannot be asked again.
    let replay = project.run(&["replay", "models:/price/1", "models:/price/2"]);
    replay.fails(5, "unknown-column", &["`y`", "captured without that column"]);

    project.write("plinth.toml", "[serve]\ncapture-kept = \"a while\"\n");
    project.run(&["serve", "--endpoint=price", "--port", "0"]).fails(2, "bad-config", &["a while", "30days"]);
    project.write("plinth.toml", "[serve]\ncapture-part = 2.0\n");
    project.run(&["serve", "--endpoint=price", "--port", "0"]).fails(2, "bad-config", &["capture-part"]);
    project.write("plinth.toml", "[serve]\ncapture-kept = \"1ms\"\n");
    let gc = ["gc", "--older-than", "30d", "--grace", "0s"];
    let would = project.json(&[&gc[..], &["--dry-run"]].concat());
    assert!(would["captures"].as_u64() >= Some(1), "{would}");
    let did = project.json(&gc);
    assert_eq!(did["captures"], would["captures"]);
    assert!(did["blobs"]["removed"].as_u64() >= Some(1), "{did}");
    project.run(&["sql", "select 1 from 'captures:/price/1'"]).fails(5, "empty-input", &["was captured"]);
    project.run(&["doctor"]).succeeds();
}

#[test]
fn each_request_is_told_of_in_the_access_log() {
    let project = priced(&[[0.0, 1.0]]);
    project.write("password", "a long enough password\n");
    project.run(&["user", "add", "ann", "--role", "reader", "--password-file", "password"]).succeeds();
    let token = project.json(&["token", "create", "ann"])["token"].as_str().expect("a token").to_owned();
    let server = serve(&project, &["--require-auth", "--access-log", "access.jsonl"]);
    let bearer = format!("Bearer {token}");
    let id = ask(&server, 1.0, &[("authorization", &bearer)]).headers["x-request-id"].clone();
    assert_eq!(ask(&server, 1.0, &[]).status, 401);
    assert_eq!(server.get("/health?token=secret").0, 200);
    let metrics = server.send("GET", "/metrics", &[("authorization", &bearer)], b"").1;
    assert!(metrics.contains("plinth_access_log_lines_total{outcome=\"lost\"} 0"), "{metrics}");
    server.stop();
    let log = std::fs::read_to_string(project.path("access.jsonl")).expect("the file is there");
    assert!(!log.contains("secret") && !log.contains(&token), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = lines.iter().map(|line| (line["path"].as_str().unwrap_or_default(), &line["status"])).collect();
    let scoring = "/endpoints/price/invocations";
    let wanted = [(scoring, json!(200)), (scoring, json!(401)), ("/health", json!(200)), ("/metrics", json!(200))];
    assert_eq!(told, wanted.iter().map(|(path, status)| (*path, status)).collect::<Vec<_>>());
    let first = &lines[0];
    assert_eq!((&first["principal"], &first["request_id"]), (&json!("ann"), &json!(id)), "{first}");
    assert_eq!(
        (&first["deployment"], &first["version"], &first["peer"]),
        (&json!("champion"), &json!("1"), &json!("127.0.0.1"))
    );
    assert!(first["total_us"].as_u64() > Some(0) && lines[1]["principal"].is_null(), "{log}");
    project.run(&["serve", "--endpoint=price", "--port", "0", "--access-log", "no/folder/x"]).fails(
        6,
        "file-not-found",
        &["no/folder"],
    );
}
