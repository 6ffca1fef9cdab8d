//! Traces: what an application did for one request. A trace has a head, spans, and assessments (see `assessments.rs`).

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};

use crate::{
    Assessment, Tracking, TrackingError,
    assessments::read_assessments,
    experiments,
    names::{check_length, cut},
};

/// The head of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceInfo {
    /// `tr-` and 32 hexadecimal digits.
    pub trace_id: String,
    /// Its experiment.
    pub experiment_id: String,
    /// When the request came.
    pub request: Micros,
    /// How long it took, in microseconds; nothing while it goes on.
    pub duration: Option<Micros>,
    /// `OK`, `ERROR`, `IN_PROGRESS` or `STATE_UNSPECIFIED`.
    pub state: String,
    /// The application's own name of the request.
    pub client_request_id: Option<String>,
    /// The start of the request.
    pub request_preview: Option<String>,
    /// The start of the response.
    pub response_preview: Option<String>,
    /// What does not change any more, by key.
    pub metadata: Vec<(String, String)>,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
    /// What was said of it, oldest first.
    pub assessments: Vec<Assessment>,
}

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub kind: String,
    /// `OK`, `ERROR` or `UNSET`.
    pub status: String,
    /// Nanoseconds.
    pub start_ns: i64,
    /// Nanoseconds.
    pub end_ns: i64,
    /// The whole of it, as JSON that its maker and its reader agree on.
    pub content: String,
}

/// States of a trace.
pub const TRACE_STATES: [&str; 4] = ["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"];

/// The tag that says where the spans of a trace are.
const SPANS_TAG: &str = "mlflow.trace.spansLocation";
/// The tag that says where the artifacts of a trace are.
const LOCATION_TAG: &str = "mlflow.artifactLocation";
/// The metadata that says that a client has written the head: spans that come later do not change it.
const FINAL_KEY: &str = "mlflow.trace.infoFinalized";
/// The metadata that names the run of a trace.
pub(crate) const RUN_KEY: &str = "mlflow.sourceRun";

pub(crate) const TRACE_COLUMNS: &str = "t.trace_id, t.experiment_id, t.request_us, t.duration_us, t.state, t.client_request_id, t.request_preview, \
     t.response_preview";

impl Tracking {
    /// Records the head of a trace; one that is there already takes over what is new.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`]; what tags may not be.
    pub fn put_trace(&self, info: &TraceInfo) -> Result<TraceInfo, TrackingError> {
        if info.trace_id.is_empty() {
            return Err(TrackingError::Invalid("Missing value for required parameter 'trace_id'.".into()));
        }
        check_length(&info.trace_id, self.limits.key_chars_max, || "trace_id".into())?;
        for (key, value) in info.metadata.iter().chain(&info.tags) {
            self.check_trace_pair(key, value)?;
        }
        self.store.catalog().write(|tx| {
            let experiment = experiments::find(tx, &info.experiment_id)?;
            experiments::must_be_active(&experiment)?;
            tx.execute(
                "INSERT INTO traces (trace_id, experiment_id, request_us, duration_us, state, client_request_id,
                    request_preview, response_preview) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (trace_id) DO UPDATE SET experiment_id = excluded.experiment_id,
                    request_us = excluded.request_us, duration_us = COALESCE(excluded.duration_us, traces.duration_us),
                    state = excluded.state,
                    client_request_id = COALESCE(excluded.client_request_id, traces.client_request_id),
                    request_preview = COALESCE(excluded.request_preview, traces.request_preview),
                    response_preview = COALESCE(excluded.response_preview, traces.response_preview)",
                &[
                    Value::from(&info.trace_id),
                    Value::from(&info.experiment_id),
                    Value::Int(info.request),
                    info.duration.map_or(Value::Null, Value::Int),
                    Value::from(&info.state),
                    info.client_request_id.clone().into(),
                    info.request_preview.clone().into(),
                    info.response_preview.clone().into(),
                ],
            )?;
            let location = match experiment.artifact_location.trim_end_matches('/') {
                "" => format!("mlflow-artifacts:/{}", experiment.experiment_id),
                root => root.to_owned(),
            };
            set_pair(
                tx,
                "trace_tags",
                &info.trace_id,
                LOCATION_TAG,
                &format!("{location}/traces/{}/artifacts", info.trace_id),
            )?;
            set_pair(tx, "trace_metadata", &info.trace_id, FINAL_KEY, "true")?;
            for (key, value) in &info.metadata {
                set_pair(tx, "trace_metadata", &info.trace_id, key, value)?;
            }
            for (key, value) in &info.tags {
                set_pair(tx, "trace_tags", &info.trace_id, key, value)?;
            }
            for assessment in &info.assessments {
                crate::assessments::insert(tx, &info.trace_id, assessment)?;
            }
            find(tx, &info.trace_id)
        })
    }

    /// Changes the head of a trace.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`].
    pub fn end_trace(
        &self,
        trace_id: &str,
        end: Micros,
        state: &str,
        metadata: &[(String, String)],
        tags: &[(String, String)],
    ) -> Result<TraceInfo, TrackingError> {
        for (key, value) in metadata.iter().chain(tags) {
            self.check_trace_pair(key, value)?;
        }
        self.store.catalog().write(|tx| {
            let sql = "UPDATE traces SET duration_us = $2 - request_us, state = $3 WHERE trace_id = $1";
            if tx.execute(sql, &[trace_id.into(), Value::Int(end), state.into()])? == 0 {
                return Err(TrackingError::TraceNotFound(cut(trace_id)));
            }
            for (key, value) in metadata {
                set_pair(tx, "trace_metadata", trace_id, key, value)?;
            }
            for (key, value) in tags {
                set_pair(tx, "trace_tags", trace_id, key, value)?;
            }
            find(tx, trace_id)
        })
    }

    /// Records spans; a trace that nobody has announced is made of them.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`], [`TrackingError::TooMuch`].
    pub fn put_spans(&self, experiment_id: &str, spans: &[Span]) -> Result<(), TrackingError> {
        let limit = self.limits.batch_spans_max;
        if spans.len() > limit as usize {
            return Err(TrackingError::TooMuch { what: "spans", found: spans.len(), limit });
        }
        self.store.catalog().write(|tx| {
            experiments::must_be_active(&experiments::find(tx, experiment_id)?)?;
            let mut traces: Vec<&str> = spans.iter().map(|span| span.trace_id.as_str()).collect();
            traces.sort_unstable();
            traces.dedup();
            for trace_id in traces {
                let own = || spans.iter().filter(|span| span.trace_id == trace_id);
                let start = own().map(|span| span.start_ns).min().unwrap_or(0);
                let end = own().map(|span| span.end_ns).max().unwrap_or(start);
                let root = own().find(|span| span.parent_id.is_none());
                let state = match root.map(|root| root.status.as_str()) {
                    Some("ERROR") => "ERROR",
                    Some(_) => "OK",
                    None => "IN_PROGRESS",
                };
                tx.execute(
                    "INSERT INTO traces (trace_id, experiment_id, request_us, duration_us, state)
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (trace_id) DO NOTHING",
                    &[
                        trace_id.into(),
                        experiment_id.into(),
                        Value::Int(start / 1_000),
                        Value::Int((end - start) / 1_000),
                        state.into(),
                    ],
                )?;
                for span in own() {
                    write_span(tx, span)?;
                }
                // A head that a client wrote stands; another grows with its spans.
                tx.execute(
                    "UPDATE traces SET
                        request_us = (SELECT MIN(start_ns) / 1000 FROM spans WHERE trace_id = $1),
                        duration_us = (SELECT (MAX(end_ns) - MIN(start_ns)) / 1000 FROM spans WHERE trace_id = $1),
                        state = CASE WHEN $2 = 'IN_PROGRESS' THEN state ELSE $2 END
                     WHERE trace_id = $1 AND NOT EXISTS
                        (SELECT 1 FROM trace_metadata WHERE trace_id = $1 AND key = $3)",
                    &[trace_id.into(), state.into(), FINAL_KEY.into()],
                )?;
                set_pair(tx, "trace_tags", trace_id, SPANS_TAG, "TRACKING_STORE")?;
                if let Some(root) = root {
                    let named = "SELECT 1 FROM trace_tags WHERE trace_id = $1 AND key = 'mlflow.traceName'";
                    if tx.query_one(named, &[trace_id.into()])?.is_none() {
                        set_pair(tx, "trace_tags", trace_id, "mlflow.traceName", &root.name)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The head of a trace.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`].
    pub fn trace(&self, trace_id: &str) -> Result<TraceInfo, TrackingError> {
        self.store.catalog().read(|tx| find(tx, trace_id))
    }

    /// Heads of those of some traces that are there, in the order given.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn traces(&self, trace_ids: &[String]) -> Result<Vec<TraceInfo>, TrackingError> {
        self.store.catalog().read(|tx| {
            let mut found = Vec::new();
            for trace_id in trace_ids {
                match find(tx, trace_id) {
                    Err(TrackingError::TraceNotFound(_)) => {}
                    trace => found.push(trace?),
                }
            }
            Ok(found)
        })
    }

    /// Spans of a trace, in order of their start.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn spans(&self, trace_id: &str) -> Result<Vec<Span>, TrackingError> {
        let sql = "SELECT span_id, parent_id, name, kind, status, start_ns, end_ns, content FROM spans
                   WHERE trace_id = $1 ORDER BY start_ns, span_id";
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &[trace_id.into()])?))?;
        rows.iter()
            .map(|row| {
                Ok(Span {
                    trace_id: trace_id.to_owned(),
                    span_id: row.text(0)?,
                    parent_id: row.opt_text(1)?,
                    name: row.text(2)?,
                    kind: row.text(3)?,
                    status: row.text(4)?,
                    start_ns: row.int(5)?,
                    end_ns: row.int(6)?,
                    content: row.text(7)?,
                })
            })
            .collect()
    }

    /// Sets a tag of a trace.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`]; what tags may not be.
    pub fn set_trace_tag(&self, trace_id: &str, key: &str, value: &str) -> Result<(), TrackingError> {
        self.check_trace_pair(key, value)?;
        self.store.catalog().write(|tx| {
            must_exist(tx, trace_id)?;
            set_pair(tx, "trace_tags", trace_id, key, value)
        })
    }

    /// Removes a tag of a trace.
    ///
    /// # Errors
    /// [`TrackingError::Missing`] if it has no such tag.
    pub fn delete_trace_tag(&self, trace_id: &str, key: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let sql = "DELETE FROM trace_tags WHERE trace_id = $1 AND key = $2";
            match tx.execute(sql, &[trace_id.into(), key.into()])? {
                0 => Err(TrackingError::Missing(format!(
                    "No trace tag with key '{}' for trace with ID '{}'",
                    cut(key),
                    cut(trace_id)
                ))),
                _ => Ok(()),
            }
        })
    }

    /// Notes on traces that they belong to a run.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`] names the first that is not there; then none is changed.
    pub fn link_traces(&self, trace_ids: &[String], run_id: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            for trace_id in trace_ids {
                must_exist(tx, trace_id)?;
                set_pair(tx, "trace_metadata", trace_id, RUN_KEY, run_id)?;
            }
            Ok(())
        })
    }

    /// Deletes traces of an experiment: those named, or the oldest up to a time; returns how many that were.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] unless exactly one way to choose is given.
    pub fn delete_traces(
        &self,
        experiment_id: &str,
        trace_ids: &[String],
        until: Option<Micros>,
        most: Option<u64>,
    ) -> Result<u64, TrackingError> {
        let invalid = |message: &str| Err(TrackingError::Invalid(message.to_owned()));
        match (until, trace_ids.is_empty()) {
            (None, true) => return invalid("Either `max_timestamp_millis` or `trace_ids` must be specified."),
            (Some(_), false) => return invalid("Only one of `max_timestamp_millis` and `trace_ids` can be specified."),
            (None, false) if most.is_some() => {
                return invalid("`max_traces` can't be specified if `trace_ids` is specified.");
            }
            _ => {}
        }
        if most == Some(0) {
            return invalid("`max_traces` must be a positive integer, received 0.");
        }
        self.store.catalog().write(|tx| {
            let mut deleted = 0;
            if let Some(until) = until {
                let sql = "DELETE FROM traces WHERE trace_id IN (SELECT trace_id FROM traces
                           WHERE experiment_id = $1 AND request_us <= $2 ORDER BY request_us, trace_id LIMIT $3)";
                deleted = tx
                    .execute(sql, &[experiment_id.into(), Value::Int(until), most.unwrap_or(i64::MAX as u64).into()])?;
            }
            for trace_id in trace_ids {
                let sql = "DELETE FROM traces WHERE experiment_id = $1 AND trace_id = $2";
                deleted += tx.execute(sql, &[experiment_id.into(), trace_id.into()])?;
            }
            Ok(deleted)
        })
    }

    fn check_trace_pair(&self, key: &str, value: &str) -> Result<(), TrackingError> {
        if key.is_empty() {
            return Err(TrackingError::Invalid("Missing value for required parameter 'key'.".into()));
        }
        check_length(key, self.limits.key_chars_max, || "key".into())?;
        check_length(value, self.limits.trace_value_chars_max, || "value".into())
    }
}

pub(crate) fn must_exist(tx: &mut dyn Tx, trace_id: &str) -> Result<(), TrackingError> {
    let found = tx.query_one("SELECT 1 FROM traces WHERE trace_id = $1", &[trace_id.into()])?;
    found.map(drop).ok_or_else(|| TrackingError::TraceNotFound(cut(trace_id)))
}

fn set_pair(tx: &mut dyn Tx, table: &str, trace_id: &str, key: &str, value: &str) -> Result<(), TrackingError> {
    let sql = format!(
        "INSERT INTO {table} (trace_id, key, value) VALUES ($1, $2, $3)
         ON CONFLICT (trace_id, key) DO UPDATE SET value = excluded.value"
    );
    tx.execute(&sql, &[trace_id.into(), key.into(), value.into()])?;
    Ok(())
}

fn write_span(tx: &mut dyn Tx, span: &Span) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO spans (trace_id, span_id, parent_id, name, kind, status, start_ns, end_ns, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (trace_id, span_id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name,
            kind = excluded.kind, status = excluded.status, start_ns = excluded.start_ns, end_ns = excluded.end_ns,
            content = excluded.content",
        &[
            Value::from(&span.trace_id),
            Value::from(&span.span_id),
            span.parent_id.clone().into(),
            Value::from(&span.name),
            Value::from(&span.kind),
            Value::from(&span.status),
            Value::Int(span.start_ns),
            Value::Int(span.end_ns),
            Value::from(&span.content),
        ],
    )?;
    Ok(())
}

fn find(tx: &mut dyn Tx, trace_id: &str) -> Result<TraceInfo, TrackingError> {
    let sql = format!("SELECT {TRACE_COLUMNS} FROM traces t WHERE t.trace_id = $1");
    let row = tx.query_one(&sql, &[trace_id.into()])?.ok_or_else(|| TrackingError::TraceNotFound(cut(trace_id)))?;
    read(tx, &row)
}

/// A trace's head from its row of [`TRACE_COLUMNS`], with all that belongs to it.
pub(crate) fn read(tx: &mut dyn Tx, row: &Row) -> Result<TraceInfo, TrackingError> {
    let trace_id = row.text(0)?;
    let mut pairs = |table: &str| -> Result<Vec<(String, String)>, TrackingError> {
        let sql = format!("SELECT key, value FROM {table} WHERE trace_id = $1 ORDER BY key");
        tx.query(&sql, &[Value::from(&trace_id)])?.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
    };
    let (metadata, tags) = (pairs("trace_metadata")?, pairs("trace_tags")?);
    Ok(TraceInfo {
        experiment_id: row.text(1)?,
        request: row.int(2)?,
        duration: row.opt_int(3)?,
        state: row.text(4)?,
        client_request_id: row.opt_text(5)?,
        request_preview: row.opt_text(6)?,
        response_preview: row.opt_text(7)?,
        metadata,
        tags,
        assessments: read_assessments(tx, &trace_id)?,
        trace_id,
    })
}
