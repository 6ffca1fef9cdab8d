//! Assessments of traces.

use axum::http::Method;
use plinth_tracking::{Assessment, AssessmentUpdate, ascii_json};
use serde_json::{Map, Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    fields::{int, missing, wrong_type},
    traces::{time, time_text},
};

type Outcome = Result<Answer, MlflowError>;

const EDIT: Need = Need::Edit(Thing::Trace);

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/traces/{trace_id}/assessments", EDIT, create),
    Route::get("/mlflow/traces/{trace_id}/assessments/{assessment_id}", Need::Read(Thing::Trace), get),
    Route::new(Method::PATCH, "/mlflow/traces/{trace_id}/assessments/{assessment_id}", EDIT, update),
    Route::new(Method::DELETE, "/mlflow/traces/{trace_id}/assessments/{assessment_id}", EDIT, delete),
];

fn create(call: &Call<'_>) -> Outcome {
    let given = call.fields.get("assessment").ok_or_else(|| missing("assessment"))?;
    let trace_id = call.fields.trace_id()?;
    let stored = call.tracking.add_assessment(trace_id, &read(given)?)?;
    Answer::of(&json!({"assessment": wire(trace_id, &stored)}))
}

fn get(call: &Call<'_>) -> Outcome {
    let trace_id = call.fields.trace_id()?;
    let found = call.tracking.assessment(trace_id, call.fields.required("assessment_id")?)?;
    Answer::of(&json!({"assessment": wire(trace_id, &found)}))
}

fn update(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let given = fields.get("assessment").ok_or_else(|| missing("assessment"))?;
    let mask = fields.required("update_mask")?;
    let mut update = AssessmentUpdate::default();
    let mut kinds = Vec::new();
    for field in mask.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        match field {
            "assessmentName" | "assessment_name" => {
                update.name = Some(text(given, "assessment_name")?.unwrap_or_default());
            }
            "feedback" | "expectation" => kinds.push(field),
            "rationale" => update.rationale = text(given, "rationale")?,
            "metadata" => update.metadata = metadata(given)?,
            other => {
                let other: String = other.chars().take(100).collect();
                return Err(MlflowError::invalid(format!("`{other}` of an assessment cannot be updated")));
            }
        }
    }
    match kinds[..] {
        [] => {}
        [kind] => {
            let (value, error) = value(kind, given.get(kind).unwrap_or(&Value::Null))?;
            update.value = Some((kind.to_owned(), value, error));
        }
        _ => return Err(MlflowError::invalid("Cannot specify both `expectation` and `feedback` parameters.")),
    }
    let trace_id = fields.trace_id()?;
    let stored = call.tracking.update_assessment(trace_id, fields.required("assessment_id")?, &update)?;
    Answer::of(&json!({"assessment": wire(trace_id, &stored)}))
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.delete_assessment(call.fields.trace_id()?, call.fields.required("assessment_id")?)?;
    Ok(Answer::empty())
}

/// An assessment from a request.
pub(super) fn read(given: &Value) -> Result<Assessment, MlflowError> {
    if !given.is_object() {
        return Err(wrong_type("assessment", given));
    }
    let source = given.get("source").cloned().unwrap_or_default();
    let when = |name: &str| match text(given, name)? {
        Some(text) => time(&text).ok_or_else(|| MlflowError::invalid(format!("'{text}' is not a time"))),
        None => Ok(0),
    };
    let kind =
        ["feedback", "expectation", "issue"].into_iter().find(|kind| given.get(kind).is_some_and(|v| !v.is_null()));
    let kind = kind.ok_or_else(|| MlflowError::invalid("Unknown assessment type: None"))?;
    let (value, error) = value(kind, &given[kind])?;
    Ok(Assessment {
        assessment_id: text(given, "assessment_id")?.unwrap_or_default(),
        name: text(given, "assessment_name")?.unwrap_or_default(),
        kind: kind.to_owned(),
        value,
        error,
        source_type: source_type(source.get("source_type")),
        source_id: text(&source, "source_id")?.filter(|id| !id.is_empty()),
        rationale: text(given, "rationale")?.filter(|text| !text.is_empty()),
        span_id: text(given, "span_id")?.filter(|id| !id.is_empty()),
        metadata: ascii_json(&Value::Object(metadata(given)?.unwrap_or_default())),
        overrides: text(given, "overrides")?.filter(|id| !id.is_empty()),
        valid: true,
        created: when("create_time")?,
        updated: when("last_update_time")?,
    })
}

const SOURCES: [&str; 4] = ["SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE"];

/// By name, or by MLflow's number for it; what is not known is nothing special.
fn source_type(given: Option<&Value>) -> String {
    let found = match given {
        Some(Value::String(name)) if name == "AI_JUDGE" => Some("LLM_JUDGE"),
        Some(Value::String(name)) => SOURCES.into_iter().find(|source| source == name),
        Some(number) => int(number).and_then(|n| usize::try_from(n).ok()).and_then(|n| SOURCES.get(n).copied()),
        None => None,
    };
    found.unwrap_or(SOURCES[0]).to_owned()
}

/// Texts by key.
fn metadata(given: &Value) -> Result<Option<Map<String, Value>>, MlflowError> {
    match given.get("metadata") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) if map.values().all(Value::is_string) => Ok(Some(map.clone())),
        Some(other) => Err(wrong_type("assessment.metadata", other)),
    }
}

/// What is said, and the error, as JSON.
fn value(kind: &str, body: &Value) -> Result<(String, Option<String>), MlflowError> {
    let name = format!("assessment.{kind}");
    if !body.is_object() {
        return Err(if body.is_null() { missing(&name) } else { wrong_type(&name, body) });
    }
    let plain = || floats(body.get("value").cloned().unwrap_or_default());
    match kind {
        "issue" => Ok((ascii_json(&json!({"issue_name": text(body, "issue_name")?.unwrap_or_default()})), None)),
        "expectation" => {
            let value = match body.get("serialized_value").filter(|value| !value.is_null()) {
                Some(packed) => {
                    let format = text(packed, "serialization_format")?.unwrap_or_default();
                    if format != "JSON_FORMAT" {
                        return Err(MlflowError::invalid(format!(
                            "Unknown serialization format: {format}. Only JSON_FORMAT is supported."
                        )));
                    }
                    let packed = text(packed, "value")?.unwrap_or_default();
                    serde_json::from_str(&packed)
                        .map_err(|error| MlflowError::invalid(format!("'{name}' does not hold JSON: {error}")))?
                }
                None => plain(),
            };
            if value.is_null() {
                return Err(MlflowError::invalid("The `value` field must be specified."));
            }
            Ok((ascii_json(&value), None))
        }
        _ => {
            let error = body.get("error").filter(|error| error.is_object());
            Ok((ascii_json(&plain()), error.map(ascii_json)))
        }
    }
}

/// Numbers as protobuf's values have them: floats.
fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, floats(value))).collect()),
        other => other,
    }
}

fn text(value: &Value, name: &str) -> Result<Option<String>, MlflowError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type(&format!("assessment.{name}"), other)),
    }
}

pub(super) fn wire(trace_id: &str, assessment: &Assessment) -> Value {
    let value: Value = serde_json::from_str(&assessment.value).unwrap_or_default();
    let body = match assessment.kind.as_str() {
        "issue" => value,
        "expectation" if value.is_object() || value.is_array() => {
            json!({"serialized_value": {"serialization_format": "JSON_FORMAT", "value": assessment.value}})
        }
        "expectation" => json!({"value": floats(value)}),
        _ => {
            let mut body = json!({"value": floats(value)});
            if let Some(error) = &assessment.error {
                body["error"] = serde_json::from_str(error).unwrap_or_default();
            }
            body
        }
    };
    let mut out = json!({
        "assessment_id": assessment.assessment_id,
        "assessment_name": assessment.name,
        "trace_id": trace_id,
        "source": {"source_type": assessment.source_type},
        "create_time": time_text(assessment.created),
        "last_update_time": time_text(assessment.updated),
        "valid": assessment.valid,
    });
    if let Some(id) = &assessment.source_id {
        out["source"]["source_id"] = id.as_str().into();
    }
    out[&assessment.kind] = body;
    let optional =
        [("rationale", &assessment.rationale), ("span_id", &assessment.span_id), ("overrides", &assessment.overrides)];
    for (name, value) in optional {
        if let Some(value) = value {
            out[name] = value.as_str().into();
        }
    }
    if assessment.metadata != "{}" {
        out["metadata"] = serde_json::from_str(&assessment.metadata).unwrap_or_default();
    }
    out
}
