//! Traces: their heads, their spans, searches. Clients of MLflow 2 and 3 name and shape the same things differently.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use axum::http::Method;
use chrono::{DateTime, SecondsFormat};
use plinth_core::Micros;
use plinth_tracking::{TRACE_STATES, TraceInfo, TraceSearch};
use serde_json::{Map, Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    access::may_change_trace,
    assessments,
    fields::{Fields, int, missing, wrong_type},
    page, spans,
    wire::millis,
};

type Outcome = Result<Answer, MlflowError>;

const READ: Need = Need::Read(Thing::Trace);
const EDIT: Need = Need::Edit(Thing::Trace);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/traces", Need::Narrow, start),
    Route::get("/mlflow/traces", Need::Narrow, search_v2),
    Route::post("/mlflow/traces/search", Need::Narrow, search),
    Route::get("/mlflow/traces/batchGet", Need::Narrow, batch_get),
    Route::post("/mlflow/traces/batchGetInfos", Need::Narrow, batch_get_infos),
    Route::get("/mlflow/traces/get", READ, get_whole),
    Route::post("/mlflow/traces/delete-traces", Need::Edit(Thing::Experiment), delete),
    Route::post("/mlflow/traces/link-to-run", Need::Edit(Thing::Run), link_to_run),
    Route::post("/mlflow/traces/link-prompts", EDIT, link_prompts),
    Route::post("/mlflow/traces/calculate-filter-correlation", Need::Narrow, correlation),
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
        return if call.fields.has("experiment_id") { start_v2(call) } else { Err(missing("trace")) };
    }
    let trace = call.fields.object("trace")?.unwrap_or_default();
    let info = trace.object("trace_info")?.ok_or_else(|| missing("trace.trace_info"))?;
    let info = read_info(&info)?;
    call.must(Need::Edit(Thing::Experiment), "experiment_id", &info.experiment_id)?;
    may_change_trace(call.tracking, call.principal, &info.trace_id)?;
    let stored = call.tracking.put_trace(&info)?;
    Answer::of(&json!({"trace": {"trace_info": info_wire(&stored)}}))
}

fn start_v2(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let info = TraceInfo {
        trace_id: call.tracking.new_id(),
        experiment_id: fields.required("experiment_id")?.to_owned(),
        request: moment(fields.required_int("timestamp_ms")?)?,
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
    let end = moment(fields.required_int("timestamp_ms")?)?;
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
    let trace_id = call.fields.trace_id()?;
    let partial = call.fields.flag("allow_partial")?.unwrap_or(false);
    let found = || {
        call.tracking.traces(&[trace_id.to_owned()])?.pop().ok_or_else(|| {
            let id: String = trace_id.chars().take(100).collect();
            MlflowError::not_found(format!("Trace with ID {id} is not found."))
        })
    };
    // Clients send a head and its spans one after the other, and ask at once.
    let started = Instant::now();
    loop {
        let info = found()?;
        let trace = whole(call, &info)?;
        if partial || trace.complete {
            return Answer::of(&json!({"trace": trace.wire}));
        }
        if !trace.awaited {
            return Err(MlflowError::not_found("Trace data not stored in tracking store"));
        }
        if started.elapsed() > SPANS_AWAITED {
            return Err(MlflowError::not_found(format!(
                "Trace with ID {} is not fully exported yet, please try again later.",
                info.trace_id
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How long spans that a head has announced are waited for.
const SPANS_AWAITED: Duration = Duration::from_secs(1);

fn batch_get(call: &Call<'_>) -> Outcome {
    let mut traces = Vec::new();
    for info in batch(call)? {
        let trace = whole(call, &info)?;
        if trace.complete {
            traces.push(trace.wire);
        }
    }
    page::answer("traces", &traces, None)
}

fn batch_get_infos(call: &Call<'_>) -> Outcome {
    let infos: Vec<_> = batch(call)?.iter().map(info_wire).collect();
    page::answer("trace_infos", &infos, None)
}

/// Heads of those of the traces asked for that are there.
fn batch(call: &Call<'_>) -> Result<Vec<TraceInfo>, MlflowError> {
    let ids = trace_ids(call)?;
    if ids.len() as i64 > TRACES_MAX {
        return Err(MlflowError::invalid(format!("at most {TRACES_MAX} traces are read at once, not {}", ids.len())));
    }
    let mut found = call.tracking.traces(&ids)?;
    if call.fields.has("experiment_ids") {
        let experiments = call.fields.texts("experiment_ids")?;
        found.retain(|info| experiments.contains(&info.experiment_id));
    }
    let experiments = found.iter().map(|info| info.experiment_id.clone()).collect();
    let visible: HashSet<String> = call.visible(experiments)?.into_iter().collect();
    found.retain(|info| visible.contains(&info.experiment_id));
    Ok(found)
}

fn trace_ids(call: &Call<'_>) -> Result<Vec<String>, MlflowError> {
    let mut seen = HashSet::new();
    let mut ids = call.fields.texts("trace_ids")?;
    ids.retain(|id| seen.insert(id.clone()));
    if ids.is_empty() { Err(missing("trace_ids")) } else { Ok(ids) }
}

/// A trace's head and its spans.
struct Whole {
    wire: Value,
    /// Whether all spans are there that the head has announced, and at least one.
    complete: bool,
    /// Whether there are spans, or some are announced.
    awaited: bool,
}

fn whole(call: &Call<'_>, info: &TraceInfo) -> Result<Whole, MlflowError> {
    let spans = call.tracking.spans(&info.trace_id)?;
    let stats = info.metadata.iter().find(|(key, _)| key == "mlflow.trace.sizeStats");
    let stats: Option<Value> = stats.and_then(|(_, text)| serde_json::from_str(text).ok());
    let announced = stats.and_then(|stats| stats["num_spans"].as_u64()).unwrap_or(0);
    let complete = !spans.is_empty() && spans.len() as u64 >= announced;
    let awaited = !spans.is_empty() || announced > 0;
    let spans: Vec<Value> = spans.iter().filter_map(|span| spans::wire(&span.content)).collect();
    let mut wire = json!({"trace_info": info_wire(info)});
    if !spans.is_empty() {
        wire["spans"] = spans.into();
    }
    Ok(Whole { wire, complete, awaited })
}

const EXPERIMENT: &str = "/mlflow_experiment/experiment_id";

fn search(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    // A list with nothing in it is a place where nothing is found.
    let locations = fields.list("locations")?;
    if !fields.has("locations") {
        return Err(missing("locations"));
    }
    let experiment_ids = locations.iter().filter_map(|location| match location.pointer(EXPERIMENT)? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    });
    let experiment_ids: Vec<String> = experiment_ids.collect();
    let found = call.tracking.search_traces(&asked(fields, call.visible(experiment_ids)?)?)?;
    let traces: Vec<_> = found.items.iter().map(info_wire).collect();
    page::answer("traces", &traces, found.next)
}

fn search_v2(call: &Call<'_>) -> Outcome {
    let experiment_ids = call.fields.texts("experiment_ids")?;
    if experiment_ids.is_empty() {
        return Err(missing("experiment_ids"));
    }
    let found = call.tracking.search_traces(&asked(&call.fields, call.visible(experiment_ids)?)?)?;
    let traces: Vec<_> = found.items.iter().map(info_v2_wire).collect();
    page::answer("traces", &traces, found.next)
}

fn asked(fields: &Fields, experiment_ids: Vec<String>) -> Result<TraceSearch, MlflowError> {
    let most = fields.int("max_results")?.unwrap_or(TRACES);
    if let Some(value) = fields.get("max_results").filter(|_| most > TRACES_MAX) {
        return Err(wrong_type("max_results", value));
    }
    if most < 1 {
        return Err(MlflowError::invalid(format!(
            "Invalid value {most} for parameter 'max_results' supplied. It must be a positive integer"
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
    if let Some(most) = most.filter(|most| *most < 0) {
        return Err(MlflowError::invalid(format!("`max_traces` must be a positive integer, received {most}.")));
    }
    let mut ids = fields.texts("request_ids")?;
    ids.extend(fields.texts("trace_ids")?);
    let experiment_id = fields.required("experiment_id")?;
    let deleted = call.tracking.delete_traces(experiment_id, &ids, until, most.map(|most| most as u64))?;
    Answer::of(&json!({"traces_deleted": deleted}))
}

fn link_to_run(call: &Call<'_>) -> Outcome {
    let ids = trace_ids(call)?;
    for id in ids.iter().take(call.tracking.limits().trace_links_max as usize) {
        may_change_trace(call.tracking, call.principal, id)?;
    }
    call.tracking.link_traces(&ids, call.fields.run_id()?)?;
    Ok(Answer::empty())
}

fn link_prompts(call: &Call<'_>) -> Outcome {
    let given = call.fields.list("prompt_versions")?;
    if given.is_empty() {
        return Err(missing("prompt_versions"));
    }
    let prompts = given.iter().map(|prompt| {
        let version = prompt.get("version").and_then(int);
        match (prompt.get("name").and_then(Value::as_str), version) {
            (Some(name), Some(version)) if !name.is_empty() => Ok(format!("{name}/{version}")),
            _ => Err(wrong_type("prompt_versions", prompt)),
        }
    });
    call.tracking.link_prompts(call.fields.trace_id()?, &prompts.collect::<Result<Vec<_>, _>>()?)?;
    Ok(Answer::empty())
}

/// How often two filters hold together, and what that says: normalised pointwise mutual information.
fn correlation(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let experiment_ids = fields.texts("experiment_ids")?;
    if experiment_ids.is_empty() {
        return Err(missing("experiment_ids"));
    }
    let experiment_ids = call.visible(experiment_ids)?;
    let base = fields.text_or_empty("base_filter")?;
    let (one, two) = (fields.required("filter_string1")?, fields.required("filter_string2")?);
    let count = |filters: &[&str]| call.tracking.count_traces(&experiment_ids, filters);
    let (total, first, second) = (count(&[base])?, count(&[base, one])?, count(&[base, two])?);
    let joint = count(&[base, one, two])?;
    let mut out = json!({
        "filter1_count": first, "filter2_count": second, "joint_count": joint, "total_count": total,
    });
    if let Some(npmi) = npmi(joint, first, second, total, 0.0) {
        out["npmi"] = npmi.into();
    }
    if let Some(npmi) = npmi(joint, first, second, total, 0.5) {
        out["npmi_smoothed"] = npmi.into();
    }
    Answer::of(&out)
}

/// From -1, never together, over 0, independent, to 1, always together; nothing if one of them never holds. `prior` is
/// added to each of the four cells.
fn npmi(joint: u64, first: u64, second: u64, total: u64, prior: f64) -> Option<f64> {
    if first == 0 || second == 0 || total == 0 {
        return None;
    }
    if joint == 0 && prior == 0.0 {
        return Some(-1.0);
    }
    if joint == first && joint == second && joint == total {
        return Some(1.0);
    }
    let of = |cell: u64| cell as f64;
    let neither = of(total) - of(first) - of(second) + of(joint);
    let both = of(joint) + prior;
    let (one, two) = (both + of(first - joint) + prior, both + of(second - joint) + prior);
    let all = one + two - both + neither + prior;
    let mutual = (both.ln() + all.ln()) - (one.ln() + two.ln());
    Some((mutual / (all.ln() - both.ln())).clamp(-1.0, 1.0))
}

/// Tags that say where the server keeps a trace.
const SERVERS_TAGS: [&str; 3] =
    ["mlflow.trace.spansLocation", "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"];

fn set_tag(call: &Call<'_>) -> Outcome {
    let (key, value) = (call.fields.required("key")?, call.fields.text_or_empty("value")?);
    if SERVERS_TAGS.contains(&key) {
        return Err(MlflowError::invalid(format!("Tag '{key}' is immutable and cannot be set on a trace.")));
    }
    call.tracking.set_trace_tag(call.fields.trace_id()?, key, value)?;
    Ok(Answer::empty())
}

fn delete_tag(call: &Call<'_>) -> Outcome {
    let key = call.fields.required("key")?;
    if SERVERS_TAGS[..2].contains(&key) {
        return Err(MlflowError::invalid(format!("Tag '{key}' is immutable and cannot be deleted on a trace.")));
    }
    call.tracking.delete_trace_tag(call.fields.trace_id()?, key)?;
    Ok(Answer::empty())
}

/// A time in milliseconds, within what can be written.
fn moment(millis: i64) -> Result<Micros, MlflowError> {
    let micros = millis.checked_mul(1_000).filter(|micros| DateTime::from_timestamp_micros(*micros).is_some());
    micros.ok_or_else(|| MlflowError::invalid(format!("Invalid value {millis} for parameter 'timestamp_ms' supplied")))
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
        finished: true,
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
    let sign = if millis < 0 { "-" } else { "" };
    match (millis.abs() / 1_000, millis.abs() % 1_000) {
        (seconds, 0) => format!("{sign}{seconds}s"),
        (seconds, rest) => format!("{sign}{seconds}.{rest:03}s"),
    }
}

/// Lengths that clients are told to expect.
const METADATA_CHARS: usize = 250;
const TAG_CHARS: usize = 4_096;

fn short(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}

fn map(pairs: &[(String, String)], chars: usize) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), Value::from(short(value, chars)))).collect()
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
        "trace_metadata": map(&info.metadata, METADATA_CHARS),
        "tags": map(&info.tags, TAG_CHARS),
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
    let pairs = |pairs: &[(String, String)], chars: usize| -> Vec<Value> {
        pairs.iter().map(|(key, value)| json!({"key": key, "value": short(value, chars)})).collect()
    };
    let status = if info.state == "STATE_UNSPECIFIED" { "TRACE_STATUS_UNSPECIFIED" } else { info.state.as_str() };
    json!({
        "request_id": info.trace_id,
        "experiment_id": info.experiment_id,
        "timestamp_ms": millis(info.request),
        "execution_time_ms": info.duration.map_or(0, millis),
        "status": status,
        "request_metadata": pairs(&info.metadata, METADATA_CHARS),
        "tags": pairs(&info.tags, TAG_CHARS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read_as_they_are_written() {
        assert_eq!(time("2026-11-25T10:49:05.648Z"), Some(1_795_603_745_648_000));
        assert_eq!(time_text(1_795_603_745_648_000), "2026-11-25T10:49:05.648Z");
        assert_eq!((duration("0.039s"), duration("2s"), duration("x")), (Some(39_000), Some(2_000_000), None));
        assert_eq!(duration_text(-1_500_000), "-1.500s");
        assert_eq!((duration_text(39_000), duration_text(2_000_000)), ("0.039s".to_owned(), "2s".to_owned()));
    }

    #[test]
    fn mutual_information_is_what_the_counts_say() {
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(close(npmi(25, 50, 50, 100, 0.0), 0.0));
        assert!(close(npmi(10, 10, 10, 10, 0.0), 1.0) && close(npmi(10, 10, 10, 100, 0.0), 1.0));
        assert!(close(npmi(0, 5, 5, 100, 0.0), -1.0) && npmi(0, 5, 5, 100, 0.5).unwrap() > -1.0);
        assert!(npmi(0, 0, 5, 100, 0.5).is_none());
    }
}
