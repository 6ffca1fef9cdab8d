//! What one served prediction costs, against the least that a server could do.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use plinth_ext::Model;
use plinth_tensor::{OnnxModel, Runtime, RuntimeConfig, SessionOptions};
use serde_json::{Value, json};

use crate::{
    Place,
    figures::{Figures, Target},
    load,
    server::{Channel, Server},
};

const REQUESTS_EACH: usize = 2_000;
const CONNECTIONS: usize = 8;

/// A forest behind one transform, with capture and metrics, against a bare axum server around the same ONNX model.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let example = std::fs::read_to_string(place.root.join("examples/churn/plinth.yaml"))?;
    // The gate stops the forest, as it should; here only its cost is of interest.
    let open = example.replace("above: 0.85", "above: 0.0").replace("above: 0.80", "above: 0.0");
    ensure!(open != example, "the example's thresholds are not where the bench looks for them");
    std::fs::write(folder.path().join("plinth.yaml"), open)?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    std::fs::copy(place.root.join("examples/churn/data/mlc_churn_events.csv"), data.join("mlc_churn_events.csv"))?;
    let plinth = || {
        let mut command = Command::new(&place.plinth);
        command.current_dir(folder.path()).stdin(Stdio::null());
        command
    };
    let trained = plinth().args(["run", "-p", "trainer=random-forest"]).stdout(Stdio::null()).status()?;
    ensure!(trained.success(), "the forest could not be trained");
    let shown = plinth().args(["model", "show", "models:/churn/1", "--json"]).output()?.stdout;
    let version: Value = serde_json::from_slice(&shown).context("plinth model show")?;
    let files = version["files"].as_array().context("the version's files")?;
    let model =
        files.iter().find(|f| f["role"] == "model").and_then(|f| f["hash"].as_str()).context("the model file")?;
    let model = folder.path().join(".plinth/blobs").join(&model[..2]).join(&model[2..]);
    let runtime = Runtime::start(&RuntimeConfig::default())?;
    let width = OnnxModel::load(&runtime, &std::fs::read(&model)?, &SessionOptions::default())?.input().len();

    let mut peer_server = Command::new(std::env::current_exe()?);
    peer_server.arg("peer-server").arg(&model).arg(runtime.library());
    let mut peer = Server::start(&mut peer_server, Channel::Stdout)?;
    let vector: Vec<f64> = (0..width).map(|i| i as f64 / 100.0).collect();
    let body = json!({ "inputs": [vector] }).to_string();
    load::run(peer.pid(), peer.port, "/predict", &body, CONNECTIONS, 200)?;
    let bare = load::run(peer.pid(), peer.port, "/predict", &body, CONNECTIONS, REQUESTS_EACH)?;
    peer.stop();

    let mut ours = Server::start(plinth().args(["serve", "models:/churn@champion", "--port", "0"]), Channel::Stderr)?;
    let body = json!({ "dataframe_records": [customer(&data.join("mlc_churn_events.csv"))?] }).to_string();
    load::run(ours.pid(), ours.port, "/invocations", &body, CONNECTIONS, 200)?;
    let served = load::run(ours.pid(), ours.port, "/invocations", &body, CONNECTIONS, REQUESTS_EACH)?;
    ours.stop();

    figures.add("bare axum + ort, CPU per request", bare.cpu_us_per_request(), "us", Target::None);
    figures.add("plinth serve, raw row, CPU per request", served.cpu_us_per_request(), "us", Target::None);
    let ratio = served.cpu_us_per_request() / bare.cpu_us_per_request();
    figures.add("served prediction / bare", ratio, "x", Target::AtMost(3.0));
    let rate = |cost: &load::Cost| cost.requests as f64 / cost.wall.as_secs_f64();
    figures.add("plinth serve, requests per second", rate(&served), "1/s", Target::None);
    Ok(())
}

/// The first row of the table, as a client sends it.
fn customer(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    let header = lines.next().context("a header")?;
    let row = lines.next().context("a row")?;
    let leave_out = ["customer_id", "event_timestamp", "created_timestamp", "churn"];
    let cells = header.split(',').zip(row.split(',')).filter(|(name, _)| !leave_out.contains(name));
    Ok(Value::Object(
        cells
            .map(|(name, cell)| {
                let value = cell.parse::<i64>().map(Value::from).or_else(|_| cell.parse::<f64>().map(Value::from));
                (name.to_owned(), value.unwrap_or_else(|_| Value::from(cell)))
            })
            .collect(),
    ))
}
