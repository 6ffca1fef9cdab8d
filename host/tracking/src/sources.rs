//! Where a model version may come from. A source that named the server's own files, or a place that another run owns,
//! would let one user read what another wrote; so each is checked before it is recorded.

use plinth_core::refs::ModelRef;
use plinth_store::{Tx, Value};

use crate::{TrackingError, names::cut};

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
const REMOTE: [&str; 14] =
    ["s3", "s3a", "s3n", "gs", "wasb", "wasbs", "abfs", "abfss", "dbfs", "r2", "b2", "oss", "uc", "azureml"];
/// Schemes that name a host.
const HOSTED: [&str; 8] = ["http", "https", "ftp", "sftp", "hdfs", "viewfs", "ssh", "scp"];

/// Checks a source and finds out where its files are.
pub(crate) fn resolve(tx: &mut dyn Tx, given: &str, claimed: Claimed<'_>) -> Result<Source, TrackingError> {
    let run_id = claimed.run_id.filter(|id| !id.is_empty());
    let model_id = claimed.model_id.filter(|id| !id.is_empty());
    let plain = |storage: &str| Source {
        uri: given.to_owned(),
        storage: storage.to_owned(),
        run_id: run_id.map(str::to_owned),
        model_id: model_id.map(str::to_owned),
    };
    let Some((scheme, rest)) = split(given) else { return Err(local(given)) };
    if HOSTED.contains(&scheme.as_str()) {
        return Err(TrackingError::Invalid(format!(
            "'source' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than the tracking \
             server's configured artifact storage"
        )));
    }
    if scheme == "file" {
        return Err(local(given));
    }
    let rest = unescaped(rest);
    must_stay(given, &rest)?;
    match scheme.as_str() {
        "mlflow-artifacts" => {
            if rest.starts_with("//") && !rest.starts_with("///") {
                return Err(TrackingError::Invalid(format!(
                    "'source' cannot use the 'mlflow-artifacts' scheme with a host: '{}'",
                    cut(given)
                )));
            }
            let path = rest.trim_start_matches('/');
            let (root, owner) = match (model_id, run_id) {
                (Some(id), _) => (logged_model_root(tx, id, given)?, "model_id"),
                (None, Some(id)) => (run_root(tx, id, given)?, "run_id"),
                (None, None) => return Err(unowned(given, "run_id")),
            };
            let inside = path.strip_prefix(root.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if inside { Ok(plain(given)) } else { Err(unowned(given, owner)) }
        }
        "runs" => {
            let path = rest.trim_start_matches('/');
            let source_run = path.split('/').next().unwrap_or_default();
            if rest.starts_with("//") || model_id.is_some() {
                return Err(unowned(given, if model_id.is_some() { "model_id" } else { "run_id" }));
            }
            if run_id == Some(source_run) { Ok(plain(given)) } else { Err(unowned(given, "run_id")) }
        }
        "models" => of_model(tx, given, &rest, claimed),
        _ if REMOTE.contains(&scheme.as_str()) => Ok(plain(given)),
        _ => Err(relative(given)),
    }
}

/// `models:/m-ID`, `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `models:/NAME/STAGE` or `models:/NAME/latest`.
fn of_model(tx: &mut dyn Tx, given: &str, rest: &str, claimed: Claimed<'_>) -> Result<Source, TrackingError> {
    if rest.starts_with("//") {
        return Err(TrackingError::Invalid(format!(
            "Invalid model version source: '{}'. Registered model sources must use the active model registry.",
            cut(given)
        )));
    }
    let path = rest.trim_start_matches('/');
    if path.starts_with("m-") && !path.contains('/') && !path.contains('@') {
        if claimed.model_id != Some(path) {
            return Err(unowned(given, "model_id"));
        }
        let sql = "SELECT artifact_location, source_run_id, experiment_id FROM logged_models
                   WHERE model_id = $1 AND lifecycle = 'active'";
        let row = tx.query_one(sql, &[path.into()])?;
        let row = row.ok_or_else(|| TrackingError::LoggedModelNotFound(cut(path)))?;
        let location = row.text(0)?;
        let storage = if location.is_empty() {
            format!("mlflow-artifacts:/{}/models/{path}/artifacts", row.text(2)?)
        } else {
            location
        };
        let run_id = claimed.run_id.filter(|id| !id.is_empty()).map(str::to_owned);
        let run_id = match run_id {
            Some(id) => Some(id),
            None => row.opt_text(1)?.filter(|id| !id.is_empty()),
        };
        return Ok(Source { uri: given.to_owned(), storage, run_id, model_id: Some(path.to_owned()) });
    }
    let (name, version) = version_of(tx, path, given)?;
    let sql = "SELECT run_id, model_id, source, storage_location FROM versions WHERE model = $1 AND version = $2";
    let row = tx.query_one(sql, &[Value::from(&name), Value::Int(version)])?;
    let row = row.ok_or_else(|| TrackingError::VersionNotFound { model: cut(&name), version: version.to_string() })?;
    let (run_id, model_id) = (row.opt_text(0)?, row.opt_text(1)?);
    let differs = |claimed: Option<&str>, own: &Option<String>| {
        claimed.is_some_and(|claimed| claimed != own.as_deref().unwrap_or_default())
    };
    if differs(claimed.run_id, &run_id) || differs(claimed.model_id, &model_id) {
        return Err(TrackingError::Invalid(format!(
            "Invalid model version source: '{}'. The run_id and model_id request parameters must match the referenced \
             model version.",
            cut(given)
        )));
    }
    let storage = Some(row.text(3)?).filter(|storage| !storage.is_empty());
    let storage = storage.map_or_else(|| row.text(2), Ok)?;
    Ok(Source { uri: format!("models:/{name}/{version}"), storage, run_id, model_id })
}

fn version_of(tx: &mut dyn Tx, path: &str, given: &str) -> Result<(String, i64), TrackingError> {
    let bad = || TrackingError::Invalid(format!("Not a proper models:/ URI: {}", cut(given)));
    let exists = |tx: &mut dyn Tx, name: &str| -> Result<(), TrackingError> {
        let found = tx.query_one("SELECT 1 FROM models WHERE name = $1", &[name.into()])?;
        found.map(drop).ok_or_else(|| TrackingError::RegisteredModelNotFound(cut(name)))
    };
    if let Ok(ModelRef::Alias { name, alias }) = format!("models:/{path}").parse() {
        exists(tx, &name)?;
        let sql = "SELECT version FROM aliases WHERE model = $1 AND alias = $2";
        let row = tx.query_one(sql, &[Value::from(&name), Value::from(&alias)])?;
        let row = row.ok_or_else(|| TrackingError::Invalid(format!("Registered model alias {alias} not found.")))?;
        return Ok((name, row.int(0)?));
    }
    let (name, which) = path.split_once('/').ok_or_else(bad)?;
    if which.contains('/') {
        return Err(bad());
    }
    exists(tx, name)?;
    if let Ok(version) = which.parse::<i64>() {
        return Ok((name.to_owned(), version));
    }
    let latest = which.eq_ignore_ascii_case("latest");
    let sql = "SELECT MAX(version) FROM versions WHERE model = $1 AND ($2 = 1 OR LOWER(stage) = LOWER($3))";
    let row = tx.query_one(sql, &[name.into(), latest.into(), which.into()])?;
    let version = row.map(|row| row.opt_int(0)).transpose()?.flatten().ok_or_else(bad)?;
    Ok((name.to_owned(), version))
}

/// `EXPERIMENT/RUN/artifacts`
fn run_root(tx: &mut dyn Tx, run_id: &str, given: &str) -> Result<String, TrackingError> {
    let sql = "SELECT experiment_id FROM runs WHERE run_id = $1";
    let row = tx.query_one(sql, &[run_id.into()])?.ok_or_else(|| unowned(given, "run_id"))?;
    Ok(format!("{}/{run_id}/artifacts", row.text(0)?))
}

/// `EXPERIMENT/models/MODEL/artifacts`
fn logged_model_root(tx: &mut dyn Tx, model_id: &str, given: &str) -> Result<String, TrackingError> {
    let sql = "SELECT experiment_id FROM logged_models WHERE model_id = $1";
    let row = tx.query_one(sql, &[model_id.into()])?.ok_or_else(|| unowned(given, "model_id"))?;
    Ok(format!("{}/models/{model_id}/artifacts", row.text(0)?))
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

fn local(given: &str) -> TrackingError {
    TrackingError::Invalid(format!(
        "Invalid model version source: '{}'. To use a local path as a model version source, the run_id request \
         parameter has to be specified and the local path has to be contained within the artifact directory of the \
         run specified by the run_id.",
        cut(given)
    ))
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
        return invalid(format!(
            "'artifact_location' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than \
             the tracking server's configured artifact storage"
        ));
    }
    if scheme == "mlflow-artifacts" && rest.starts_with("//") && !rest.starts_with("///") {
        return invalid(format!("'artifact_location' cannot name a host: '{}'", cut(location)));
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
