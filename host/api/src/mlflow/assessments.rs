//! Assessments of traces.

use axum::http::Method;
use plinth_tracking::{Assessment, AssessmentUpdate};
use serde_json::{Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route, Thing,
    fields::{missing, wrong_type},
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
    let mask = fields.text_or_empty("update_mask")?;
    let mut update = AssessmentUpdate::default();
    for field in mask.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        match field {
            "assessmentName" | "assessment_name" => update.name = text(given, "assessment_name")?,
            "feedback" | "expectation" | "issue" => update.value = Some(value(given)?),
            "rationale" => update.rationale = text(given, "rationale")?,
            "metadata" => update.metadata = given.get("metadata").map(Value::to_string),
            other => return Err(MlflowError::invalid(format!("`{other}` of an assessment cannot be updated"))),
        }
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
    let source = given.get("source").cloned().unwrap_or_default();
    let when = |name: &str| Ok::<_, MlflowError>(text(given, name)?.and_then(|text| time(&text)).unwrap_or(0));
    let (kind, value) = value(given)?;
    let name = text(given, "assessment_name")?.filter(|name| !name.is_empty());
    Ok(Assessment {
        assessment_id: text(given, "assessment_id")?.unwrap_or_default(),
        name: name.ok_or_else(|| missing("assessment.assessment_name"))?,
        kind,
        value,
        source_type: text(&source, "source_type")?.unwrap_or_else(|| "CODE".to_owned()),
        source_id: text(&source, "source_id")?.unwrap_or_else(|| "default".to_owned()),
        rationale: text(given, "rationale")?,
        span_id: text(given, "span_id")?,
        metadata: given
            .get("metadata")
            .filter(|metadata| metadata.is_object())
            .map_or("{}".to_owned(), Value::to_string),
        overrides: text(given, "overrides")?.filter(|id| !id.is_empty()),
        valid: given.get("valid").and_then(Value::as_bool).unwrap_or(true),
        created: when("create_time")?,
        updated: when("last_update_time")?,
    })
}

/// Feedback is `{"value": …, "error": …}`, an expectation `{"value": …}` or `{"serialized_value": …}`. A plain value is
/// stored as it is, anything more as the whole object behind a `#`, which no JSON starts with.
fn value(given: &Value) -> Result<(String, String), MlflowError> {
    for kind in ["feedback", "expectation", "issue"] {
        let Some(body) = given.get(kind).filter(|body| !body.is_null()) else { continue };
        let Value::Object(map) = body else { return Err(wrong_type(&format!("assessment.{kind}"), body)) };
        let plain = map.len() == 1 && map.contains_key("value");
        let stored = if plain { map["value"].to_string() } else { format!("#{body}") };
        return Ok((kind.to_owned(), stored));
    }
    Err(MlflowError::invalid("an assessment is a feedback, an expectation or an issue, and this one is none"))
}

fn text(value: &Value, name: &str) -> Result<Option<String>, MlflowError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type(&format!("assessment.{name}"), other)),
    }
}

pub(super) fn wire(trace_id: &str, assessment: &Assessment) -> Value {
    let body: Value = match assessment.value.strip_prefix('#') {
        Some(whole) => serde_json::from_str(whole).unwrap_or_default(),
        None => json!({"value": serde_json::from_str::<Value>(&assessment.value).unwrap_or_default()}),
    };
    let mut out = json!({
        "assessment_id": assessment.assessment_id,
        "assessment_name": assessment.name,
        "trace_id": trace_id,
        "source": {"source_type": assessment.source_type, "source_id": assessment.source_id},
        "create_time": time_text(assessment.created),
        "last_update_time": time_text(assessment.updated),
        "valid": assessment.valid,
    });
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
