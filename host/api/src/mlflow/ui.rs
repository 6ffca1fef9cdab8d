//! MLflow's own web interface: the files of its build, out of one folder.
//!
//! The page is one `index.html`, whose scripts and styles are asked for below `/static-files/`. Those of them that carry
//! a hash in their names never change; all are kept by browsers and asked for again by their tags.

use std::{
    fs::Metadata,
    io::Write,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use percent_encoding::percent_decode_str;

use super::{MlflowError, Tracker, blocking};

/// What a page of the interface may load and do.
///
/// Scripts are not narrowed down to our own: an HTML artifact, such as a Plotly figure, is shown in a sandboxed frame,
/// which has no origin and inherits this policy, and its scripts are written in the page or come from elsewhere. What a
/// page may call, and who may frame it, is narrowed down.
const POLICY: &str = "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: https:; \
    style-src 'self' 'unsafe-inline' https:; img-src 'self' data: blob: https:; font-src 'self' data: https:; \
    media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; frame-src 'self' blob: data:; \
    object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'";

/// Said where there is no interface to show.
const NO_INTERFACE: &str = "This is Plinth's tracking server; MLflow's clients talk to it.\n\n\
    It shows MLflow's web interface where it finds one: install mlflow into the Python environment that is active when \
    `plinth up` starts, or name the folder with --mlflow-ui DIR.\n";

/// Files with a hash in their names may be kept for so many seconds.
const KEPT: &str = "public, max-age=2419200, immutable";
/// Smaller files are not worth packing.
const PACKED_FROM: u64 = 1_024;

pub(super) fn routes() -> Router<Tracker> {
    Router::new()
        .route("/", get(index))
        .route("/index.html", get(index))
        .route("/static-files/{*path}", get(file))
        // Browsers ask for it by themselves.
        .route("/favicon.ico", get(favicon))
}

async fn index(State(tracker): State<Tracker>, headers: HeaderMap) -> Result<Response, MlflowError> {
    if tracker.config.ui.is_none() {
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], NO_INTERFACE).into_response());
    }
    serve(tracker, "index.html".to_owned(), headers).await
}

async fn favicon(State(tracker): State<Tracker>, headers: HeaderMap) -> Result<Response, MlflowError> {
    serve(tracker, "favicon.ico".to_owned(), headers).await
}

async fn file(State(tracker): State<Tracker>, uri: Uri, headers: HeaderMap) -> Result<Response, MlflowError> {
    let path = uri.path().strip_prefix("/static-files/").unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8().map_err(|_| absent())?.into_owned();
    serve(tracker, path, headers).await
}

fn absent() -> MlflowError {
    MlflowError::new(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", "there is no such file of the web interface")
}

async fn serve(tracker: Tracker, path: String, headers: HeaderMap) -> Result<Response, MlflowError> {
    blocking(move || {
        let folder = tracker.config.ui.as_deref().ok_or_else(absent)?;
        let (file, metadata) = find(folder, &path).ok_or_else(absent)?;
        let tag = tag(&metadata);
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let known = text(header::IF_NONE_MATCH).unwrap_or_default().split(',').map(str::trim).any(|one| one == tag);
        let packs = text(header::ACCEPT_ENCODING).unwrap_or_default().split(',').any(|one| one.trim() == "gzip");
        let kind = mime_guess::from_path(&path).first_or_octet_stream();
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let bytes = std::fs::read(&file).map_err(|_| absent())?;
            let packable = metadata.len() >= PACKED_FROM && is_text(kind.essence_str());
            match packed(&bytes).filter(|_| packs && packable) {
                Some(packed) => ([(header::CONTENT_ENCODING, "gzip")], Body::from(packed)).into_response(),
                None => Body::from(bytes).into_response(),
            }
        };
        let mut set = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                response.headers_mut().insert(name, value);
            }
        };
        if !known {
            let charset = if is_text(kind.essence_str()) { "; charset=utf-8" } else { "" };
            set(header::CONTENT_TYPE, &format!("{}{charset}", kind.essence_str()));
        }
        set(header::ETAG, &tag);
        set(header::VARY, "accept-encoding");
        // The build puts hashes into the names of what lies in `static`, and into no others.
        set(header::CACHE_CONTROL, if path.starts_with("static/") { KEPT } else { "no-cache" });
        set(header::REFERRER_POLICY, "same-origin");
        set(header::CONTENT_SECURITY_POLICY, POLICY);
        Ok(response)
    })
    .await
}

/// A file inside the folder, wherever links lead.
fn find(folder: &Path, path: &str) -> Option<(PathBuf, Metadata)> {
    if plinth_core::refs::path_problem(path).is_some() {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let file = folder.join(path).canonicalize().ok()?;
    let metadata = file.metadata().ok()?;
    (file.starts_with(&folder) && metadata.is_file()).then_some((file, metadata))
}

/// Weak, because it is the same for the packed file.
fn tag(metadata: &Metadata) -> String {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("W/\"{:x}-{:x}\"", metadata.len(), changed.as_micros())
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/") || matches!(kind, "application/javascript" | "application/json" | "image/svg+xml")
}

fn packed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::fast());
    packer.write_all(bytes).ok()?;
    packer.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let ui = dir.path().join("ui");
        std::fs::create_dir_all(ui.join("static")).unwrap();
        std::fs::write(ui.join("static/a.js"), "1").unwrap();
        std::fs::write(dir.path().join("secret"), "2").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), ui.join("static/link.js")).unwrap();
        std::os::unix::fs::symlink(dir.path(), ui.join("up")).unwrap();
        std::os::unix::fs::symlink(ui.join("static/a.js"), ui.join("inside.js")).unwrap();
        for path in ["static/a.js", "inside.js"] {
            assert!(find(&ui, path).is_some(), "{path}");
        }
        for path in
            ["", "static", "../secret", "static/../../secret", "static/link.js", "up/secret", "/etc/passwd", "x"]
        {
            assert!(find(&ui, path).is_none(), "{path}");
        }
    }
}
