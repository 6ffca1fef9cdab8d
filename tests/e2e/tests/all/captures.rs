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
fn rows_on_which_a_plugin_traps_keep_nothing_from_those_behind_them() {
    let project = priced(&[[0.0, 1.0]]);
    evil(&project, "panic", false);
    asked(&project, std::iter::repeat_n(13.0, 12).chain([1.0, 2.0, 3.0]));
    let found = replayed(&project, "models:/evil/1", &[]);
    assert_eq!((&found["rows"], &found["failed"]), (&json!(15), &json!(12)), "{found}");
    let errors = found["errors"].to_string();
    assert!(errors.contains("evil panic on command") && !errors.contains("rests"), "{errors}");
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

/// The value of a metric whose line starts with `name`.
fn metric(server: &plinth_e2e::Server, name: &str) -> f64 {
    let (_, all) = server.get("/metrics");
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{all}"))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed().as_secs() < 60, "{what} never came true");
        std::thread::yield_now();
    }
}

/// Rows of a statement, as numbers.
fn numbers(project: &Project, sql: &str) -> Vec<Vec<f64>> {
    let done = project.run(&["sql", sql, "--format", "csv"]);
    let lines = done.succeeds().stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    lines.iter().map(|line| line.split(',').map(|cell| cell.parse().expect("a number")).collect()).collect()
}

#[test]
fn a_part_of_the_requests_is_explained_and_joined_with_what_was_asked() {
    let project = priced(&[[0.5, 2.0]]);
    project.run(&["explain", "price", "--captured"]).fails(5, "empty-input", &["models:/price/1", "explain-part"]);
    project.write("plinth.toml", "[serve]\nexplain-part = 0.5\n[limits.serve]\ncapture-flush-ms = 50\n");
    let server = serve(&project, &[]);
    let count = 200;
    for x in 0..count {
        assert_eq!(ask(&server, f64::from(x), &[]).status, 200);
    }
    // One request of three rows, which are told apart by their number.
    let three =
        json!({"dataframe_split": {"columns": ["x", "y"], "data": [[1000.0, 0.0], [1001.0, 0.0], [1002.0, 0.0]]}});
    let mut asked = 0;
    until("one of them is explained", || {
        asked += 1;
        let before = metric(&server, "plinth_explained_rows_total{outcome=\"stored\"}");
        let id = format!("three-{asked}");
        let headers = [("content-type", "application/json"), ("x-request-id", id.as_str())];
        let (status, body) =
            server.send("POST", "/endpoints/price/invocations", &headers, three.to_string().as_bytes());
        assert_eq!(status, 200, "{body}");
        until("nothing waits", || metric(&server, "plinth_explained_waiting_rows") <= 0.0);
        metric(&server, "plinth_explained_rows_total{outcome=\"stored\"}") > before
    });
    assert!(metric(&server, "plinth_explained_rows_total{outcome=\"dropped\"}") <= 0.0);
    assert!(metric(&server, "plinth_explained_rows_total{outcome=\"failed\"}") <= 0.0);
    server.stop();

    let joined = numbers(
        &project,
        r#"select c."input.x" as x, e.value, e.base, e.part_x, e.part_y, c."output.prediction" as said
           from 'captures:/price' c join 'explanations:/price/1' e
           on c.request_id = e.request_id and c."row" = e."row" and c.at = e.at"#,
    );
    let single = joined.iter().filter(|line| line[0] < 1_000.0).count();
    // 100 expected; four standard deviations are 28.
    assert!((72..=128).contains(&single), "{single}");
    assert!(joined.len() >= single + 3);
    for line in &joined {
        let [x, value, base, of_x, of_y, said] = line[..] else { panic!("{line:?}") };
        // 0.5 + 2x; the mean of the reference rows' x is 2.
        let wanted = [(value, 0.5 + 2.0 * x), (base, 4.5), (of_x, 2.0 * (x - 2.0)), (of_y, 0.0), (said, value)];
        assert!(wanted.iter().all(|(is, wanted)| (is - wanted).abs() < 1e-6), "{line:?}");
    }
    let shown = project.run(&["explain", "price", "--captured", "--since", "1h"]);
    let lines: Vec<&str> = shown.succeeds().stdout.lines().collect();
    assert_eq!(lines[0], "request_id,at,row,score,method,exact,scale,base,value,part_x,part_y");
    assert_eq!(lines.len(), joined.len() + 1);
    project.run(&["explain", "price", "--captured", "--output", "why.parquet"]).succeeds();
    assert_eq!(numbers(&project, "select count(*) from 'why.parquet'")[0][0] as usize, joined.len());
    project.run(&["explain", "price", "--captured", "--since", "2999-01-01T00:00:00Z"]).fails(
        5,
        "empty-input",
        &["since"],
    );
    project.run(&["explain", "price"]).fails(2, "usage", &["--data", "--captured"]);

    // Replays know nothing of them.
    assert_eq!(replayed(&project, "models:/price/1", &[])["differing"], json!(0));
    // What is redacted is in none of it, and its part is not, either.
    project
        .write("plinth.toml", "[serve]\nexplain-part = 1.0\nredact = [\"y\"]\n[limits.serve]\ncapture-flush-ms = 50\n");
    let server = serve(&project, &[]);
    assert_eq!(ask(&server, 7.0, &[("x-request-id", "redacted")]).status, 200);
    until("the explanation", || metric(&server, "plinth_explained_rows_total{outcome=\"stored\"}") >= 1.0);
    server.stop();
    let lines = project.run(&["explain", "price", "--captured"]).succeeds().stdout.clone();
    let last = lines.lines().last().unwrap_or_default();
    assert!(last.starts_with("redacted,") && last.ends_with(",10.0,"), "{last}");
    // They are kept as long as the rows, and no longer.
    project.write("plinth.toml", "[serve]\ncapture-kept = \"1ms\"\nexplain-part = 1.5\n");
    project.run(&["serve", "--endpoint=price", "--port", "0"]).fails(2, "bad-config", &["explain-part"]);
    project.write("plinth.toml", "[serve]\ncapture-kept = \"1ms\"\n");
    project.run(&["gc", "--older-than", "30d", "--grace", "0s"]).succeeds();
    project.run(&["explain", "price", "--captured"]).fails(5, "empty-input", &["models:/price/1"]);
    project.run(&["doctor"]).succeeds();
}

#[test]
fn what_cannot_be_explained_is_counted_and_served_all_the_same() {
    let project = priced(&[[0.0, 1.0]]);
    // It was registered without rows to compare with.
    evil(&project, "good", false);
    project.run(&["endpoint", "deploy", "price", "models:/evil/1", "--name", "champion"]).succeeds();
    project.write("plinth.toml", "[serve]\nexplain-part = 1.0\n[limits.serve]\ncapture-flush-ms = 50\n");
    let mut server = serve(&project, &[]);
    for x in 0..10 {
        assert_eq!(ask(&server, f64::from(x), &[]).status, 200);
    }
    until("failures", || metric(&server, "plinth_explained_rows_total{outcome=\"failed\"}") >= 10.0);
    assert!(server.wait_for("could not be explained").contains("evil"));
    server.stop();
    project.run(&["explain", "evil", "--captured"]).fails(5, "empty-input", &["models:/evil/1"]);
}

#[test]
fn the_truth_that_was_told_says_whether_a_model_answers_worse() {
    let project = priced(&[[0.0, 1.0]]);
    let check = |more: &[&str]| project.run(&[&["monitor", "check", "price", "--captured"], more].concat());
    project.write("plinth.toml", "[monitor]\nexclude = [\"x\"]\n[limits.serve]\ncapture-flush-ms = 50\n");
    let server = serve(&project, &[]);
    // What it says is off by 3 or by 4: the root of the mean of 9 and 16 is 3.54.
    let mut told = Vec::new();
    for turn in 0..100 {
        let x = f64::from(turn);
        let id = ask(&server, x, &[]).headers["x-request-id"].clone();
        let truth = x + if turn % 2 == 0 { 3.0 } else { -4.0 };
        told.push(match turn {
            // In each of the forms in which it may be told.
            10..20 => json!({"request_id": id, "value": truth.to_string()}),
            20..30 => json!({"request_id": id, "value": {"price": truth, "paid_by": "card"}}),
            90..95 => json!({"request_id": id, "value": "who knows"}),
            95..100 => continue,
            _ => json!({"request_id": id, "value": truth}),
        });
    }
    // One of them has two rows, and a truth for each.
    let two = json!({"dataframe_split": {"columns": ["x", "y"], "data": [[1.0, 0.0], [2.0, 0.0]]}});
    let headers = [("content-type", "application/json"), ("x-request-id", "both")];
    server.send("POST", "/endpoints/price/invocations", &headers, two.to_string().as_bytes());
    told.push(json!({"request_id": "both", "value": [4.0, -2.0]}));
    let (status, body) = server.post("/endpoints/price/feedback", &json!(told));
    // At once, and of an endpoint with one deployment.
    assert!(status == 200 && body.contains("\"taken\":96"), "{status} {body}");
    server.stop();

    let found = |more: &[&str]| -> Value {
        let done = check(&[more, &["--json"]].concat());
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
    };
    let seen = found(&["--truth", "price", "--since", "1h"])["report"]["performance"].clone();
    assert_eq!((&seen["rows"], &seen["unread"], &seen["judged"]), (&json!(92), &json!(5), &Value::Null), "{seen}");
    let metrics = seen["metrics"].as_array().expect("metrics");
    let rmse = metrics.iter().find(|metric| metric["name"] == "rmse").expect("rmse");
    assert!((rmse["current"].as_f64().expect("a number") - 12.5_f64.sqrt()).abs() < 1e-9, "{rmse}");
    assert!(rmse["recorded"].is_null(), "{rmse}");
    // Which field, nobody has said.
    assert_eq!(found(&[])["report"]["performance"]["rows"], json!(82));

    let good = ["--max-drop", "0.5", "--expected", "3.5", "--truth", "price"];
    let done = check(&good);
    // Of so few rows the drift tests can say nothing.
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(done.stdout.contains("not worse: rmse by +0.03"), "{}", done.stdout);
    let bad = ["--max-drop", "10%", "--expected", "3", "--truth", "price", "--report", "drift.html"];
    let done = check(&bad);
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(
        done.stdout.contains("\nworse: rmse by +0.53") && done.stdout.contains("; 0.3000 may be"),
        "{}",
        done.stdout
    );
    let page = std::fs::read_to_string(project.path("drift.html")).expect("the report");
    assert!(page.contains("worse by 0.5") && page.contains("92 rows"), "{page}");
    assert_eq!(found(&bad)["report"]["verdict"], json!("drift"));

    check(&["--max-drop", "0.1", "--truth", "price"]).fails(
        5,
        "empty-input",
        &["models:/price/1", "rmse", "--expected"],
    );
    check(&["--max-drop", "0.1", "--metric", "f1"]).fails(2, "usage", &["`f1` was not measured"]);
    check(&["--max-drop=-1"]).fails(2, "usage", &["such as 5%"]);
    project.run(&["monitor", "check", "price", "--current", "rows.csv", "--max-drop", "1"]).fails(
        2,
        "usage",
        &["--current", "--max-drop"],
    );
    let other = priced(&[[0.0, 1.0]]);
    asked(&other, (0..60).map(f64::from));
    let nothing = other.run(&["monitor", "check", "price", "--captured", "--max-drop", "1"]);
    nothing.fails(5, "empty-input", &["the truth was told of no captured request", "feedback"]);
}
