//! Raw rows in, predictions out; and everything a client can get wrong.

use plinth_e2e::Project;
use serde_json::{Value, json};

/// The first row of `mlc_churn_events.csv`, as a client has it: no label, no identifiers.
pub(crate) fn customer() -> Value {
    json!({"state": "KS", "account_length": 128, "area_code": "area_code_415", "international_plan": "no",
        "voice_mail_plan": "yes", "number_vmail_messages": 25, "total_day_minutes": 265.1, "total_day_calls": 110,
        "total_day_charge": 45.07, "total_eve_minutes": 197.4, "total_eve_calls": 99, "total_eve_charge": 16.78,
        "total_night_minutes": 244.7, "total_night_calls": 91, "total_night_charge": 11.01, "total_intl_minutes": 10.0,
        "total_intl_calls": 3, "total_intl_charge": 2.7, "number_customer_service_calls": 1})
}

/// The V2 form of one customer: an input tensor for each column.
fn tensors() -> Value {
    let inputs: Vec<Value> = customer()
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| {
            let datatype = if value.is_string() {
                "BYTES"
            } else if value.is_f64() {
                "FP64"
            } else {
                "INT64"
            };
            json!({"name": name, "shape": [1], "datatype": datatype, "data": [value]})
        })
        .collect();
    json!({"id": "42", "inputs": inputs})
}

#[test]
fn raw_rows_are_scored_the_same_over_both_protocols_and_hostile_requests_are_named() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let server = project.serve("models:/churn@champion");

    let (status, body) = server.post("/invocations", &json!({"dataframe_records": [customer()]}));
    assert_eq!(status, 200, "{body}");
    let predictions: Value = serde_json::from_str(&body).expect("JSON");
    let first = &predictions["predictions"][0];
    assert!(first.to_string().contains("no") || first.to_string().contains("yes"), "{first}");

    let names: Vec<String> = customer().as_object().expect("an object").keys().cloned().collect();
    let values: Vec<Value> = customer().as_object().expect("an object").values().cloned().collect();
    let split = json!({"dataframe_split": {"columns": names, "data": [values]}});
    assert_eq!(server.post("/invocations", &split), (200, body.clone()));
    let line: Vec<String> = values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
    let csv = format!("{}\n{}\n", names.join(","), line.join(","));
    assert_eq!(server.post_text("/invocations", "text/csv", &csv), (200, body.clone()));

    let (status, answer) = server.post("/v2/models/churn/infer", &tensors());
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((&answer["id"], &answer["model_name"]), (&json!("42"), &json!("churn")));

    for path in ["/health", "/ping", "/v2/health/live", "/v2/health/ready", "/v2/models/churn/ready"] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    let metrics = server.get("/metrics").1;
    assert!(metrics.lines().any(|line| !line.starts_with('#') && line.contains("churn")), "{metrics}");

    let mut missing = customer();
    missing.as_object_mut().expect("an object").remove("total_day_minutes");
    let mut wrong = customer();
    wrong["total_day_minutes"] = json!("many");
    for (body, word) in [
        (json!({"dataframe_records": [missing]}).to_string(), "total_day_minutes"),
        (json!({"dataframe_records": [wrong]}).to_string(), "total_day_minutes"),
        ("{".into(), ""),
        ("{}".into(), ""),
        (json!({"dataframe_records": [customer()], "inputs": [1]}).to_string(), ""),
        (json!({"dataframe_records": 3}).to_string(), ""),
        (json!({"dataframe_records": [3]}).to_string(), ""),
        ("[".repeat(100_000), ""),
    ] {
        let (status, answer) = server.post_text("/invocations", "application/json", &body);
        assert_eq!(status, 400, "{}: {answer}", &body[..body.len().min(80)]);
        assert!(answer.contains("error_code") && answer.contains(word), "{answer}");
    }
    assert_eq!(server.post_text("/invocations", "text/plain", "hello").0, 415);
    assert_eq!(server.post("/v2/models/nobody/infer", &tensors()).0, 404);
    assert_eq!(server.post("/v2/models/churn/infer", &json!({"inputs": []})).0, 400);
    assert_eq!(server.post("/invocations", &json!({"dataframe_records": [customer()]})).0, 200, "it still serves");
    server.stop();
}

#[test]
fn a_parquet_file_is_scored_as_its_rows_are_in_any_other_form_and_a_hostile_one_is_named() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let rows = "select * from 'data/mlc_churn_sorted_cur.csv' limit 50";
    project.run(&["sql", rows, "--output", "rows.parquet"]).succeeds();
    let csv = std::fs::read_to_string(project.path("data/mlc_churn_sorted_cur.csv")).expect("the example has data");
    let csv: String = csv.lines().take(51).map(|line| format!("{line}\n")).collect();
    let file = std::fs::read(project.path("rows.parquet")).expect("it was written");
    project.write("plinth.toml", "[limits.serve]\nbody-bytes-max = 20000\n");
    let server = project.serve("models:/churn@champion");
    let wanted = server.post_text("/invocations", "text/csv", &csv);
    assert_eq!(wanted.0, 200, "{}", wanted.1);
    let send = |kind: &str, body: &[u8]| server.send("POST", "/invocations", &[("content-type", kind)], body);
    for kind in ["application/vnd.apache.parquet", "application/x-parquet"] {
        assert_eq!(send(kind, &file), wanted, "{kind}");
    }

    let kind = "application/x-parquet";
    // A schema of columns within columns, deeper than anybody can go down by calling himself.
    let deep = [&[0x15, 2, 0x19, 0xfc, 0xb8, 0x17][..], &[0x48, 1, b'a', 0x15, 2, 0].repeat(3_000), &[0]].concat();
    let deep = [b"PAR1", &deep[..], &(deep.len() as u32).to_le_bytes(), b"PAR1"].concat();
    for (body, status, words) in [
        (&b""[..], 400, "does not end as a parquet file does"),
        (csv.as_bytes(), 400, "does not end as a parquet file does"),
        (&file[..file.len() - 1], 400, "does not end as a parquet file does"),
        (&deep, 400, "nested more than 32 deep"),
    ] {
        let (found, told) = send(kind, body);
        assert_eq!(found, status, "{told}");
        assert!(told.contains(words) && told.contains("bad-table"), "{words}: {told}");
    }
    // The same text in each of 1000 rows: a small file of large rows.
    let large = "select state || repeat('x', 1000) as state, account_length, area_code, international_plan, \
                 voice_mail_plan, number_vmail_messages, total_day_minutes, total_day_calls, total_day_charge, \
                 total_eve_minutes, total_eve_calls, total_eve_charge, total_night_minutes, total_night_calls, \
                 total_night_charge, total_intl_minutes, total_intl_calls, total_intl_charge, \
                 number_customer_service_calls from (select * from 'data/mlc_churn_sorted_cur.csv' limit 1) \
                 cross join generate_series(1, 1000)";
    project.run(&["sql", large, "--output", "large.parquet"]).succeeds();
    let file = std::fs::read(project.path("large.parquet")).expect("it was written");
    assert!(file.len() < 20_000, "{}", file.len());
    let (status, told) = send(kind, &file);
    assert_eq!(status, 413, "{told}");
    assert!(told.contains("limits.serve.body-bytes-max"), "{told}");
    assert_eq!(server.post_text("/invocations", "text/csv", &csv), wanted, "it still serves");
    server.stop();
}

#[test]
fn captured_requests_can_be_checked_for_drift() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let server = project.serve("models:/churn@champion");
    let rows: Vec<Value> = (0..300)
        .map(|i| {
            let mut row = customer();
            row["total_day_minutes"] = json!(300.0 + f64::from(i % 50));
            row
        })
        .collect();
    assert_eq!(server.post("/invocations", &json!({ "dataframe_records": rows })).0, 200);
    server.stop();
    let done = project.run(&["monitor", "check", "churn", "--captured"]);
    assert_eq!(done.code, Some(4), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("total_day_minutes"), "{}", done.stdout);
    let since = |when: &str| project.run(&["monitor", "check", "churn", "--captured", "--since", when]);
    let done = since("1h");
    assert_eq!(done.code, Some(4), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("requests captured since 1h (300 rows)"), "{}", done.stdout);
    since("2999-01-01T00:00:00Z").fails(5, "empty-input", &["since 2999-01-01T00:00:00Z"]);
    assert_eq!(since("yesterday").code, Some(2));
}

#[test]
fn a_model_whose_stored_component_changed_is_refused() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let version = project.json(&["model", "show", "models:/churn/1"]);
    let files = version["files"].as_array().expect("files").clone();
    let component =
        files.iter().find(|f| f["role"] == "component").unwrap_or_else(|| panic!("a component in {version}"));
    let hash = component["hash"].as_str().expect("a hash");
    let blob = project.path(".plinth/blobs").join(&hash[..2]).join(&hash[2..]);
    let mut bytes = std::fs::read(&blob).expect("the blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&blob).expect("removable");
    std::fs::write(&blob, bytes).expect("writable");
    project.run(&["serve", "models:/churn@champion", "--port", "0"]).fails(13, "blob-corrupt", &[&hash[..12]]);
}

#[test]
fn a_classifier_that_answers_worse_than_it_was_evaluated_is_told_by_the_truth() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let endpoint = ["endpoint", "create", "churn", "models:/churn@champion"];
    project.run(&endpoint).succeeds();
    let server = project.listening(&["serve", "--port", "0"]);
    let post = |turn: u32| -> (String, String) {
        let mut row = customer();
        row["total_day_minutes"] = json!(100.0 + f64::from(turn));
        let id = format!("customer-{turn}");
        let headers = [("content-type", "application/json"), ("x-request-id", id.as_str())];
        let body = json!({"dataframe_records": [row]}).to_string();
        let (status, answer) = server.send("POST", "/endpoints/churn/invocations", &headers, body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        (id, answer["predictions"][0]["label"].as_str().expect("a label").to_owned())
    };
    // Right in 60 of 80: worse than any model that passes the gate.
    let told: Vec<Value> = (0..80)
        .map(|turn| {
            let (id, said) = post(turn);
            let other = if said == "yes" { "no" } else { "yes" };
            let truth = if turn % 4 == 0 { other } else { &said };
            json!({"request_id": id, "value": {"class": truth}})
        })
        .collect();
    let (status, body) = server.post("/endpoints/churn/feedback", &json!(told));
    assert_eq!(status, 200, "{body}");
    server.stop();
    let check = ["monitor", "check", "churn", "--captured", "--max-drop", "5%", "--report", "drift.html"];
    let done = project.run(&check);
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(done.stdout.contains("\nworse: accuracy by +0.") && done.stdout.contains("roc_auc"), "{}", done.stdout);
    let value: Value = serde_json::from_str(&project.run(&[&check[..], &["--json"]].concat()).stdout).expect("JSON");
    let seen = &value["report"]["performance"];
    let accuracy = seen["metrics"].as_array().expect("metrics").iter().find(|metric| metric["name"] == "accuracy");
    let accuracy = accuracy.expect("accuracy");
    assert_eq!((&seen["rows"], &accuracy["current"]), (&json!(80), &json!(0.75)), "{seen}");
    let version = project.json(&["model", "show", "models:/churn@champion"]);
    assert_eq!(accuracy["recorded"], version["spec"]["metrics"]["accuracy"], "{version}");
}
