//! Runs that the web interface makes out of a prompt that someone tried: its template and parameters, what a model
//! answered, and the prompt as a model that MLflow's client can load.

use chrono::DateTime;
use plinth_tracking::{Batch, NewRun, Place, RunUpdate, Status};
use serde_json::{Map, Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    fields::{Fields, wrong_type},
    server::MLFLOW_VERSION,
    wire::RunWire,
};

pub(super) const ROUTES: &[Route] =
    &[Route::post("/mlflow/runs/create-promptlab-run", Need::Edit(Thing::Experiment), create)];

/// The table of what was asked and answered, which the web interface shows.
const TABLE: &str = "eval_results_table.json";

/// What was tried.
struct Prompt {
    experiment_id: String,
    template: String,
    parameters: Vec<(String, String)>,
    route: String,
    model_parameters: Vec<(String, String)>,
    input: String,
    output: Value,
    output_parameters: Vec<(String, String)>,
}

fn create(call: &Call<'_>) -> Result<Answer, MlflowError> {
    let fields = &call.fields;
    let prompt = Prompt::read(fields)?;
    let now = call.tracking.now();
    let start = fields.int("start_time")?.and_then(|millis| millis.checked_mul(1_000)).unwrap_or(now);
    let new = NewRun {
        name: fields.text_or_empty("run_name")?.to_owned(),
        source: String::new(),
        user: fields.text("user_id")?.unwrap_or("unknown").to_owned(),
        start: Some(start),
        tags: fields.pairs("tags")?,
    };
    let run_id = call.tracking.start_run(&prompt.experiment_id, &new)?;
    let outcome = prompt.log(call, &run_id);
    let status = if outcome.is_ok() { Status::Finished } else { Status::Failed };
    let ended = RunUpdate { status: Some(status), end: Some(call.tracking.now()), name: None };
    call.tracking.update_run(&run_id, &ended)?;
    outcome?;
    Answer::of(&json!({"run": RunWire::of(&call.tracking.run(&run_id)?)}))
}

impl Prompt {
    fn read(fields: &Fields) -> Result<Self, MlflowError> {
        let must = |name: &str| match fields.text_or_empty(name)? {
            "" => Err(lacks(name)),
            text => Ok(text.to_owned()),
        };
        let experiment_id = must("experiment_id")?;
        let template = must("prompt_template")?;
        let parameters = parameters(fields, "prompt_parameters")?;
        if parameters.is_empty() {
            return Err(lacks("prompt_parameters"));
        }
        let (route, input) = (must("model_route")?, must("model_input")?);
        must("mlflow_version")?;
        Ok(Self {
            experiment_id,
            template,
            parameters,
            route,
            model_parameters: parameters_or_none(fields, "model_parameters")?,
            input,
            output: fields.get("model_output").cloned().unwrap_or_default(),
            output_parameters: parameters_or_none(fields, "model_output_parameters")?,
        })
    }

    /// Everything but the run itself.
    fn log(&self, call: &Call<'_>, run_id: &str) -> Result<(), MlflowError> {
        let mut params = self.model_parameters.clone();
        params.push(("model_route".to_owned(), self.route.clone()));
        params.push(("prompt_template".to_owned(), self.template.clone()));
        let logged = format!("[{{\"path\": \"{TABLE}\", \"type\": \"table\"}}]");
        let tags = vec![
            ("mlflow.loggedArtifacts".to_owned(), logged),
            ("mlflow.runSourceType".to_owned(), "PROMPT_ENGINEERING".to_owned()),
        ];
        call.tracking.log(run_id, &Batch { params, tags, ..Batch::default() })?;
        let created = DateTime::from_timestamp_micros(call.tracking.now()).unwrap_or_default();
        let created = created.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        let model_id = call.tracking.new_id().replace('-', "");
        let model = json!({
            "run_id": run_id, "artifact_path": "model", "utc_time_created": created, "flavors": {},
            "model_uuid": model_id,
        });
        call.tracking.note_model(run_id, model)?;
        let root = match call.tracking.run_place(run_id)? {
            here @ Place::Here(_) => here,
            Place::Elsewhere(uri) => {
                return Err(MlflowError::invalid(format!("this server does not write to '{uri}'")));
            }
        };
        for (name, text) in self.files(run_id, &model_id, &created) {
            if let Place::Here(path) = root.clone().below(name)? {
                let blobs = call.tracking.store().blobs();
                let blob = blobs.put(text.as_bytes()).map_err(|error| MlflowError::coded(&error))?;
                call.tracking.put_file(&path, blob, text.len() as u64)?;
            }
        }
        Ok(())
    }

    /// The files of the run. JSON is YAML too, so values are written as JSON where they could break a line.
    fn files(&self, run_id: &str, model_id: &str, created: &str) -> [(&'static str, String); 7] {
        let names = self.parameters.iter().map(|(name, _)| name.as_str());
        let columns: Vec<&str> = names
            .clone()
            .chain(["prompt", "output"])
            .chain(self.output_parameters.iter().map(|(name, _)| name.as_str()))
            .collect();
        let mut row: Vec<Value> = self.parameters.iter().map(|(_, value)| value.as_str().into()).collect();
        row.extend([self.input.as_str().into(), self.output.clone()]);
        row.extend(self.output_parameters.iter().map(|(_, value)| Value::from(value.as_str())));
        let inputs: Vec<Value> = names.map(|name| json!({"type": "string", "name": name, "required": true})).collect();
        let outputs = json!([{"type": "string", "name": "output", "required": true}]);
        let signature = json!({
            "inputs": json!(inputs).to_string(), "outputs": outputs.to_string(), "params": null,
        });
        let requirement = format!("mlflow[gateway]=={MLFLOW_VERSION}");
        let flavor = json!({
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": "mlflow.prompt.promptlab_model",
            "parameters_path": "parameters.yaml",
        });
        let example = json!({"artifact_path": "input_example.json", "type": "json_object"});
        let mlmodel = format!(
            "artifact_path: model\nflavors:\n  python_function: {flavor}\nmlflow_version: {MLFLOW_VERSION}\n\
             model_uuid: {model_id}\nrun_id: {run_id}\nsaved_input_example_info: {example}\n\
             signature: {signature}\nutc_time_created: '{created}'\n"
        );
        let parameters = format!(
            "model_parameters: {}\nmodel_route: {}\nprompt_parameters: {}\nprompt_template: {}\n",
            object(&self.model_parameters),
            json!(self.route),
            object(&self.parameters),
            json!(self.template),
        );
        let conda = format!(
            "channels:\n- conda-forge\ndependencies:\n- python\n- pip\n- pip:\n  - {requirement}\nname: mlflow-env\n"
        );
        let values: Vec<&str> = self.parameters.iter().map(|(_, value)| value.as_str()).collect();
        [
            (TABLE, json!({"columns": columns, "data": [row]}).to_string()),
            ("model/MLmodel", mlmodel),
            ("model/parameters.yaml", parameters),
            ("model/requirements.txt", requirement),
            ("model/conda.yaml", conda),
            ("model/python_env.yaml", "build_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n".to_owned()),
            ("model/input_example.json", json!({"inputs": values}).to_string()),
        ]
    }
}

fn lacks(name: &str) -> MlflowError {
    MlflowError::invalid(format!("CreatePromptlabRun request must specify {name}."))
}

fn object(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

/// As [`parameters`]; nothing where there are none.
fn parameters_or_none(fields: &Fields, name: &str) -> Result<Vec<(String, String)>, MlflowError> {
    if fields.has(name) { parameters(fields, name) } else { Ok(Vec::new()) }
}

/// Names and values; what is no text is written as JSON writes it.
fn parameters(fields: &Fields, name: &str) -> Result<Vec<(String, String)>, MlflowError> {
    fields
        .list(name)?
        .iter()
        .map(|item| {
            let key = item.get("key").and_then(Value::as_str).filter(|key| !key.is_empty());
            let value = match item.get("value") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            Ok((key.ok_or_else(|| wrong_type(name, item))?.to_owned(), value))
        })
        .collect()
}
