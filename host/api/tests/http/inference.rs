//! The Open Inference Protocol.

use serde_json::{Value, json};

use crate::common::{ONE_ROW, serving};

const INFER: &str = "/v2/models/churn/infer";

fn tensor(name: &str, datatype: &str, data: Value) -> Value {
    let shape = [data.as_array().map_or(0, Vec::len)];
    json!({"name": name, "shape": shape, "datatype": datatype, "data": data})
}

fn two_rows() -> Vec<Value> {
    vec![
        tensor("age", "INT64", json!([40, 20])),
        tensor("plan", "BYTES", json!(["gold", "tin"])),
        tensor("minutes", "FP64", json!([2.5, null])),
        tensor("since", "INT64", json!([1_711_614_140_000_000_i64, null])),
    ]
}

#[test]
fn the_server_and_its_model_say_what_they_are() {
    let serving = serving();
    assert_eq!(serving.get("/v2/health/live").status, 200);
    assert_eq!(serving.get("/v2/health/ready").status, 200);
    assert_eq!(serving.get("/v2").json()["name"], "plinth");
    for path in ["/v2/models/churn", "/v2/models/churn/versions/1"] {
        let told = serving.get(path).json();
        assert_eq!((&told["name"], &told["versions"]), (&json!("churn"), &json!(["1"])));
        assert_eq!(told["inputs"][1], json!({"name": "plan", "datatype": "BYTES", "shape": [-1]}));
        assert_eq!(told["outputs"][2], json!({"name": "probability_yes", "datatype": "FP64", "shape": [-1]}));
        assert_eq!(serving.get(&format!("{path}/ready")).json(), json!({"name": "churn", "ready": true}));
    }
    for (path, part) in [
        ("/v2/models/chum", "no endpoint `chum` is served here; known: churn"),
        ("/v2/models/churn/versions/7", "version 7 of `churn` is not served; served: 1"),
        ("/v2/models/chum/ready", "`chum`"),
        ("/v2/models/churn/colour", "a model says nothing about `colour`"),
        ("/v2/nowhere", "nothing at"),
    ] {
        let answer = serving.get(path);
        assert_eq!(answer.status, 404);
        assert!(answer.json()["error"].as_str().unwrap().contains(part), "{path}: {}", answer.text);
    }
    for (path, code) in
        [("/v2/models/chum", "endpoint-not-found"), ("/v2/nowhere", "path-not-found"), ("/no", "path-not-found")]
    {
        assert_eq!(serving.get(path).json()["code"], code, "{path}");
    }
    serving.stop().unwrap();
}

#[test]
fn the_answer_is_the_same_by_the_short_way_and_by_the_routes() {
    let serving = serving();
    let client = serving.client();
    let rows = json!({"inputs": two_rows()}).to_string();
    let told = |path: &str, origin: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("x-request-id", "q-1"), ("origin", origin)];
        let answer = client.post_with(path, &headers, body);
        let kept = |name: &str| name != "date";
        let mut headers: Vec<_> =
            answer.headers.iter().filter(|(name, _)| kept(name.as_str())).map(|(n, v)| format!("{n}: {v:?}")).collect();
        headers.sort();
        (answer.status, headers, answer.text)
    };
    for body in [rows.as_str(), r#"{"inputs": []}"#, r#"{"inputs": [{"name": "colour"}]}"#, "no", ""] {
        // A name with an escaped letter takes the routes, as does a page's request.
        let straight = told(INFER, "", body);
        assert_eq!(straight, told("/v2/models/%63hurn/infer", "", body), "{body}");
        assert_eq!(straight, told(INFER, "https://page.example", body), "{body}");
        assert!(straight.1.contains(&"vary: \"origin\"".to_owned()), "{straight:?}");
        assert_eq!(straight.0, if body == rows { 200 } else { 400 }, "{straight:?}");
    }
    for path in ["/v2/models/chum/infer", "/v2/models//infer", "/v2/models/a/b/infer"] {
        let straight = told(path, "", &rows);
        assert_eq!((straight.0, &straight), (404, &told(path, "https://page.example", &rows)), "{path}");
    }
    for body in [ONE_ROW, "{}", "no"] {
        let straight = told("/invocations?explain=no", "", body);
        assert_eq!(straight, told("/invocations?explain=no", "https://page.example", body), "{body}");
        let straight = told("/invocations", "", body);
        assert_eq!(straight, told("/invocations", "https://page.example", body), "{body}");
        assert_eq!(straight.0, if body == ONE_ROW { 200 } else { 400 }, "{straight:?}");
    }
    serving.stop().unwrap();
}

#[test]
fn values_are_the_same_wherever_the_inputs_stand() {
    let serving = serving();
    // A tenth is not the same number in 32 bits and in 64, which the column has.
    let inputs = json!([
        tensor("age", "INT64", json!([40])),
        tensor("plan", "BYTES", json!(["gold"])),
        tensor("minutes", "FP32", json!([0.1])),
        tensor("since", "INT64", json!([null])),
    ]);
    let outputs = json!([{"name": "probability_yes"}]);
    let before = serving.post(INFER, "", format!(r#"{{"id":"1","outputs":{outputs},"inputs":{inputs}}}"#));
    let after = serving.post(INFER, "", format!(r#"{{"id":"1","inputs":{inputs},"outputs":{outputs}}}"#));
    assert_eq!((before.status, &before.text), (200, &after.text));
    assert_eq!(before.json()["outputs"][0]["data"], json!([(40.0 + 10.0 + 0.1) / 100.0]));
    serving.stop().unwrap();
}

#[test]
fn raw_rows_are_scored_without_a_content_type_and_parameters_do_no_harm() {
    let serving = serving();
    let wanted = json!([
        {"name": "prediction", "datatype": "BYTES", "shape": [2], "data": ["yes", "no"]},
        {"name": "probability_no", "datatype": "FP64", "shape": [2], "data": [0.475, 0.8]},
        {"name": "probability_yes", "datatype": "FP64", "shape": [2], "data": [0.525, 0.2]},
    ]);
    let mut tall = two_rows();
    for input in &mut tall {
        let nested: Vec<Value> = input["data"].as_array().unwrap().iter().map(|value| json!([value])).collect();
        input["data"] = nested.into();
        input["shape"] = json!([2, 1]);
        input["parameters"] = json!({"binary_data": false});
    }
    for (path, inputs) in [(INFER, two_rows()), ("/v2/models/churn/versions/1/infer", tall)] {
        let body = json!({"id": "q-7", "parameters": {"priority": 3}, "inputs": inputs}).to_string();
        let answer = serving.post(path, "", body);
        let told = answer.json();
        assert_eq!((answer.status, &told["outputs"]), (200, &wanted), "{told}");
        assert_eq!(
            (&told["model_name"], &told["model_version"], &told["id"]),
            (&json!("churn"), &json!("1"), &json!("q-7"))
        );
        assert_eq!(answer.header("x-request-id"), "q-7");
    }
    // The data may come before the name, and only some outputs may be asked for.
    let data_first: Vec<Value> = two_rows()
        .into_iter()
        .map(|t| json!({"data": t["data"], "datatype": t["datatype"], "shape": t["shape"], "name": t["name"]}))
        .collect();
    let outputs = json!([{"name": "probability_yes", "parameters": {"binary_data": false}}]);
    let answer = serving.post(INFER, "", json!({"outputs": outputs, "inputs": data_first}).to_string());
    assert_eq!(answer.json()["outputs"], json!([wanted[2]]), "{}", answer.text);
    serving.stop().unwrap();
}

#[test]
fn every_wrong_tensor_is_answered_400_and_named() {
    let serving = serving();
    let with = |index: usize, tensor: Value| {
        let mut inputs = two_rows();
        inputs[index] = tensor;
        json!({"inputs": inputs}).to_string()
    };
    let age = |key: &str, value: Value| {
        let mut tensor = two_rows().swap_remove(0);
        tensor[key] = value;
        with(0, tensor)
    };
    let without = |key: &str| {
        let mut tensor = two_rows().swap_remove(0);
        tensor.as_object_mut().unwrap().remove(key);
        with(0, tensor)
    };
    for (body, part) in [
        (String::new(), "EOF"),
        ("[]".into(), "an object with `inputs`"),
        ("{}".into(), "no `inputs`"),
        (r#"{"inputs":{}}"#.into(), "a list of tensors"),
        (r#"{"inputs":[]}"#.into(), "column `age` is missing"),
        (age("name", json!("aeg")), "did you mean `age`?"),
        (with(0, tensor("plan", "BYTES", json!(["gold", "tin"]))), "input `plan` is given twice"),
        (age("shape", json!([3])), "input `age` has shape [3] and 2 values"),
        (age("shape", json!([1, 2])), "input `age` has shape [1, 2] and 2 values"),
        (age("shape", json!([-1])), "input `age` has shape [-1]"),
        (age("shape", json!("x")), "expected a sequence"),
        (age("datatype", json!("BYTES")), "input `age` has datatype BYTES where INT64 is expected"),
        (age("data", json!(["a", "b"])), "row 0, column `age`: \"a\" is not int64"),
        (age("data", json!([1, null])), "row 1, column `age`: null is not allowed"),
        (age("data", json!([1, 2, 3])), "has shape [2] and 3 values"),
        (with(0, tensor("age", "INT64", json!([1]))), "input `age` has 1 rows and input `plan` has 2"),
        (with(0, tensor("age", "INT8", json!([1, 300]))), "input `age`: element 1: 300 is not INT8"),
        (with(0, tensor("age", "INT8", json!([1.5, 2]))), "input `age`: element 0: 1.5 is not INT8"),
        (with(0, tensor("age", "UINT16", json!([1, -1]))), "input `age`: element 1: -1 is not UINT16"),
        (with(0, tensor("age", "UINT64", json!([1, -1.0]))), "input `age`: element 1: -1 is not UINT64"),
        (with(2, tensor("minutes", "INT32", json!([1, 4e9]))), "input `minutes`: element 1: 4000000000 is not INT32"),
        (with(2, tensor("minutes", "FP32", json!([1, 1e300]))), "element 1"),
        (with(2, tensor("minutes", "FP16", json!([1, 2]))), "input `minutes`: FP16 cannot be written as JSON"),
        (with(3, tensor("since", "INT64", json!(["2024-01-01", 1]))), "element 0: \"2024-01-01\" is not INT64"),
        (with(0, tensor("age", "BOOL", json!([1, 2]))), "input `age` has datatype BOOL where INT64 is expected"),
        (age("parameters", json!({"shared_memory_region": "r"})), "input `age` is in shared memory"),
        (age("parameters", json!({"binary_data_size": 8})), "input `age` has both `data` and `binary_data_size`"),
        (without("name"), "input 0 has no `name`"),
        (without("shape"), "input `age` has no `shape`"),
        (without("datatype"), "input `age` has no `datatype`"),
        (without("data"), "input `age` has no `data`"),
        (
            json!({"inputs": two_rows(), "outputs": [{"name": "probability_maybe"}]}).to_string(),
            "the model has no output `probability_maybe`; did you mean",
        ),
    ] {
        let answer = serving.post(INFER, "", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(answer.json()["error"].as_str().unwrap().contains(part), "{body}: {}", answer.text);
    }
    let body = json!({"inputs": two_rows()}).to_string();
    let answer = serving.client().post_with(INFER, &[("inference-header-content-length", "10")], &body);
    assert_eq!(answer.status, 400, "{}", answer.text);
    for path in ["/v2/models/chum/infer", "/v2/models/churn/versions/2/infer"] {
        assert_eq!(serving.post(path, "", &body).status, 404);
    }
    serving.stop().unwrap();
}

#[test]
fn a_caller_who_asks_is_told_what_took_how_long() {
    let serving = serving();
    let parts = |told: &str| -> Vec<String> {
        let one = |part: &str| {
            let (name, took) = part.split_once(";dur=").unwrap_or_else(|| panic!("{told}"));
            assert!(took.parse::<f64>().is_ok_and(|took| took >= 0.0), "{told}");
            name.to_owned()
        };
        told.split(", ").map(one).collect()
    };
    let all = ["queue", "decode", "transform", "model", "encode", "total"];
    let json = ("content-type", "application/json");
    let client = serving.client();
    let asked = client.post_with("/invocations", &[json, ("x-plinth-timings", "true")], ONE_ROW);
    assert_eq!(parts(asked.header("server-timing")), all, "{}", asked.text);
    let asked = client.post_with("/endpoints/churn/invocations?timings=true", &[json], ONE_ROW);
    assert_eq!(parts(asked.header("server-timing")), all);
    let refused = client.post_with("/invocations?timings=true", &[json], "{}");
    assert_eq!((refused.status, parts(refused.header("server-timing"))), (400, vec!["total".to_owned()]));
    assert_eq!(client.post_with("/invocations", &[json], ONE_ROW).header("server-timing"), "");
    let wrong = client.post_with("/invocations", &[json, ("x-plinth-timings", "yes")], ONE_ROW);
    assert!(wrong.status == 400 && wrong.text.contains("x-plinth-timings `yes`"), "{}", wrong.text);

    let infer = |parameters: Value| {
        let body = json!({"parameters": parameters, "inputs": two_rows()}).to_string();
        serving.post(INFER, "", body).json()
    };
    let told = infer(json!({"timings": true}));
    let parameters = told["parameters"].as_object().unwrap_or_else(|| panic!("{told}"));
    for name in ["queue_ns", "decode_ns", "transform_ns", "model_ns"] {
        assert!(parameters[name].is_u64(), "{name} of {told}");
    }
    assert!(parameters["decode_ns"].as_u64() > Some(0) && parameters["model_ns"].as_u64() > Some(0), "{told}");
    assert_eq!(infer(json!({}))["parameters"], Value::Null);
    assert!(infer(json!({"timings": 1}))["error"].as_str().unwrap().contains("`timings` is 1, not true or false"));
    serving.stop().unwrap();
}

#[test]
fn what_is_served_is_told_as_openapi_with_the_models_columns() {
    let serving = serving();
    let told = serving.get("/openapi.json").json();
    assert_eq!(told["openapi"], "3.1.0");
    let body = &told["paths"]["/endpoints/churn/invocations"]["post"]["requestBody"]["content"]["application/json"];
    let row = &body["schema"]["oneOf"][0]["properties"]["dataframe_records"]["items"];
    assert_eq!(row["properties"]["plan"]["type"], json!("string"));
    let answer = &told["paths"]["/invocations"]["post"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(answer["properties"]["predictions"]["items"]["properties"]["probability_yes"].is_object(), "{answer}");
    let page = serving.get("/docs");
    assert!(page.header("content-type").starts_with("text/html") && page.text.contains("openapi.json"));
    serving.stop().unwrap();
}

#[test]
fn an_endpoint_is_asked_by_its_name_and_says_who_answered() {
    let serving = serving();
    let answer = serving.post("/endpoints/churn/invocations", "application/json", ONE_ROW);
    assert_eq!((answer.status, answer.header("x-deployment")), (200, "main"), "{}", answer.text);
    let answer = serving.post("/endpoints/other/invocations", "application/json", ONE_ROW);
    assert_eq!((answer.status, &answer.json()["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
    serving.stop().unwrap();
}
