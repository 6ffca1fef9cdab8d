//! `output` of `kind: train`: a transform that makes the answer of what the model says, fitted on what it says of the
//! training rows.

use plinth_ext::Batch;
use plinth_pipeline::{KeyPart, Output, StageContext, StageFailure};
use plinth_score::Signature;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{documents::TransformDocument, features::fit, options_text};
use crate::host::{Host, PluginRef};

/// Which transform.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OutputConfig {
    /// A transform plugin.
    plugin: String,
    /// Which of its transforms, if it has several.
    item: Option<String>,
    #[serde(default)]
    options: Map<String, Value>,
}

impl OutputConfig {
    pub(super) fn key_part(&self, host: &Host, stage: &StageContext<'_>) -> Result<KeyPart, StageFailure> {
        let plugin = PluginRef::new(stage.pipeline, &self.plugin);
        Ok(KeyPart { name: "output".into(), hash: host.components.hash(stage.cache, &plugin)? })
    }

    /// The transform, fitted on `said`, which is what the model says of the rows whose features are `fitted_on`; with
    /// its component and its state as outputs of the stage.
    pub(super) fn fit(
        &self,
        host: &Host,
        stage: &StageContext<'_>,
        said: &[Batch],
        fitted_on: plinth_core::ContentHash,
    ) -> Result<(TransformDocument, [Output; 2]), StageFailure> {
        let Some(first) = said.first() else { return Err(NothingSaid.into()) };
        let signature = Signature::new(first.schema().clone());
        let plugin = PluginRef::new(stage.pipeline, &self.plugin);
        let (transform, item, identity) = host.components.transform(&plugin, self.item.as_deref())?;
        let fitting = transform.start(&item, signature.columns(), &options_text(&self.options))?;
        let state = fit(host, stage, fitting, || Ok(said.iter().map(|batch| Ok(batch.clone()))))?;
        // Whether it can be used is known now, and not when the first caller asks.
        transform.load(&item, &state, signature.columns())?.apply(first)?;
        let component = host.put_file("output-component", &identity.path, identity.hash)?;
        let state = host.put("output-state", &state)?;
        let document = TransformDocument {
            plugin: identity.name,
            version: identity.version,
            item,
            options: self.options.clone(),
            component: component.blob,
            state: state.blob,
            signature,
            label: None,
            fitted_on,
        };
        Ok((document, [component, state]))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there are no training rows to fit the output transform on")]
struct NothingSaid;

impl plinth_core::Coded for NothingSaid {
    fn code(&self) -> plinth_core::Code {
        plinth_core::codes::BAD_TABLE
    }
}
