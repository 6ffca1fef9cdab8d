//! What changes leave in the audit log.

use plinth_store::StoreError;
use serde_json::{Value, json};

use crate::server::Server;

/// The records so far: action and subject.
fn records(server: &Server) -> Vec<(String, String)> {
    let rows = server.tracking.store().catalog().read(|tx| {
        let rows = tx.query("SELECT action, subject FROM audit ORDER BY seq", &[])?;
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<Vec<_>, StoreError>>()
    });
    rows.unwrap()
}

/// Sends a change; what it left in the log.
fn leaves(server: &Server, method: &str, path: &str, body: &Value) -> Vec<(String, String)> {
    let before = records(server).len();
    let (status, answer) = server.send(method, &format!("/api/3.0/mlflow/{path}"), Some(&body.to_string()));
    assert_eq!(status, 200, "{method} {path}: {answer}");
    records(server).split_off(before)
}

#[test]
fn every_change_of_runs_and_what_they_log_leaves_a_record() {
    let server = Server::start();
    let post = |path: &str, body: Value| leaves(&server, "POST", path, &body);
    let id = |answer: &Value| answer["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let run = id(&server.post("runs/create", &json!({"experiment_id": "0"})));
    let subject = format!("runs:/{run}");
    assert_eq!(records(&server).last().unwrap(), &("run.create".to_owned(), subject.clone()));
    let one = |action: &str| vec![(action.to_owned(), subject.clone())];

    // Who made a run logs to it: that it was made says so.
    let metric = json!({"run_id": run, "key": "m", "value": 1, "timestamp": 1});
    assert_eq!(post("runs/log-metric", metric.clone()), []);
    // Another server knows only that somebody logs now, and says it once.
    let twin = server.twin();
    assert_eq!(leaves(&twin, "POST", "runs/log-metric", &metric), one("run.log"));
    assert_eq!(leaves(&twin, "POST", "runs/log-parameter", &json!({"run_id": run, "key": "p", "value": "1"})), []);
    assert_eq!(leaves(&twin, "POST", "runs/set-tag", &json!({"run_id": run, "key": "t", "value": "1"})), []);

    assert_eq!(post("runs/delete-tag", json!({"run_id": run, "key": "t"})), one("run-tag.delete"));
    assert_eq!(post("runs/update", json!({"run_id": run, "status": "FINISHED"})), one("run.update"));
    let dataset = json!({"name": "d", "digest": "1", "source_type": "local", "source": "x"});
    assert_eq!(
        post("runs/log-inputs", json!({"run_id": run, "datasets": [{"dataset": dataset}]})),
        one("run.log-inputs")
    );
    assert_eq!(post("runs/delete", json!({"run_id": run})), one("run.delete"));
    assert_eq!(post("runs/restore", json!({"run_id": run})), one("run.restore"));

    let path = format!("0/{run}/artifacts/a.txt");
    let artifacts = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
    let before = records(&server).len();
    assert_eq!(server.send("PUT", &artifacts, Some("text")).0, 200);
    assert_eq!(server.send("DELETE", &artifacts, None).0, 200);
    let left = records(&server).split_off(before);
    assert_eq!(left, [("artifact.put".to_owned(), path.clone()), ("artifact.delete".to_owned(), path)]);
    server.tracking.store().catalog().read(plinth_store::verify_audit).unwrap();
}

#[test]
fn every_change_of_models_traces_and_data_sets_leaves_a_record() {
    let server = Server::start();
    let check = |method: &str, path: &str, body: Value, action: &str| {
        let left: Vec<String> = leaves(&server, method, path, &body).into_iter().map(|(action, _)| action).collect();
        assert_eq!(left, [action], "{method} {path}");
    };
    check("POST", "registered-models/create", json!({"name": "m"}), "registered_model.created");
    check("PATCH", "registered-models/update", json!({"name": "m", "description": "d"}), "model.describe");
    check("POST", "registered-models/set-tag", json!({"name": "m", "key": "k", "value": "v"}), "model-tag.set");
    check("DELETE", "registered-models/delete-tag", json!({"name": "m", "key": "k"}), "model-tag.delete");
    let version = json!({"name": "m", "version": "1"});
    check("POST", "model-versions/create", json!({"name": "m", "source": "s3://b/m"}), "model_version.created");
    check(
        "PATCH",
        "model-versions/update",
        json!({"name": "m", "version": "1", "description": "d"}),
        "model-version.describe",
    );
    check("DELETE", "model-versions/delete", version, "model-version.delete");

    let made = server.post("logged-models", &json!({"experiment_id": "0", "name": "l"}));
    assert_eq!(records(&server).last().unwrap().0, "logged-model.create");
    let model = format!("logged-models/{}", made["model"]["info"]["model_id"].as_str().unwrap());
    check("PATCH", &model, json!({"status": "LOGGED_MODEL_READY"}), "logged-model.finalize");
    let tags = json!({"tags": [{"key": "k", "value": "v"}]});
    check("PATCH", &format!("{model}/tags"), tags, "logged-model-tag.set");
    check("DELETE", &format!("{model}/tags/k"), json!({}), "logged-model-tag.delete");
    check(
        "POST",
        &format!("{model}/params"),
        json!({"params": [{"key": "k", "value": "v"}]}),
        "logged-model.log-params",
    );
    check("DELETE", &model, json!({}), "logged-model.delete");

    let trace = format!("tr-{}", "01".repeat(16));
    let place = json!({"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}});
    let info = json!({
        "trace_id": trace, "state": "OK", "request_time": "2026-01-01T00:00:00Z", "trace_location": place,
    });
    check("POST", "traces", json!({"trace": {"trace_info": info}}), "trace.log");
    check("PATCH", &format!("traces/{trace}/tags"), json!({"key": "k", "value": "v"}), "trace-tag.set");
    check("DELETE", &format!("traces/{trace}/tags?key=k"), json!({"key": "k"}), "trace-tag.delete");
    let said = json!({
        "assessment_name": "ok", "trace_id": trace, "source": {"source_type": "HUMAN", "source_id": "ann"},
        "feedback": {"value": true},
    });
    check("POST", &format!("traces/{trace}/assessments"), json!({"assessment": said}), "assessment.create");
    let chosen = json!({"experiment_id": "0", "request_ids": [trace], "trace_ids": [trace]});
    check("POST", "traces/delete-traces", chosen, "trace.delete");

    let made = server.send("POST", "/api/3.0/mlflow/datasets/create", Some(r#"{"name": "d"}"#)).1;
    assert_eq!(records(&server).last().unwrap().0, "evaluation-dataset.create", "{made}");
    let dataset = format!("datasets/{}", made["dataset"]["dataset_id"].as_str().unwrap());
    let rows = json!({"records": json!([{"inputs": {"q": 1}}]).to_string()});
    check("POST", &format!("{dataset}/records"), rows, "evaluation-records.put");
    check("PATCH", &format!("{dataset}/tags"), json!({"tags": r#"{"k": "v"}"#}), "evaluation-dataset-tag.set");
    check("DELETE", &format!("{dataset}/tags/k"), json!({}), "evaluation-dataset-tag.delete");
    check("DELETE", &dataset, json!({}), "evaluation-dataset.delete");
    server.tracking.store().catalog().read(plinth_store::verify_audit).unwrap();
}
