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
            "Changing param values is not allowed. Param with key='lr'",
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
            json!({"metrics": [metric], "params": [{"key": "p", "value": "x".repeat(6_001)}]}),
            "'Param value' exceeds the maximum length of 6000 characters",
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
