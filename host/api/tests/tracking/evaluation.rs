use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn the_same_inputs_are_the_same_record() {
    let server = Server::start();
    let made =
        server.post("datasets/create", &json!({"name": "qa", "experiment_ids": ["0"], "tags": "{\"a\": \"b\"}"}));
    let id = made["dataset"]["dataset_id"].as_str().unwrap().to_owned();
    let put = |records: Value| server.post(&format!("datasets/{id}/records"), &json!({"records": records.to_string()}));
    let first = json!([
        {"inputs": {"q": "one", "n": 1}, "expectations": {"a": "x"}, "tags": {"mlflow.user": "ann"}},
        {"inputs": {"q": "two"}, "outputs": "text", "source": {"source_type": "trace", "source_data": {"trace_id": "tr-1"}}},
    ]);
    assert_eq!(put(first), json!({"inserted_count": 2, "updated_count": 0}));
    let again = put(json!([{"inputs": {"n": 1, "q": "one"}, "expectations": {"b": 2}}]));
    assert_eq!(again, json!({"inserted_count": 0, "updated_count": 1}));
    let page = server.get(&format!("datasets/{id}/records?max_results=1"));
    let records = |page: &Value| serde_json::from_str::<Value>(page["records"].as_str().unwrap()).unwrap();
    assert_eq!(records(&page)[0]["expectations"], json!({"a": "x", "b": 2}));
    let token = page["next_page_token"].as_str().unwrap().replace('=', "%3D");
    let rest = server.get(&format!("datasets/{id}/records?max_results=1&page_token={token}"));
    assert_eq!((&records(&rest)[0]["source_id"], &rest["next_page_token"]), (&json!("tr-1"), &Value::Null));
    let dataset = &server.get(&format!("datasets/{id}"))["dataset"];
    assert_eq!(dataset["profile"], "{\"num_records\":2}");
    assert!(dataset["schema"].as_str().unwrap().contains("\"n\":\"integer\""));
    for wrong in ["nope", "{}", "[1]", "[{\"inputs\": 5}]", "[{\"source\": {\"source_type\": \"X\"}}]"] {
        let path = format!("datasets/{id}/records");
        assert_eq!(server.refused("POST", &path, &json!({"records": wrong})).0, 400, "{wrong}");
    }
}

#[test]
fn data_sets_are_found_by_experiment_name_and_tag() {
    let server = Server::start();
    for (name, experiments, color) in [("a", json!(["0"]), "red"), ("b", json!([]), "blue")] {
        let tags = json!({"color": color}).to_string();
        server.post("datasets/create", &json!({"name": name, "experiment_ids": experiments, "tags": tags}));
    }
    let found = |body: &Value| {
        let found = server.post("datasets/search", body);
        let list = found["datasets"].as_array().cloned().unwrap_or_default();
        list.iter().map(|dataset| dataset["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(&json!({})), ["b", "a"]);
    assert_eq!(found(&json!({"experiment_ids": ["0"]})), ["a"]);
    assert_eq!(found(&json!({"filter_string": "tags.color = 'blue'"})), ["b"]);
    assert_eq!(found(&json!({"filter_string": "name IN ('a')", "order_by": ["name"]})), ["a"]);
    for wrong in ["foo = 'x'", "tags.color IS NULL", "name NOT IN ('a')", "created_time > '5'", "name = 5"] {
        assert_eq!(server.refused("POST", "datasets/search", &json!({"filter_string": wrong})).0, 400, "{wrong}");
    }
}
