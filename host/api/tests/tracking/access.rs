use plinth_tracking::{Resource, Role};
use serde_json::json;

use crate::server::Server;

const ALL: [(&str, &str); 24] = [
    ("GET", "/api/2.0/mlflow/experiments/search?max_results=1"),
    ("POST", "/api/2.0/mlflow/experiments/create"),
    ("POST", "/ajax-api/2.0/mlflow/experiments/create"),
    ("POST", "/api/2.0/mlflow/runs/create"),
    ("POST", "/api/2.0/mlflow/runs/log-batch"),
    ("POST", "/api/2.0/mlflow/runs/search"),
    ("GET", "/api/2.0/mlflow/runs/get?run_id=x"),
    ("GET", "/api/2.0/mlflow/metrics/get-history?run_id=x&metric_key=y"),
    ("POST", "/api/2.0/mlflow/registered-models/create"),
    ("GET", "/api/2.0/mlflow/registered-models/search"),
    ("POST", "/api/2.0/mlflow/model-versions/create"),
    ("POST", "/api/2.0/mlflow/registered-models/alias"),
    ("POST", "/api/2.0/mlflow/logged-models"),
    ("POST", "/api/3.0/mlflow/traces"),
    ("POST", "/api/3.0/mlflow/traces/search"),
    ("POST", "/v1/traces"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/f"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/f"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/f"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=0"),
    ("POST", "/api/2.0/mlflow-artifacts/mpu/create/0/x/artifacts/f"),
    ("POST", "/api/2.0/mlflow/users/create"),
    ("POST", "/graphql"),
    ("POST", "/no/such/thing"),
];

#[test]
fn nobody_does_anything_without_saying_who_they_are() {
    let server = Server::start_with(|config| config.access = true);
    server.tracking.add_user("ann", "correct horse", Role::Admin, "test").unwrap();
    for (method, path) in ALL {
        for authorization in [
            None,
            Some("Basic YW5uOndyb25n"),
            Some("Bearer plinth_guess"),
            Some("Basic !!!"),
            Some("Digest x"),
            Some(""),
        ] {
            let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", *value)).collect();
            let (status, answer) = server.send_with(method, path, Some("{}"), &headers);
            assert_eq!(status, 401, "{method} {path} {authorization:?}: {answer}");
        }
    }
    assert_eq!(server.send("GET", "/health", None).0, 200);
    let ann = [("authorization", "Basic YW5uOmNvcnJlY3QgaG9yc2U=")];
    assert_eq!(server.send_with("GET", "/api/2.0/mlflow/experiments/search?max_results=1", None, &ann).0, 200);
    let (_, token) = server.tracking.add_token("ann", "", None, "test").unwrap();
    let bearer = format!("Bearer {token}");
    let (status, _) =
        server.send_with("POST", "/api/2.0/mlflow/runs/search", Some("{}"), &[("authorization", &bearer)]);
    assert_eq!(status, 200);
}

#[test]
fn what_another_did_is_neither_seen_nor_touched_without_a_role() {
    let server = Server::start_with(|config| config.access = true);
    server.tracking.add_user("root", "correct horse", Role::Admin, "test").unwrap();
    server.tracking.add_user("bob", "correct horse", Role::None, "test").unwrap();
    let token = |name: &str| format!("Bearer {}", server.tracking.add_token(name, "", None, "test").unwrap().1);
    let (root, bob) = (token("root"), token("bob"));
    let send = |who: &str, method: &str, path: &str, body: serde_json::Value| {
        server.send_with(method, path, Some(&body.to_string()), &[("authorization", who)])
    };
    let post =
        |who: &str, path: &str, body: serde_json::Value| send(who, "POST", &format!("/api/2.0/mlflow/{path}"), body);
    for name in ["open", "closed"] {
        assert_eq!(post(&root, "experiments/create", json!({"name": name})).0, 200);
    }
    let run = |experiment: &str| {
        let (_, made) = post(&root, "runs/create", json!({"experiment_id": experiment}));
        made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    };
    let (open, closed) = (run("1"), run("2"));
    server.tracking.grant("bob", &Resource::Experiment("1".into()), Role::Editor, "test").unwrap();
    let file =
        |run: &str, experiment: &str| format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/x");
    assert_eq!(send(&root, "PUT", &file(&closed, "2"), json!("secret")).0, 200);

    assert_eq!(post(&bob, "runs/log-parameter", json!({"run_id": open, "key": "a", "value": "b"})).0, 200);
    assert_eq!(send(&bob, "PUT", &file(&open, "1"), json!("mine")).0, 200);
    let denied = [
        post(&bob, "runs/log-parameter", json!({"run_id": closed, "key": "a", "value": "b"})),
        post(&bob, "runs/create", json!({"experiment_id": "2"})),
        post(&bob, "experiments/create", json!({"name": "another"})),
        post(&bob, "experiments/delete", json!({"experiment_id": "2"})),
        post(&bob, "registered-models/create", json!({"name": "churn"})),
        post(&bob, "users/create", json!({"username": "eve", "password": "correct horse"})),
        send(&bob, "GET", &format!("/api/2.0/mlflow/runs/get?run_id={closed}"), json!({})),
        send(&bob, "GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=closed", json!({})),
        send(&bob, "GET", &file(&closed, "2"), json!({})),
        send(&bob, "GET", &file(&closed, "%32"), json!({})),
        send(&bob, "DELETE", &file(&closed, "2"), json!({})),
        send(&bob, "GET", "/api/2.0/mlflow-artifacts/artifacts?path=2", json!({})),
        send(&bob, "GET", "/api/2.0/mlflow-artifacts/artifacts", json!({})),
    ];
    for (at, (status, answer)) in denied.iter().enumerate() {
        assert_eq!((*status, answer["error_code"].as_str()), (403, Some("PERMISSION_DENIED")), "{at}: {answer}");
    }
    // A trace of another experiment is neither read, nor moved, nor written to, whatever the request names besides.
    let traced = |id: &str, experiment: &str| {
        json!({"trace": {"trace_info": {
            "trace_id": id, "state": "OK", "request_time": "2026-01-01T00:00:00Z",
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        }}})
    };
    let (theirs, mine) = (format!("tr-{}", "01".repeat(16)), format!("tr-{}", "02".repeat(16)));
    assert_eq!(post(&root, "traces", traced(&theirs, "2")).0, 200);
    assert_eq!(post(&bob, "traces", traced(&mine, "1")).0, 200);
    assert_eq!(post(&bob, "traces", traced(&theirs, "1")).0, 403);
    let artifact = format!("/ajax-api/3.0/mlflow/get-trace-artifact?run_id={open}&trace_id={mine}&request_id={theirs}");
    assert_eq!(send(&bob, "GET", &artifact, json!({})).0, 403);
    let spans = |id: &str| {
        let span = json!({"traceId": id, "spanId": "0202020202020202", "name": "x"});
        let export = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
        let headers =
            [("authorization", bob.as_str()), ("x-mlflow-experiment-id", "1"), ("content-type", "application/json")];
        server.send_with("POST", "/v1/traces", Some(&export.to_string()), &headers).0
    };
    assert_eq!((spans(&"01".repeat(16)), spans(&"02".repeat(16))), (403, 200));
    let (_, found) = post(&bob, "traces/batchGetInfos", json!({"trace_ids": [theirs, mine]}));
    assert_eq!(found["trace_infos"].as_array().unwrap().len(), 1);
    assert_eq!(post(&bob, "traces/link-to-run", json!({"trace_ids": [theirs], "run_id": open})).0, 403);

    let (_, found) = post(&bob, "runs/search", json!({"experiment_ids": ["1", "2"]}));
    assert_eq!(found["runs"].as_array().unwrap().len(), 1);
    let (_, found) = post(&bob, "experiments/search", json!({"max_results": 10}));
    assert_eq!(found["experiments"].as_array().unwrap().len(), 1);
    // Who did what stands in the audit log.
    let done = server.tracking.store().catalog().read::<_, plinth_store::StoreError>(|tx| {
        tx.query("SELECT principal FROM audit WHERE action = 'experiment.create'", &[])
    });
    assert!(done.unwrap().iter().all(|row| row.text(0).unwrap() == "root"));
}

#[test]
fn browsers_that_were_talked_into_it_are_refused() {
    let server = Server::start();
    let create = |headers: &[(&str, &str)], name: &str| {
        let body = json!({"name": name}).to_string();
        server.send_with("POST", "/api/2.0/mlflow/experiments/create", Some(&body), headers).0
    };
    assert_eq!(create(&[("host", "evil.example")], "a"), 403);
    assert_eq!(create(&[("host", "127.0.0.1.evil.example:5000")], "a"), 403);
    assert_eq!(create(&[("origin", "https://evil.example")], "a"), 403);
    assert_eq!(create(&[("origin", "null")], "a"), 403);
    assert_eq!(create(&[("origin", "http://localhost:3000")], "a"), 200);
    assert_eq!(create(&[("host", "localhost:5000")], "b"), 200);
    assert_eq!(server.send_with("GET", "/health", None, &[("host", "evil.example")]).0, 200);
}

#[test]
fn no_other_name_opens_what_another_did() {
    let server = Server::start_with(|config| config.access = true);
    server.tracking.add_user("root", "correct horse", Role::Admin, "test").unwrap();
    server.tracking.add_user("bob", "correct horse", Role::None, "test").unwrap();
    let token = |name: &str| format!("Bearer {}", server.tracking.add_token(name, "", None, "test").unwrap().1);
    let (root, bob) = (token("root"), token("bob"));
    let send = |who: &str, method: &str, path: &str, body: serde_json::Value| {
        server.send_with(method, path, Some(&body.to_string()), &[("authorization", who)])
    };
    let post =
        |who: &str, path: &str, body: serde_json::Value| send(who, "POST", &format!("/api/2.0/mlflow/{path}"), body);
    for name in ["open", "closed"] {
        post(&root, "experiments/create", json!({"name": name}));
    }
    let run = |experiment: &str| {
        let (_, made) = post(&root, "runs/create", json!({"experiment_id": experiment}));
        made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    };
    let (open, closed) = (run("1"), run("2"));
    let (_, model) = post(&root, "logged-models", json!({"experiment_id": "2", "name": "m"}));
    let model = model["model"]["info"]["model_id"].as_str().unwrap();
    for name in ["mine", "theirs"] {
        assert_eq!(post(&root, "registered-models/create", json!({"name": name})).0, 200);
    }
    let source = format!("mlflow-artifacts:/2/{closed}/artifacts");
    let version = json!({"name": "theirs", "source": source, "run_id": closed});
    assert_eq!(post(&root, "model-versions/create", version).0, 200);
    server.tracking.grant("bob", &Resource::Experiment("1".into()), Role::Editor, "test").unwrap();
    server.tracking.grant("bob", &Resource::Model("mine".into()), Role::Editor, "test").unwrap();

    let upload = |run: &str, uuid: &str| {
        let path = format!("/ajax-api/2.0/mlflow/upload-artifact?run_id={run}&run_uuid={uuid}&path=x");
        send(&bob, "POST", &path, json!("evil"))
    };
    assert_eq!(upload(&closed, &open).0, 200, "what is read there decides");
    let metric = json!({"key": "a", "value": 1, "timestamp": 1, "model_id": model});
    let mut logged = metric.clone();
    logged["run_id"] = open.as_str().into();
    let mut denied = vec![
        upload(&open, &closed),
        post(&bob, "runs/log-metric", logged),
        post(&bob, "runs/log-batch", json!({"run_id": open, "metrics": [metric]})),
    ];
    for source in
        ["models:/theirs/1", "models:/theirs%2F1", "MODELS:/theirs/1", "models:/th%65irs/1", "models:/theirs@x"]
    {
        denied.push(post(&bob, "model-versions/create", json!({"name": "mine", "source": source})));
    }
    for (at, (status, answer)) in denied.iter().enumerate() {
        assert_eq!((*status, answer["error_code"].as_str()), (403, Some("PERMISSION_DENIED")), "{at}: {answer}");
    }

    // A grant is for a model, not for whatever has its name later.
    assert_eq!(post(&bob, "registered-models/rename", json!({"name": "mine", "new_name": "other"})).0, 200);
    let tag = |name: &str| post(&bob, "registered-models/set-tag", json!({"name": name, "key": "a", "value": "b"})).0;
    assert_eq!(tag("other"), 200);
    assert_eq!(send(&root, "DELETE", "/api/2.0/mlflow/registered-models/delete", json!({"name": "other"})).0, 200);
    assert_eq!(post(&root, "registered-models/create", json!({"name": "other"})).0, 200);
    assert_eq!(tag("other"), 403);

    // Who is no admin gains nothing when that is taken away.
    let admin = json!({"username": "bob", "is_admin": false});
    assert_eq!(send(&root, "PATCH", "/api/2.0/mlflow/users/update-admin", admin).0, 200);
    assert_eq!(send(&bob, "GET", &format!("/api/2.0/mlflow/runs/get?run_id={closed}"), json!({})).0, 403);
}
