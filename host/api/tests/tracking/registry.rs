use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn versions_aliases_and_stages() {
    let server = Server::start();
    let run = server.run("0");
    server.post("registered-models/create", &json!({"name": "churn"}));
    let source = format!("mlflow-artifacts:/0/{run}/artifacts/model");
    for n in ["1", "2"] {
        let made = server.post("model-versions/create", &json!({"name": "churn", "source": source, "run_id": run}));
        assert_eq!(made["model_version"]["version"], n);
    }
    server.post("registered-models/alias", &json!({"name": "churn", "alias": "champion", "version": "2"}));
    let found = server.get("registered-models/alias?name=churn&alias=champion");
    assert_eq!(found["model_version"]["version"], "2");
    for version in ["1", "2"] {
        let body =
            json!({"name": "churn", "version": version, "stage": "production", "archive_existing_versions": true});
        server.post("model-versions/transition-stage", &body);
    }
    let stages = |version: &str| {
        server.get(&format!("model-versions/get?name=churn&version={version}"))["model_version"]["current_stage"]
            .clone()
    };
    assert_eq!((stages("1"), stages("2")), (json!("Archived"), json!("Production")));
    let latest =
        server.post("registered-models/get-latest-versions", &json!({"name": "churn", "stages": ["Production"]}));
    assert_eq!(latest["model_versions"][0]["version"], "2");
    let uri = server.get("model-versions/get-download-uri?name=churn&version=2");
    assert_eq!(uri, json!({"artifact_uri": source}));
    // A number is not given twice.
    let (status, _) =
        server.send("DELETE", "/api/2.0/mlflow/model-versions/delete", Some(r#"{"name": "churn", "version": "2"}"#));
    assert_eq!(status, 200);
    let made = server.post("model-versions/create", &json!({"name": "churn", "source": source, "run_id": run}));
    assert_eq!(made["model_version"]["version"], "3");
    let (status, code, _) = server.refused("GET", "registered-models/alias?name=churn&alias=champion", &Value::Null);
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
}

#[test]
fn a_source_that_is_not_the_callers_is_refused() {
    let server = Server::start();
    let (mine, other) = (server.run("0"), server.run("0"));
    server.post("registered-models/create", &json!({"name": "churn"}));
    let root = format!("mlflow-artifacts:/0/{mine}/artifacts");
    let hostile = [
        "/etc/passwd".to_owned(),
        "file:///etc/passwd".to_owned(),
        "FILE:///etc/passwd".to_owned(),
        "../../etc/passwd".to_owned(),
        "C:\\secret".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "https://example.com/x".to_owned(),
        "ftp://example.com/x".to_owned(),
        "gopher://example.com/x".to_owned(),
        "mlflow-artifacts://example.com/0/x".to_owned(),
        "mlflow-artifacts:/0".to_owned(),
        format!("mlflow-artifacts:/0/{other}/artifacts/model"),
        format!("{root}/../../{other}/artifacts"),
        format!("{root}/%2e%2e/%2e%2e/{other}/artifacts"),
        format!("{root}/%252e%252e/{other}"),
        format!("{root}x/model"),
        format!("{root}/a\\..\\b"),
        format!("{root}/a\u{0}b"),
        format!("runs:/{other}/model"),
        "s3://bucket/a/../b".to_owned(),
        "s3://bucket/%2e%2e/b".to_owned(),
        "models:/nothing/1".to_owned(),
        "models://host/churn/1".to_owned(),
        "models:/m-00000000000000000000000000000000".to_owned(),
    ];
    for source in hostile {
        let body = json!({"name": "churn", "source": source, "run_id": mine});
        let (status, code, message) = server.refused("POST", "model-versions/create", &body);
        assert!(matches!(status, 400 | 404), "{source}: {status} {code} {message}");
    }
    for source in [format!("{root}/model"), root.clone(), format!("runs:/{mine}/model"), "s3://bucket/model".to_owned()]
    {
        server.post("model-versions/create", &json!({"name": "churn", "source": source, "run_id": mine}));
    }
    assert_eq!(
        server.get("model-versions/search?filter=name%3D%27churn%27")["model_versions"].as_array().unwrap().len(),
        4
    );
}

#[test]
fn prompts_are_kept_apart_from_models() {
    let server = Server::start();
    let prompt = json!([{"key": "mlflow.prompt.is_prompt", "value": "true"}]);
    server.post("registered-models/create", &json!({"name": "greet", "tags": prompt}));
    server.post("registered-models/create", &json!({"name": "churn"}));
    let names = |filter: &str| {
        let found = server.get(&format!("registered-models/search?filter={filter}"));
        let list = found["registered_models"].as_array().cloned().unwrap_or_default();
        list.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["churn"]);
    assert_eq!(names("tags.%60mlflow.prompt.is_prompt%60%20%3D%20%27true%27"), ["greet"]);
    let (status, code, message) = server.refused("POST", "registered-models/create", &json!({"name": "greet"}));
    assert_eq!((status, code.as_str()), (400, "RESOURCE_ALREADY_EXISTS"));
    assert!(message.contains("already taken by a prompt"), "{message}");
}

#[test]
fn logged_models_carry_what_was_measured_on_them() {
    let server = Server::start();
    let run = server.run("0");
    let made = server.post("logged-models", &json!({"experiment_id": "0", "name": "m", "source_run_id": run}));
    let id = made["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    for (value, dataset) in [(0.5, "train"), (0.7, "test")] {
        let body = json!({"run_id": run, "key": "f1", "value": value, "timestamp": 1, "model_id": id, "dataset_name": dataset, "dataset_digest": "d"});
        server.post("runs/log-metric", &body);
    }
    let (status, ready) =
        server.send("PATCH", &format!("/api/2.0/mlflow/logged-models/{id}"), Some(r#"{"status": 2}"#));
    assert_eq!((status, ready["model"]["info"]["status"].as_str()), (200, Some("LOGGED_MODEL_READY")));
    assert_eq!(ready["model"]["data"]["metrics"].as_array().unwrap().len(), 2);
    let count = |body: Value| server.post("logged-models/search", &body)["models"].as_array().map_or(0, Vec::len);
    assert_eq!(count(json!({"experiment_ids": ["0"], "filter": "metrics.f1 > 0.6"})), 1);
    assert_eq!(
        count(json!({"experiment_ids": ["0"], "filter": "metrics.f1 > 0.6", "datasets": [{"dataset_name": "train"}]})),
        0
    );
    let (status, code, _) = server.refused("POST", "logged-models/search", &json!({}));
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
}
