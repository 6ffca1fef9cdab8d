//! MLflow's web interface on top of the server, in a browser: every page shows what was logged, and nothing it asks for
//! is refused. It takes longest, and tests begin in the order of their names: as one of the first it has others beside it.

use std::path::PathBuf;

use plinth_e2e::{Browser, Project, Server, mlflow_ui, root};
use serde_json::{Value, json};

/// A picture of one pixel.
const PICTURE: &[u8] = include_bytes!("../../fixtures/pixel.png");
/// The trace.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let (status, text) = server.post(&format!("/api/2.0/mlflow/{path}"), body);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn upload(server: &Server, path: &str, bytes: &[u8]) {
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
    let (status, text) = server.send("PUT", &path, &[], bytes);
    assert_eq!(status, 200, "{path}: {text}");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Two runs with histories and artifacts, a model with two versions, a trace. The experiment and the runs.
fn fill(server: &Server) -> (String, Vec<String>) {
    let note = json!([{"key": "mlflow.note.content", "value": "A **study** of churn"}]);
    let experiment = post(server, "experiments/create", &json!({"name": "churn study", "tags": note}));
    let experiment = text(&experiment["experiment_id"]);
    let mut runs = Vec::new();
    for (number, name) in ["forest-0", "forest-1"].into_iter().enumerate() {
        let new = json!({"experiment_id": experiment, "run_name": name, "start_time": 1_700_000_000_000_i64});
        let run = text(&post(server, "runs/create", &new)["run"]["info"]["run_id"]);
        let mut metrics = Vec::new();
        for step in 0..30 {
            let falls = 1.0 / f64::from(step + 1) + number as f64 / 10.0;
            for (key, value) in [("loss", falls), ("accuracy", 1.0 - falls / 2.0)] {
                metrics.push(json!({"key": key, "value": value, "timestamp": 1_700_000_000_000_i64, "step": step}));
            }
        }
        let params = json!([{"key": "depth", "value": number.to_string()}, {"key": "trees", "value": "100"}]);
        post(server, "runs/log-batch", &json!({"run_id": run, "metrics": metrics, "params": params}));
        let artifacts = format!("{experiment}/{run}/artifacts");
        upload(server, &format!("{artifacts}/notes/readme.txt"), b"hello artifact\n");
        upload(server, &format!("{artifacts}/figure.png"), PICTURE);
        let page = b"<h1 id=h>plain</h1><script>h.textContent = 'origin ' + window.origin</script>";
        upload(server, &format!("{artifacts}/page.html"), page);
        let model = "flavors: {}\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"calls\"}]'\n";
        upload(server, &format!("{artifacts}/model/MLmodel"), model.as_bytes());
        let ended = json!({"run_id": run, "status": "FINISHED", "end_time": 1_700_000_060_000_i64});
        post(server, "runs/update", &ended);
        runs.push(run);
    }
    post(server, "registered-models/create", &json!({"name": "churn", "description": "who will leave"}));
    for run in &runs {
        let source = format!("mlflow-artifacts:/{experiment}/{run}/artifacts/model");
        post(server, "model-versions/create", &json!({"name": "churn", "source": source, "run_id": run}));
    }
    post(server, "registered-models/alias", &json!({"name": "churn", "alias": "champion", "version": "2"}));
    trace(server, &experiment);
    (experiment, runs)
}

fn trace(server: &Server, experiment: &str) {
    let attribute = |key: &str, value: &Value| json!({"key": key, "value": {"stringValue": value.to_string()}});
    let span = |id: &str, parent: &str, name: &str, attributes: Value| {
        json!({
            "traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": name, "attributes": attributes,
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000001000000000", "status": {"code": 1},
        })
    };
    let answer = json!([
        attribute("mlflow.spanInputs", &json!({"question": "who leaves?"})),
        attribute("mlflow.spanOutputs", &json!("those who call a lot")),
    ]);
    let retrieve = json!([attribute("mlflow.spanType", &json!("RETRIEVER"))]);
    let spans = [
        span("b7ad6b7169203331", "", "answer", answer),
        span("b7ad6b7169203332", "b7ad6b7169203331", "retrieve", retrieve),
    ];
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string();
    let headers = [("content-type", "application/json"), ("x-mlflow-experiment-id", experiment)];
    let (status, told) = server.send("POST", "/v1/traces", &headers, body.as_bytes());
    assert_eq!(status, 200, "{told}");
}

fn screenshots() -> PathBuf {
    let folder = root().join("target/ui-screenshots");
    std::fs::create_dir_all(&folder).expect("a folder for pictures");
    folder
}

fn quoted(value: &Value) -> String {
    value.to_string().bytes().fold(String::new(), |all, byte| match byte {
        byte if byte.is_ascii_alphanumeric() => all + &char::from(byte).to_string(),
        byte => all + &format!("%{byte:02X}"),
    })
}

#[test]
fn every_page_of_the_web_interface_shows_what_was_logged() {
    let project = Project::empty();
    let ui = mlflow_ui();
    let server = project.up_with(&["--mlflow-ui", &ui.to_string_lossy()]);
    let (experiment, runs) = fill(&server);
    let at = |rest: &str| format!("#/experiments/{experiment}{rest}");
    let run = |rest: &str| at(&format!("/runs/{}{rest}", runs[0]));
    let compare = format!("#/compare-runs?runs={}&experiments={}", quoted(&json!(runs)), quoted(&json!([experiment])));
    let shows_picture = "[...document.images].some(image => image.complete && image.naturalWidth === 1)";
    let frames = "[...document.querySelectorAll('iframe')].some(frame => frame.sandbox.value === 'allow-scripts')";
    let draws = "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length >= 2";
    let compares = "document.querySelector('.js-plotly-plot') && !document.body.innerText.includes('WebGL is not')";
    let pages: [(&str, String, &[&str], &str); 17] = [
        ("experiments", "#/experiments".to_owned(), &["churn study", "Default"], "true"),
        ("runs", at("/runs"), &["forest-0", "forest-1", "2 matching runs"], "true"),
        ("charts", at("/runs?compareRunsMode=CHART"), &["Model metrics", "loss", "accuracy"], draws),
        ("run", run(""), &["forest-0", "depth", "trees", "accuracy", "Finished"], "true"),
        ("run-metrics", run("/model-metrics"), &["forest-0", "loss", "accuracy"], draws),
        ("artifact-text", run("/artifacts/notes/readme.txt"), &["hello artifact"], "true"),
        ("artifact-image", run("/artifacts/figure.png"), &["figure.png"], shows_picture),
        ("artifact-page", run("/artifacts/page.html"), &["page.html"], frames),
        ("run-traces", run("/traces"), &["forest-0", "Traces"], "true"),
        ("compare", compare, &["forest-0", "forest-1", "depth", "accuracy"], compares),
        ("models", "#/models".to_owned(), &["churn", "Version 2", "champion"], "true"),
        ("model", "#/models/churn".to_owned(), &["who will leave", "Version 1", "Version 2"], "true"),
        ("version", "#/models/churn/versions/2".to_owned(), &["Version 2", "forest-1", "Inputs (1)"], "true"),
        ("logged-models", at("/models"), &["churn study"], "true"),
        ("traces", at("/traces?startTimeLabel=ALL"), &["who leaves?", "those who call a lot"], "true"),
        (
            "trace",
            at(&format!("/traces?startTimeLabel=ALL&selectedEvaluationId=tr-{TRACE}")),
            &["answer", "retrieve", "Inputs / Outputs", "those who call a lot"],
            "true",
        ),
        ("prompts", "#/prompts".to_owned(), &["Prompts"], "true"),
    ];
    let mut browser = Browser::start();
    let mut wrong = Vec::new();
    for (name, fragment, words, condition) in pages {
        let page = browser.open(&server.url(&format!("/{fragment}")), words, condition);
        std::fs::write(screenshots().join(format!("{name}.png")), browser.screenshot()).expect("a picture");
        assert!(page.requests > 5, "{name} asked for nothing: {page:?}");
        if !page.wrong.is_empty() {
            wrong.push(format!("{name}: {:#?}\n{}", page.wrong, page.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
