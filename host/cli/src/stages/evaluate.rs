//! `kind: evaluate`: a model on rows that it has not seen, scored the way the server scores: raw rows in.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{BooleanArray, RecordBatch};
use plinth_ext::{Batch, Field, Metric, Schema};
use plinth_pipeline::{
    InputRef, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageSpec,
};
use plinth_score::Scorer;
use plinth_table::Table;
use plinth_train::{Answers, Confusion, EvaluationSpec, Label};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    documents::{EvaluationDocument, ModelDocument},
    register::PREDICTION,
    thousands,
};
use crate::{
    host::{Host, HostError},
    output::Failure,
    scorer,
};

pub(crate) struct Evaluate(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The model to measure.
    model: String,
    /// Raw rows that it has not seen.
    data: String,
    /// The class that precision, recall and F1 are about.
    positive: Option<Value>,
    /// Columns, each value of which is measured apart.
    #[serde(default)]
    slices: Vec<String>,
    /// Slices with fewer rows are left out.
    #[serde(default = "slice_rows_min")]
    slice_rows_min: u64,
}

fn slice_rows_min() -> u64 {
    20
}

impl Config {
    fn positive(&self) -> Option<String> {
        self.positive.as_ref().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

impl StageHandler for Evaluate {
    fn kind(&self) -> &'static str {
        "evaluate"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        let params = json!({
            "positive": config.positive(), "slices": config.slices, "slice-rows-min": config.slice_rows_min,
        });
        Ok(StagePlan {
            inputs: vec![InputRef::new("model", config.model), InputRef::new("data", config.data)],
            params,
            outputs: vec!["evaluation", "predictions"],
        })
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        self.0.start_runtime_early();
        let config: Config = stage.stage.config()?;
        let model: ModelDocument = self.0.read_json(&stage.input("model").blob)?;
        let table = self.0.table(stage.input("data"))?;
        let scorer = scorer::of_model(&self.0, &model, &self.0.sessions(1), scorer::Use::Batch)?;
        let positive = config.positive();
        let what = Measure {
            model: &model,
            positive: positive.as_deref(),
            slices: &config.slices,
            slice_rows_min: config.slice_rows_min,
            rows: None,
        };
        let measured = measure(&self.0, stage, &scorer, &table, &what)?;
        let predictions =
            self.0.write_table("predictions", measured.predictions.schema(), |write| write(&measured.predictions))?;
        let document = EvaluationDocument {
            model: stage.input("model").blob,
            data: stage.input("data").blob,
            positive: measured.positive,
            slices: config.slices,
            metrics: measured.metrics,
            predictions: predictions.blob,
            rows: measured.rows,
        };
        let metrics = whole(&document.metrics);
        let shown = ["accuracy", "f1", "roc_auc", "rmse", "r2"];
        let shown: Vec<String> =
            shown.iter().filter_map(|name| metrics.get(*name).map(|value| format!("{name} {value:.4}"))).collect();
        let output = self.0.write_json("evaluation", &json!(document))?;
        Ok(StageOutcome {
            outputs: vec![output, predictions],
            summary: format!("{} on {} rows", shown.join(", "), thousands(document.rows)),
            details: json!({ "confusion": measured.confusion }),
            metrics,
        })
    }
}

/// What to measure.
pub(crate) struct Measure<'a> {
    /// The model.
    pub(crate) model: &'a ModelDocument,
    /// The class that precision, recall and F1 are about.
    pub(crate) positive: Option<&'a str>,
    /// Columns, each value of which is measured apart.
    pub(crate) slices: &'a [String],
    /// Slices with fewer rows are left out.
    pub(crate) slice_rows_min: u64,
    /// Only these rows of the table.
    pub(crate) rows: Option<&'a BooleanArray>,
}

/// What was measured.
pub(crate) struct Measured {
    pub(crate) metrics: Vec<Metric>,
    pub(crate) positive: Option<String>,
    pub(crate) confusion: Option<Confusion>,
    /// The label, then what the model said.
    pub(crate) predictions: Batch,
    pub(crate) rows: u64,
}

/// Scores raw rows and compares with their label.
pub(crate) fn measure(
    host: &Host,
    stage: &StageContext<'_>,
    scorer: &Scorer,
    table: &Table,
    what: &Measure<'_>,
) -> Result<Measured, StageFailure> {
    let Some(label) = what.model.transform.label.as_deref() else {
        let failure = Failure::new(plinth_core::codes::BAD_LABEL, "the model has no label to measure by")
            .hint("name a `label` in the features stage");
        return Err(HostError::from(failure).into());
    };
    let mut raw: Vec<RecordBatch> = Vec::new();
    let mut said: Vec<RecordBatch> = Vec::new();
    let mut shown: Vec<Batch> = Vec::new();
    let mut offset = 0;
    for batch in table.batches()? {
        stage.cancel.check()?;
        let mut batch = batch?;
        let len = batch.num_rows();
        if let Some(rows) = what.rows {
            batch = plinth_table::filter(&batch, &rows.slice(offset, len))?;
        }
        offset += len;
        (stage.progress)(offset as u64, Some(table.rows()));
        // What is measured is the model, whatever its answers become for callers.
        let predictions = scorer.model_score(&scorer.signature().coerce(&batch)?)?;
        shown.push(beside(&batch.project(&[batch.schema().require(label)?]), &predictions)?);
        raw.push(batch.arrow().clone());
        said.push(predictions.arrow().clone());
    }
    let classes = what.model.classes.as_ref();
    let truth = Label::to_measure(&raw, label, classes)?;
    let answers = Answers::from_columns(what.model.task, classes, &said)?;
    let spec = EvaluationSpec {
        positive: what.positive.map(str::to_owned),
        slices: what.slices.to_vec(),
        min_slice_rows: what.slice_rows_min,
        curves: false,
        limits: host.limits().table.clone(),
    };
    let evaluation = plinth_train::evaluate(&spec, &truth, &answers, &raw)?;
    let schema = shown.first().map(|batch| batch.schema().clone());
    let schema = schema.unwrap_or_else(|| scorer.model_output().clone());
    Ok(Measured {
        metrics: evaluation.metrics,
        positive: evaluation.positive,
        confusion: evaluation.confusion,
        predictions: plinth_table::concat(&schema, &shown)?,
        rows: evaluation.rows,
    })
}

/// Rows with what a model says about them, under names that cannot be taken for columns of theirs.
pub(crate) fn beside(rows: &Batch, predictions: &Batch) -> Result<Batch, StageFailure> {
    let said = predictions.schema().fields().iter();
    let mut fields = rows.schema().fields().to_vec();
    fields.extend(said.map(|field| Field { name: format!("{PREDICTION}{}", field.name), ..field.clone() }));
    let columns = rows.columns().iter().chain(predictions.columns()).cloned().collect();
    Ok(Batch::new(Schema::new(fields)?, columns, rows.num_rows())?)
}

/// The measurements that are not of a slice.
pub(super) fn whole(metrics: &[Metric]) -> BTreeMap<String, f64> {
    let whole = metrics.iter().filter(|metric| metric.slice.is_none());
    whole.map(|metric| (metric.name.clone(), metric.value)).collect()
}
