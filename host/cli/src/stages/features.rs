//! `kind: features`: a transform, fitted on training rows and applied to them.
//!
//! The transform sees neither the label nor ignored columns, so nothing of them can leak into a fitted state.

use std::sync::Arc;

use plinth_core::{Code, Coded, codes, did_you_mean};
use plinth_ext::{Batch, Fitting, Schema, Step};
use plinth_pipeline::{
    InputRef, KeyPart, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageSpec,
};
use plinth_score::Signature;
use plinth_table::Table;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{documents::TransformDocument, options_text, thousands};
use crate::host::{Host, PluginRef};

pub(crate) struct Features(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The rows to fit on.
    data: String,
    /// The column to predict: handed on beside the features.
    label: Option<String>,
    /// Columns that are no features, such as identifiers. They need not be there when the model is asked.
    #[serde(default)]
    ignore: Vec<String>,
    /// A transform plugin.
    plugin: String,
    /// Which of its transforms, if it has several.
    item: Option<String>,
    #[serde(default)]
    options: Map<String, Value>,
}

impl StageHandler for Features {
    fn kind(&self) -> &'static str {
        "features"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        Ok(StagePlan {
            inputs: vec![InputRef::new("data", config.data)],
            params: json!({
                "label": config.label, "ignore": config.ignore, "item": config.item, "options": config.options,
            }),
            outputs: vec!["rows", "transform"],
        })
    }

    fn key_parts(&self, stage: &StageContext<'_>) -> Result<Vec<KeyPart>, StageFailure> {
        let config: Config = stage.stage.config()?;
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        Ok(vec![KeyPart { name: "plugin".into(), hash: self.0.components.hash(stage.cache, &plugin)? }])
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        let config: Config = stage.stage.config()?;
        let data = stage.input("data");
        let table = self.0.table(data)?;
        let signature = signature(&table, &config)?;
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        let (transform, item, identity) = self.0.components.transform(&plugin, config.item.as_deref())?;

        let fitting = transform.start(&item, signature.columns(), &options_text(&config.options))?;
        let rows = || Ok(table.batches()?.map(|batch| Ok(signature.coerce(&batch?)?)));
        let state = fit(&self.0, stage, fitting, rows)?;
        let fitted = transform.load(&item, &state, signature.columns())?;
        let features = fitted.output().clone();
        let label = config.label.as_deref().map(|name| table.schema().require(name)).transpose()?;
        let schema = with_label(&features, table.schema(), label)?;
        let rows = self.0.write_table("rows", &schema, |write| {
            let mut done = 0;
            for batch in table.batches()? {
                stage.cancel.check()?;
                let batch = batch?;
                let applied = fitted.apply(&signature.coerce(&batch)?)?;
                let mut columns = applied.columns().to_vec();
                columns.extend(label.map(|index| batch.column(index).clone()));
                write(&Batch::new(schema.clone(), columns, batch.num_rows())?)?;
                done += batch.num_rows() as u64;
                (stage.progress)(done, Some(table.rows()));
            }
            Ok(())
        })?;

        // Outputs too, so that a blob that is lost is made again with the stage.
        let component = self.0.put_file("component", &identity.path, identity.hash)?;
        let state = self.0.put("state", &state)?;
        let document = TransformDocument {
            plugin: identity.name,
            version: identity.version,
            item,
            options: config.options,
            component: component.blob,
            state: state.blob,
            signature,
            label: config.label,
            fitted_on: data.blob,
        };
        let document = self.0.write_json("transform", &json!(document))?;
        Ok(StageOutcome {
            outputs: vec![rows, document, component, state],
            summary: format!("{} features of {} rows", features.len(), thousands(table.rows())),
            ..StageOutcome::default()
        })
    }
}

/// Feeds the rows as often as the algorithm asks for.
pub(super) fn fit<Rows: Iterator<Item = Result<Batch, StageFailure>>>(
    host: &Host,
    stage: &StageContext<'_>,
    mut fitting: Box<dyn Fitting>,
    rows: impl Fn() -> Result<Rows, StageFailure>,
) -> Result<Vec<u8>, StageFailure> {
    let passes_max = host.limits().plugin.fit_passes_max;
    for _ in 0..passes_max {
        for batch in rows()? {
            stage.cancel.check()?;
            fitting.update(&batch?)?;
        }
        if let Step::Done(state) = fitting.end_pass()? {
            return Ok(state);
        }
    }
    Err(TooManyPasses(passes_max).into())
}

/// The columns that a caller will have to send: all but the label and the ignored ones.
fn signature(table: &Table, config: &Config) -> Result<Signature, StageFailure> {
    let schema = table.schema();
    if let Some(label) = &config.label
        && schema.index_of(label).is_none()
    {
        let hint = did_you_mean(label, schema.fields().iter().map(|field| field.name.as_str()));
        return Err(NoLabel { label: label.clone(), hint }.into());
    }
    // A column that is not there cannot be a feature by mistake; the same file may be used on tables that lack it.
    let mut leave_out: Vec<&str> = Vec::new();
    for name in &config.ignore {
        if schema.index_of(name).is_some() {
            leave_out.push(name);
        } else {
            // A slip of the pen would let an identifier in as a feature.
            let others = schema.fields().iter().map(|field| field.name.as_str());
            if let Some(near) =
                plinth_core::closest(name, others.filter(|other| !config.ignore.iter().any(|i| i == other)))
            {
                return Err(IgnoredNothing { name: name.clone(), near: near.to_owned() }.into());
            }
            tracing::info!(column = %name, "a column to ignore is not in the table");
        }
    }
    leave_out.extend(config.label.as_deref());
    let signature = Signature::without(schema, &leave_out)?;
    if signature.columns().is_empty() {
        return Err(NoFeatures.into());
    }
    let first = table.batches()?.next().transpose()?;
    Ok(match first {
        Some(rows) => signature.with_example(&rows)?,
        None => signature,
    })
}

/// The features with the label at their end.
fn with_label(features: &Schema, raw: &Schema, label: Option<usize>) -> Result<Schema, StageFailure> {
    let mut fields = features.fields().to_vec();
    fields.extend(label.map(|index| raw.fields()[index].clone()));
    Ok(Schema::new(fields)?)
}

#[derive(Debug, thiserror::Error)]
#[error("unknown column `{label}`: the label is not in the table")]
struct NoLabel {
    label: String,
    hint: String,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown column `{name}` in `ignore`")]
struct IgnoredNothing {
    name: String,
    near: String,
}

impl Coded for IgnoredNothing {
    fn code(&self) -> Code {
        codes::UNKNOWN_COLUMN
    }
    fn hint(&self) -> Option<String> {
        Some(format!("did you mean `{}`?", self.near))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no column is left to learn from")]
struct NoFeatures;

#[derive(Debug, thiserror::Error)]
#[error("the transform wanted more than {0} passes over the data")]
struct TooManyPasses(u32);

impl Coded for NoLabel {
    fn code(&self) -> Code {
        codes::BAD_LABEL
    }
    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

impl Coded for NoFeatures {
    fn code(&self) -> Code {
        codes::SCHEMA_MISMATCH
    }
    fn hint(&self) -> Option<String> {
        Some("`ignore` and `label` name every column of the table".into())
    }
}

impl Coded for TooManyPasses {
    fn code(&self) -> Code {
        codes::LIMIT_EXCEEDED
    }
    fn hint(&self) -> Option<String> {
        Some("raise limits.plugin.fit-passes-max in plinth.toml".into())
    }
}
