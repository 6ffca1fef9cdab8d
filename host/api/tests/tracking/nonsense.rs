//! Every endpoint that takes a body, with JSON that makes no sense: whatever comes, it is no fault of the server.

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::server::Server;

/// Requests to each endpoint.
const CASES: u32 = 24;

/// Names of fields, so that what is random gets past the first check.
const NAMES: [&str; 48] = [
    "experiment_id",
    "experiment_ids",
    "run_id",
    "run_uuid",
    "run_ids",
    "name",
    "new_name",
    "key",
    "value",
    "timestamp",
    "timestamp_ms",
    "step",
    "metrics",
    "params",
    "tags",
    "datasets",
    "dataset",
    "models",
    "model_id",
    "source",
    "source_run_id",
    "version",
    "alias",
    "stage",
    "stages",
    "status",
    "end_time",
    "start_time",
    "filter",
    "order_by",
    "max_results",
    "page_token",
    "locations",
    "trace",
    "trace_info",
    "trace_id",
    "trace_ids",
    "request_id",
    "request_time",
    "execution_duration",
    "assessment",
    "feedback",
    "update_mask",
    "records",
    "username",
    "password",
    "is_admin",
    "path",
];

fn number() -> impl Strategy<Value = Value> {
    let odd =
        ["1e308", "-1e308", "1e400", "9223372036854775807", "-9223372036854775808", "18446744073709551616", "1e-400"];
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(odd.to_vec()).prop_map(|text| serde_json::from_str(text).unwrap_or(Value::Null)),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    let odd = [
        "",
        "0",
        "-1",
        "1",
        "99999999999999999999",
        "NaN",
        "Infinity",
        "\u{0}",
        "\u{fffd}",
        "../..",
        "%00",
        "' OR 1=1 --",
        "metrics.\"a\" > 1",
        "FINISHED",
        "OK",
        "Production",
        "a = ",
        "((((",
        "2026-01-01T00:00:00Z",
        "1.5s",
        "e30=",
        "\u{202e}x",
        "models:/x/1",
        "file:///etc/passwd",
        "\u{10ffff}",
    ];
    prop_oneof![prop::sample::select(odd.to_vec()).prop_map(Value::from), ".{0,40}".prop_map(Value::from)]
}

fn json_of_any_shape() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text()];
    let named = prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(named.clone(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Many fields at once, some right by chance.
fn body(run: &str) -> impl Strategy<Value = Value> + use<> {
    let right: Map<String, Value> = json!({
        "experiment_id": "0", "experiment_ids": ["0"], "run_id": run, "name": "m", "key": "k", "value": "v",
        "version": "1", "alias": "a", "metrics": [{"key": "k", "value": 1, "timestamp": 1}], "stage": "Staging",
        "trace_ids": ["tr-1"], "source": "s3://b/x", "status": "FINISHED", "timestamp": 1, "timestamp_ms": 1,
        "filter": "", "max_results": 5, "order_by": [], "username": "u", "password": "correct horse", "path": "x",
        "trace_id": "tr-1", "locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "model_json": "{}",
    })
    .as_object()
    .unwrap()
    .clone();
    let named = prop::sample::select(NAMES.to_vec());
    vec((named, json_of_any_shape()), 1..6).prop_map(move |wrong| {
        let mut all = right.clone();
        all.extend(wrong.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Value::Object(all)
    })
}

#[test]
fn no_body_is_a_fault_of_the_server() {
    let server = Server::start_with(|config| config.requests.passwords_per_minute_max = 0);
    let run = server.run("0");
    server.post("registered-models/create", &json!({"name": "m"}));
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    for (method, path) in plinth_api::endpoints().filter(|(method, _)| *method != "GET") {
        let path = format!("/api/2.0{}", path.replace(['{', '}'], ""));
        let outcome = runner.run(&prop_oneof![3 => body(&run), 1 => json_of_any_shape()], |body| {
            let (status, answer) = server.send(method.as_str(), &path, Some(&body.to_string()));
            prop_assert!(status < 500, "{method} {path} {body}: {status} {answer}");
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    }
    assert_eq!(server.send("GET", "/health", None).0, 200);
}
