//! What people, judges and code say of a trace: feedback, and what was expected.

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};
use serde_json::{Map, Value as Json, json};

use crate::{
    Tracking, TrackingError,
    json::ascii,
    names::cut,
    traces::{must_exist, subject},
};

/// One thing that was said of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assessment {
    /// `a-` and 32 hexadecimal digits.
    pub assessment_id: String,
    /// What it is about, such as `correct`.
    pub name: String,
    /// `feedback`, `expectation` or `issue`.
    pub kind: String,
    /// What was said, as JSON.
    pub value: String,
    /// Why nothing could be said, as a JSON object.
    pub error: Option<String>,
    /// `HUMAN`, `LLM_JUDGE` or `CODE`.
    pub source_type: String,
    /// Who, of that kind.
    pub source_id: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// The span that it is about, if it is not the whole trace.
    pub span_id: Option<String>,
    /// Anything else, as a JSON object.
    pub metadata: String,
    /// The assessment that this one replaces.
    pub overrides: Option<String>,
    /// Whether no other has replaced it.
    pub valid: bool,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
}

/// A change of an assessment; what is nothing stays.
#[derive(Debug, Clone, Default)]
pub struct AssessmentUpdate {
    /// Another name.
    pub name: Option<String>,
    /// Kind, value and error; the kind must be the one it has.
    pub value: Option<(String, String, Option<String>)>,
    /// Another reason.
    pub rationale: Option<String>,
    /// A JSON object that is merged into the one it has.
    pub metadata: Option<Map<String, Json>>,
}

const COLUMNS: &str = "assessment_id, name, kind, value, number, error, source_type, source_id, rationale, span_id, metadata, \
    overrides, valid, created_us, updated_us";

impl Tracking {
    /// Records an assessment under a new id; one that it replaces is not valid any more.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`]; [`TrackingError::Missing`] if what it replaces is not there.
    pub fn add_assessment(&self, trace_id: &str, new: &Assessment) -> Result<Assessment, TrackingError> {
        let assessment = self.stamped(new, self.clock.now());
        self.store.catalog().write(|tx| {
            must_exist(tx, trace_id)?;
            if let Some(replaced) = &assessment.overrides {
                let sql = "UPDATE assessments SET valid = 0 WHERE trace_id = $1 AND assessment_id = $2";
                if tx.execute(sql, &[trace_id.into(), replaced.into()])? == 0 {
                    return Err(not_found(trace_id, replaced));
                }
            }
            insert(tx, trace_id, &assessment)?;
            let detail = json!({"assessment_id": assessment.assessment_id, "name": assessment.name});
            self.note(tx, "assessment.create", &subject(trace_id), &detail)?;
            Ok(assessment)
        })
    }

    /// An assessment.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`], [`TrackingError::Missing`].
    pub fn assessment(&self, trace_id: &str, assessment_id: &str) -> Result<Assessment, TrackingError> {
        self.store.catalog().read(|tx| find(tx, trace_id, assessment_id))
    }

    /// Changes an assessment.
    ///
    /// # Errors
    /// [`TrackingError::TraceNotFound`], [`TrackingError::Missing`]; [`TrackingError::Invalid`] for another kind.
    pub fn update_assessment(
        &self,
        trace_id: &str,
        assessment_id: &str,
        update: &AssessmentUpdate,
    ) -> Result<Assessment, TrackingError> {
        self.store.catalog().write(|tx| {
            let mut assessment = find(tx, trace_id, assessment_id)?;
            if let Some((kind, value, error)) = &update.value {
                if *kind != assessment.kind {
                    let article = if assessment.kind == "feedback" { "a Feedback" } else { "an Expectation" };
                    let message = format!("Cannot update {kind} value on {article} assessment.");
                    return Err(TrackingError::Invalid(message));
                }
                assessment.value.clone_from(value);
                assessment.error.clone_from(error);
            }
            if let Some(name) = &update.name {
                assessment.name.clone_from(name);
            }
            if update.rationale.is_some() {
                assessment.rationale.clone_from(&update.rationale);
            }
            if let Some(metadata) = &update.metadata {
                let mut merged: Map<String, Json> = serde_json::from_str(&assessment.metadata).unwrap_or_default();
                merged.extend(metadata.clone());
                assessment.metadata = ascii(&Json::Object(merged));
            }
            assessment.updated = self.clock.now();
            tx.execute(
                "UPDATE assessments SET name = $2, value = $3, number = $4, error = $5, rationale = $6, metadata = $7,
                    updated_us = $8 WHERE assessment_id = $1",
                &[
                    assessment_id.into(),
                    Value::from(&assessment.name),
                    Value::from(&assessment.value),
                    number(&assessment.value).into(),
                    assessment.error.clone().into(),
                    assessment.rationale.clone().into(),
                    Value::from(&assessment.metadata),
                    Value::Int(assessment.updated),
                ],
            )?;
            self.note(tx, "assessment.update", &subject(trace_id), &json!({"assessment_id": assessment_id}))?;
            Ok(assessment)
        })
    }

    /// Deletes an assessment; one that it had replaced is valid again. One that is not there is gone already.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn delete_assessment(&self, trace_id: &str, assessment_id: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let assessment = match find(tx, trace_id, assessment_id) {
                Err(TrackingError::Missing(_)) => return Ok(()),
                found => found?,
            };
            if let Some(replaced) = &assessment.overrides {
                let sql = "UPDATE assessments SET valid = 1 WHERE assessment_id = $1 AND trace_id = $2";
                tx.execute(sql, &[replaced.into(), trace_id.into()])?;
            }
            tx.execute("DELETE FROM assessments WHERE assessment_id = $1", &[assessment_id.into()])?;
            self.note(tx, "assessment.delete", &subject(trace_id), &json!({"assessment_id": assessment_id}))
        })
    }

    /// A new assessment with an id, unless it brings one, and with its times.
    pub(crate) fn stamped(&self, new: &Assessment, now: Micros) -> Assessment {
        let stamp = |time: Micros| if time == 0 { now } else { time };
        let assessment_id = match new.assessment_id.as_str() {
            "" => format!("a-{}", self.ids.next()),
            given => given.to_owned(),
        };
        Assessment {
            assessment_id,
            valid: true,
            created: stamp(new.created),
            updated: stamp(new.updated),
            ..new.clone()
        }
    }
}

/// A value that is a number, so that it can be compared as one.
fn number(value: &str) -> Option<f64> {
    serde_json::from_str::<Json>(value).ok()?.as_f64()
}

fn not_found(trace_id: &str, assessment_id: &str) -> TrackingError {
    TrackingError::Missing(format!(
        "Assessment with ID '{}' not found for trace '{}'",
        cut(assessment_id),
        cut(trace_id)
    ))
}

pub(crate) fn insert(tx: &mut dyn Tx, trace_id: &str, assessment: &Assessment) -> Result<(), TrackingError> {
    let sql = format!(
        "INSERT INTO assessments (trace_id, {COLUMNS})
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (assessment_id) DO UPDATE SET name = excluded.name, kind = excluded.kind, value = excluded.value,
            number = excluded.number, error = excluded.error, source_type = excluded.source_type,
            source_id = excluded.source_id, rationale = excluded.rationale, span_id = excluded.span_id,
            metadata = excluded.metadata, overrides = excluded.overrides, valid = excluded.valid,
            updated_us = excluded.updated_us
         WHERE assessments.trace_id = excluded.trace_id"
    );
    tx.execute(
        &sql,
        &[
            trace_id.into(),
            Value::from(&assessment.assessment_id),
            Value::from(&assessment.name),
            Value::from(&assessment.kind),
            Value::from(&assessment.value),
            number(&assessment.value).into(),
            assessment.error.clone().into(),
            Value::from(&assessment.source_type),
            assessment.source_id.clone().into(),
            assessment.rationale.clone().into(),
            assessment.span_id.clone().into(),
            Value::from(&assessment.metadata),
            assessment.overrides.clone().into(),
            assessment.valid.into(),
            Value::Int(assessment.created),
            Value::Int(assessment.updated),
        ],
    )?;
    Ok(())
}

fn find(tx: &mut dyn Tx, trace_id: &str, assessment_id: &str) -> Result<Assessment, TrackingError> {
    let sql = format!("SELECT {COLUMNS} FROM assessments WHERE trace_id = $1 AND assessment_id = $2");
    if let Some(row) = tx.query_one(&sql, &[trace_id.into(), assessment_id.into()])? {
        return read(&row);
    }
    Err(match must_exist(tx, trace_id) {
        Err(TrackingError::TraceNotFound(id)) => {
            TrackingError::Missing(format!("Trace with request_id '{id}' not found"))
        }
        Err(other) => other,
        Ok(()) => not_found(trace_id, assessment_id),
    })
}

pub(crate) fn read_assessments(tx: &mut dyn Tx, trace_id: &str) -> Result<Vec<Assessment>, TrackingError> {
    let sql = format!("SELECT {COLUMNS} FROM assessments WHERE trace_id = $1 ORDER BY created_us, assessment_id");
    tx.query(&sql, &[trace_id.into()])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Assessment, TrackingError> {
    Ok(Assessment {
        assessment_id: row.text(0)?,
        name: row.text(1)?,
        kind: row.text(2)?,
        value: row.text(3)?,
        error: row.opt_text(5)?,
        source_type: row.text(6)?,
        source_id: row.opt_text(7)?,
        rationale: row.opt_text(8)?,
        span_id: row.opt_text(9)?,
        metadata: row.text(10)?,
        overrides: row.opt_text(11)?,
        valid: row.int(12)? == 1,
        created: row.int(13)?,
        updated: row.int(14)?,
    })
}
