//! The models that are served, in folders of their own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::halves::Halves;
use crate::{
    Place, load,
    server::{Channel, Server},
};

/// The columns of the forest of `tests/bench/peers`, in the order of its matrix.
const COLUMNS: [&str; 17] = [
    "account_length",
    "number_vmail_messages",
    "total_day_minutes",
    "total_day_calls",
    "total_day_charge",
    "total_eve_minutes",
    "total_eve_calls",
    "total_eve_charge",
    "total_night_minutes",
    "total_night_calls",
    "total_night_charge",
    "total_intl_minutes",
    "total_intl_calls",
    "total_intl_charge",
    "number_customer_service_calls",
    "international_plan",
    "voice_mail_plan",
];

/// What is asked over the Open Inference Protocol.
pub(super) const INFER: &str = "/v2/models/forest/infer";
/// What is asked of servers that have no protocol.
pub(super) const PREDICT: &str = "/predict";

/// The forest that all servers of the comparison serve.
pub(super) fn forest_file(place: &Place) -> PathBuf {
    place.root.join("tests/bench/peers/rf.onnx")
}

/// A row of the forest: one of the customers it was made for.
pub(super) fn row() -> Vec<f64> {
    vec![128.0, 25.0, 265.1, 110.0, 45.07, 197.4, 99.0, 16.78, 244.7, 91.0, 11.01, 10.0, 3.0, 2.7, 1.0, 0.0, 1.0]
}

/// So many rows in the Open Inference Protocol, as the one matrix that the forest takes.
pub(super) fn infer_body(rows: usize) -> String {
    let data = row().repeat(rows);
    json!({"inputs": [{"name": "X", "shape": [rows, COLUMNS.len()], "datatype": "FP32", "data": data}]}).to_string()
}

/// One row as servers without a protocol take it here.
pub(super) fn plain_body() -> String {
    json!({"inputs": [row()]}).to_string()
}

/// A folder with a catalog, and what was registered in it.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    plinth: PathBuf,
}

impl Folder {
    fn new(place: &Place) -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()?, plinth: place.plinth.clone() })
    }

    /// The forest, known by its columns, so that each request is checked against them and captured.
    pub(super) fn with_forest(place: &Place) -> Result<Self> {
        let folder = Self::new(place)?;
        let mut command = folder.plinth();
        command.args(["model", "register", "forest", "--onnx"]).arg(forest_file(place));
        for column in COLUMNS {
            command.arg("--column").arg(format!("{column}=float32"));
        }
        done(&mut command)?;
        Ok(folder)
    }

    /// A forest that `examples/churn` trains, behind its transform of raw rows.
    pub(super) fn with_churn(place: &Place) -> Result<Self> {
        let folder = Self::new(place)?;
        let example = std::fs::read_to_string(place.root.join("examples/churn/plinth.yaml"))?;
        // The gate stops the forest, as it should; here only its cost is of interest.
        let open = example.replace("above: 0.85", "above: 0.0").replace("above: 0.80", "above: 0.0");
        ensure!(open != example, "the example's thresholds are not where the bench looks for them");
        std::fs::write(folder.path().join("plinth.yaml"), open)?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        std::fs::copy(place.root.join("examples/churn/data/mlc_churn_events.csv"), data.join("mlc_churn_events.csv"))?;
        done(folder.plinth().args(["run", "-p", "trainer=random-forest"]))?;
        Ok(folder)
    }

    /// So many small models, each with bytes of its own.
    pub(super) fn with_small_models(place: &Place, count: usize) -> Result<Self> {
        let folder = Self::new(place)?;
        let small = std::fs::read(place.root.join("host/tensor/tests/data/linear.onnx"))?;
        let file = folder.path().join("small.onnx");
        for number in 0..count {
            // A `doc_string` (6) more tells them apart.
            let words = format!("number {number}");
            let mut bytes = small.clone();
            bytes.extend([6 << 3 | 2, u8::try_from(words.len())?]);
            bytes.extend(words.as_bytes());
            std::fs::write(&file, bytes)?;
            done(folder.plinth().args(["model", "register", &small_model(number), "--onnx"]).arg(&file))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `plinth`, at work in this folder.
    pub(super) fn plinth(&self) -> Command {
        let mut command = Command::new(&self.plinth);
        self.at_home(&mut command);
        command
    }

    /// The same on the half of the processors that serves.
    pub(super) fn plinth_on(&self, halves: &Halves) -> Command {
        let mut command = halves.serving(&self.plinth);
        self.at_home(&mut command);
        command
    }

    fn at_home(&self, command: &mut Command) {
        command.current_dir(self.path()).stdin(Stdio::null());
    }

    /// Serves models on a free port.
    pub(super) fn serve(&self, mut plinth: Command, models: &[String]) -> Result<Server> {
        Server::start(plinth.arg("serve").args(models).args(["--port", "0"]), Channel::Stderr)
    }

    /// The trained model's own file.
    pub(super) fn trained_file(&self) -> Result<PathBuf> {
        let shown = self.plinth().args(["model", "show", "models:/churn/1", "--json"]).output()?.stdout;
        let version: Value = serde_json::from_slice(&shown).context("plinth model show")?;
        let files = version["files"].as_array().context("the version's files")?;
        let model =
            files.iter().find(|f| f["role"] == "model").and_then(|f| f["hash"].as_str()).context("the model file")?;
        Ok(self.path().join(".plinth/blobs").join(&model[..2]).join(&model[2..]))
    }

    /// The first row of the example's table, as a client sends it.
    pub(super) fn customer(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.path().join("data/mlc_churn_events.csv"))?;
        let mut lines = text.lines();
        let header = lines.next().context("a header")?;
        let row = lines.next().context("a row")?;
        let leave_out = ["customer_id", "event_timestamp", "created_timestamp", "churn"];
        let cells = header.split(',').zip(row.split(',')).filter(|(name, _)| !leave_out.contains(name));
        let cells = cells.map(|(name, cell)| {
            let value = cell.parse::<i64>().map(Value::from).or_else(|_| cell.parse::<f64>().map(Value::from));
            (name.to_owned(), value.unwrap_or_else(|_| Value::from(cell)))
        });
        Ok(json!({"dataframe_records": [Value::Object(cells.collect())]}).to_string())
    }
}

/// The name of one of many models.
pub(super) fn small_model(number: usize) -> String {
    format!("small-{number}")
}

/// The least that a server around a model file can do, started on the half of the processors that serves.
pub(super) fn bare(halves: &Halves, file: &Path, library: &Path) -> Result<Server> {
    let mut command = halves.serving(std::env::current_exe()?);
    Server::start(command.arg("peer-server").arg(file).arg(library), Channel::Stdout)
}

/// Less than that: see [`crate::peer::answer_anything`].
pub(super) fn floor(halves: &Halves, file: &Path, library: &Path) -> Result<Server> {
    let mut command = halves.serving(std::env::current_exe()?);
    command.arg("floor-server").arg(file).arg(library).arg(json!(row()).to_string());
    Server::start(&mut command, Channel::Stdout)
}

/// Whether an answer holds a number, wherever the server's own form has it.
pub(super) fn check_answer(port: u16, path: &str, body: &str, expected: f64) -> Result<()> {
    let answer = load::once(port, "POST", path, body)?;
    let value: Value = serde_json::from_slice(&answer).context("an answer that is no JSON")?;
    ensure!(holds(&value, expected), "{expected} is not in the answer {value}");
    Ok(())
}

fn holds(value: &Value, expected: f64) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|found| (found - expected).abs() < 1e-6),
        Value::Array(all) => all.iter().any(|one| holds(one, expected)),
        Value::Object(all) => all.values().any(|one| holds(one, expected)),
        _ => false,
    }
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
