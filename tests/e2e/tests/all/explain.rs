//! What each column had to do with a prediction, through the built binary.

use plinth_e2e::Project;
use serde_json::{Value, json};

use crate::serving::customer;

/// Lines of JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("`{name}` of {line}"))
}

/// Base and parts make the value.
fn adds_up(line: &Value, tolerance: f64) {
    let parts = line.as_object().expect("an object").iter().filter(|(name, _)| name.starts_with("part_"));
    let sum: f64 = parts.map(|(_, part)| part.as_f64().expect("a number")).sum();
    let (base, value) = (number(line, "base"), number(line, "value"));
    assert!((base + sum - value).abs() < tolerance, "{base} + {sum} is not {value}");
}

#[test]
fn a_model_of_any_kind_is_explained_and_a_linear_one_by_its_coefficients() {
    let project = Project::empty();
    project.write("rows.csv", "x,y,label\n1.0,2.0,1\n2.0,0.5,0\n3.0,1.0,1\n");
    let artifact =
        r#"{"intercept": 0.5, "coefficients": [{"column": "x", "value": 2.0}, {"column": "y", "value": -1.0}]}"#;
    project.write("model.json", artifact);
    let register = ["model", "register", "price", "--component", "linear-model-rust", "--artifact", "model.json"];
    project
        .run(&[&register[..], &["--rows", "rows.csv", "--without", "label", "--alias", "champion"]].concat())
        .succeeds();

    let told = project.run(&["--json", "explain", "price", "--data", "rows.csv"]).succeeds().stdout.clone();
    let told = lines(&told);
    assert_eq!(told.len(), 3);
    // 0.5 + 2x - y over rows whose means are 2 and 7/6.
    for (line, (x, y)) in told.iter().zip([(1.0, 2.0), (2.0, 0.5), (3.0, 1.0)]) {
        assert_eq!(
            (&line["method"], &line["exact"], &line["scale"]),
            (&json!("kernel"), &json!(true), &json!("prediction"))
        );
        for (name, expected) in [
            ("base", 0.5 + 4.0 - 7.0 / 6.0),
            ("value", 0.5 + 2.0 * x - y),
            ("part_x", 2.0 * (x - 2.0)),
            ("part_y", 7.0 / 6.0 - y),
        ] {
            assert!((number(line, name) - expected).abs() < 1e-9, "{name} of {line}, not {expected}");
        }
    }
    // Against one row, a column that is the same in both has no part.
    project.write("one.csv", "x,y\n1.0,0.0\n");
    let against = ["explain", "price", "--data", "rows.csv", "--reference", "one.csv", "--output", "why.jsonl"];
    project.run(&against).succeeds();
    let told = lines(&std::fs::read_to_string(project.path("why.jsonl")).expect("it was written"));
    assert_eq!((number(&told[0], "part_x"), number(&told[0], "part_y"), number(&told[0], "base")), (0.0, -2.0, 2.5));

    project.write("none.csv", "x,y\n");
    let none = ["explain", "price", "--data", "rows.csv", "--reference", "none.csv"];
    project.run(&none).fails(5, "empty-input", &["none.csv"]);
    let short = ["explain", "price", "--data", "short.csv"];
    project.write("short.csv", "x\n1.0\n");
    project.run(&short).fails(5, "unknown-column", &["y"]);
}

#[test]
fn a_forest_from_elsewhere_is_walked_and_says_what_it_predicts() {
    let project = Project::empty();
    let forest = plinth_e2e::root().join("host/explain/tests/data/forest_covers.onnx");
    project.write(
        "iris.csv",
        "a,b,c,d\n5.1,3.5,1.4,0.2\n7.0,3.2,4.7,1.4\n\
        6.3,3.3,6.0,2.5\n5.8,2.7,5.1,1.9\n4.9,2.4,3.3,1.0\n",
    );
    let forest = forest.to_str().expect("a path in words");
    project.run(&["model", "register", "iris", "--onnx", forest, "--rows", "iris.csv"]).succeeds();
    let told = project.run(&["--json", "explain", "iris", "--data", "iris.csv"]).succeeds().stdout.clone();
    let predicted = project.run(&["--json", "predict", "iris", "--input", "iris.csv"]).succeeds().stdout.clone();
    let (told, predicted) = (lines(&told), lines(&predicted));
    assert_eq!((told.len(), predicted.len()), (15, 5), "three classes of each row");
    for line in &told {
        assert_eq!((&line["method"], &line["scale"]), (&json!("trees"), &json!("prediction")), "{line}");
        adds_up(line, 1e-9);
        let row = line["row"].as_u64().expect("a number") as usize;
        let class = line["score"].as_str().expect("a name");
        assert!((number(line, "value") - number(&predicted[row], class)).abs() < 1e-6, "{line} {}", predicted[row]);
    }
}

#[test]
fn trees_behind_a_transform_are_explained_exactly_in_raw_columns() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let row = customer();
    project.write("new.jsonl", format!("{row}\n"));
    let told = project.run(&["--json", "explain", "churn", "--data", "new.jsonl"]).succeeds().stdout.clone();
    let [line] = &lines(&told)[..] else { panic!("one line: {told}") };
    assert_eq!((&line["method"], &line["exact"], &line["scale"]), (&json!("trees"), &json!(true), &json!("log-odds")));
    assert_eq!(line["score"], json!("probability_yes"));
    adds_up(line, 1e-9);
    // Each column that is sent has a part, and nothing else has.
    let parts = line.as_object().expect("an object").keys().filter_map(|name| name.strip_prefix("part_"));
    assert_eq!(parts.collect::<Vec<_>>(), row.as_object().expect("an object").keys().collect::<Vec<_>>());

    // The log-odds are those of the prediction.
    let predicted = project.run(&["--json", "predict", "churn", "--input", "new.jsonl"]).succeeds().stdout.clone();
    let probability = number(&lines(&predicted)[0], "probability_yes");
    let odds = 1.0 / (1.0 + (-number(line, "value")).exp());
    assert!((probability - odds).abs() < 1e-5, "{probability} {odds}");

    // Asked with coalitions it is the probability itself.
    let told =
        project.run(&["--json", "explain", "churn", "--data", "new.jsonl", "--kernel"]).succeeds().stdout.clone();
    let [kernel] = &lines(&told)[..] else { panic!("one line: {told}") };
    assert_eq!(
        (&kernel["method"], &kernel["exact"], &kernel["scale"]),
        (&json!("kernel"), &json!(false), &json!("prediction"))
    );
    adds_up(kernel, 1e-9);
    assert!((number(kernel, "value") - probability).abs() < 1e-6, "{kernel}");

    // A server says the same beside its predictions, and nothing of it unless asked.
    let server = project.serve("models:/churn@champion");
    let ask = json!({"dataframe_records": [row]});
    let (status, plain) = server.post("/invocations", &ask);
    assert!(status == 200 && !plain.contains("explanations"), "{plain}");
    for (query, line) in [("true", line), ("kernel", kernel)] {
        let (status, answer) = server.post(&format!("/invocations?explain={query}"), &ask);
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let plain: Value = serde_json::from_str(&plain).expect("JSON");
        assert_eq!(answer["predictions"], plain["predictions"]);
        let told = &answer["explanations"][0];
        for name in ["method", "exact", "scale"] {
            assert_eq!(told[name], line[name], "{told}");
        }
        let score = &told["scores"]["probability_yes"];
        assert_eq!((&score["base"], &score["value"]), (&line["base"], &line["value"]));
        for (column, part) in score["attributions"].as_object().expect("an object") {
            assert_eq!(*part, line[format!("part_{column}")], "{column}");
        }
    }
    let (status, answer) = server.post("/invocations?explain=please", &ask);
    assert!(status == 400 && answer.contains("please"), "{answer}");
    let many: Vec<&Value> = std::iter::repeat_n(&row, 33).collect();
    let (status, answer) = server.post("/invocations?explain=true", &json!({"dataframe_records": many}));
    assert!(status == 413 && answer.contains("explain-rows-max"), "{answer}");
}
