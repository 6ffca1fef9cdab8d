//! Traces: their heads, their spans, searches. Clients of MLflow 2 and 3 name and shape the same things differently.

use axum::http::Method;
use chrono::{DateTime, SecondsFormat};
use plinth_core::Micros;
use plinth_tracking::{TRACE_STATES, TraceInfo, TraceSearch};
use serde_json::{Map, Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing, assessments,
    fields::{Fields, int, missing, wrong_type},
    page,
    wire::millis,
};

type Outcome = Result<Answer, MlflowError>;

const READ: Need = Need::Read(Thing::Trace);
const EDIT: Need = Need::Edit(Thing::Trace);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/traces", Need::Narrow, start),
    Route::get("/mlflow/traces", Need::Narrow, search_v2),
    Route::post("/mlflow/traces/search", Need::Narrow, search),
    Route::get("/mlflow/traces/batchGet", Need::Read(Thing::All), batch_get),
    Route::post("/mlflow/traces/batchGetInfos", Need::Read(Thing::All), batch_get_infos),
    Route::get("/mlflow/traces/get", READ, get_whole),
    Route::post("/mlflow/traces/delete-traces", Need::Edit(Thing::Experiment), delete),
    Route::post("/mlflow/traces/link-to-run", Need::Edit(Thing::Run), link_to_run),
    Route::get("/mlflow/traces/{trace_id}", READ, get),
    Route::new(Method::PATCH, "/mlflow/traces/{trace_id}", EDIT, end),
    Route::get("/mlflow/traces/{trace_id}/info", READ, get_info),
    Route::new(Method::PATCH, "/mlflow/traces/{trace_id}/tags", EDIT, set_tag),
    Route::new(Method::DELETE, "/mlflow/traces/{trace_id}/tags", EDIT, delete_tag),
];

/// Traces of one page, unless another number is asked for.
const TRACES: i64 = 100;
/// The most that may be asked for.
const TRACES_MAX: i64 = 500;

/// MLflow 3 sends a whole head, MLflow 2 its beginning.
fn start(call: &Call<'_>) -> Outcome {
    if !call.fields.has("trace") {
        return start_v2(call);
    }
    let trace = call.fields.object("trace")?.unwrap_or_default();
    let info = trace.object("trace_info")?.ok_or_else(|| missing("trace.trace_info"))?;
    let info = read_info(&info)?;
    call.must(Need::Edit(Thing::Experiment), "experiment_id", &info.experiment_id)?;
    let stored = call.tracking.put_trace(&info)?;
    Answer::of(&json!({"trace": {"trace_info": info_wire(&stored)}}))
}

fn start_v2(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let info = TraceInfo {
        trace_id: format!("tr-{}", call.tracking.new_id()),
        experiment_id: fields.required("experiment_id")?.to_owned(),
        request: fields.required_int("timestamp_ms")?.saturating_mul(1_000),
        state: "IN_PROGRESS".to_owned(),
        metadata: fields.pairs("request_metadata")?,
        tags: fields.pairs("tags")?,
        ..TraceInfo::default()
    };
    call.must(Need::Edit(Thing::Experiment), "experiment_id", &info.experiment_id)?;
    let stored = call.tracking.put_trace(&info)?;
    Answer::of(&json!({"trace_info": info_v2_wire(&stored)}))
}

fn end(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let status = state(fields.get("status"))?;
    let end = fields.required_int("timestamp_ms")?.saturating_mul(1_000);
    let (metadata, tags) = (fields.pairs("request_metadata")?, fields.pairs("tags")?);
    let stored = call.tracking.end_trace(fields.trace_id()?, end, &status, &metadata, &tags)?;
    Answer::of(&json!({"trace_info": info_v2_wire(&stored)}))
}

fn get(call: &Call<'_>) -> Outcome {
    let info = call.tracking.trace(call.fields.trace_id()?)?;
    Answer::of(&json!({"trace": {"trace_info": info_wire(&info)}}))
}

fn get_info(call: &Call<'_>) -> Outcome {
    let info = call.tracking.trace(call.fields.trace_id()?)?;
    Answer::of(&json!({"trace_info": info_v2_wire(&info)}))
}

fn get_whole(call: &Call<'_>) -> Outcome {
    let info = call.tracking.trace(call.fields.trace_id()?)?;
    Answer::of(&json!({"trace": whole(call, &info)?}))
}

fn batch_get(call: &Call<'_>) -> Outcome {
    let found = call.tracking.traces(&trace_ids(call)?)?;
    let traces = found.iter().map(|info| whole(call, info)).collect::<Result<Vec<_>, _>>()?;
    Answer::of(&json!({"traces": traces}))
}

fn batch_get_infos(call: &Call<'_>) -> Outcome {
    let found = call.tracking.traces(&trace_ids(call)?)?;
    let infos: Vec<_> = found.iter().map(info_wire).collect();
    Answer::of(&json!({"trace_infos": infos}))
}

fn trace_ids(call: &Call<'_>) -> Result<Vec<String>, MlflowError> {
    let ids = call.fields.texts("trace_ids")?;
    if ids.len() as i64 > TRACES_MAX {
        return Err(MlflowError::invalid(format!("at most {TRACES_MAX} traces are read at once, not {}", ids.len())));
    }
    Ok(ids)
}

/// A trace's head and its spans, whose JSON is stored as it is answered.
fn whole(call: &Call<'_>, info: &TraceInfo) -> Result<Value, MlflowError> {
    let spans = call.tracking.spans(&info.trace_id)?;
    let spans: Vec<Value> = spans.iter().filter_map(|span| serde_json::from_str(&span.content).ok()).collect();
    Ok(json!({"trace_info": info_wire(info), "spans": spans}))
}

fn search(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let mut experiment_ids = fields.texts("experiment_ids")?;
    for location in fields.list("locations")? {
        let id = location.pointer("/mlflow_experiment/experiment_id").and_then(Value::as_str);
        experiment_ids.extend(id.map(str::to_owned));
    }
    if experiment_ids.is_empty() {
        return Err(MlflowError::invalid("At least one location must be specified for searching traces."));
    }
    let found = call.tracking.search_traces(&asked(fields, call.visible(experiment_ids))?)?;
    let traces: Vec<_> = found.items.iter().map(info_wire).collect();
    page::answer("traces", &traces, found.next)
}

fn search_v2(call: &Call<'_>) -> Outcome {
    let experiment_ids = call.fields.texts("experiment_ids")?;
    if experiment_ids.is_empty() {
        return Err(missing("experiment_ids"));
    }
    let found = call.tracking.search_traces(&asked(&call.fields, call.visible(experiment_ids))?)?;
    let traces: Vec<_> = found.items.iter().map(info_v2_wire).collect();
    page::answer("traces", &traces, found.next)
}

fn asked(fields: &Fields, experiment_ids: Vec<String>) -> Result<TraceSearch, MlflowError> {
    let most = fields.int("max_results")?.unwrap_or(TRACES);
    if !(1..=TRACES_MAX).contains(&most) {
        return Err(MlflowError::invalid(format!(
            "Invalid value for request parameter max_results. It must be at least 1 and at most {TRACES_MAX}, but got \
             value {most}"
        )));
    }
    Ok(TraceSearch {
        experiment_ids,
        filter: fields.text_or_empty("filter")?.to_owned(),
        order_by: fields.texts("order_by")?,
        skip: page::start(fields.text("page_token")?)?,
        most: most as u64,
    })
}

fn delete(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let until = fields.int("max_timestamp_millis")?.map(|time| time.saturating_mul(1_000).saturating_add(999));
    let most = fields.int("max_traces")?;
    if most.is_some_and(|most| most < 0) {
        return Err(MlflowError::invalid("`max_traces` must be a positive integer."));
    }
    let mut ids = fields.texts("request_ids")?;
    ids.extend(fields.texts("trace_ids")?);
    let experiment_id = fields.required("experiment_id")?;
    let deleted = call.tracking.delete_traces(experiment_id, &ids, until, most.map(|most| most as u64))?;
    Answer::of(&json!({"traces_deleted": deleted}))
}

fn link_to_run(call: &Call<'_>) -> Outcome {
    call.tracking.link_traces(&trace_ids(call)?, call.fields.run_id()?)?;
    Ok(Answer::empty())
}

fn set_tag(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    call.tracking.set_trace_tag(fields.trace_id()?, fields.required("key")?, fields.text_or_empty("value")?)?;
    Ok(Answer::empty())
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    call.tracking.delete_trace_tag(call.fields.trace_id()?, call.fields.required("key")?)?;
    Ok(Answer::empty())
}

fn read_info(fields: &Fields) -> Result<TraceInfo, MlflowError> {
    let location = fields.object("trace_location")?.unwrap_or_default();
    let experiment =
        location.object("mlflow_experiment")?.ok_or_else(|| missing("trace_location.mlflow_experiment"))?;
    let request = match fields.text("request_time")? {
        Some(text) => time(text).ok_or_else(|| MlflowError::invalid(format!("'{text}' is not a time")))?,
        None => 0,
    };
    let duration = match fields.text("execution_duration")? {
        Some(text) => Some(duration(text).ok_or_else(|| MlflowError::invalid(format!("'{text}' is not a duration")))?),
        None => None,
    };
    let optional = |name: &str| Ok::<_, MlflowError>(fields.text(name)?.map(str::to_owned));
    let mut assessed = Vec::new();
    for item in fields.list("assessments")? {
        assessed.push(assessments::read(item)?);
    }
    Ok(TraceInfo {
        trace_id: fields.required("trace_id")?.to_owned(),
        experiment_id: experiment.required("experiment_id")?.to_owned(),
        request,
        duration,
        state: state(fields.get("state"))?,
        client_request_id: optional("client_request_id")?,
        request_preview: optional("request_preview")?,
        response_preview: optional("response_preview")?,
        metadata: map_pairs(fields, "trace_metadata")?,
        tags: map_pairs(fields, "tags")?,
        assessments: assessed,
    })
}

/// By name, or by MLflow's number for it.
fn state(value: Option<&Value>) -> Result<String, MlflowError> {
    let Some(value) = value else { return Ok("STATE_UNSPECIFIED".to_owned()) };
    let found = match value {
        Value::String(name) if name == "TRACE_STATUS_UNSPECIFIED" => Some(TRACE_STATES[0]),
        Value::String(name) => TRACE_STATES.into_iter().find(|state| state == name),
        other => int(other).and_then(|n| usize::try_from(n).ok()).and_then(|n| TRACE_STATES.get(n).copied()),
    };
    found.map(str::to_owned).ok_or_else(|| wrong_type("state", value))
}

/// `{"key": "value", …}`
fn map_pairs(fields: &Fields, name: &str) -> Result<Vec<(String, String)>, MlflowError> {
    match fields.get(name) {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key.clone(), text.clone())),
                other => Err(wrong_type(&format!("{name}.{key}"), other)),
            })
            .collect(),
        Some(other) => Err(wrong_type(name, other)),
    }
}

/// A time as protobuf's JSON has it.
pub(super) fn time(text: &str) -> Option<Micros> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

pub(super) fn time_text(time: Micros) -> String {
    let digits = if time % 1_000_000 == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    DateTime::from_timestamp_micros(time).map(|time| time.to_rfc3339_opts(digits, true)).unwrap_or_default()
}

/// A duration as protobuf's JSON has it: `1.5s`.
fn duration(text: &str) -> Option<Micros> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    (seconds.is_finite() && seconds.abs() < 1e12).then(|| (seconds * 1e6).round() as Micros)
}

fn duration_text(duration: Micros) -> String {
    let millis = duration / 1_000;
    match (millis / 1_000, millis % 1_000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, rest) => format!("{seconds}.{rest:03}s"),
    }
}

fn map(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

/// A trace's head as MLflow 3 has it.
fn info_wire(info: &TraceInfo) -> Value {
    let mut out = json!({
        "trace_id": info.trace_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": info.experiment_id},
        },
        "request_time": time_text(info.request),
        "state": info.state,
        "trace_metadata": map(&info.metadata),
        "tags": map(&info.tags),
    });
    let optional = [
        ("client_request_id", &info.client_request_id),
        ("request_preview", &info.request_preview),
        ("response_preview", &info.response_preview),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            out[name] = value.as_str().into();
        }
    }
    if let Some(duration) = info.duration {
        out["execution_duration"] = duration_text(duration).into();
    }
    if !info.assessments.is_empty() {
        let list = info.assessments.iter().map(|assessment| assessments::wire(&info.trace_id, assessment));
        out["assessments"] = list.collect();
    }
    out
}

/// A trace's head as MLflow 2 has it.
fn info_v2_wire(info: &TraceInfo) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Vec<Value> {
        pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
    };
    let status = if info.state == "STATE_UNSPECIFIED" { "TRACE_STATUS_UNSPECIFIED" } else { info.state.as_str() };
    let mut out = json!({
        "request_id": info.trace_id,
        "experiment_id": info.experiment_id,
        "timestamp_ms": millis(info.request),
        "status": status,
        "request_metadata": pairs(&info.metadata),
        "tags": pairs(&info.tags),
    });
    if let Some(duration) = info.duration {
        out["execution_time_ms"] = (duration / 1_000).into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read_as_they_are_written() {
        assert_eq!(time("2026-11-25T10:49:05.648Z"), Some(1_795_603_745_648_000));
        assert_eq!(time_text(1_795_603_745_648_000), "2026-11-25T10:49:05.648Z");
        assert_eq!((duration("0.039s"), duration("2s"), duration("x")), (Some(39_000), Some(2_000_000), None));
        assert_eq!((duration_text(39_000), duration_text(2_000_000)), ("0.039s".to_owned(), "2s".to_owned()));
    }
}
