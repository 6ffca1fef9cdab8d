//! Traces in MLflow's database, with spans and what was said of them.

use std::collections::HashMap;

use plinth_store::Value;
use plinth_tracking::{Assessment, Record, Span, TraceInfo, WholeTrace};
use serde_json::{Map, Value as Json};

use super::{Database, micros, put_if_absent, shown, sorted};
use crate::{exchange::Sink, output::Failure};

impl Database {
    /// Traces with their spans and assessments.
    pub(super) fn traces(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        let columns = [
            "request_id",
            "experiment_id",
            "timestamp_ms",
            "execution_time_ms",
            "status",
            "client_request_id",
            "request_preview",
            "response_preview",
            "trace_name",
            "session_id",
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "cache_creation_input_tokens_above_1hr",
            "input_cost",
            "output_cost",
            "total_cost",
        ];
        self.pages("trace_info", &columns, |db, rows, ids| {
            let mut tags = db.pairs("trace_tags", "request_id", "key", "value", ids)?;
            let mut metadata = db.pairs("trace_request_metadata", "request_id", "key", "value", ids)?;
            let mut spans = db.spans(ids, sink)?;
            let mut said = db.assessments(ids)?;
            let mut runs: HashMap<String, Vec<String>> = HashMap::new();
            let mut prompts: HashMap<String, Vec<String>> = HashMap::new();
            let link_columns = ["source_type", "destination_type", "destination_id"];
            for row in db.of("entity_associations", "source_id", &link_columns, ids)? {
                match (shown(&row, 1).as_str(), shown(&row, 2).as_str()) {
                    ("trace", "run") => runs.entry(shown(&row, 0)).or_default().push(shown(&row, 3)),
                    ("trace", "prompt_version") => prompts.entry(shown(&row, 0)).or_default().push(shown(&row, 3)),
                    _ => {}
                }
            }
            let mut records = Vec::with_capacity(rows.len());
            for row in rows {
                let id = shown(row, 0);
                let (mut tags, mut metadata) = (sorted(tags.remove(&id)), sorted(metadata.remove(&id)));
                // Newer revisions keep these in columns of their own.
                put_if_absent(&mut tags, "mlflow.traceName", row.opt_text(8)?);
                put_if_absent(&mut metadata, "mlflow.trace.session", row.opt_text(9)?);
                let object = |names: &[&str], from: usize| -> Option<String> {
                    let mut object = Map::new();
                    for (at, name) in names.iter().enumerate() {
                        match &row.0[from + at] {
                            Value::Int(n) => object.insert((*name).to_owned(), (*n).into()),
                            Value::Real(n) => object.insert((*name).to_owned(), (*n).into()),
                            _ => None,
                        };
                    }
                    (!object.is_empty()).then(|| plinth_tracking::spaced_json(&Json::Object(object)))
                };
                put_if_absent(&mut metadata, "mlflow.trace.tokenUsage", object(&columns[10..16], 10));
                put_if_absent(&mut metadata, "mlflow.trace.cost", object(&columns[16..19], 16));
                let state = match shown(row, 4).as_str() {
                    state @ ("OK" | "ERROR" | "IN_PROGRESS") => state.to_owned(),
                    _ => "STATE_UNSPECIFIED".to_owned(),
                };
                let info = TraceInfo {
                    experiment_id: shown(row, 1),
                    request: micros(row, 2).unwrap_or(0),
                    duration: micros(row, 3),
                    state,
                    client_request_id: row.opt_text(5)?,
                    request_preview: row.opt_text(6)?,
                    response_preview: row.opt_text(7)?,
                    metadata,
                    tags,
                    assessments: said.remove(&id).unwrap_or_default(),
                    finished: false,
                    trace_id: id.clone(),
                };
                records.push(Record::Trace(Box::new(WholeTrace {
                    info,
                    spans: spans.remove(&id).unwrap_or_default(),
                    runs: runs.remove(&id).unwrap_or_default(),
                    prompts: prompts.remove(&id).unwrap_or_default(),
                })));
            }
            sink.take(records)
        })
    }

    fn spans(&self, traces: &[Value], sink: &mut dyn Sink) -> Result<HashMap<String, Vec<Span>>, Failure> {
        let mut spans: HashMap<String, Vec<Span>> = HashMap::new();
        let columns = [
            "span_id",
            "parent_span_id",
            "name",
            "type",
            "status",
            "start_time_unix_nano",
            "end_time_unix_nano",
            "content",
        ];
        for row in self.of("spans", "trace_id", &columns, traces)? {
            let (trace_id, content) = (shown(&row, 0), shown(&row, 8));
            let Ok(document) = serde_json::from_str::<Json>(&content) else {
                // Archived: the content lies in a file.
                if !content.is_empty() {
                    sink.problem(
                        format!("span {} of trace {trace_id}", shown(&row, 1)),
                        "its content is no JSON".into(),
                    );
                }
                continue;
            };
            let attributes = document.get("attributes");
            let object = |key: &str| -> Option<String> {
                let value = attributes?.get(key)?;
                let value =
                    value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone());
                Json::is_object(&value).then(|| value.to_string())
            };
            spans.entry(trace_id.clone()).or_default().push(Span {
                span_id: shown(&row, 1),
                parent_id: row.opt_text(2)?.filter(|id| !id.is_empty()),
                name: shown(&row, 3),
                kind: row.opt_text(4)?,
                status: shown(&row, 5),
                start_ns: row.opt_int(6)?.unwrap_or(0),
                end_ns: row.opt_int(7)?,
                usage: object("mlflow.chat.tokenUsage"),
                cost: object("mlflow.llm.cost"),
                content,
                trace_id,
            });
        }
        Ok(spans)
    }

    fn assessments(&self, traces: &[Value]) -> Result<HashMap<String, Vec<Assessment>>, Failure> {
        let mut said: HashMap<String, Vec<Assessment>> = HashMap::new();
        let columns = [
            "assessment_id",
            "name",
            "assessment_type",
            "value",
            "error",
            "source_type",
            "source_id",
            "rationale",
            "span_id",
            "assessment_metadata",
            "overrides",
            "valid",
            "created_timestamp",
            "last_updated_timestamp",
        ];
        for row in self.of("assessments", "trace_id", &columns, traces)? {
            said.entry(shown(&row, 0)).or_default().push(Assessment {
                assessment_id: shown(&row, 1),
                name: shown(&row, 2),
                kind: shown(&row, 3),
                value: shown(&row, 4),
                error: row.opt_text(5)?,
                source_type: shown(&row, 6),
                source_id: row.opt_text(7)?,
                rationale: row.opt_text(8)?,
                span_id: row.opt_text(9)?,
                metadata: row.opt_text(10)?.unwrap_or_else(|| "{}".into()),
                overrides: row.opt_text(11)?,
                valid: row.0[12] != Value::Int(0),
                created: micros(&row, 13).unwrap_or(0),
                updated: micros(&row, 14).unwrap_or(0),
            });
        }
        Ok(said)
    }
}
