//! Traces: what an application did for one request. A trace has a head, spans (see `spans.rs`) and
//! assessments (see `assessments.rs`).

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};
use serde_json::json;

use crate::{
    Assessment, Experiment, Tracking, TrackingError,
    assessments::read_assessments,
    experiments,
    names::{check_key, check_length, cut},
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
    /// Whether this is all there is to say: spans that come later do not change it. Nothing that is read has this.
    pub finished: bool,
}

/// States of a trace.
pub const TRACE_STATES: [&str; 4] = ["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"];

/// The tag that says where the spans of a trace are.
pub(crate) const SPANS_TAG: &str = "mlflow.trace.spansLocation";
/// The tag that says where the artifacts of a trace are.
const LOCATION_TAG: &str = "mlflow.artifactLocation";
/// The metadata that says that a client has written the head: spans that come later do not change it.
pub(crate) const FINAL_KEY: &str = "mlflow.trace.infoFinalized";
/// The metadata that names the run of a trace.
pub(crate) const RUN_KEY: &str = "mlflow.sourceRun";
/// The metadata that names the conversation of a trace.
pub(crate) const SESSION_KEY: &str = "mlflow.trace.session";
/// The metadata that names the application's user.
pub(crate) const USER_KEY: &str = "mlflow.trace.user";
/// The tag that names a trace.
pub(crate) const NAME_TAG: &str = "mlflow.traceName";

/// A trace's name in the audit log.
pub(crate) fn subject(trace_id: &str) -> String {
    format!("traces:/{trace_id}")
}

pub(crate) const TRACE_COLUMNS: &str = "t.trace_id, t.experiment_id, t.request_us, t.duration_us, t.state, t.client_request_id, t.request_preview, \
     t.response_preview";

impl Tracking {
    /// Records the head of a trace; one that is there already takes over what is new.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`]; what names, tags and sessions may not be.
    pub fn put_trace(&self, info: &TraceInfo) -> Result<TraceInfo, TrackingError> {
        check_length(&info.trace_id, self.limits.key_chars_max, || "trace_id".into())?;
        self.check_head(&info.metadata, &info.tags)?;
        let now = self.clock.now();
        let new = self.loggers.is_new(&self.who, &info.trace_id);
        let made = self.store.catalog().write::<_, TrackingError>(|tx| {
            let experiment = experiments::find(tx, &info.experiment_id)?;
            experiments::must_be_active(&experiment)?;
            tx.execute(
                "INSERT INTO traces (trace_id, experiment_id, request_us, duration_us, state, client_request_id,
                    request_preview, response_preview) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (trace_id) DO UPDATE SET experiment_id = excluded.experiment_id,
                    request_us = excluded.request_us, duration_us = excluded.duration_us, state = excluded.state,
                    client_request_id = excluded.client_request_id,
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
            set_location(tx, &info.trace_id, &artifact_root(&experiment))?;
            if info.finished {
                set_pair(tx, "trace_metadata", &info.trace_id, FINAL_KEY, "true")?;
            }
            self.set_head(tx, &info.trace_id, &info.metadata, &info.tags)?;
            for assessment in &info.assessments {
                crate::assessments::insert(tx, &info.trace_id, &self.stamped(assessment, now))?;
            }
            if new {
                self.note_logged(tx, &info.trace_id, &info.experiment_id)?;
            }
            find(tx, &info.trace_id)
        })?;
        if new {
            self.loggers.add(&self.who, &info.trace_id);
        }
        Ok(made)
    }

    pub(crate) fn note_logged(
        &self,
        tx: &mut dyn Tx,
        trace_id: &str,
        experiment_id: &str,
    ) -> Result<(), TrackingError> {
        self.note(tx, "trace.log", &subject(trace_id), &json!({"experiment_id": experiment_id}))
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
        self.check_head(metadata, tags)?;
        self.store.catalog().write(|tx| {
            let sql = "UPDATE traces SET duration_us = $2 - request_us, state = $3 WHERE trace_id = $1";
            if tx.execute(sql, &[trace_id.into(), Value::Int(end), state.into()])? == 0 {
                return Err(TrackingError::TraceNotFound(cut(trace_id)));
            }
            self.note(tx, "trace.end", &subject(trace_id), &json!({"state": state}))?;
            self.set_head(tx, trace_id, metadata, tags)?;
            find(tx, trace_id)
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

    /// Sets a tag of a trace.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`]; what tags may not be.
    pub fn set_trace_tag(&self, trace_id: &str, key: &str, value: &str) -> Result<(), TrackingError> {
        let value = self.trace_tag(key, value)?;
        self.check_head(&[], &[(key.to_owned(), value.clone())])?;
        self.store.catalog().write(|tx| {
            must_exist(tx, trace_id)?;
            self.note(tx, "trace-tag.set", &subject(trace_id), &json!({"key": key, "value": value}))?;
            set_pair(tx, "trace_tags", trace_id, key, &value)
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
                _ => self.note(tx, "trace-tag.delete", &subject(trace_id), &json!({"key": key})),
            }
        })
    }

    /// Links traces to a run; those that are not there are left out.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for too many at once.
    pub fn link_traces(&self, trace_ids: &[String], run_id: &str) -> Result<(), TrackingError> {
        let limit = self.limits.trace_links_max;
        if trace_ids.len() > limit as usize {
            return Err(TrackingError::Invalid(format!(
                "Cannot link more than {limit} traces to a run in a single request. Provided {} traces.",
                trace_ids.len()
            )));
        }
        check_length(run_id, self.limits.key_chars_max, || "run_id".into())?;
        self.store.catalog().write(|tx| {
            for trace_id in trace_ids {
                tx.execute(
                    "INSERT INTO trace_runs (trace_id, run_id) SELECT trace_id, $2 FROM traces WHERE trace_id = $1
                     ON CONFLICT (trace_id, run_id) DO NOTHING",
                    &[Value::from(trace_id), run_id.into()],
                )?;
            }
            let detail = json!({"traces": trace_ids});
            self.note(tx, "trace.link-run", &crate::runs::subject(run_id), &detail)
        })
    }

    /// Links a trace to versions of prompts, each as `NAME/VERSION`.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`]; [`TrackingError::TooLong`].
    pub fn link_prompts(&self, trace_id: &str, prompts: &[String]) -> Result<(), TrackingError> {
        for prompt in prompts {
            check_length(prompt, self.limits.trace_value_chars_max, || "prompt_versions".into())?;
        }
        self.store.catalog().write(|tx| {
            must_exist(tx, trace_id)?;
            for prompt in prompts {
                tx.execute(
                    "INSERT INTO trace_prompts (trace_id, prompt) VALUES ($1, $2)
                     ON CONFLICT (trace_id, prompt) DO NOTHING",
                    &[trace_id.into(), Value::from(prompt)],
                )?;
            }
            self.note(tx, "trace.link-prompts", &subject(trace_id), &json!({"prompts": prompts}))
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
            if deleted > 0 {
                let detail = json!({"traces": trace_ids, "until": until, "deleted": deleted});
                self.note(tx, "trace.delete", &format!("experiments:/{experiment_id}"), &detail)?;
            }
            Ok(deleted)
        })
    }

    /// Names and sessions that are too long are refused: they are looked for, and half of one finds nothing.
    fn check_head(&self, metadata: &[(String, String)], tags: &[(String, String)]) -> Result<(), TrackingError> {
        let value = |pairs: &[(String, String)], key: &str| {
            pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        check_length(&value(tags, NAME_TAG), self.limits.trace_name_chars_max, || "Trace name".into())?;
        check_length(&value(metadata, SESSION_KEY), self.limits.key_chars_max, || "Session ID".into())
    }

    fn set_head(
        &self,
        tx: &mut dyn Tx,
        trace_id: &str,
        metadata: &[(String, String)],
        tags: &[(String, String)],
    ) -> Result<(), TrackingError> {
        let most = self.limits.trace_value_chars_max;
        for (table, pairs) in [("trace_metadata", metadata), ("trace_tags", tags)] {
            for (key, value) in pairs {
                set_pair(tx, table, trace_id, &short(key, self.limits.key_chars_max), &short(value, most))?;
            }
        }
        Ok(())
    }

    /// A tag's value, cut to what a tag may hold.
    ///
    /// # Errors
    /// What keys may not be.
    pub(crate) fn trace_tag(&self, key: &str, value: &str) -> Result<String, TrackingError> {
        check_key(key, || "key".into())?;
        check_length(key, self.limits.key_chars_max, || "key".into())?;
        Ok(short(value, self.limits.trace_value_chars_max))
    }
}

/// The beginning of a text.
fn short(text: &str, chars_max: u32) -> String {
    match text.char_indices().nth(chars_max as usize) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

/// Where files of an experiment are, as clients name it.
pub(crate) fn artifact_root(experiment: &Experiment) -> String {
    match experiment.artifact_location.trim_end_matches('/') {
        "" => format!("mlflow-artifacts:/{}", experiment.experiment_id),
        root => root.to_owned(),
    }
}

pub(crate) fn set_location(tx: &mut dyn Tx, trace_id: &str, root: &str) -> Result<(), TrackingError> {
    set_pair(tx, "trace_tags", trace_id, LOCATION_TAG, &format!("{root}/traces/{trace_id}/artifacts"))
}

pub(crate) fn must_exist(tx: &mut dyn Tx, trace_id: &str) -> Result<(), TrackingError> {
    let found = tx.query_one("SELECT 1 FROM traces WHERE trace_id = $1", &[trace_id.into()])?;
    found.map(drop).ok_or_else(|| TrackingError::TraceNotFound(cut(trace_id)))
}

pub(crate) fn set_pair(
    tx: &mut dyn Tx,
    table: &str,
    trace_id: &str,
    key: &str,
    value: &str,
) -> Result<(), TrackingError> {
    let sql = format!(
        "INSERT INTO {table} (trace_id, key, value) VALUES ($1, $2, $3)
         ON CONFLICT (trace_id, key) DO UPDATE SET value = excluded.value"
    );
    tx.execute(&sql, &[trace_id.into(), key.into(), value.into()])?;
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
        finished: false,
        trace_id,
    })
}
