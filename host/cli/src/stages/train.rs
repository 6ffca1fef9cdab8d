//! `kind: train`: a built-in trainer, exported to ONNX and checked: ONNX Runtime must give the trainer's own answers.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::RecordBatch;
use plinth_core::{Coded, did_you_mean};
use plinth_ext::Batch;
use plinth_pipeline::{
    InputRef, KeyPart, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageSpec,
};
use plinth_table::Table;
use plinth_tensor::{Device, OnnxModel, SessionOptions};
use plinth_train::{Answers, Task, TrainSpec, Trained, Trainer, Watch, agreement};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    answer::OutputConfig,
    documents::{ModelDocument, TransformDocument},
    thousands,
};
use crate::{host::Host, scorer};

/// Training rows on which the exported model is checked. All held-out rows are.
const CHECKED_ROWS_MAX: usize = 100_000;

pub(crate) struct Train(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The features stage to learn from.
    features: String,
    /// Raw rows on which the exported model is checked too.
    verify: Option<String>,
    #[serde(default = "classification")]
    task: Task,
    trainer: String,
    #[serde(default)]
    seed: u64,
    /// Options by trainer; only those of the chosen one count.
    #[serde(default)]
    options: Map<String, Value>,
    /// What makes the answer that callers get of what the model says.
    output: Option<OutputConfig>,
}

fn classification() -> Task {
    Task::Classification
}

impl Config {
    fn read(stage: &StageSpec) -> Result<(Self, TrainSpec), PipelineError> {
        let config: Self = stage.config()?;
        let known = Trainer::ALL.map(Trainer::name);
        if let Some(unknown) = config.options.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(PipelineError::UnknownKey {
                place: stage.place(&["options", unknown]),
                key: unknown.clone(),
                owner: format!("the options of stage `{}`, which are by trainer", stage.name),
                hint: did_you_mean(unknown, known),
            });
        }
        let options = config.options.get(&config.trainer).unwrap_or(&Value::Null);
        let spec = TrainSpec::check(config.task, &config.trainer, options, config.seed).map_err(|error| {
            let path: &[&str] = if error.code() == plinth_core::codes::BAD_TRAINER {
                &["trainer"]
            } else {
                &["options", &config.trainer]
            };
            PipelineError::Invalid {
                place: stage.place(path),
                message: format!("stage `{}` (train): {error}", stage.name),
                hint: error.hint(),
            }
        })?;
        Ok((config, spec))
    }
}

impl StageHandler for Train {
    fn kind(&self) -> &'static str {
        "train"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let (config, spec) = Config::read(stage)?;
        let mut inputs = vec![
            InputRef::sibling("rows", "features", &config.features),
            InputRef::sibling("transform", "features", &config.features),
        ];
        inputs.extend(config.verify.map(|verify| InputRef::new("verify", verify)));
        let mut params = json!({
            "task": spec.task, "trainer": spec.trainer(), "options": spec.options.values(), "seed": spec.seed,
        });
        let mut outputs = vec!["model", "onnx"];
        if let Some(output) = config.output {
            params["output"] = json!(output);
            outputs.extend(["output-component", "output-state"]);
        }
        Ok(StagePlan { inputs, params, outputs })
    }

    fn key_parts(&self, stage: &StageContext<'_>) -> Result<Vec<KeyPart>, StageFailure> {
        let config: Config = stage.stage.config()?;
        config.output.iter().map(|output| output.key_part(&self.0, stage)).collect()
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        // The library takes a moment to load; it does so while the trainer learns.
        self.0.start_runtime_early();
        let (config, mut spec) = Config::read(stage.stage)?;
        spec.limits = self.0.limits().table.clone();
        let transform: TransformDocument = self.0.read_json(&stage.input("transform").blob)?;
        let table = self.0.table(stage.input("rows"))?;
        let batches =
            table.batches()?.map(|batch| Ok(batch?.arrow().clone())).collect::<Result<Vec<_>, StageFailure>>()?;
        let progress = |p: plinth_train::Progress| (stage.progress)(p.done, Some(p.total));
        let watch = Watch { progress: &progress, cancel: stage.cancel.flag() };
        let trained = plinth_train::train(&spec, &batches, transform.label.as_deref(), &watch)?;
        // On the CPU, whatever the device: the question is whether the export is right, not how a GPU rounds.
        let options = SessionOptions { device: Device::Cpu, ..SessionOptions::default() };
        let model = OnnxModel::load(self.0.runtime()?, &trained.onnx, &options)?;
        let disagreement = self.check(stage, &trained, &model, &transform, &batches)?;
        let mut outputs = Vec::new();
        let mut output = None;
        if let Some(config) = &config.output {
            let said = |batch: &RecordBatch| Ok(model.score(features(&trained, &Batch::from_arrow(batch)?)?.arrow())?);
            let said = batches.iter().map(said).collect::<Result<Vec<_>, StageFailure>>()?;
            let (document, made) = config.fit(&self.0, stage, &said, stage.input("rows").blob)?;
            output = Some(document);
            outputs.extend(made);
        }

        let onnx = self.0.put("onnx", &trained.onnx)?;
        let options: Map<String, Value> =
            trained.report.options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let document = ModelDocument {
            task: trained.task,
            trainer: trained.trainer.name().to_owned(),
            options,
            seed: config.seed,
            classes: trained.classes.clone(),
            onnx: onnx.blob,
            transform,
            output,
            disagreement,
            rows: trained.report.rows,
        };
        let document = self.0.write_json("model", &json!(document))?;
        let mut metrics: BTreeMap<String, f64> = trained.report.facts.clone();
        metrics.insert("rows".into(), trained.report.rows as f64);
        metrics.insert("features".into(), trained.report.features as f64);
        metrics.insert("onnx_disagreement".into(), disagreement);
        let trees = trained.report.facts.get("trees").map(|n| format!(", {} trees", thousands(*n as u64)));
        outputs.splice(0..0, [document, onnx]);
        Ok(StageOutcome {
            outputs,
            metrics,
            summary: format!(
                "{} on {} rows{}; ONNX agrees within {disagreement:.0e}",
                trained.trainer,
                thousands(trained.report.rows),
                trees.unwrap_or_default()
            ),
            details: json!({ "report": trained.report }),
        })
    }
}

impl Train {
    /// The largest difference between the trainer's answers and ONNX Runtime's, on training and on held-out rows.
    fn check(
        &self,
        stage: &StageContext<'_>,
        trained: &Trained,
        model: &OnnxModel,
        transform: &TransformDocument,
        learned: &[RecordBatch],
    ) -> Result<f64, StageFailure> {
        let mut worst = 0.0_f64;
        let mut checked = 0;
        for batch in learned {
            stage.cancel.check()?;
            if checked >= CHECKED_ROWS_MAX {
                break;
            }
            checked += batch.num_rows();
            worst = worst.max(disagreement(trained, model, &Batch::from_arrow(batch)?)?);
        }
        if let Some(verify) = stage.inputs.get("verify") {
            let raw: Table = self.0.table(verify)?;
            let fitted = scorer::fitted(&self.0, transform, scorer::Use::Batch)?;
            for batch in raw.batches()? {
                stage.cancel.check()?;
                let features = fitted.apply(&transform.signature.coerce(&batch?)?)?;
                worst = worst.max(disagreement(trained, model, &features)?);
            }
        }
        Ok(worst)
    }
}

/// Only what the model learned from.
fn features(trained: &Trained, rows: &Batch) -> Result<Batch, StageFailure> {
    let wanted = trained.features.iter().map(|name| rows.schema().require(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(rows.project(&wanted))
}

fn disagreement(trained: &Trained, model: &OnnxModel, rows: &Batch) -> Result<f64, StageFailure> {
    let rows = features(trained, rows)?;
    let native = trained.native.answers(&trained.features_of(&[rows.arrow().clone()])?);
    let exported = model.score(rows.arrow())?;
    let exported = Answers::from_columns(trained.task, trained.classes.as_ref(), &[exported.arrow().clone()])?;
    Ok(agreement(&native, &exported)?)
}
