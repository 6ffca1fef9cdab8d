//! Puts a scorer together from stored parts: the transform component and its fitted state by hash, then the model.

use std::sync::Arc;

use plinth_core::{Code, Coded, ContentHash, codes};
use plinth_ext::Fitted;
use plinth_pipeline::StageFailure;
use plinth_score::Scorer;
use plinth_tracking::{FileRole, ModelVersion};

use crate::{
    host::Host,
    output::Failure,
    stages::documents::{ModelDocument, TransformDocument, VersionDocument},
};

/// What a version's specification says.
pub(crate) fn document(version: &ModelVersion) -> Result<VersionDocument, Failure> {
    serde_json::from_value(version.spec.clone()).map_err(|error| {
        Failure::new(codes::BAD_MODEL, format!("the specification of {} does not read: {error}", version.reference()))
            .hint("a newer plinth, or something other than `plinth run`, registered it")
    })
}

/// What a scorer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Files: a call may take its time.
    Batch,
    /// Requests: a call that takes long is given up.
    Online,
}

/// A scorer for a model version. The component must be the one that was recorded, byte for byte.
pub(crate) fn of_version(host: &Host, version: &ModelVersion, sessions: usize, what: Use) -> Result<Scorer, Failure> {
    let document = document(version)?;
    let recorded = document.model.transform.component;
    let file = version.file(FileRole::Component)?;
    if file.hash != recorded {
        return Err(ComponentChanged { version: version.reference(), recorded, found: file.hash }.into());
    }
    of_model(host, &document.model, sessions, what).map_err(|failure| Failure::of(&*failure.error))
}

/// A scorer for a model that need not be registered.
pub(crate) fn of_model(host: &Host, model: &ModelDocument, sessions: usize, what: Use) -> Result<Scorer, StageFailure> {
    let fitted = fitted(host, &model.transform, what)?;
    let onnx = host.model(&model.onnx, sessions)?;
    Ok(Scorer::new(model.transform.signature.clone(), vec![fitted], Arc::new(onnx))?)
}

/// A fitted transform from the blob store: the component is checked against its name before a byte of it is run.
pub(crate) fn fitted(host: &Host, transform: &TransformDocument, what: Use) -> Result<Arc<dyn Fitted>, StageFailure> {
    let blobs = host.store().blobs();
    let path = blobs.checked_path(&transform.component)?;
    let state = blobs.get(&transform.state)?;
    let component = host.components.stored_transform(&transform.plugin, &path, transform.component, what)?;
    Ok(component.load(&transform.item, &state, transform.signature.columns())?)
}

#[derive(Debug, thiserror::Error)]
#[error("{version} was trained with the transform component {recorded}, but names {found}")]
struct ComponentChanged {
    version: String,
    recorded: ContentHash,
    found: ContentHash,
}

impl Coded for ComponentChanged {
    fn code(&self) -> Code {
        codes::PLUGIN_CHANGED
    }
    fn hint(&self) -> Option<String> {
        Some("train and register the model again".into())
    }
}
