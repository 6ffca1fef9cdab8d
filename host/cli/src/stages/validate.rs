//! `kind: validate`: a data gate. Rows that do not pass go no further.

use std::sync::Arc;

use plinth_ext::{Evidence, Metric, Subject};
use plinth_pipeline::{
    InputRef, KeyPart, Output, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan,
    StageSpec,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{judge, options_text, summary};
use crate::host::{Host, Lent, PluginRef};

pub(crate) struct Validate(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The table to check.
    data: String,
    /// A gate plugin.
    plugin: String,
    /// Which of its gates, if it has several.
    item: Option<String>,
    #[serde(default)]
    options: Map<String, Value>,
}

impl StageHandler for Validate {
    fn kind(&self) -> &'static str {
        "validate"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        Ok(StagePlan {
            inputs: vec![InputRef::new("data", config.data)],
            params: json!({"item": config.item, "options": config.options}),
            outputs: vec!["rows", "checks"],
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
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        let (gate, item) = self.0.components.gate(&plugin, config.item.as_deref())?;
        let candidate = Subject {
            reference: config.data.clone(),
            metrics: vec![Metric {
                name: "rows".into(),
                value: table.rows() as f64,
                slice: None,
                n: Some(table.rows()),
            }],
            tags: Vec::new(),
        };
        let evidence = Evidence { candidate, baseline: None };
        let tables = Arc::new(Lent::new([("data", table)]));
        let checks = gate.evaluate(&item, &evidence, &options_text(&config.options), tables)?;
        judge(&checks)?;
        let document = self.0.write_json("checks", &json!(checks))?;
        Ok(StageOutcome {
            outputs: vec![Output { name: "rows".into(), ..data.clone() }, document],
            summary: summary(&checks),
            details: json!({ "checks": checks }),
            ..StageOutcome::default()
        })
    }
}
