use serde_json::{Value, json};

use crate::server::Server;

fn trace(id: &str, time: &str, state: &str) -> Value {
    json!({"trace": {"trace_info": {
        "trace_id": id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": time, "execution_duration": "0.039s", "state": state,
        "trace_metadata": {"mlflow.sourceRun": "r1"}, "tags": {"mlflow.traceName": id},
    }}})
}

#[test]
fn traces_are_recorded_tagged_searched_and_deleted() {
    let server = Server::start();
    for (id, time, state) in [("tr-1", "2026-01-01T00:00:00Z", "OK"), ("tr-2", "2026-01-02T00:00:00.5Z", "ERROR")] {
        let stored = server.post("traces", &trace(id, time, state));
        assert_eq!(stored["trace"]["trace_info"]["execution_duration"], "0.039s");
    }
    let (status, _) = server.send("PATCH", "/api/2.0/mlflow/traces/tr-1/tags", Some(r#"{"key": "k", "value": "v"}"#));
    assert_eq!(status, 200);
    let found = |filter: &str| {
        let body = json!({"locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "filter": filter});
        let found = server.post("traces/search", &body);
        let list = found["traces"].as_array().cloned().unwrap_or_default();
        list.iter().map(|t| t["trace_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(""), ["tr-2", "tr-1"]);
    assert_eq!(found("trace.status = 'OK'"), ["tr-1"]);
    assert_eq!(found("tags.k = 'v'"), ["tr-1"]);
    assert_eq!(found("name RLIKE '^tr-[2-9]$'"), ["tr-2"]);
    assert_eq!(found("run_id = 'r1' AND timestamp_ms > 1767225600000"), ["tr-2"]);
    assert_eq!(found("metadata.`mlflow.sourceRun` IS NULL"), Vec::<String>::new());
    let (status, _, message) = server.refused(
        "POST",
        "traces/search",
        &json!({"locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "filter": "name RLIKE '('"}),
    );
    assert_eq!((status, message.as_str()), (400, "'(' is not a regular expression"));
    let deleted = server.post("traces/delete-traces", &json!({"experiment_id": "0", "request_ids": ["tr-1"]}));
    assert_eq!(deleted, json!({"traces_deleted": 1}));
    let (status, code, _) = server.refused("GET", "traces/tr-1", &Value::Null);
    assert_eq!((status, code.as_str()), (404, "RESOURCE_DOES_NOT_EXIST"));
}

#[test]
fn an_assessment_that_replaces_another_makes_it_invalid_until_it_is_deleted() {
    let server = Server::start();
    server.post("traces", &trace("tr-1", "2026-01-01T00:00:00Z", "OK"));
    let body = |value: bool, overrides: &Value| {
        json!({"assessment": {
            "assessment_name": "good", "source": {"source_type": "HUMAN", "source_id": "ann"},
            "feedback": {"value": value}, "overrides": overrides,
        }})
    };
    let made = |body: &Value| server.post("traces/tr-1/assessments", body)["assessment"]["assessment_id"].clone();
    let first = made(&body(true, &Value::Null));
    let second = made(&body(false, &first));
    let valid = || {
        let path = format!("traces/tr-1/assessments/{}", first.as_str().unwrap());
        server.get(&path)["assessment"]["valid"].clone()
    };
    assert_eq!(valid(), false);
    let path = format!("/api/3.0/mlflow/traces/tr-1/assessments/{}", second.as_str().unwrap());
    assert_eq!(server.send("DELETE", &path, Some("{}")).0, 200);
    assert_eq!(valid(), true);
    let update = json!({"assessment": {"expectation": {"value": 1}}, "update_mask": "expectation"});
    let path = format!("traces/tr-1/assessments/{}", first.as_str().unwrap());
    let (status, _, message) = server.refused("PATCH", &path, &update);
    assert_eq!((status, message.as_str()), (400, "Cannot update expectation value on feedback assessment"));
}

#[test]
fn what_is_no_export_of_spans_is_refused() {
    let server = Server::start();
    let (status, answer) = server.send("POST", "/v1/traces", Some("{}"));
    assert_eq!((status, answer["error_code"].as_str()), (400, Some("INVALID_PARAMETER_VALUE")));
}
