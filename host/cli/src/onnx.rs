//! ONNX models as they come: from a file that was registered, or logged by MLflow's client.
//!
//! A model of one float matrix whose columns are known by name is one over the columns of a table. Any other is served
//! with its own tensors.

use std::sync::Arc;

use plinth_core::codes;
use plinth_ext::{Field, Kind, Schema, metadata};
use plinth_pipeline::StageFailure;
use plinth_score::{Scorer, Signature};
use plinth_serve::{Served, TensorModel};
use plinth_tensor::{OnnxModel, Session, SessionOptions, TensorError};
use plinth_tracking::{ModelVersion, Place};
use serde_json::Value;

use crate::{
    host::Host,
    output::{Failure, io_failure},
    scorer::Hashes,
    stages::documents::OnnxVersionDocument,
};

/// Raised when a reader of the last form of the document could not read this one.
pub(crate) const FORMAT: u32 = 1;

/// The folder's own description, as MLflow names it.
const MLMODEL: &str = "MLmodel";

/// What serves a file that was registered.
pub(crate) fn of_file(
    host: &Host,
    document: &OnnxVersionDocument,
    sessions: &SessionOptions,
) -> Result<Served, StageFailure> {
    let bytes = host.store().blobs().get(&document.onnx)?;
    of_bytes(host, &bytes, document.signature.as_ref(), sessions)
}

/// What serves these bytes.
pub(crate) fn of_bytes(
    host: &Host,
    model: &[u8],
    signature: Option<&Signature>,
    sessions: &SessionOptions,
) -> Result<Served, StageFailure> {
    let session = Session::load(host.runtime()?, model, sessions)?;
    match signature {
        Some(signature) => over_columns(session, signature),
        None => by_itself(session),
    }
}

/// A model over these columns; what does not take them is an error.
fn over_columns(session: Session, signature: &Signature) -> Result<Served, StageFailure> {
    let names: Vec<String> = signature.columns().fields().iter().map(|field| field.name.clone()).collect();
    let model = OnnxModel::new(session, Some(&names))?;
    Ok(Scorer::new(signature.clone(), Vec::new(), Arc::new(model))?.into())
}

/// A model that names its columns itself, or one of tensors.
fn by_itself(session: Session) -> Result<Served, StageFailure> {
    if !session.metadata().contains_key(metadata::FEATURES) {
        return Ok(tensors(session).into());
    }
    let model = OnnxModel::new(session, None)?;
    let columns = plinth_ext::Model::input(&model).fields().iter();
    let columns = columns.map(|field| Field::new(field.name.clone(), Kind::Float64, field.nullable)).collect();
    let signature = Signature::new(Schema::new(columns)?);
    Ok(Scorer::new(signature, Vec::new(), Arc::new(model))?.into())
}

fn tensors(session: Session) -> TensorModel {
    TensorModel::new(Arc::new(session))
}

/// What serves a version that MLflow's client logged: its `MLmodel` says which file is the model.
pub(crate) fn of_logged(
    host: &Host,
    version: &ModelVersion,
    sessions: &SessionOptions,
) -> Result<(Served, Hashes), Failure> {
    let tracking = host.tracking();
    let root = match tracking.version_place(&version.model, version.version)? {
        Place::Here(root) => root,
        Place::Elsewhere(uri) => {
            return Err(bad(version, &format!("its files are not here but at {uri}")));
        }
    };
    let files = tracking.files_below(&root)?;
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let Some(described) = find(MLMODEL) else {
        return Err(bad(version, "it has no file `MLmodel` that says what it is"));
    };
    let blobs = host.store().blobs();
    let described = blobs.get(&described.blob).map_err(|error| Failure::of(&error))?;
    let described: Value = serde_yaml_ng::from_slice(&described)
        .map_err(|error| bad(version, &format!("its `MLmodel` does not read: {error}")))?;
    let Some(flavor) = described.pointer("/flavors/onnx") else {
        let flavors = described.get("flavors").and_then(Value::as_object);
        let flavors: Vec<&str> = flavors.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
        return Err(bad(version, &format!("it is no ONNX model but {}", flavors.join(", "))));
    };
    let path = flavor.get("data").and_then(Value::as_str).unwrap_or("model.onnx");
    let Some(model) = find(path) else {
        return Err(bad(version, &format!("its file `{path}` is missing")));
    };
    let hashes = vec![("model".to_owned(), model.blob)];
    // Large weights may lie in files beside the model, which are found by their names.
    let folder = tempfile::tempdir().map_err(|error| io_failure("a temporary folder", &error))?;
    for file in files.iter().filter(|file| file.path != MLMODEL && !file.path.ends_with(".py")) {
        let to = folder.path().join(&file.path);
        let written = to.parent().map_or(Ok(()), std::fs::create_dir_all);
        let bytes = blobs.get(&file.blob).map_err(|error| Failure::of(&error))?;
        written
            .and_then(|()| std::fs::write(&to, bytes))
            .map_err(|error| io_failure(&to.display().to_string(), &error))?;
    }
    let open =
        || -> Result<Session, TensorError> { Session::open(host.runtime()?, &folder.path().join(path), sessions) };
    let session = open().map_err(|error| Failure::of(&error))?;
    let served = match signature(&described) {
        // A signature of columns names the features of a model of one matrix; one of several inputs has them already.
        Some(signature) if takes_a_matrix(&session, &signature) => over_columns(session, &signature),
        _ => by_itself(session),
    };
    Ok((served.map_err(|failure| Failure::of(&*failure.error))?, hashes))
}

/// Whether a model takes one matrix of as many floats as there are columns, all of them numbers.
fn takes_a_matrix(session: &Session, signature: &Signature) -> bool {
    let columns = signature.columns();
    let [slot] = session.inputs() else { return false };
    slot.dtype == Some(plinth_ext::DType::F32)
        && matches!(slot.shape[..], [_, width] if width.is_none_or(|width| width == columns.len()))
        && columns.fields().iter().all(|field| field.kind.is_numeric())
}

/// The columns of a signature as MLflow writes it; none if it is one of tensors, or has a type that no column has.
fn signature(described: &Value) -> Option<Signature> {
    let inputs: Value = serde_json::from_str(described.pointer("/signature/inputs")?.as_str()?).ok()?;
    let column = |input: &Value| {
        let kind = match input.get("type")?.as_str()? {
            "double" => Kind::Float64,
            "float" => Kind::Float32,
            "long" | "integer" => Kind::Int64,
            "boolean" => Kind::Boolean,
            "string" => Kind::Utf8,
            "datetime" => Kind::TimestampUs,
            _ => return None,
        };
        let required = input.get("required").and_then(Value::as_bool).unwrap_or(true);
        // A float may always be NaN; whether the model takes that is told when it comes.
        let nullable = !required || matches!(kind, Kind::Float32 | Kind::Float64);
        Some(Field::new(input.get("name")?.as_str()?, kind, nullable))
    };
    let columns = inputs.as_array()?.iter().map(column).collect::<Option<Vec<_>>>()?;
    Schema::new(columns).ok().filter(|columns| !columns.is_empty()).map(Signature::new)
}

fn bad(version: &ModelVersion, reason: &str) -> Failure {
    Failure::new(codes::BAD_MODEL, format!("{} cannot be served: {reason}", version.reference())).hint(
        "log it with `mlflow.onnx.log_model`, or register an ONNX file with `plinth model register NAME --onnx FILE`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mlflows_signatures_of_columns_are_read_and_those_of_tensors_are_not() {
        let columns = r#"[{"type": "double", "name": "a", "required": true}, {"type": "long", "name": "b"}]"#;
        let read = signature(&serde_json::json!({"signature": {"inputs": columns}})).unwrap();
        let kinds: Vec<_> = read.columns().fields().iter().map(|f| (f.name.as_str(), f.kind, f.nullable)).collect();
        assert_eq!(kinds, [("a", Kind::Float64, true), ("b", Kind::Int64, false)]);
        let tensor = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 17]}}]"#;
        assert!(signature(&serde_json::json!({"signature": {"inputs": tensor}})).is_none());
        assert!(signature(&serde_json::json!({})).is_none());
    }
}
