//! `plinth model register --onnx`: an ONNX file as a version of a model.

use std::{path::Path, process::ExitCode};

use plinth_core::codes;
use plinth_ext::Schema;
use plinth_score::Signature;
use plinth_serve::Served;
use plinth_tracking::{FileRole, NewVersion, VersionFile};
use serde_json::{Value, json};

use super::{
    args::RegisterArgs,
    print,
    register::{point, profile, told},
};
use crate::{
    host::Host,
    onnx::{FORMAT, of_bytes},
    output::{Failure, Output, read_failure},
    predict::read_all,
    rows::Format,
    stages::documents::{LoadDocument, OnnxVersionDocument},
};

/// Registers what is in a file. What does not load is not registered, nor what fails on the rows that it is said to be
/// for.
pub(super) fn register(args: &RegisterArgs, path: &Path, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let bytes = std::fs::read(path).map_err(|error| read_failure(path, &error))?;
    let rows = args.rows.as_ref().map(|path| read_all(&host.components, path, "{}")).transpose()?;
    let signature = match &rows {
        Some(rows) => Some(Signature::without(rows.schema(), &args.without)?.with_example(rows)?),
        None if args.column.is_empty() => None,
        None => Some(Signature::new(Schema::new(args.column.clone())?)),
    };
    let load = match &args.rows {
        Some(path) => LoadDocument { plugin: Format::of(path)?.loader().to_owned(), ..LoadDocument::default() },
        None => LoadDocument::default(),
    };
    let served = told(of_bytes(host, &bytes, signature.as_ref(), &host.sessions(1)));
    let served = served.map_err(|failure| unread(path, &bytes, failure))?;
    let blobs = host.store().blobs();
    let model = blobs.put(&bytes).map_err(|error| Failure::of(&error))?;
    let mut files =
        vec![VersionFile { role: FileRole::Model, path: "model.onnx".into(), hash: model, bytes: bytes.len() as u64 }];
    if let (Served::Rows(scorer), Some(rows)) = (&served, &rows) {
        let profile = told(profile(host, scorer, rows))?;
        let bytes = blobs.size(&profile).map_err(|error| Failure::of(&error))?;
        files.push(VersionFile { role: FileRole::Profile, path: "profile.parquet".into(), hash: profile, bytes });
    }
    let document = OnnxVersionDocument { format: FORMAT, onnx: model, signature, load };
    let version = host.tracking().register(&args.name, &NewVersion { run_id: None, spec: json!(document), files })?;
    point(args, version, host)?;
    let (inputs, outputs) = shown(&served);
    let value = json!({
        "name": args.name, "version": version, "alias": args.alias, "onnx": model, "inputs": inputs,
        "outputs": outputs,
    });
    print(output, &value, || {
        let alias = args.alias.as_ref().map(|alias| format!(", {alias} now")).unwrap_or_default();
        let names = |list: &Value| {
            let names = list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        format!("models:/{}/{version}{alias}: {} to {}\n", args.name, names(&inputs), names(&outputs))
    })
}

/// A failure to load what is in a file: says which, and what it may be instead of a model.
fn unread(path: &Path, bytes: &[u8], failure: Failure) -> Failure {
    if failure.code != codes::BAD_MODEL {
        return failure;
    }
    let hint = if bytes.is_empty() {
        "the file is empty"
    } else if bytes.starts_with(b"version https://git-lfs") {
        "it is what Git LFS keeps in place of the file: `git lfs pull` gets the file"
    } else {
        "it must be one file in ONNX's own form, as exporters write it, with its weights in it"
    };
    let failure = Failure { message: format!("{}: {}", path.display(), failure.message), ..failure };
    if failure.hint.is_some() { failure } else { failure.hint(hint) }
}

/// What it takes and returns.
fn shown(served: &Served) -> (Value, Value) {
    let columns = |schema: &Schema| {
        schema.fields().iter().map(|field| json!({"name": field.name, "type": field.kind})).collect::<Value>()
    };
    let slots = |slots: &[plinth_ext::Slot]| {
        let dtype = |slot: &plinth_ext::Slot| slot.dtype.map(plinth_ext::DType::name);
        slots.iter().map(|slot| json!({"name": slot.name, "type": dtype(slot), "shape": slot.shape})).collect::<Value>()
    };
    match served {
        Served::Rows(scorer) => (columns(scorer.signature().columns()), columns(scorer.output())),
        Served::Tensors(model) => (slots(model.inputs()), slots(model.outputs())),
    }
}
