use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn everything_a_run_logs_comes_back() {
    let server = Server::start();
    let run = server.run("0");
    server.post("runs/log-parameter", &json!({"run_id": run, "key": "lr", "value": "0.1"}));
    server
        .post("runs/log-metric", &json!({"run_uuid": run, "key": "loss", "value": "NaN", "timestamp": "5", "step": 1}));
    server.post(
        "runs/log-batch",
        &json!({
            "run_id": run,
            "metrics": [
                {"key": "loss", "value": 0.5, "timestamp": 6, "step": 3},
                {"key": "loss", "value": 0.7, "timestamp": 9, "step": 2},
                {"key": "big", "value": "Infinity", "timestamp": 6},
            ],
            "params": [{"key": "depth", "value": "3"}],
            "tags": [{"key": "mlflow.runName", "value": "named"}],
        }),
    );
    server.post("runs/update", &json!({"run_id": run, "status": "FINISHED", "end_time": 2_000}));
    let found = &server.get(&format!("runs/get?run_id={run}"))["run"];
    assert_eq!((&found["info"]["run_name"], &found["info"]["status"]), (&json!("named"), &json!("FINISHED")));
    assert_eq!((&found["info"]["start_time"], &found["info"]["end_time"]), (&json!(1_000), &json!(2_000)));
    assert_eq!(found["data"]["params"], json!([{"key": "depth", "value": "3"}, {"key": "lr", "value": "0.1"}]));
    let metrics = &found["data"]["metrics"];
    assert_eq!(metrics[0], json!({"key": "big", "value": "Infinity", "timestamp": 6, "step": 0}));
    assert_eq!(metrics[1], json!({"key": "loss", "value": 0.5, "timestamp": 6, "step": 3}));
    let history = server.get(&format!("metrics/get-history?run_id={run}&metric_key=loss&max_results=2"));
    let points = history["metrics"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["value"], &points[1]["value"]), (2, &json!("NaN"), &json!(0.5)));
    let token = history["next_page_token"].as_str().unwrap();
    let rest =
        server.get(&format!("metrics/get-history?run_id={run}&metric_key=loss&max_results=2&page_token={token}"));
    assert_eq!((rest["metrics"][0]["value"].clone(), rest.get("next_page_token")), (json!(0.7), None));
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let server = Server::start();
    let run = server.run("0");
    server.post("runs/log-parameter", &json!({"run_id": run, "key": "lr", "value": "0.1"}));
    let metric = json!({"key": "m", "value": 1, "timestamp": 1});
    let many = |n: usize| (0..n).map(|i| json!({"key": format!("k{i}"), "value": "v"})).collect::<Vec<_>>();
    let cases = [
        (
            json!({"metrics": [metric], "params": [{"key": "lr", "value": "0.2"}]}),
            "Changing param values is not allowed. Params were already logged='[{'key': 'lr', 'old_value': '0.1', 'new_value': '0.2'}]'",
        ),
        (
            json!({"metrics": [metric, {"key": "x", "timestamp": 1}]}),
            "Missing value for required parameter 'metrics[1].value'.",
        ),
        (
            json!({"metrics": [metric, {"key": "a//b", "value": 1, "timestamp": 1}]}),
            "Invalid value \"a//b\" for parameter 'metrics[1].name' supplied",
        ),
        (
            json!({"metrics": [metric, {"key": "x", "value": "y", "timestamp": 1}]}),
            "Invalid value \"y\" for parameter 'metrics[1].value' supplied",
        ),
        (json!({"metrics": [metric, {"key": "x", "value": 1, "timestamp": -1}]}), "metrics[1].timestamp"),
        (
            json!({"metrics": [metric], "params": [{"key": "x".repeat(251), "value": "x"}]}),
            "'Param key' exceeds the maximum length of 250 characters",
        ),
        (
            json!({"metrics": [metric], "params": [{"key": "p", "value": "1"}, {"key": "p", "value": "1"}]}),
            "Duplicate parameter keys have been submitted: ['p']. Please ensure the request contains only one param",
        ),
        (
            json!({"metrics": [metric], "tags": many(101)}),
            "A batch logging request can contain at most 100 tags. Got 101 tags.",
        ),
        (
            json!({"metrics": vec![metric.clone(); 1_001]}),
            "A batch logging request can contain at most 1000 metrics. Got 1001 metrics.",
        ),
        (
            json!({"metrics": vec![metric.clone(); 950], "params": many(60)}),
            "at most 1000 metrics, params, and tags. Got 1010",
        ),
        (json!({"metrics": "x"}), "Invalid value \"x\" for parameter 'metrics' supplied"),
    ];
    for (mut body, message) in cases {
        body["run_id"] = run.clone().into();
        let (status, code, found) = server.refused("POST", "runs/log-batch", &body);
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"), "{found}");
        assert!(found.contains(message), "{found}");
    }
    let found = server.get(&format!("runs/get?run_id={run}"));
    assert_eq!(found["run"]["data"].get("metrics"), None);
    assert_eq!(found["run"]["data"]["params"], json!([{"key": "lr", "value": "0.1"}]));
}

#[test]
fn values_that_are_too_long_are_cut() {
    let server = Server::start();
    let run = server.run("0");
    server.post("runs/log-parameter", &json!({"run_id": run, "key": "p", "value": "ä".repeat(6_001)}));
    server.post("runs/set-tag", &json!({"run_id": run, "key": "t", "value": "x".repeat(8_001)}));
    // The same value again is the same parameter.
    server.post(
        "runs/log-batch",
        &json!({"run_id": run, "params": [{"key": "p", "value": "ä".repeat(7_000)}], "tags": [{"key": "u", "value": "y".repeat(9_000)}]}),
    );
    let data = &server.get(&format!("runs/get?run_id={run}"))["run"]["data"];
    assert_eq!(data["params"][0]["value"], json!("ä".repeat(6_000)));
    let tag =
        |key: &str| data["tags"].as_array().unwrap().iter().find(|tag| tag["key"] == key).unwrap()["value"].clone();
    assert_eq!((tag("t"), tag("u")), (json!("x".repeat(8_000)), json!("y".repeat(8_000))));
}

#[test]
fn what_a_request_lacks_is_told_as_mlflow_tells_it() {
    let server = Server::start();
    let run = server.run("0");
    server.post("runs/log-parameter", &json!({"run_id": run, "key": "lr", "value": "0.1"}));
    let missing = |name: &str| format!("Missing value for required parameter '{name}'.");
    let typed = |name: &str, shown: &str, kind: &str| {
        format!("Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'.")
    };
    let cases = [
        ("experiments/create", json!({}), missing("name")),
        ("experiments/create", json!({"name": 5}), typed("name", "5", "int")),
        (
            "experiments/create",
            json!({"name": "t", "tags": [{"key": "", "value": "v"}]}),
            "Invalid value \"\" for parameter 'key' supplied: Names may be treated as files".to_owned(),
        ),
        ("runs/create", json!({"experiment_id": ""}), missing("experiment_id")),
        ("runs/update", json!({"run_id": run, "end_time": "x"}), typed("end_time", "\"x\"", "str")),
        ("runs/log-metric", json!({"key": 5}), missing("run_id")),
        (
            "runs/log-metric",
            json!({"run_id": run, "key": "k", "value": 1, "timestamp": -1}),
            "Invalid value -1 for parameter 'timestamp' supplied: metric 'k' (value=1.0).".to_owned(),
        ),
        ("runs/log-metric", json!({"run_id": run, "key": "k", "value": 1}), missing("timestamp")),
        (
            "runs/log-metric",
            json!({"run_id": run, "key": "a//b", "value": 1, "timestamp": 1}),
            "Invalid value \"a//b\" for parameter 'name' supplied: Names may".to_owned(),
        ),
        (
            "runs/log-metric",
            json!({"run_id": run, "key": "k", "value": 1, "timestamp": 1, "dataset_name": "d"}),
            "Both dataset_name and dataset_digest must be provided if one is provided".to_owned(),
        ),
        (
            "runs/log-parameter",
            json!({"run_id": run, "key": "lr", "value": "0.2"}),
            "Changing param values is not allowed. Param with key='lr' was already logged with value='0.1'".to_owned(),
        ),
        (
            "runs/log-parameter",
            json!({"run_id": run, "key": "../b", "value": "v"}),
            "Invalid value \"../b\" for parameter 'key' supplied: Names may".to_owned(),
        ),
        (
            "runs/log-batch",
            json!({"run_id": "../x"}),
            "Invalid value \"../x\" for parameter 'run_id' supplied.".to_owned(),
        ),
        ("runs/outputs", json!({"run_id": run}), missing("models")),
        ("runs/search", json!({"order_by": "x"}), typed("order_by", "\"x\"", "str")),
        ("registered-models/alias", json!({"name": "m", "alias": "a"}), missing("version")),
        ("model-versions/create", json!({"name": "m"}), missing("source")),
    ];
    for (path, body, message) in cases {
        let (status, code, found) = server.refused("POST", path, &body);
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"), "{path}: {found}");
        assert!(found.starts_with(&message), "{path}: {found}");
    }
    for (path, message) in [
        ("metrics/get-history-bulk?metric_key=k", "GetMetricHistoryBulk request must specify at least one run_id."),
        ("metrics/get-history-bulk?run_id=r", "GetMetricHistoryBulk request must specify a metric_key."),
        ("metrics/get-history-bulk-interval?metric_key=k", "Missing value for required parameter 'run_ids'."),
        (
            "metrics/get-history?run_id=r&metric_key=k&max_results=0",
            "Invalid value 0 for parameter 'max_results' supplied.",
        ),
        ("experiments/get", "Missing value for required parameter 'experiment_id'."),
    ] {
        let (status, _, found) = server.refused("GET", path, &Value::Null);
        assert!(status == 400 && found.starts_with(message), "{path}: {found}");
    }
}

#[test]
fn a_body_is_json_and_says_so() {
    let server = Server::start();
    let create = |kind: &str| {
        let body = format!(r#"{{"name": "{kind}"}}"#);
        server.send_with("POST", "/api/2.0/mlflow/experiments/create", Some(&body), &[("content-type", kind)])
    };
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let (status, answer) = create(kind);
        assert_eq!(status, 400, "{kind}: {answer}");
        assert_eq!(answer["message"], "Bad Request. Content-Type must be one of ['application/json'].");
    }
    assert_eq!(create("application/json; charset=utf-8").0, 200);
    let run = server.run("0");
    let body = format!(r#"{{"run_id": "{run}", "key": "m", "value": NaN, "timestamp": 1}}"#);
    assert_eq!(server.send("POST", "/api/2.0/mlflow/runs/log-metric", Some(&body)).0, 200);
    assert_eq!(server.get(&format!("runs/get?run_id={run}"))["run"]["data"]["metrics"][0]["value"], "NaN");
}

#[test]
fn a_plot_gets_points_spread_over_the_whole_history() {
    let server = Server::start();
    let run = server.run("0");
    let metrics: Vec<Value> = (0..12).map(|i| json!({"key": "h", "value": i, "timestamp": i, "step": i})).collect();
    server.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics}));
    let steps = |rest: &str| -> Vec<i64> {
        let found = server.get(&format!("metrics/get-history-bulk-interval?run_ids={run}&metric_key=h{rest}"));
        let points = found["metrics"].as_array().unwrap();
        points.iter().inspect(|p| assert_eq!(p["run_id"], json!(run))).map(|p| p["step"].as_i64().unwrap()).collect()
    };
    // The first of each bucket that NTILE deals, and the last point in the place of the last bucket's first.
    assert_eq!(steps("&max_results=5"), [0, 3, 6, 8, 11]);
    assert_eq!(steps("&max_results=3"), [0, 4, 11]);
    assert_eq!(steps("&max_results=1"), [11]);
    assert_eq!(steps("&max_results=12"), (0..12).collect::<Vec<_>>());
    assert_eq!(steps("&max_results=2&start_step=3&end_step=9"), [3, 9]);
    assert_eq!(server.get("metrics/get-history-bulk-interval?run_ids=nope&metric_key=h"), json!({}));
    assert_eq!(server.get("metrics/get-history?run_id=nope&metric_key=h"), json!({}));
}

#[test]
fn a_deleted_run_is_read_but_not_written() {
    let server = Server::start();
    let run = server.run("0");
    server.post("runs/delete", &json!({"run_id": run}));
    assert_eq!(server.get(&format!("runs/get?run_id={run}"))["run"]["info"]["lifecycle_stage"], "deleted");
    let body = json!({"run_id": run, "key": "a", "value": "b"});
    let (status, _, message) = server.refused("POST", "runs/set-tag", &body);
    assert_eq!(
        (status, message),
        (400, format!("The run {run} must be in the 'active' state. Current state is deleted."))
    );
    server.post("runs/restore", &json!({"run_id": run}));
    server.post("runs/set-tag", &body);
    let (status, code, message) = server.refused("GET", "runs/get?run_id=nope", &Value::Null);
    assert_eq!(
        (status, code.as_str(), message.as_str()),
        (404, "RESOURCE_DOES_NOT_EXIST", "Run with id=nope not found")
    );
}

#[test]
fn runs_are_searched_filtered_and_ordered() {
    let server = Server::start();
    for (n, f1) in [("a", json!(0.3)), ("b", json!(0.9)), ("c", json!("NaN")), ("d", Value::Null)] {
        let run = server.post("runs/create", &json!({"experiment_id": "0", "run_name": n, "start_time": 1}));
        let id = &run["run"]["info"]["run_id"];
        server.post(
            "runs/log-parameter",
            &json!({"run_id": id, "key": "model", "value": if n < "c" { "tree" } else { "Net" }}),
        );
        if !f1.is_null() {
            server.post("runs/log-metric", &json!({"run_id": id, "key": "f1", "value": f1, "timestamp": 1}));
        }
    }
    let names = |filter: &str, order: &str| {
        let order: Vec<&str> = if order.is_empty() { vec![] } else { vec![order] };
        let found = server.post("runs/search", &json!({"experiment_ids": ["0"], "filter": filter, "order_by": order}));
        let list = found["runs"].as_array().cloned().unwrap_or_default();
        list.iter().map(|run| run["info"]["run_name"].as_str().unwrap().to_owned()).collect::<String>()
    };
    // After numbers comes NaN, then nothing, in both directions.
    assert_eq!(names("", "metrics.f1 DESC"), "bacd");
    assert_eq!(names("", "metrics.f1"), "abcd");
    assert_eq!(names("metrics.f1 != 0.3", "run_name"), "bc");
    assert_eq!(names("params.model LIKE 'n%'", ""), "");
    assert_eq!(names("params.model ILIKE 'n%' AND metrics.f1 > 0", "run_name"), "");
    assert_eq!(names("params.model ILIKE 'n%'", "run_name"), "cd");
    assert_eq!(names("params.model = 'tree' AND metrics.f1 > 0.5", ""), "b");
    let page = |token: &Value| {
        let body =
            json!({"experiment_ids": ["0"], "order_by": ["metrics.f1 DESC"], "max_results": 3, "page_token": token});
        server.post("runs/search", &body)
    };
    let first = page(&Value::Null);
    let second = page(&first["next_page_token"]);
    assert_eq!(second["runs"][0]["info"]["run_name"], "d");
    assert_eq!(second.get("next_page_token"), None);
}

#[test]
fn data_sets_that_runs_read_are_found_by_experiment() {
    let server = Server::start();
    let (run, gone) = (server.run("0"), server.run("0"));
    let dataset = |name: &str, context: &str| {
        json!({
            "dataset": {"name": name, "digest": "d", "source_type": "local", "source": "{}"},
            "tags": [{"key": "mlflow.data.context", "value": context}],
        })
    };
    server.post(
        "runs/log-inputs",
        &json!({"run_id": run, "datasets": [dataset("events", "training"), dataset("more", "eval")]}),
    );
    server.post("runs/log-inputs", &json!({"run_id": gone, "datasets": [dataset("hidden", "training")]}));
    server.post("runs/delete", &json!({"run_id": gone}));
    let found = server.post("experiments/search-datasets", &json!({"experiment_ids": ["0", "7"]}));
    let names: Vec<_> = found["dataset_summaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["name"].clone(), d["context"].clone()))
        .collect();
    assert_eq!(names, [(json!("events"), json!("training")), (json!("more"), json!("eval"))]);
    let inputs = &server.get(&format!("runs/get?run_id={run}"))["run"]["inputs"]["dataset_inputs"];
    assert_eq!(inputs.as_array().unwrap().len(), 2);
    let (status, code, _) = server.refused("POST", "experiments/search-datasets", &json!({}));
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
}
