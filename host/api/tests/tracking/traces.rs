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
    assert_eq!((status, message.as_str()), (400, "Cannot update expectation value on a Feedback assessment."));
}

#[test]
fn spans_become_a_trace_with_what_they_say_of_it() {
    let server = Server::start();
    let export = json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "telemetry.sdk.name", "value": {"stringValue": "otel"}},
        ]},
        "scopeSpans": [{"spans": [
            {
                "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "root",
                "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001500000000",
                "attributes": [
                    {"key": "mlflow.spanInputs", "value": {"stringValue": "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}"}},
                    {"key": "session.id", "value": {"stringValue": "s1"}},
                    {"key": "mlflow.traceTag.color", "value": {"stringValue": "red"}},
                ],
                "status": {"code": 2, "message": "broke"},
            },
            {
                "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203332",
                "parentSpanId": "b7ad6b7169203331", "name": "model",
                "startTimeUnixNano": "1700000000100000000", "endTimeUnixNano": "1700000000200000000",
                "attributes": [
                    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "3"}},
                    {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "4"}},
                ],
            },
        ]}],
    }]});
    let headers = [("x-mlflow-experiment-id", "0"), ("x-mlflow-run-id", "r9"), ("content-type", "application/json")];
    let (status, _) = server.send_with("POST", "/v1/traces", Some(&export.to_string()), &headers);
    assert_eq!(status, 200);
    let trace = &server.get("traces/get?trace_id=tr-0af7651916cd43dd8448eb211c80319c")["trace"];
    let info = &trace["trace_info"];
    assert_eq!((&info["state"], &info["execution_duration"]), (&json!("ERROR"), &json!("1.500s")));
    assert_eq!(info["request_preview"], "hi");
    assert_eq!(info["trace_metadata"]["mlflow.trace.session"], "s1");
    let usage = r#"{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}"#;
    assert_eq!(info["trace_metadata"]["mlflow.trace.tokenUsage"], usage);
    let tags = json!({
        "color": "red", "service.name": "shop", "mlflow.trace.spansLocation": "TRACKING_STORE",
        "mlflow.artifactLocation": "mlflow-artifacts:/0/traces/tr-0af7651916cd43dd8448eb211c80319c/artifacts",
    });
    assert_eq!(info["tags"], tags);
    assert_eq!(trace["spans"][0]["name"], "root");
    assert_eq!(trace["spans"][0]["status"], json!({"code": "STATUS_CODE_ERROR", "message": "broke"}));
    let found = |filter: &str| {
        let body = json!({"locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "filter": filter});
        server.post("traces/search", &body)["traces"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(
        (
            found("span.name = 'model' AND span.status = 'UNSET'"),
            found("span.name = 'model' AND span.status = 'ERROR'")
        ),
        (1, 0)
    );
    assert_eq!((found("run_id = 'r9'"), found("trace.text LIKE '%hi%'"), found("tags.color = 'blue'")), (1, 1, 0));
    // The same spans again change nothing, and count once.
    server.send_with("POST", "/v1/traces", Some(&export.to_string()), &headers);
    let again = server.get("traces/tr-0af7651916cd43dd8448eb211c80319c");
    assert_eq!(again["trace"]["trace_info"], *info);
}

#[test]
fn what_is_no_export_of_spans_is_refused() {
    let server = Server::start();
    let send = |headers: &[(&str, &str)], body: &str| server.send_with("POST", "/v1/traces", Some(body), headers).0;
    let (experiment, json) = (("x-mlflow-experiment-id", "0"), ("content-type", "application/json"));
    let protobuf = ("content-type", "application/x-protobuf");
    assert_eq!(send(&[protobuf], ""), 422);
    assert_eq!(send(&[experiment, ("content-type", "text/plain")], "{}"), 400);
    assert_eq!(send(&[experiment, protobuf], "garbage"), 400);
    assert_eq!(send(&[experiment, json], "{}"), 400);
    assert_eq!(send(&[experiment, json, ("content-encoding", "gzip")], "{}"), 400);
    let no_ids = r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}]}]}]}"#;
    assert_eq!(send(&[experiment, json], no_ids), 422);
    assert_eq!(
        send(
            &[("x-mlflow-experiment-id", "77"), json],
            &no_ids.replace("\"name\"", "\"traceId\": \"01\", \"spanId\": \"02\", \"name\"")
        ),
        404
    );
}

#[test]
fn values_of_assessments_come_back_as_they_were_given() {
    let server = Server::start();
    server.post("traces", &trace("tr-1", "2026-01-01T00:00:00Z", "OK"));
    let said = |kind: &str, body: Value| {
        let mut assessment = json!({"assessment_name": "n", "source": {"source_type": "CODE"}});
        assessment[kind] = body;
        server.post("traces/tr-1/assessments", &json!({"assessment": assessment}))["assessment"][kind].clone()
    };
    let packed = json!({"serialized_value": {"serialization_format": "JSON_FORMAT", "value": "{\"a\": [1, 2.5]}"}});
    assert_eq!(said("expectation", packed.clone()), packed);
    assert_eq!(said("expectation", json!({"value": "x"})), json!({"value": "x"}));
    let failed = json!({"value": null, "error": {"error_code": "E", "error_message": "m"}});
    assert_eq!(said("feedback", failed.clone()), failed);
    assert_eq!(said("feedback", json!({"value": {"a": true}})), json!({"value": {"a": true}}));
    for wrong in [
        json!({}),
        json!({"expectation": {}}),
        json!({"feedback": 5}),
        json!({"feedback": {"value": 1}, "metadata": {"k": 5}}),
    ] {
        assert_eq!(server.refused("POST", "traces/tr-1/assessments", &json!({"assessment": wrong})).0, 400);
    }
}
