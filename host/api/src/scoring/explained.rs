//! Explanations beside predictions: what `?explain=` asks for, and how they are written.

use axum::http::StatusCode;
use plinth_core::codes;
use plinth_ext::Batch;
use plinth_score::Explained;
use serde_json::{Map, Value, json};

use crate::{error::ApiError, request::Call};

/// What a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Explain {
    /// By walks through trees where there are any.
    Best,
    /// By coalitions of columns, whatever the model is.
    Kernel,
}

impl Explain {
    /// Reads the query of a request: nothing, unless it asks.
    pub(super) fn of(query: Option<&str>) -> Result<Option<Self>, ApiError> {
        let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "explain");
        match asked.as_ref().map(|(_, how)| how.as_ref()) {
            None | Some("false") => Ok(None),
            Some("true") => Ok(Some(Self::Best)),
            Some("kernel") => Ok(Some(Self::Kernel)),
            Some(other) => Err(ApiError::bad(format!("explain=`{other}` is not true, kernel or false"))),
        }
    }

    /// Refuses more rows than may be explained at once.
    pub(super) fn expect_few(rows: &Batch, most: u32) -> Result<(), ApiError> {
        if rows.num_rows() <= most as usize {
            return Ok(());
        }
        let message = format!(
            "{} rows are to be explained, more than {most}; send fewer at once, or raise limits.serve.explain-rows-max",
            rows.num_rows()
        );
        Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, codes::LIMIT_EXCEEDED, message))
    }

    /// Adds `explanations` to an answer, a JSON object: one for each row.
    pub(super) fn add(self, mut answer: Vec<u8>, call: &Call, rows: &Batch) -> Result<Vec<u8>, ApiError> {
        let (explainer, scorer) = call.deployment().explainer()?;
        let explained = explainer.explain_until(scorer, rows, self == Self::Kernel, Some(call.deadline()))?;
        let scores: Vec<&str> = explainer.scores(scorer).collect();
        let columns: Vec<&str> =
            scorer.model_signature().columns().fields().iter().map(|field| field.name.as_str()).collect();
        let told: Vec<Value> = explained.iter().map(|row| tell(row, &scores, &columns)).collect();
        // The object's end gives way to one key more.
        answer.pop();
        answer.extend_from_slice(b",\"explanations\":");
        answer.extend_from_slice(Value::Array(told).to_string().as_bytes());
        answer.push(b'}');
        Ok(answer)
    }
}

fn tell(row: &Explained, scores: &[&str], columns: &[&str]) -> Value {
    let named = |parts: &[f64]| -> Map<String, Value> {
        columns.iter().zip(parts).map(|(column, part)| ((*column).to_owned(), json!(part))).collect()
    };
    let scores: Map<String, Value> = scores
        .iter()
        .zip(&row.scores)
        .map(|(name, said)| {
            let said = json!({"base": said.base, "value": said.value, "attributions": named(&said.parts)});
            ((*name).to_owned(), said)
        })
        .collect();
    json!({"method": row.method.name(), "exact": row.exact, "scale": row.scale.name(), "scores": scores})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_or_does_not_and_nonsense_is_refused() {
        assert_eq!(Explain::of(None).unwrap(), None);
        assert_eq!(Explain::of(Some("a=b&explain=false")).unwrap(), None);
        assert_eq!(Explain::of(Some("explain=true&a")).unwrap(), Some(Explain::Best));
        assert_eq!(Explain::of(Some("explain=kernel")).unwrap(), Some(Explain::Kernel));
        assert_eq!(Explain::of(Some("explain=yes")).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }
}
