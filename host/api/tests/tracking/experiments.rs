use serde_json::json;

use crate::server::Server;

#[test]
fn an_experiment_lives_is_deleted_and_comes_back() {
    let server = Server::start();
    let id = server.post("experiments/create", &json!({"name": "churn", "tags": [{"key": "a", "value": "b"}]}));
    assert_eq!(id, json!({"experiment_id": "1"}));
    let found = &server.get("experiments/get-by-name?experiment_name=churn")["experiment"];
    assert_eq!(found["artifact_location"], "mlflow-artifacts:/1");
    assert_eq!(found["tags"], json!([{"key": "a", "value": "b"}]));
    server.post("experiments/update", &json!({"experiment_id": "1", "new_name": "churn2"}));
    server.post("experiments/delete", &json!({"experiment_id": "1"}));
    assert_eq!(server.get("experiments/get?experiment_id=1")["experiment"]["lifecycle_stage"], "deleted");
    let names = |view: &str| {
        let found = server.post("experiments/search", &json!({"max_results": 10, "view_type": view}));
        let list = found["experiments"].as_array().cloned().unwrap_or_default();
        list.iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names("ACTIVE_ONLY"), names("DELETED_ONLY")), (vec!["Default".into()], vec!["churn2".into()]));
    server.post("experiments/restore", &json!({"experiment_id": "1"}));
    assert_eq!(names("ALL"), ["churn2", "Default"]);
}

#[test]
fn what_cannot_be_is_refused_in_mlflows_words() {
    let server = Server::start();
    server.post("experiments/create", &json!({"name": "churn"}));
    let cases = [
        (
            "POST",
            "experiments/create",
            json!({}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Missing value for required parameter 'name'.",
        ),
        (
            "POST",
            "experiments/create",
            json!({"name": 5}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid value 5 for parameter 'name' supplied:  Hint: Value was of type 'int'.",
        ),
        (
            "POST",
            "experiments/create",
            json!({"name": "churn"}),
            400,
            "RESOURCE_ALREADY_EXISTS",
            "Experiment(name=churn) already exists.",
        ),
        (
            "POST",
            "experiments/create",
            json!({"name": "x", "artifact_location": "s3://b/../x"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid artifact location",
        ),
        (
            "GET",
            "experiments/get?experiment_id=77",
            json!({}),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "No Experiment with id=77 exists",
        ),
        (
            "GET",
            "experiments/get?experiment_id=x",
            json!({}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid experiment ID 'x'.",
        ),
        (
            "GET",
            "experiments/get-by-name?experiment_name=nope",
            json!({}),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "Could not find experiment with name 'nope'",
        ),
        (
            "POST",
            "experiments/restore",
            json!({"experiment_id": "1"}),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "No Experiment with id=1 exists",
        ),
        (
            "POST",
            "experiments/set-experiment-tag",
            json!({"experiment_id": "1", "key": "a//b", "value": ""}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid value \"a//b\" for parameter 'key' supplied: Names may be treated as files",
        ),
        (
            "POST",
            "experiments/delete-experiment-tag",
            json!({"experiment_id": "1", "key": "k"}),
            404,
            "RESOURCE_DOES_NOT_EXIST",
            "No tag with name: k in experiment with id 1",
        ),
        (
            "POST",
            "experiments/search",
            json!({"max_results": 0}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid value 0 for parameter 'max_results'",
        ),
        (
            "POST",
            "experiments/search",
            json!({"max_results": 1, "filter": "foo = 'x'"}),
            400,
            "INVALID_PARAMETER_VALUE",
            "Invalid attribute key 'foo' specified.",
        ),
        ("POST", "no/such/endpoint", json!({}), 404, "ENDPOINT_NOT_FOUND", "there is nothing at"),
        ("POST", "gateway/endpoints/create", json!({}), 501, "NOT_IMPLEMENTED", "gateway is not offered"),
        ("GET", "runs/search", json!({}), 405, "BAD_REQUEST", "does not take GET"),
    ];
    for (method, path, body, status, code, message) in cases {
        let (found_status, found_code, found) = server.refused(method, path, &body);
        assert_eq!((found_status, found_code.as_str()), (status, code), "{path} {body}: {found}");
        assert!(found.starts_with(message) || found.contains(message), "{path} {body}: {found}");
    }
    let (status, answer) = server.send("POST", "/api/2.0/mlflow/experiments/create", Some("{\"name\": "));
    assert_eq!((status, answer["error_code"].as_str()), (400, Some("BAD_REQUEST")));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.send("POST", "/api/2.0/mlflow/experiments/create", Some(&deep)).0, 400);
}
