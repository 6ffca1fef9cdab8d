//! Spans: the steps of a trace. They come in batches, before, after or without the head of their trace; a trace that
//! nobody has announced is made of them, and what a head does not say yet is told by its spans.

use std::collections::HashMap;

use plinth_core::Micros;
use plinth_store::{Tx, Value};
use serde_json::{Map, Value as Json};

use crate::{
    Tracking, TrackingError, experiments,
    json::spaced,
    traces::{self, FINAL_KEY, SESSION_KEY, SPANS_TAG, USER_KEY, set_pair},
};

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// The trace.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span that this one is a part of.
    pub parent_id: Option<String>,
    /// For a person.
    pub name: String,
    /// Such as `LLM`.
    pub kind: Option<String>,
    /// `OK`, `ERROR` or `UNSET`.
    pub status: String,
    /// Nanoseconds.
    pub start_ns: i64,
    /// Nanoseconds; nothing while it goes on.
    pub end_ns: Option<i64>,
    /// The whole of it, as JSON that its maker and its reader agree on.
    pub content: String,
    /// Tokens that a model was given and gave, by MLflow's names: a JSON object.
    pub usage: Option<String>,
    /// What that cost: a JSON object.
    pub cost: Option<String>,
}

/// What spans say of their trace as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpansTold {
    /// The trace.
    pub trace_id: String,
    /// The conversation that it is a part of.
    pub session: Option<String>,
    /// The application's user.
    pub user: Option<String>,
    /// The start of the request.
    pub request_preview: Option<String>,
    /// The start of the response.
    pub response_preview: Option<String>,
    /// Tags, later ones of a key win.
    pub tags: Vec<(String, String)>,
}

const USAGE_KEY: &str = "mlflow.trace.tokenUsage";
const COST_KEY: &str = "mlflow.trace.cost";
const USAGE: Parts = Parts {
    always: &["input_tokens", "output_tokens", "total_tokens"],
    perhaps: &["cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation_input_tokens_above_1hr"],
};
const COST: Parts = Parts { always: &["input_cost", "output_cost", "total_cost"], perhaps: &[] };

/// Keys that are added up.
struct Parts {
    always: &'static [&'static str],
    perhaps: &'static [&'static str],
}

impl Tracking {
    /// Records spans, all or none; those that are there are replaced.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`], [`TrackingError::TooMuch`].
    pub fn put_spans(&self, experiment_id: &str, spans: &[Span], told: &[SpansTold]) -> Result<(), TrackingError> {
        let limit = self.limits.batch_spans_max;
        if spans.len() > limit as usize {
            return Err(TrackingError::TooMuch { what: "spans", found: spans.len(), limit });
        }
        let mut traces: HashMap<&str, Vec<&Span>> = HashMap::new();
        for span in spans {
            traces.entry(&span.trace_id).or_default().push(span);
        }
        self.store.catalog().write(|tx| {
            let experiment = experiments::find(tx, experiment_id)?;
            experiments::must_be_active(&experiment)?;
            let location = traces::artifact_root(&experiment);
            for (trace_id, own) in traces {
                let told = told.iter().find(|told| told.trace_id == trace_id);
                self.put_spans_of(tx, experiment_id, &location, trace_id, &own, told)?;
            }
            Ok(())
        })
    }

    fn put_spans_of(
        &self,
        tx: &mut dyn Tx,
        experiment_id: &str,
        location: &str,
        trace_id: &str,
        spans: &[&Span],
        told: Option<&SpansTold>,
    ) -> Result<(), TrackingError> {
        // Whole milliseconds, as clients count.
        let start = spans.iter().map(|span| span.start_ns / 1_000_000).min().unwrap_or(0) * 1_000;
        let end: Option<Micros> = spans.iter().filter_map(|span| span.end_ns).max().map(|end| end / 1_000_000 * 1_000);
        let root = spans.iter().find(|span| span.parent_id.is_none());
        let state = root.map(|root| if root.status == "ERROR" { "ERROR" } else { "OK" });
        let made = tx.execute(
            "INSERT INTO traces (trace_id, experiment_id, request_us, duration_us, state)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (trace_id) DO NOTHING",
            &[
                trace_id.into(),
                experiment_id.into(),
                Value::Int(start),
                end.map_or(Value::Null, |end| Value::Int(end - start)),
                state.unwrap_or("IN_PROGRESS").into(),
            ],
        )?;
        if made == 1 {
            traces::set_location(tx, trace_id, location)?;
            self.note_logged(tx, trace_id, experiment_id)?;
        }
        for span in spans {
            write_span(tx, span)?;
        }
        let key_set = |tx: &mut dyn Tx, key: &str| -> Result<bool, TrackingError> {
            let sql = "SELECT 1 FROM trace_metadata WHERE trace_id = $1 AND key = $2";
            Ok(tx.query_one(sql, &[trace_id.into(), key.into()])?.is_some())
        };
        // A head that a client wrote stands; another grows with its spans.
        let is_final = key_set(tx, FINAL_KEY)?;
        if made == 0 && !is_final {
            grow(tx, trace_id, start, end)?;
        }
        if let Some(state) = state {
            let sql = "UPDATE traces SET state = $2
                       WHERE trace_id = $1 AND state IN ('IN_PROGRESS', 'STATE_UNSPECIFIED')";
            tx.execute(sql, &[trace_id.into(), state.into()])?;
        }
        for (key, used, parts) in [
            (USAGE_KEY, spans.iter().any(|span| span.usage.is_some()), &USAGE),
            (COST_KEY, spans.iter().any(|span| span.cost.is_some()), &COST),
        ] {
            if used && !(is_final && key_set(tx, key)?) {
                let total = total(&nodes(tx, trace_id, key == USAGE_KEY)?, parts);
                if let Some(total) = total {
                    set_pair(tx, "trace_metadata", trace_id, key, &spaced(&Json::Object(total)))?;
                }
            }
        }
        set_pair(tx, "trace_tags", trace_id, SPANS_TAG, "TRACKING_STORE")?;
        let Some(told) = told else { return Ok(()) };
        for (key, value) in [(SESSION_KEY, &told.session), (USER_KEY, &told.user)] {
            if let Some(value) = value
                && !key_set(tx, key)?
            {
                set_pair(tx, "trace_metadata", trace_id, key, value)?;
            }
        }
        tx.execute(
            "UPDATE traces SET request_preview = COALESCE(request_preview, $2),
                response_preview = COALESCE(response_preview, $3) WHERE trace_id = $1",
            &[trace_id.into(), told.request_preview.clone().into(), told.response_preview.clone().into()],
        )?;
        for (key, value) in &told.tags {
            // What cannot be a tag is not worth losing spans for.
            if let Ok(value) = self.trace_tag(key, value) {
                set_pair(tx, "trace_tags", trace_id, key, &value)?;
            }
        }
        Ok(())
    }

    /// Spans of a trace: those that no other holds first, then in order of their start.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn spans(&self, trace_id: &str) -> Result<Vec<Span>, TrackingError> {
        let sql = "SELECT span_id, parent_id, name, kind, status, start_ns, end_ns, content, usage, cost FROM spans
                   WHERE trace_id = $1
                   ORDER BY CASE WHEN parent_id IS NULL THEN 0 ELSE 1 END, start_ns, span_id";
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &[trace_id.into()])?))?;
        rows.iter()
            .map(|row| {
                Ok(Span {
                    trace_id: trace_id.to_owned(),
                    span_id: row.text(0)?,
                    parent_id: row.opt_text(1)?,
                    name: row.text(2)?,
                    kind: row.opt_text(3)?,
                    status: row.text(4)?,
                    start_ns: row.int(5)?,
                    end_ns: row.opt_int(6)?,
                    content: row.text(7)?,
                    usage: row.opt_text(8)?,
                    cost: row.opt_text(9)?,
                })
            })
            .collect()
    }
}

/// A trace starts with its first span and ends with its last.
fn grow(tx: &mut dyn Tx, trace_id: &str, start: Micros, end: Option<Micros>) -> Result<(), TrackingError> {
    let sql = "SELECT request_us, duration_us FROM traces WHERE trace_id = $1";
    let Some(row) = tx.query_one(sql, &[trace_id.into()])? else { return Ok(()) };
    let old_start = row.int(0)?;
    let old_end = row.opt_int(1)?.map(|duration| old_start + duration);
    let start = old_start.min(start);
    let end = old_end.into_iter().chain(end).max();
    tx.execute(
        "UPDATE traces SET request_us = $2, duration_us = $3 WHERE trace_id = $1",
        &[trace_id.into(), Value::Int(start), end.map_or(Value::Null, |end| Value::Int(end - start))],
    )?;
    Ok(())
}

/// A span as it is added up.
struct Node {
    span_id: String,
    parent_id: Option<String>,
    parts: Option<Map<String, Json>>,
}

fn nodes(tx: &mut dyn Tx, trace_id: &str, usage: bool) -> Result<Vec<Node>, TrackingError> {
    let column = if usage { "usage" } else { "cost" };
    let sql = format!("SELECT span_id, parent_id, {column} FROM spans WHERE trace_id = $1 ORDER BY span_id");
    tx.query(&sql, &[trace_id.into()])?
        .iter()
        .map(|row| {
            let parts = row.opt_text(2)?.and_then(|text| serde_json::from_str(&text).ok());
            Ok(Node { span_id: row.text(0)?, parent_id: row.opt_text(1)?, parts })
        })
        .collect()
}

/// The sum over a tree of spans. A span that has numbers speaks for all below it: some libraries note a sum on the
/// parent.
fn total(nodes: &[Node], parts: &Parts) -> Option<Map<String, Json>> {
    let known: HashMap<&str, usize> = nodes.iter().enumerate().map(|(at, node)| (node.span_id.as_str(), at)).collect();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut open = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        match node.parent_id.as_deref().and_then(|parent| known.get(parent)) {
            Some(parent) => children.entry(*parent).or_default().push(at),
            None => open.push(at),
        }
    }
    let mut counted: Vec<&Map<String, Json>> = Vec::new();
    while let Some(at) = open.pop() {
        match &nodes[at].parts {
            Some(found) => counted.push(found),
            None => open.extend(children.get(&at).into_iter().flatten()),
        }
    }
    if counted.is_empty() {
        return None;
    }
    let mut total = Map::new();
    for key in parts.always.iter().chain(parts.perhaps) {
        let values: Vec<&Json> = counted.iter().filter_map(|found| found.get(*key)).collect();
        if values.is_empty() && parts.perhaps.contains(key) {
            continue;
        }
        let ints: Option<i64> =
            values.iter().map(|value| value.as_i64()).try_fold(0_i64, |sum, value| sum.checked_add(value?));
        let sum = match ints.filter(|_| parts.always[0] == USAGE.always[0]) {
            Some(ints) => Json::from(ints),
            None => Json::from(values.iter().filter_map(|value| value.as_f64()).sum::<f64>()),
        };
        total.insert((*key).to_owned(), sum);
    }
    Some(total)
}

fn write_span(tx: &mut dyn Tx, span: &Span) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO spans (trace_id, span_id, parent_id, name, kind, status, start_ns, end_ns, content, usage, cost)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (trace_id, span_id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name,
            kind = excluded.kind, status = excluded.status, start_ns = excluded.start_ns, end_ns = excluded.end_ns,
            content = excluded.content, usage = excluded.usage, cost = excluded.cost",
        &[
            Value::from(&span.trace_id),
            Value::from(&span.span_id),
            span.parent_id.clone().into(),
            Value::from(&span.name),
            span.kind.clone().into(),
            Value::from(&span.status),
            Value::Int(span.start_ns),
            span.end_ns.map_or(Value::Null, Value::Int),
            Value::from(&span.content),
            span.usage.clone().into(),
            span.cost.clone().into(),
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parent_with_numbers_speaks_for_its_children() {
        let node = |id: &str, parent: Option<&str>, tokens: Option<i64>| Node {
            span_id: id.into(),
            parent_id: parent.map(str::to_owned),
            parts: tokens.map(|n| json!({"input_tokens": n, "total_tokens": n}).as_object().cloned().unwrap()),
        };
        let nodes = [
            node("root", None, None),
            node("sum", Some("root"), Some(5)),
            node("part", Some("sum"), Some(5)),
            node("other", Some("root"), Some(2)),
            node("stray", Some("elsewhere"), Some(1)),
        ];
        let expected = json!({"input_tokens": 8, "output_tokens": 0, "total_tokens": 8});
        assert_eq!(total(&nodes, &USAGE).map(Json::Object), Some(expected));
        assert!(total(&nodes[..1], &USAGE).is_none());
    }
}
