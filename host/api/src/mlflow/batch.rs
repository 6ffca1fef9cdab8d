//! A batch of what a run logged, read straight from the body.
//!
//! Clients send thousands of points in a form that leaves no doubt: each field once and of its own type. Such a body is
//! read without a tree of values in between. For any other the answer is nothing, and the usual way reads it, which
//! takes what MLflow takes and says what is wrong.

use std::borrow::Cow;

use plinth_tracking::{Batch, Metric};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    #[serde(borrow, default)]
    metrics: Vec<Point<'a>>,
    #[serde(default)]
    params: Vec<Pair>,
    #[serde(default)]
    tags: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    value: f64,
    timestamp: i64,
    #[serde(default)]
    step: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

/// The run and its batch.
pub(super) fn read(body: &[u8]) -> Option<(String, Batch)> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let metrics = body.metrics.into_iter().map(|point| {
        let time = point.timestamp.checked_mul(1_000).filter(|_| !point.key.is_empty())?;
        Some(Metric { key: point.key.into_owned(), value: point.value, time, step: point.step, model: None })
    });
    let pairs =
        |pairs: Vec<Pair>| pairs.into_iter().map(|pair| (!pair.key.is_empty()).then_some((pair.key, pair.value)));
    let batch = Batch {
        metrics: metrics.collect::<Option<_>>()?,
        params: pairs(body.params).collect::<Option<_>>()?,
        tags: pairs(body.tags).collect::<Option<_>>()?,
    };
    Some((body.run_id.into_owned(), batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_no_doubt_is_read_at_once() {
        let body = br#"{"run_id": "r", "metrics": [{"key": "a\"b", "value": 1, "timestamp": 5},
            {"key": "c", "value": -1.5e-3, "timestamp": -5, "step": 7}],
            "params": [{"key": "p", "value": "v"}], "tags": [{"key": "t"}]}"#;
        let (run, batch) = read(body).unwrap();
        assert_eq!(run, "r");
        let point = |key: &str, value, time, step| Metric { key: key.into(), value, time, step, model: None };
        assert_eq!(batch.metrics, [point("a\"b", 1.0, 5_000, 0), point("c", -0.0015, -5_000, 7)]);
        assert_eq!(batch.params, [("p".to_owned(), "v".to_owned())]);
        assert_eq!(batch.tags, [("t".to_owned(), String::new())]);
    }

    #[test]
    fn everything_else_is_left_to_the_usual_way() {
        let metric = |metric: &str| format!(r#"{{"run_id": "r", "metrics": [{metric}]}}"#);
        for body in [
            metric(r#"{"key": "", "value": 1, "timestamp": 5}"#),
            metric(r#"{"key": "a", "value": "NaN", "timestamp": 5}"#),
            metric(r#"{"key": "a", "value": NaN, "timestamp": 5}"#),
            metric(r#"{"key": "a", "value": 1e999, "timestamp": 5}"#),
            metric(r#"{"key": "a", "value": 1, "timestamp": "5"}"#),
            metric(r#"{"key": "a", "value": 1, "timestamp": 9223372036854775807}"#),
            metric(r#"{"key": "a", "value": 1, "timestamp": 5, "model_id": "m-1"}"#),
            metric(r#"{"key": "a", "value": 1, "timestamp": 5, "value": 2}"#),
            metric(r#"{"value": 1, "timestamp": 5}"#),
            r#"{"run_uuid": "r"}"#.to_owned(),
            r#"{"run_id": "r", "metrics": null}"#.to_owned(),
            r#"{"run_id": "r", "params": [{"value": "v"}]}"#.to_owned(),
            r#""{\"run_id\": \"r\"}""#.to_owned(),
            "{".to_owned(),
            String::new(),
        ] {
            assert!(read(body.as_bytes()).is_none(), "{body}");
        }
    }
}
