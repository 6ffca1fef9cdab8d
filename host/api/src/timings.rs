//! What the parts of a request took, told to a caller who asks: in the header `Server-Timing` over HTTP, as parameters of the
//! answer in the Open Inference Protocol.

use std::{fmt::Write, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use plinth_serve::{Output, Stages};

use crate::error::ApiError;

pub(crate) static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ASKED: &str = "x-plinth-timings";

/// Whether a caller asks, by the header or by the query's `timings`.
pub(crate) fn asked(headers: &HeaderMap, query: Option<&str>) -> Result<bool, ApiError> {
    let truth = |what: &str, text: &str| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(ApiError::bad(format!("{what} `{other}` is not true or false"))),
    };
    if let Some(value) = headers.get(ASKED) {
        return truth(ASKED, &String::from_utf8_lossy(value.as_bytes()));
    }
    let Some(query) = query else { return Ok(false) };
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "timings");
    asked.map_or(Ok(false), |(_, value)| truth("timings=", &value))
}

/// The header's value: milliseconds of each part, and of all from the head to the answer.
pub(crate) fn header(stages: Option<&Stages>, total: Duration) -> HeaderValue {
    let mut text = String::with_capacity(128);
    let parts = stages.map(|stages| {
        [
            ("queue", stages.queue),
            ("decode", stages.decode),
            ("transform", stages.transform),
            ("model", stages.model),
            ("encode", stages.encode),
        ]
    });
    for (name, took) in parts.into_iter().flatten().chain([("total", total)]) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a text does not fail.
        let _ = write!(text, "{comma}{name};dur={:.3}", took.as_secs_f64() * 1e3);
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("total"))
}

/// Nanoseconds of the parts that are over when an answer is written.
pub(crate) fn parameters(queue: Duration, decode: Duration, scored: &Output) -> [(&'static str, i64); 4] {
    let (transform, model) = match scored {
        Output::Rows(scored) => (scored.transform, scored.model),
        Output::Tensors { model, .. } => (Duration::ZERO, *model),
    };
    [("queue_ns", queue), ("decode_ns", decode), ("transform_ns", transform), ("model_ns", model)]
        .map(|(name, took)| (name, i64::try_from(took.as_nanos()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_or_the_query_asks_and_nonsense_is_refused() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(ASKED), HeaderValue::from_static(value))])
        };
        assert!(!asked(&HeaderMap::new(), None).unwrap());
        assert!(!asked(&HeaderMap::new(), Some("explain=true")).unwrap());
        assert!(asked(&HeaderMap::new(), Some("explain=true&timings=true")).unwrap());
        assert!(asked(&with("true"), None).unwrap());
        assert!(!asked(&with("false"), Some("timings=true")).unwrap());
        for error in [asked(&with("yes"), None), asked(&HeaderMap::new(), Some("timings"))] {
            assert!(error.unwrap_err().message().contains("timings"));
        }
    }

    #[test]
    fn the_header_reads_as_the_standard_says() {
        let stages =
            Stages { queue: Duration::from_micros(1_500), model: Duration::from_nanos(250), ..Stages::default() };
        let told = header(Some(&stages), Duration::from_millis(2));
        let wanted = "queue;dur=1.500, decode;dur=0.000, transform;dur=0.000, model;dur=0.000, encode;dur=0.000, total;dur=2.000";
        assert_eq!(told.to_str().unwrap(), wanted);
        assert_eq!(header(None, Duration::ZERO).to_str().unwrap(), "total;dur=0.000");
    }
}
