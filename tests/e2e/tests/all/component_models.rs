//! Models that are components: registered, asked and served as those in ONNX are.

use plinth_e2e::{Done, Project};
use serde_json::{Value, json};

const ARTIFACT: &str =
    r#"{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2.0}, {"column": "y", "value": -1.0}]}"#;

/// A project with a linear model registered as `price`.
fn priced() -> Project {
    let project = Project::empty();
    project.write("rows.csv", "x,y,label\n1.0,2.0,1\n2.0,0.5,0\n3.0,1.0,1\n");
    project.write("model.json", ARTIFACT);
    register(&project, &["--artifact", "model.json"]).succeeds();
    project
}

fn register(project: &Project, more: &[&str]) -> Done {
    let common = [
        "model",
        "register",
        "price",
        "--component",
        "linear-model-rust",
        "--rows",
        "rows.csv",
        "--without",
        "label",
        "--alias",
        "champion",
    ];
    project.run(&[&common[..], more].concat())
}

#[test]
fn a_component_is_a_model_version_like_any_other() {
    let project = priced();
    let predicted = project.run(&["predict", "models:/price@champion", "--input", "rows.csv"]);
    assert_eq!(predicted.succeeds().stdout, "prediction\n0.5\n4.0\n5.5\n");
    let ask = json!({"dataframe_split": {"columns": ["x", "y"], "data": [[1.0, 2.0], [3.0, 1.0]]}});
    let mut server = project.serve("models:/price/1");
    let (status, answer) = server.post("/invocations", &ask);
    assert_eq!((status, answer.as_str()), (200, r#"{"predictions":[0.5,5.5]}"#));
    let tensors = json!({"inputs": [
        {"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1.0, 3.0]},
        {"name": "y", "shape": [2, 1], "datatype": "FP64", "data": [2.0, 1.0]},
    ]});
    let (status, answer) = server.post("/v2/models/price/infer", &tensors);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([0.5, 5.5])), "{answer}");
    // Its signature is held as any other.
    let (status, answer) = server.post("/invocations", &json!({"dataframe_records": [{"x": 1.0, "z": 2.0}]}));
    assert!(status == 400 && answer.contains("unknown-column") && answer.contains("did you mean `y`"), "{answer}");
    // Killed and started again it is the same.
    server.kill();
    let server = project.serve("models:/price/1");
    assert_eq!(server.post("/invocations", &ask), (200, r#"{"predictions":[0.5,5.5]}"#.into()));
}

#[test]
fn what_cannot_be_registered_says_why_and_leaves_nothing() {
    let project = priced();
    project.write("model.json", r#"{"weights": []}"#);
    register(&project, &["--artifact", "model.json"]).fails(5, "plugin-problem", &["artifact", "coefficients"]);
    register(&project, &["--artifact", "gone.json"]).fails(6, "file-not-found", &["gone.json"]);
    let wrong = ["model", "register", "price", "--component", "clip", "--rows", "rows.csv"];
    project.run(&wrong).fails(9, "plugin-wrong-world", &["clip"]);
    let predicted = project.run(&["predict", "models:/price@champion", "--input", "rows.csv"]);
    assert_eq!(predicted.succeeds().stdout, "prediction\n0.5\n4.0\n5.5\n");
}

#[test]
fn a_model_that_misbehaves_on_some_rows_answers_the_others() {
    let project = Project::empty();
    for item in ["panic", "infinite-loop", "memory-bomb", "more-rows"] {
        let options = json!({"at": "predict", "when": 13.0}).to_string();
        let registered = project.run(&[
            "model",
            "register",
            item,
            "--component",
            "evil-model",
            "--item",
            item,
            "--options",
            &options,
            "--column",
            "x=float64",
        ]);
        registered.succeeds();
        let server = project.serve(&format!("models:/{item}/1"));
        let ask = |x: f64| server.post("/invocations", &json!({"dataframe_split": {"columns": ["x"], "data": [[x]]}}));
        let (status, good) = ask(1.0);
        assert_eq!(status, 200, "{item}: {good}");
        for _ in 0..3 {
            let (status, answer) = ask(13.0);
            assert!(status >= 400 && answer.contains("plugin-"), "{item}: {status} {answer}");
            assert_eq!(ask(1.0), (200, good.clone()), "{item}");
        }
    }
}
