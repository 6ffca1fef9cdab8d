//! Where a model version may come from. A source that named the server's own files, or a place that another run owns,
//! would let one user read what another wrote; so each is checked before it is recorded.

use plinth_store::{Tx, Value};

use crate::{
    LoggedModel, TrackingError, logged_models,
    names::cut,
    registry::{canonical_stage, is_prompt},
    runs,
};

/// A source that may be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// As it is recorded.
    pub(crate) uri: String,
    /// Where the files are.
    pub(crate) storage: String,
    pub(crate) run_id: Option<String>,
    pub(crate) model_id: Option<String>,
}

/// What the caller says that a source belongs to; an empty text is a thing that was said to be nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Claimed<'a> {
    pub(crate) run_id: Option<&'a str>,
    pub(crate) model_id: Option<&'a str>,
}

/// Places that clients reach by themselves, and that name no host for the server to connect to.
const REMOTE: [&str; 10] = ["s3", "s3a", "s3n", "gs", "wasb", "wasbs", "dbfs", "oss", "uc", "azureml"];
/// Schemes that name a host.
const HOSTED: [&str; 12] =
    ["http", "https", "ftp", "sftp", "hdfs", "viewfs", "ssh", "scp", "r2", "b2", "abfs", "abfss"];

/// Checks a source and finds out where its files are.
pub(crate) fn resolve(tx: &mut dyn Tx, given: &str, claimed: Claimed<'_>) -> Result<Source, TrackingError> {
    let mut source = place(tx, given, claimed)?;
    if let Some(model_id) = &source.model_id {
        let made_by = logged_model(tx, model_id)?.source_run_id;
        source.run_id = source.run_id.or(Some(made_by)).filter(|id| !id.is_empty());
    }
    Ok(source)
}

fn place(tx: &mut dyn Tx, given: &str, claimed: Claimed<'_>) -> Result<Source, TrackingError> {
    let run_id = claimed.run_id.filter(|id| !id.is_empty());
    let model_id = claimed.model_id.filter(|id| !id.is_empty());
    let owner = if model_id.is_some() { "model_id" } else { "run_id" };
    let plain = || Source {
        uri: given.to_owned(),
        storage: given.to_owned(),
        run_id: run_id.map(str::to_owned),
        model_id: model_id.map(str::to_owned),
    };
    let Some((scheme, rest)) = split(given) else { return Err(local(given, owner)) };
    if HOSTED.contains(&scheme.as_str()) {
        return Err(TrackingError::Invalid(hosted("source", &scheme)));
    }
    if scheme == "file" {
        return Err(local(given, owner));
    }
    let rest = unescaped(rest);
    must_stay(given, &rest)?;
    match scheme.as_str() {
        "mlflow-artifacts" => {
            if names_host(&rest) {
                return Err(TrackingError::Invalid(hosted("source", &scheme)));
            }
            let root = match (model_id, run_id) {
                (Some(id), _) => {
                    let model = logged_models::find(tx, id, false).map_err(|_| unowned(given, owner))?;
                    logged_models::artifact_uri(&model)
                }
                (None, Some(id)) => {
                    let run = runs::find(tx, id).map_err(|_| unowned(given, owner))?.1;
                    match run.artifact_location.as_str() {
                        "" => format!("mlflow-artifacts:/{}/{id}/artifacts", run.experiment_id),
                        root => root.to_owned(),
                    }
                }
                (None, None) => return Err(unowned(given, owner)),
            };
            let root = root.strip_prefix("mlflow-artifacts:").map(|root| root.trim_start_matches('/'));
            let path = rest.trim_start_matches('/');
            let below = root.filter(|root| !root.is_empty()).and_then(|root| path.strip_prefix(root));
            let inside = below.is_some_and(|below| below.is_empty() || below.starts_with('/'));
            if inside && !path.contains(['?', '#']) { Ok(plain()) } else { Err(unowned(given, owner)) }
        }
        "runs" => {
            let source_run = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
            let own = model_id.is_none() && run_id == Some(source_run) && !rest.contains(['?', '#']);
            if own && !rest.starts_with("//") { Ok(plain()) } else { Err(unowned(given, owner)) }
        }
        "models" => of_model(tx, given, &rest, claimed),
        _ if REMOTE.contains(&scheme.as_str()) && has_path(&rest) => Ok(plain()),
        _ => Err(relative(given)),
    }
}

/// `models:/MODEL_ID`, `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `models:/NAME/STAGE` or `models:/NAME/latest`.
fn of_model(tx: &mut dyn Tx, given: &str, rest: &str, claimed: Claimed<'_>) -> Result<Source, TrackingError> {
    if rest.starts_with("//") {
        return Err(TrackingError::Invalid(format!(
            "Invalid model version source: '{}'. Registered model sources must use the active model registry.",
            cut(given)
        )));
    }
    let path = rest.trim_start_matches('/');
    if path.contains(['?', '#']) || path.is_empty() {
        return Err(unowned(given, "model_id"));
    }
    if !path.contains(['/', '@']) {
        if claimed.model_id != Some(path) {
            return Err(unowned(given, "model_id"));
        }
        let model = logged_model(tx, path)?;
        return Ok(Source {
            uri: given.to_owned(),
            storage: logged_models::artifact_uri(&model),
            run_id: claimed.run_id.filter(|id| !id.is_empty()).map(str::to_owned),
            model_id: Some(path.to_owned()),
        });
    }
    let (name, version) = version_of(tx, path, given)?;
    let sql = "SELECT run_id, model_id, source, storage_location FROM versions WHERE model = $1 AND version = $2";
    let row = tx.query_one(sql, &[Value::from(&name), Value::Int(version)])?;
    let row = row.ok_or_else(|| TrackingError::VersionNotFound { model: cut(&name), version: version.to_string() })?;
    let (run_id, model_id) = (row.opt_text(0)?, row.opt_text(1)?);
    let differs = |claimed: Option<&str>, own: &Option<String>| {
        claimed.is_some_and(|claimed| claimed != own.as_deref().unwrap_or_default())
    };
    // MLflow forgets which logged model a version is, so its clients say nothing of it when they copy one.
    if differs(claimed.run_id, &run_id) || differs(claimed.model_id.filter(|id| !id.is_empty()), &model_id) {
        return Err(TrackingError::Invalid(format!(
            "Invalid model version source: '{}'. The run_id and model_id request parameters must match the referenced \
             model version.",
            cut(given)
        )));
    }
    let storage = Some(row.text(3)?).filter(|storage| !storage.is_empty());
    let storage = storage.map_or_else(|| row.text(2), Ok)?;
    // A logged model that was deleted since takes nothing from a version that was made of it.
    let model_id = match model_id {
        Some(id) if logged_models::find(tx, &id, false).is_err() => None,
        other => other,
    };
    Ok(Source { uri: format!("models:/{name}/{version}"), storage, run_id, model_id })
}

/// The registered model that a source names, read as it is when the source is recorded.
pub fn model_of_source(given: &str) -> Option<String> {
    let (_, rest) = split(given).filter(|(scheme, _)| scheme == "models")?;
    let rest = unescaped(rest);
    let path = rest.trim_start_matches('/');
    let name = match path.split_once('/') {
        Some((name, _)) => name,
        None => path.rsplit_once('@')?.0,
    };
    Some(name.to_owned())
}

fn logged_model(tx: &mut dyn Tx, model_id: &str) -> Result<LoggedModel, TrackingError> {
    logged_models::find(tx, model_id, false)
}

fn version_of(tx: &mut dyn Tx, path: &str, given: &str) -> Result<(String, i64), TrackingError> {
    let exists = |tx: &mut dyn Tx, name: &str| -> Result<(), TrackingError> {
        let found = tx.query_one("SELECT 1 FROM models WHERE name = $1", &[name.into()])?;
        found.ok_or_else(|| TrackingError::RegisteredModelNotFound(cut(name)))?;
        if !is_prompt(tx, name)? {
            return Ok(());
        }
        Err(TrackingError::Invalid(format!(
            "Invalid model version source: '{}'. Prompt versions cannot be used as model version sources.",
            cut(given)
        )))
    };
    if !path.contains('/') {
        let (name, alias) = path.rsplit_once('@').unwrap_or((path, ""));
        if name.is_empty() || alias.trim().is_empty() {
            return Err(unowned(given, "model_id"));
        }
        exists(tx, name)?;
        let sql = "SELECT version FROM aliases WHERE model = $1 AND alias = $2";
        let row = tx.query_one(sql, &[name.into(), alias.into()])?;
        let row =
            row.ok_or_else(|| TrackingError::Invalid(format!("Registered model alias {} not found.", cut(alias))))?;
        return Ok((name.to_owned(), row.int(0)?));
    }
    let parts: Vec<&str> = path.split('/').collect();
    let [name, which] = parts[..] else { return Err(unowned(given, "model_id")) };
    if name.trim().is_empty() || which.trim().is_empty() {
        return Err(unowned(given, "model_id"));
    }
    exists(tx, name)?;
    if let Ok(version) = which.parse::<i64>() {
        return Ok((name.to_owned(), version));
    }
    let newest = if which.eq_ignore_ascii_case("latest") {
        tx.query_one("SELECT MAX(version) FROM versions WHERE model = $1", &[name.into()])?
    } else {
        let sql = "SELECT MAX(version) FROM versions WHERE model = $1 AND stage = $2";
        tx.query_one(sql, &[name.into(), canonical_stage(which)?.into()])?
    };
    let version = newest.map(|row| row.opt_int(0)).transpose()?.flatten().ok_or_else(|| {
        let (name, stage) = (cut(name), cut(which));
        TrackingError::Invalid(format!("No versions of model with name '{name}' and stage '{stage}' found"))
    })?;
    Ok((name.to_owned(), version))
}

/// Whether what follows a scheme begins with a host.
fn names_host(rest: &str) -> bool {
    rest.starts_with("//") && !rest.starts_with("///")
}

/// Whether there is a path behind the bucket.
fn has_path(rest: &str) -> bool {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    !path.trim_matches('/').is_empty()
}

/// A URI's scheme in lower case and what follows the colon. A single letter is a drive, not a scheme.
fn split(uri: &str) -> Option<(String, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (scheme.len() > 1 && letters && scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
        .then(|| (scheme.to_ascii_lowercase(), rest))
}

/// A text whose percent escapes are resolved as often as there are any: whoever decodes it once more finds nothing new.
fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    // Each round makes it shorter.
    while text.contains('%') {
        let decoded = decode(&text);
        if decoded == text {
            break;
        }
        text = decoded;
    }
    text
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok()));
        match hex.flatten() {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A path that leads nowhere but to itself.
fn must_stay(given: &str, rest: &str) -> Result<(), TrackingError> {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let strange = rest.chars().any(|c| c.is_control() || c == '\\');
    let turns =
        rest.split(['/', '?', '#', '&', '=']).any(|part| part == "..") || path.split('/').any(|part| part == ".");
    if strange || turns || !rest.starts_with('/') { Err(relative(given)) } else { Ok(()) }
}

fn relative(given: &str) -> TrackingError {
    TrackingError::Invalid(format!(
        "Invalid model version source: '{}'. If supplying a source as an http, https, local file path, ftp, \
         objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references \
         present. Please provide an absolute path.",
        cut(given)
    ))
}

fn local(given: &str, owner: &str) -> TrackingError {
    TrackingError::Invalid(format!(
        "Invalid model version source: '{}'. To use a local path as a model version source, the {owner} request \
         parameter has to be specified and the local path has to be contained within the artifact directory of the \
         run specified by the {owner}.",
        cut(given)
    ))
}

fn hosted(field: &str, scheme: &str) -> String {
    format!(
        "'{field}' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than the tracking \
         server's configured artifact storage, so the server would connect to the host named in the URI."
    )
}

fn unowned(given: &str, field: &str) -> TrackingError {
    TrackingError::Invalid(format!(
        "Invalid model version source: '{}'. The {field} request parameter must identify the resource that contains \
         the source.",
        cut(given)
    ))
}

/// Checks where an experiment's artifacts are to go.
pub(crate) fn check_location(location: &str) -> Result<(), TrackingError> {
    if location.is_empty() {
        return Ok(());
    }
    let invalid = |message: String| Err(TrackingError::Invalid(message));
    if location.starts_with("runs:") {
        return invalid(format!("Artifact location cannot be a runs:/ URI. Given: '{}'", cut(location)));
    }
    if location.contains('#') || location.contains(';') {
        return invalid("'artifact_location' URL can't include fragments or params.".into());
    }
    let (head, query) = location.split_once('?').unwrap_or((location, ""));
    if unescaped(query).contains("..") {
        return invalid(format!("Invalid query string: {}", cut(query)));
    }
    let Some((scheme, rest)) = split(head) else {
        return check_local(location, head);
    };
    if HOSTED.contains(&scheme.as_str()) {
        return invalid(hosted("artifact_location", &scheme));
    }
    if scheme == "mlflow-artifacts" && names_host(rest) {
        return invalid(hosted("artifact_location", &scheme));
    }
    check_local(location, rest)
}

fn check_local(location: &str, path: &str) -> Result<(), TrackingError> {
    let path = unescaped(path);
    if path.chars().any(char::is_control) || path.split(['/', '\\']).any(|part| part == "..") {
        return Err(TrackingError::Invalid(format!("Invalid artifact location: '{}'", cut(location))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_however_often_they_were_made() {
        assert_eq!(unescaped("/a/%252e%252E/b"), "/a/../b");
        assert_eq!(unescaped("/100%/x%2"), "/100%/x%2");
    }

    #[test]
    fn paths_that_turn_are_refused() {
        for rest in ["//b/x/../y", "/..", "//b/./x", "x", "//b/x\\y", "//b/a\0", "//b?x=..", "//b/x#/../y"] {
            assert!(must_stay("", rest).is_err(), "{rest}");
        }
        for rest in ["//bucket/x/y", "/0/run/artifacts", "//b/x?y=1", "//b/x..y", "//b/..x"] {
            assert!(must_stay("", rest).is_ok(), "{rest}");
        }
    }

    #[test]
    fn a_bucket_alone_is_no_path() {
        assert!(!has_path("//bucket") && !has_path("//bucket/") && !has_path("//bucket?x=/y") && !has_path("/"));
        assert!(has_path("//bucket/x") && has_path("/x/y"));
    }

    #[test]
    fn locations_stay_where_they_are() {
        for location in [
            "runs:/x",
            "http://x/y",
            "s3://b/../x",
            "s3://b/%2e%2e/x",
            "file:///a/../b",
            "a/../b",
            "s3://b#x",
            "mlflow-artifacts://host/x",
            "s3://b?x=../y",
            "C:\\..\\x",
        ] {
            assert!(check_location(location).is_err(), "{location}");
        }
        for location in
            ["", "s3://bucket/path", "file:///tmp/x", "/tmp/x", "mlflow-artifacts:/x", "gs://b", "s3://b/x?region=eu"]
        {
            assert!(check_location(location).is_ok(), "{location}");
        }
    }
}
