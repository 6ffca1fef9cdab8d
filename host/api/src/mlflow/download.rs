//! Answers a stored file: whole or a range of it, in large pieces, never all of it in memory.

use std::{io, ops::Range};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use plinth_store::BlobReader;
use plinth_tracking::{Place, StoredFile, TrackingError};

use super::{MlflowError, Tracker, blocking, outside};

/// What MLflow's web interface shows as text, whatever the type of such files is elsewhere.
const TEXT: &[&str] = &[
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
    "ipynb",
    "MLmodel",
    "MLproject",
    "mlmodel",
    "mlproject",
];

/// The file at a place.
pub(super) async fn at(
    tracker: Tracker,
    method: Method,
    headers: HeaderMap,
    place: impl FnOnce(&Tracker) -> Result<Place, MlflowError> + Send + 'static,
) -> Result<Response, MlflowError> {
    let open = move || {
        let (path, spot) = match place(&tracker)? {
            Place::Here(path) => (path, None),
            Place::Elsewhere(uri) => {
                let spot = outside::spot(&tracker.tracking, &uri)?;
                (uri, Some(spot))
            }
        };
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(spot) = spot {
            let (object, stored) = outside::look(&spot, &path)?;
            let asked = Asked::read(&headers, &stored);
            let range = match &asked {
                Asked::Part(range) => Some(range.clone()),
                Asked::Whole if method != Method::HEAD => None,
                _ => return Ok((stored, name, asked, None)),
            };
            let reader = spot.reader(&object, range).map_err(|error| MlflowError::coded(&error))?;
            return Ok((stored, name, asked, Some(reader)));
        }
        let stored = tracker.tracking.file(&path).map_err(|error| named(error, &path))?;
        let answer = Asked::read(&headers, &stored);
        let range = match &answer {
            Asked::Part(range) => Some(range.clone()),
            Asked::Whole => None,
            Asked::Unchanged | Asked::Outside => return Ok((stored, name, answer, None)),
        };
        let blobs = tracker.tracking.store().blobs();
        if method == Method::HEAD {
            blobs.size(&stored.blob).map_err(|error| MlflowError::coded(&error))?;
            return Ok((stored, name, answer, None));
        }
        let reader = blobs.reader(&stored.blob, range).map_err(|error| MlflowError::coded(&error))?;
        Ok((stored, name, answer, Some(reader)))
    };
    let (stored, name, asked, reader) = blocking(open).await?;
    Ok(answer(&stored, &name, &asked, reader.map_or_else(Body::empty, body)))
}

/// MLflow's words for a file that is not there.
pub(super) fn named(error: TrackingError, path: &str) -> MlflowError {
    match error {
        TrackingError::ArtifactNotFound { .. } => missing(path),
        other => other.into(),
    }
}

pub(super) fn missing(path: &str) -> MlflowError {
    MlflowError::not_found(format!("No such artifact: '{path}'"))
}

/// What a request wants of a file.
enum Asked {
    Whole,
    Part(Range<u64>),
    /// The client has it already.
    Unchanged,
    /// A range that the file does not have.
    Outside,
}

impl Asked {
    fn read(headers: &HeaderMap, stored: &StoredFile) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let tag = tag(stored);
        if let Some(tags) = text(header::IF_NONE_MATCH) {
            let same = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag;
            if tags.split(',').map(str::trim).any(same) {
                return Self::Unchanged;
            }
        }
        // Dates are too coarse to say that a file is the same.
        if text(header::IF_RANGE).is_some_and(|wanted| wanted.trim() != tag) {
            return Self::Whole;
        }
        match text(header::RANGE) {
            Some(range) => Self::range(range, stored.bytes),
            None => Self::Whole,
        }
    }

    /// One range of bytes. Anything else is answered with the whole file, as the standard allows.
    fn range(text: &str, bytes: u64) -> Self {
        let ends = text.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'));
        let Some((first, last)) = ends else { return Self::Whole };
        let number = |text: &str| match text {
            "" => Some(None),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(Some(digits.parse().unwrap_or(u64::MAX)))
            }
            _ => None,
        };
        match (number(first.trim()), number(last.trim())) {
            (Some(None), Some(Some(0))) => Self::Outside,
            (Some(None), Some(Some(_))) if bytes == 0 => Self::Outside,
            (Some(None), Some(Some(count))) => Self::Part(bytes.saturating_sub(count)..bytes),
            (Some(Some(first)), Some(last)) => match last.unwrap_or(u64::MAX) {
                last if last < first => Self::Whole,
                _ if first >= bytes => Self::Outside,
                last => Self::Part(first..bytes.min(last.saturating_add(1))),
            },
            _ => Self::Whole,
        }
    }
}

fn tag(stored: &StoredFile) -> String {
    format!("\"{}\"", stored.blob.to_hex())
}

fn answer(stored: &StoredFile, name: &str, asked: &Asked, body: Body) -> Response {
    let bytes = stored.bytes;
    let (status, length, range) = match asked {
        Asked::Whole => (StatusCode::OK, Some(bytes), None),
        Asked::Part(part) => {
            let range = format!("bytes {}-{}/{bytes}", part.start, part.end - 1);
            (StatusCode::PARTIAL_CONTENT, Some(part.end - part.start), Some(range))
        }
        Asked::Unchanged => (StatusCode::NOT_MODIFIED, None, None),
        Asked::Outside => (StatusCode::RANGE_NOT_SATISFIABLE, Some(0), Some(format!("bytes */{bytes}"))),
    };
    let mut answer = (status, body).into_response();
    let headers = answer.headers_mut();
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, &content_type(name));
    // Always an attachment: what a run logged must not run as a page of this server.
    set(header::CONTENT_DISPOSITION, &disposition(name));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::ACCEPT_RANGES, "bytes");
    set(header::CACHE_CONTROL, "no-cache");
    set(header::ETAG, &tag(stored));
    set(header::LAST_MODIFIED, &modified(stored));
    if let Some(length) = length {
        set(header::CONTENT_LENGTH, &length.to_string());
    }
    if let Some(range) = range {
        set(header::CONTENT_RANGE, &range);
    }
    answer
}

fn modified(stored: &StoredFile) -> String {
    let since = std::time::Duration::from_micros(u64::try_from(stored.updated).unwrap_or(0));
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
}

fn content_type(name: &str) -> String {
    let extension = name.rsplit_once('.').map_or(name, |(_, extension)| extension);
    if TEXT.contains(&extension) {
        return "text/plain; charset=utf-8".to_owned();
    }
    mime_guess::from_path(name).first_or_octet_stream().essence_str().to_owned()
}

/// As an attachment: the name in ASCII, and in full where that is not enough.
pub(super) fn disposition(name: &str) -> String {
    let ascii: String = name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
    let ascii = if ascii.is_empty() { "download" } else { &ascii };
    if ascii == name && ascii.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte)) {
        return format!("attachment; filename={ascii}");
    }
    let full = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

/// Pieces of a file, one read ahead. A thread is held only while it reads, however slowly the client takes them. A file
/// whose bytes are wrong ends too early, and the connection with it.
fn body(reader: BlobReader) -> Body {
    type Piece = (BlobReader, Result<Option<Vec<u8>>, plinth_store::StoreError>);
    let read = |mut reader: BlobReader| -> tokio::task::JoinHandle<Piece> {
        tokio::task::spawn_blocking(move || {
            let piece = reader.piece();
            (reader, piece)
        })
    };
    Body::from_stream(futures_util::stream::unfold(Some(read(reader)), move |ahead| async move {
        match ahead?.await {
            Ok((reader, Ok(Some(piece)))) => Some((Ok(Bytes::from(piece)), Some(read(reader)))),
            Ok((_, Ok(None))) => None,
            Ok((_, Err(error))) => {
                tracing::error!(%error, "an artifact could not be sent to its end");
                Some((Err(io::Error::other(error)), None))
            }
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let told = |text: &str, bytes| match Asked::range(text, bytes) {
            Asked::Whole => "whole".to_owned(),
            Asked::Part(part) => format!("{part:?}"),
            Asked::Unchanged => unreachable!("not asked"),
            Asked::Outside => "outside".to_owned(),
        };
        for (text, wanted) in [
            ("bytes=0-0", "0..1"),
            ("bytes=2-", "2..10"),
            ("bytes=2-99999999999999999999999", "2..10"),
            ("bytes=-3", "7..10"),
            ("bytes=-30", "0..10"),
            ("bytes=10-", "outside"),
            ("bytes=-0", "outside"),
            ("bytes=5-4", "whole"),
            ("bytes=-", "whole"),
            ("bytes=0-1,3-4", "whole"),
            ("lines=1-2", "whole"),
            ("bytes=+1-2", "whole"),
        ] {
            assert_eq!(told(text, 10), wanted, "{text}");
        }
        assert_eq!((told("bytes=0-", 0), told("bytes=-1", 0)), ("outside".to_owned(), "outside".to_owned()));
    }

    #[test]
    fn names_and_types_cannot_break_a_header() {
        assert_eq!(disposition("a.txt"), "attachment; filename=a.txt");
        assert_eq!(disposition("t\u{e9}st.bin"), "attachment; filename=\"tst.bin\"; filename*=UTF-8''t%C3%A9st%2Ebin");
        assert_eq!(disposition("a\"; x=\r\n"), "attachment; filename=\"a;x=\"; filename*=UTF-8''a%22%3B%20x%3D%0D%0A");
        assert_eq!(content_type("MLmodel"), "text/plain; charset=utf-8");
        assert_eq!(content_type("x.json"), "text/plain; charset=utf-8");
        assert_eq!(content_type("x.png"), "image/png");
        assert_eq!(content_type("x.html"), "text/html");
        assert_eq!(content_type("model.onnx"), "application/octet-stream");
    }
}
