//! Models of tensors: the Open Inference Protocol with its binary extension, the repository, settings, statistics.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use plinth_core::codes;
use plinth_ext::{DType, Data, ExtError, Graph, Slot, Tensor};
use plinth_serve::{
    Capacity, Deployment, DeploymentPlan, EndpointPlan, Generation, Routing, ServeError, Source, TensorModel,
};
use serde_json::{Value, json};

use crate::common::serving_of;

const INFER: &str = "/v2/models/double/infer";

/// Twice its numbers, its texts as they are; fails on 13.
#[derive(Debug)]
struct Double {
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
}

impl Double {
    fn new() -> Self {
        let slot = |name: &str, dtype, shape: &[Option<usize>]| Slot {
            name: name.into(),
            dtype: Some(dtype),
            shape: shape.to_vec(),
        };
        Self {
            inputs: vec![slot("x", DType::F32, &[None, Some(2)]), slot("name", DType::Text, &[None])],
            outputs: vec![slot("y", DType::F32, &[None, Some(2)]), slot("same", DType::Text, &[None])],
        }
    }
}

impl Graph for Double {
    fn inputs(&self) -> &[Slot] {
        &self.inputs
    }
    fn outputs(&self) -> &[Slot] {
        &self.outputs
    }
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExtError> {
        let Data::F32(x) = inputs[0].data() else { panic!("checked before") };
        if x.contains(&13.0) {
            return Err(ExtError::fault("model", codes::BAD_MODEL, "13 is unlucky"));
        }
        let twice = x.iter().map(|value| value * 2.0).collect();
        Ok(vec![Tensor::new(inputs[0].shape().to_vec(), Data::F32(twice)).unwrap(), inputs[1].clone()])
    }
    fn format(&self) -> &'static str {
        "onnx"
    }
}

/// Plans `double`; knows `spare` too, and `broken`, which does not load.
#[derive(Default)]
struct Models {
    loads: AtomicUsize,
}

impl Models {
    fn endpoint(name: &str) -> EndpointPlan {
        let deployment = DeploymentPlan {
            name: "main".into(),
            model: name.into(),
            version: 3,
            device: None,
            capacity: Capacity::default(),
            lookup: None,
            weight: 100,
            shadow: 0,
        };
        EndpointPlan { name: name.into(), revision: 1, deployments: vec![deployment], routing: Routing::default() }
    }
}

impl Source for Models {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(1))
    }
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        Ok(vec![Self::endpoint("double")])
    }
    fn find(&self, name: &str) -> Result<EndpointPlan, ServeError> {
        match name {
            "spare" | "broken" => Ok(Self::endpoint(name)),
            _ => Err(ServeError::NoEndpoint { name: name.to_owned(), known: vec!["spare".into()] }),
        }
    }
    fn known(&self) -> Result<Vec<(Arc<str>, u64)>, ServeError> {
        Ok(vec![("spare".into(), 3), ("double".into(), 3)])
    }
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        self.loads.fetch_add(1, SeqCst);
        if &*what.model == "broken" {
            return Err(ServeError::Outside { code: codes::BAD_MODEL, message: "it is no model".into(), hint: None });
        }
        Ok(Deployment::new(&what.model, what.version, TensorModel::new(Arc::new(Double::new())), Vec::new()))
    }
}

fn x(rows: &[[f32; 2]]) -> Value {
    json!({"name": "x", "shape": [rows.len(), 2], "datatype": "FP32", "data": rows})
}

fn names(names: &[&str]) -> Value {
    json!({"name": "name", "shape": [names.len()], "datatype": "BYTES", "data": names})
}

#[test]
fn a_model_is_asked_with_its_own_tensors() {
    let serving = serving_of(Arc::new(Models::default()));
    let told = serving.get("/v2/models/double").json();
    assert_eq!(told["platform"], "onnxruntime_onnx");
    assert_eq!(told["inputs"][0], json!({"name": "x", "datatype": "FP32", "shape": [-1, 2]}));
    let config = serving.get("/v2/models/double/versions/3/config").json();
    assert_eq!(config["input"][0], json!({"name": "x", "data_type": "TYPE_FP32", "dims": [2]}));
    assert!(config["max_batch_size"].as_u64().unwrap() > 1, "its rows do not look at each other: {config}");
    let body = json!({"id": "q", "inputs": [names(&["a", "b"]), x(&[[1.0, 2.0], [3.0, 4.5]])]});
    let answer = serving.post(INFER, "", body.to_string());
    let wanted = json!([
        {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 6.0, 9.0]},
        {"name": "same", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
    ]);
    assert_eq!((answer.status, &answer.json()["outputs"]), (200, &wanted), "{}", answer.text);
    let stats = serving.get("/v2/models/double/stats").json();
    assert_eq!(stats["model_stats"][0]["inference_count"], 2);
    assert_eq!(stats["model_stats"][0]["inference_stats"]["success"]["count"], 1);
    serving.stop().unwrap();
}

#[test]
fn values_may_follow_the_json_both_ways() {
    let serving = serving_of(Arc::new(Models::default()));
    let mut named = names(&["é"]);
    named.as_object_mut().unwrap().remove("data");
    named["parameters"] = json!({"binary_data_size": 6});
    let head = json!({
        "inputs": [named, x(&[[1.0, 2.0]])],
        "outputs": [{"name": "same", "parameters": {"binary_data": true}}, {"name": "y"}],
    })
    .to_string();
    let body = [head.as_bytes(), &2_u32.to_le_bytes(), "é".as_bytes()].concat();
    let length = head.len().to_string();
    let answer = serving.client().post_with(INFER, &[("inference-header-content-length", &length)], &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let length: usize = answer.header("inference-header-content-length").parse().unwrap();
    let told: Value = serde_json::from_slice(&answer.bytes[..length]).unwrap();
    assert_eq!(told["outputs"][0]["parameters"]["binary_data_size"], 6);
    assert_eq!(told["outputs"][1]["data"], json!([2.0, 4.0]));
    assert_eq!(answer.bytes[length..], body[head.len()..]);
    serving.stop().unwrap();
}

#[test]
fn what_does_not_fit_is_400_and_says_why() {
    let serving = serving_of(Arc::new(Models::default()));
    let with = |key: &str, value: Value| {
        let mut first = x(&[[1.0, 2.0]]);
        first[key] = value;
        json!({"inputs": [first, names(&["a"])]})
    };
    for (body, part) in [
        (with("name", json!("y")), "the model has no input `y`"),
        (with("datatype", json!("FP64")), "input `x` has datatype FP64 where FP32 is expected"),
        (with("datatype", json!("FLOAT")), "datatype `FLOAT`, which there is not"),
        (with("shape", json!([2, 1])), "input `x` has shape [2, 1] where [-1, 2] is expected"),
        (with("shape", json!([2])), "input `x` has shape [2] where [-1, 2] is expected"),
        (with("shape", json!([2, 2])), "has shape [2, 2] and 2 values; that shape has 4"),
        (with("shape", json!([0, 2])), "that shape has 0"),
        (with("data", json!([1, "a"])), "element 1: \"a\" is not FP32"),
        (with("data", json!([1, null])), "element 1: null is not FP32"),
        (with("parameters", json!({"shared_memory_region": "r"})), "shared memory is unsupported"),
        (json!({"inputs": [x(&[[1.0, 2.0]])]}), "input `name` is missing; send all of: x, name"),
        (json!({"inputs": [x(&[[1.0, 2.0]]), x(&[[1.0, 2.0]])]}), "input `x` is given twice"),
        (json!({"inputs": [x(&[[13.0, 2.0]]), names(&["a"])]}), "13 is unlucky"),
        (json!({"inputs": [x(&[[1.0, 2.0]]), names(&["a"])], "outputs": [{"name": "z"}]}), "no output `z`"),
    ] {
        let answer = serving.post(INFER, "", body.to_string());
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(answer.json()["error"].as_str().unwrap().contains(part), "{body}: {}", answer.text);
    }
    let late = json!({"parameters": {"timeout": 1}, "inputs": [x(&[[1.0, 2.0]]), names(&["a"])]});
    assert_eq!(serving.post(INFER, "", late.to_string()).status, 504);
    let answer = serving.post("/endpoints/double/invocations", "text/csv", "x\n1\n");
    assert_eq!(answer.status, 415, "{}", answer.text);
    serving.stop().unwrap();
}

#[test]
fn models_are_loaded_and_unloaded_by_name() {
    let models = Arc::new(Models::default());
    let serving = serving_of(Arc::clone(&models) as _);
    let state = |name: &str| {
        let index = serving.post("/v2/repository/index", "", "").json();
        let found = index.as_array().unwrap().iter().find(|model| model["name"] == name).cloned();
        found.map(|model| (model["state"].clone(), model["reason"].clone())).unwrap_or_default()
    };
    assert_eq!(state("double"), (json!("READY"), Value::Null));
    assert_eq!(state("spare"), (json!("UNAVAILABLE"), json!("not loaded")));
    let change = |name: &str, what: &str| serving.post(&format!("/v2/repository/models/{name}/{what}"), "", "");
    assert_eq!(change("spare", "load").status, 200);
    assert_eq!((serving.get("/v2/models/spare/ready").status, models.loads.load(SeqCst)), (200, 2));
    assert_eq!(change("spare", "load").status, 200);
    assert_eq!(models.loads.load(SeqCst), 2, "it is there");
    for name in ["spare", "double"] {
        assert_eq!(change(name, "unload").status, 200);
        assert_eq!(serving.get(&format!("/v2/models/{name}/ready")).status, 404);
        assert_eq!(state(name).1, "unloaded");
    }
    serving.server.refresh().unwrap();
    assert_eq!(serving.get("/v2/models/double/ready").status, 404, "and it stays unloaded");
    assert_eq!(change("double", "load").status, 200);
    assert_eq!(serving.get("/v2/models/double/ready").status, 200);
    let answer = change("broken", "load");
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("it is no model"), "{}", answer.text);
    for what in ["load", "unload"] {
        assert_eq!(change("nothing", what).status, 404);
    }
    let body = r#"{"parameters": {"config": "{}"}}"#;
    assert_eq!(serving.post("/v2/repository/models/spare/load", "", body).status, 400);
    serving.stop().unwrap();
}

#[test]
fn mlflows_protocol_takes_nested_lists() {
    let serving = serving_of(Arc::new(Models::default()));
    for body in [
        json!({"inputs": {"x": [[1, 2], [3, 4]], "name": ["a", "b"]}}),
        json!({"instances": [{"x": [1, 2], "name": "a"}, {"x": [3, 4], "name": "b"}]}),
        json!({"dataframe_split": {"columns": ["name", "x"], "data": [["a", [1, 2]], ["b", [3, 4]]]}}),
    ] {
        let answer = serving.post("/invocations", "application/json", body.to_string());
        let wanted = json!({"y": [[2.0, 4.0], [6.0, 8.0]], "same": ["a", "b"]});
        assert_eq!((answer.status, &answer.json()["predictions"]), (200, &wanted), "{}", answer.text);
    }
    for body in [json!({"inputs": {"x": [[1, 2], [3]], "name": ["a", "b"]}}), json!({"instances": [[1, 2]]}), json!({})]
    {
        assert_eq!(serving.post("/invocations", "application/json", body.to_string()).status, 400);
    }
    serving.stop().unwrap();
}
