//! Puts a scorer together from stored parts: the transform component and its fitted state by hash, then the model,
//! which is ONNX or a component too.

use std::sync::Arc;

use plinth_core::{Code, Coded, ContentHash, codes};
use plinth_ext::{Fitted, Model};
use plinth_pipeline::StageFailure;
use plinth_score::{Scorer, Signature};
use plinth_serve::Served;
use plinth_tensor::SessionOptions;
use plinth_tracking::{FileRole, ModelVersion};

use crate::{
    host::Host,
    onnx,
    output::Failure,
    stages::documents::{
        ComponentDocument, ComponentVersionDocument, LoadDocument, ModelDocument, OnnxVersionDocument,
        TransformDocument, VersionDocument,
    },
};

/// What a version's specification says.
pub(crate) enum Spec {
    /// A pipeline trained it.
    Trained(Box<VersionDocument>),
    /// It is a component.
    Component(Box<ComponentVersionDocument>),
    /// It is an ONNX file.
    Onnx(Box<OnnxVersionDocument>),
    /// MLflow's client logged it: what it is, its own files say.
    Logged,
}

impl Spec {
    /// Reads it.
    pub(crate) fn of(version: &ModelVersion) -> Result<Self, Failure> {
        let spec = version.spec.clone();
        let has = |key: &str| spec.get(key).is_some();
        let read = match spec.as_object() {
            Some(none) if none.is_empty() => return Ok(Self::Logged),
            _ if has("component") => serde_json::from_value(spec).map(Self::Component),
            _ if has("onnx") => serde_json::from_value(spec).map(Self::Onnx),
            _ => serde_json::from_value(spec).map(Self::Trained),
        };
        read.map_err(|error| {
            let message = format!("the specification of {} does not read: {error}", version.reference());
            Failure::new(codes::BAD_MODEL, message)
                .hint("a newer plinth, or something other than `plinth run` and `plinth model register`, registered it")
        })
    }

    /// What comes before the model.
    pub(crate) fn transform(&self) -> Option<&TransformDocument> {
        match self {
            Self::Trained(document) => Some(&document.model.transform),
            Self::Component(document) => document.transform.as_ref(),
            Self::Onnx(_) | Self::Logged => None,
        }
    }

    /// The columns that a caller sends, if they are recorded.
    pub(crate) fn signature(&self) -> Option<&Signature> {
        match self {
            Self::Trained(document) => Some(&document.model.transform.signature),
            Self::Component(document) => Some(&document.signature),
            Self::Onnx(document) => document.signature.as_ref(),
            Self::Logged => None,
        }
    }

    /// How files of rows are read, if that is recorded.
    pub(crate) fn load(&self) -> Option<&LoadDocument> {
        match self {
            Self::Trained(document) => Some(&document.pipeline.load),
            Self::Component(document) => Some(&document.load),
            Self::Onnx(document) => Some(&document.load),
            Self::Logged => None,
        }
    }

    /// The ONNX model, if it is one.
    pub(crate) fn onnx(&self) -> Option<ContentHash> {
        match self {
            Self::Trained(document) => Some(document.model.onnx),
            Self::Onnx(document) => Some(document.onnx),
            Self::Component(_) | Self::Logged => None,
        }
    }

    /// Whether the ONNX Runtime is needed.
    pub(crate) fn is_onnx(&self) -> bool {
        !matches!(self, Self::Component(_))
    }

    /// Every part by content, in the order in which people want to read them.
    pub(crate) fn hashes(&self) -> Vec<(String, ContentHash)> {
        let model = match self {
            Self::Trained(document) => [Some(("model", document.model.onnx)), None],
            Self::Component(document) => {
                let artifact = document.component.artifact.map(|hash| ("artifact", hash));
                [Some(("model", document.component.hash)), artifact]
            }
            Self::Onnx(document) => [Some(("model", document.onnx)), None],
            Self::Logged => [None, None],
        };
        let transform =
            self.transform().map(|transform| [("transform", transform.component), ("state", transform.state)]);
        let output = match self {
            Self::Trained(document) => document.model.output.as_ref(),
            _ => None,
        };
        let output = output.map(|output| [("output", output.component), ("output-state", output.state)]);
        let parts = model.into_iter().flatten().chain(transform.into_iter().flatten());
        let parts = parts.chain(output.into_iter().flatten());
        parts.map(|(name, hash)| (name.to_owned(), hash)).collect()
    }
}

/// How a pipeline made a version.
pub(crate) fn document(version: &ModelVersion) -> Result<VersionDocument, Failure> {
    match Spec::of(version)? {
        Spec::Trained(document) => Ok(*document),
        Spec::Component(_) | Spec::Onnx(_) | Spec::Logged => {
            let message = format!("{} was registered as it is: no pipeline made it", version.reference());
            Err(Failure::new(codes::BAD_MODEL, message)
                .hint("it can be served and asked; training, gates and retraining need a version made by `plinth run`"))
        }
    }
}

/// What a scorer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Files: a call may take its time.
    Batch,
    /// Requests: a call that takes long is given up.
    Online,
}

/// What serves a model version. The component must be the one that was recorded, byte for byte.
pub(crate) fn served(
    host: &Host,
    version: &ModelVersion,
    sessions: &SessionOptions,
    what: Use,
) -> Result<(Served, Hashes), Failure> {
    let spec = Spec::of(version)?;
    let same = |role, recorded: ContentHash| {
        let found = version.file(role)?.hash;
        match found == recorded {
            true => Ok(()),
            false => Err(Failure::from(ComponentChanged { version: version.reference(), recorded, found })),
        }
    };
    if let Some(transform) = spec.transform() {
        same(FileRole::Component, transform.component)?;
    }
    let served = match &spec {
        Spec::Trained(document) => of_model(host, &document.model, sessions, what).map(Served::from),
        Spec::Component(document) => {
            same(FileRole::Model, document.component.hash)?;
            let (component, transform) = (&document.component, document.transform.as_ref());
            of_component(host, component, transform, &document.signature, what).map(Served::from)
        }
        Spec::Onnx(document) => {
            same(FileRole::Model, document.onnx)?;
            onnx::of_file(host, document, sessions)
        }
        Spec::Logged => return onnx::of_logged(host, version, sessions),
    };
    Ok((served.map_err(|failure| Failure::of(&*failure.error))?, spec.hashes()))
}

/// Whether a file of a version is read to serve it.
pub(crate) fn is_loaded(role: FileRole) -> bool {
    matches!(role, FileRole::Model | FileRole::Component | FileRole::State)
}

/// Every part by name and content.
pub(crate) type Hashes = Vec<(String, ContentHash)>;

/// A scorer for a model version over the columns of a table.
pub(crate) fn of_version(
    host: &Host,
    version: &ModelVersion,
    sessions: &SessionOptions,
    what: Use,
) -> Result<Scorer, Failure> {
    match served(host, version, sessions, what)?.0 {
        Served::Rows(scorer) => Ok(*scorer),
        Served::Tensors(_) => {
            let message = format!("{} takes tensors, not the columns of a table", version.reference());
            Err(Failure::new(codes::BAD_MODEL, message)
                .hint("serve it and ask it over the Open Inference Protocol; or register it with --rows or --column"))
        }
    }
}

/// A scorer for a component in the blob store.
pub(crate) fn of_component(
    host: &Host,
    component: &ComponentDocument,
    transform: Option<&TransformDocument>,
    signature: &Signature,
    what: Use,
) -> Result<Scorer, StageFailure> {
    let fitted = transform.map(|transform| fitted(host, transform, what)).transpose()?;
    let input = fitted.as_ref().map_or(signature.columns(), |fitted| fitted.output());
    let model = component_model(host, component, input, what)?;
    Ok(Scorer::new(signature.clone(), fitted.into_iter().collect(), model)?)
}

/// A component from the blob store, loaded for these rows: it is checked against its name before a byte of it is run.
fn component_model(
    host: &Host,
    component: &ComponentDocument,
    input: &plinth_ext::Schema,
    what: Use,
) -> Result<Arc<dyn Model>, StageFailure> {
    let blobs = host.store().blobs();
    let path = blobs.checked_path(&component.hash)?;
    let artifact = component.artifact.map_or_else(|| Ok(Vec::new()), |artifact| blobs.get(&artifact))?;
    let models = host.components.stored_models(&component.plugin, &path, component.hash, what)?;
    let options = serde_json::Value::Object(component.options.clone()).to_string();
    Ok(models.load(&component.item, &artifact, input, &options)?)
}

/// A scorer for a model that need not be registered.
pub(crate) fn of_model(
    host: &Host,
    model: &ModelDocument,
    sessions: &SessionOptions,
    what: Use,
) -> Result<Scorer, StageFailure> {
    let fitted = fitted(host, &model.transform, what)?;
    let onnx = host.model(&model.onnx, sessions)?;
    let scorer = Scorer::new(model.transform.signature.clone(), vec![fitted], Arc::new(onnx))?;
    match &model.output {
        None => Ok(scorer),
        Some(output) => Ok(scorer.with_output(self::fitted(host, output, what)?)?),
    }
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
#[error("{version} was registered with the component {recorded}, but names {found}")]
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
        Some("register the model again".into())
    }
}
