//! `plinth model register`: a component as a version of a model, with everything that serving and drift checks need.

use std::process::ExitCode;

use plinth_core::{codes, refs::name_problem};
use plinth_ext::{Batch, Schema};
use plinth_pipeline::StageFailure;
use plinth_score::{Scorer, Signature};
use plinth_table::Reservoir;
use plinth_tracking::{AliasMove, FileRole, ModelVersion, NewVersion, VersionFile};
use serde_json::json;

use super::{args::RegisterArgs, onnx, print};
use crate::{
    access::operator,
    host::{Host, PluginRef},
    models::resolve,
    output::{Failure, Output, read_failure},
    predict::read_all,
    rows::Format,
    scorer::{self, Spec, Use},
    stages::{
        beside,
        documents::{ComponentDocument, ComponentVersionDocument, LoadDocument, TransformDocument},
    },
};

/// Decides which rows a profile holds.
const PROFILE_SEED: u64 = 0;

/// `plinth model register`
pub(super) fn register(args: &RegisterArgs, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    for name in [Some(&args.name), args.alias.as_ref()].into_iter().flatten() {
        if let Some(reason) = name_problem(name) {
            return Err(Failure::new(codes::USAGE, format!("`{name}` {reason}")));
        }
    }
    if let Some(alias) = &args.alias {
        tracking.check_new_alias(alias)?;
    }
    if let Some(path) = &args.onnx {
        return onnx::register(args, path, host, output);
    }
    if args.rows.is_none() && args.column.is_empty() && args.transform_of.is_none() {
        return Err(Failure::new(codes::USAGE, "which columns callers send is not said")
            .hint("give rows such as they send with --rows, or each column with --column, or --transform-of"));
    }
    let component = stored(args, host)?;
    let before = args.transform_of.as_deref().map(|text| resolve(host, text)).transpose()?;
    let transform = before.as_ref().map(transform_of).transpose()?;
    let rows = args.rows.as_ref().map(|path| read_all(&host.components, path, "{}")).transpose()?;
    let signature = match (&transform, &rows) {
        (Some(transform), _) => transform.signature.clone(),
        (None, Some(rows)) => Signature::without(rows.schema(), &args.without)?.with_example(rows)?,
        (None, None) => Signature::new(Schema::new(args.column.clone())?),
    };
    let load = match (&args.rows, &before) {
        (Some(path), _) => LoadDocument { plugin: Format::of(path)?.loader().to_owned(), ..LoadDocument::default() },
        (None, Some(version)) => Spec::of(version)?.load().cloned().unwrap_or_default(),
        (None, None) => LoadDocument::default(),
    };
    // What does not load is not registered; nor is what fails on the rows that it is said to be for.
    let scorer = told(scorer::of_component(host, &component, transform.as_ref(), &signature, Use::Batch))?;
    let profile = match &rows {
        Some(rows) => Some(told(profile(host, &scorer, rows))?),
        None => {
            scorer.score(&Batch::empty(signature.columns().clone()))?;
            None
        }
    };
    let mut files = Vec::new();
    let blobs = host.store().blobs();
    let mut add = |role, path: &str, hash| -> Result<(), Failure> {
        files.push(VersionFile { role, path: path.to_owned(), hash, bytes: blobs.size(&hash)? });
        Ok(())
    };
    add(FileRole::Model, "model.wasm", component.hash)?;
    if let Some(artifact) = component.artifact {
        add(FileRole::Other, "model.artifact", artifact)?;
    }
    if let Some(transform) = &transform {
        add(FileRole::Component, "transform.wasm", transform.component)?;
        add(FileRole::State, "transform.state", transform.state)?;
    }
    if let Some(profile) = profile {
        add(FileRole::Profile, "profile.parquet", profile)?;
    }
    let document = ComponentVersionDocument { format: 1, component, transform, signature, load };
    let version = tracking.register(&args.name, &NewVersion { run_id: None, spec: json!(document), files })?;
    point(args, version, host)?;
    let value = json!({
        "name": args.name, "version": version, "alias": args.alias, "component": document.component.hash,
        "artifact": document.component.artifact, "signature": document.signature, "output": scorer.output(),
    });
    print(output, &value, || {
        let alias = args.alias.as_ref().map(|alias| format!(", {alias} now")).unwrap_or_default();
        let component = &document.component;
        format!(
            "models:/{}/{version}{alias}: {} of {}, {}\n",
            args.name, component.item, component.plugin, component.hash
        )
    })
}

/// Lets the alias that is asked for name a version.
pub(super) fn point(args: &RegisterArgs, version: u64, host: &Host) -> Result<(), Failure> {
    let Some(alias) = &args.alias else { return Ok(()) };
    let reason = "registered with it on the command line";
    let to = AliasMove { model: &args.name, alias, version, principal: &operator(), reason, evidence: None };
    Ok(host.tracking().set_alias(&to)?)
}

/// The component and its artifact, put into the blob store.
fn stored(args: &RegisterArgs, host: &Host) -> Result<ComponentDocument, Failure> {
    let options = serde_json::from_str(&args.options).map_err(|error| {
        Failure::new(codes::BAD_OPTIONS, format!("--options is no JSON object: {error}"))
            .hint(r#"write it as '{"name": value}'"#)
    })?;
    let artifact = args.artifact.as_ref().map(|path| std::fs::read(path).map_err(|error| read_failure(path, &error)));
    let artifact = artifact.transpose()?;
    let plugin = PluginRef::named(args.component.as_deref().unwrap_or_default());
    let (_, item, identity) = told(host.components.models(&plugin, args.item.as_deref()))?;
    told(host.put_file("component", &identity.path, identity.hash))?;
    let artifact = artifact.map(|bytes| host.store().blobs().put(&bytes)).transpose()?;
    Ok(ComponentDocument {
        plugin: identity.name,
        version: identity.version,
        item,
        options,
        hash: identity.hash,
        artifact,
    })
}

/// The fitted transform of a version.
fn transform_of(version: &ModelVersion) -> Result<TransformDocument, Failure> {
    Spec::of(version)?.transform().cloned().ok_or_else(|| {
        let message = format!("{} has no transform before its model", version.reference());
        Failure::new(codes::BAD_MODEL, message).hint("name a version that `plinth run` made")
    })
}

/// A sample of the rows with what the model says about them: the reference of drift checks.
pub(super) fn profile(host: &Host, scorer: &Scorer, rows: &Batch) -> Result<plinth_core::ContentHash, StageFailure> {
    let rows_max = usize::try_from(host.limits().table.profile_rows_max).unwrap_or(usize::MAX);
    let mut sample = Reservoir::new(rows.schema().clone(), rows_max, PROFILE_SEED);
    sample.push(rows)?;
    let rows = sample.finish()?;
    let predictions = scorer.score(&scorer.signature().coerce(&rows)?)?;
    let rows = beside(&rows, &predictions)?;
    Ok(host.write_table("profile", rows.schema(), |write| write(&rows))?.blob)
}

pub(super) fn told<T>(result: Result<T, StageFailure>) -> Result<T, Failure> {
    result.map_err(|failure| Failure::of(&*failure.error))
}
