//! The kinds of stages of a pipeline file, one file each.
//!
//! A stage reads blobs and writes blobs; what it says about them is in small JSON documents ([`documents`]) that are
//! blobs too, so that a later stage, on any machine, needs nothing but hashes.

mod answer;
pub(crate) mod documents;
mod evaluate;
mod features;
mod gate;
mod load;
mod register;
mod split;
mod train;
mod validate;

use std::sync::Arc;

use plinth_ext::{Check, CheckOutcome};
use plinth_pipeline::{Handlers, StageFailure};
use serde_json::{Map, Value, json};

use crate::host::Host;

pub(crate) use evaluate::beside;
pub(crate) use register::registered_version;

/// Every kind of stage.
pub(crate) fn handlers(host: &Arc<Host>) -> Handlers {
    Handlers::default()
        .with(load::Load(host.clone()))
        .with(validate::Validate(host.clone()))
        .with(split::Split(host.clone()))
        .with(features::Features(host.clone()))
        .with(train::Train(host.clone()))
        .with(evaluate::Evaluate(host.clone()))
        .with(gate::Gate(host.clone()))
        .with(register::Register(host.clone()))
}

/// Options of a plugin as it takes them: JSON text.
pub(crate) fn options_text(options: &Map<String, Value>) -> String {
    Value::Object(options.clone()).to_string()
}

/// A gate said no, or could not say anything.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} checks failed: {}", names.join(", "))]
pub(crate) struct GateFailed {
    failed: usize,
    all: usize,
    names: Vec<String>,
}

impl plinth_core::Coded for GateFailed {
    fn code(&self) -> plinth_core::Code {
        plinth_core::codes::GATE_FAILED
    }

    fn hint(&self) -> Option<String> {
        Some("the table of checks says what was seen and what was wanted; nothing was registered".into())
    }
}

/// Nothing, if no check failed; else the failure with its table.
fn judge(checks: &[Check]) -> Result<(), StageFailure> {
    let failed: Vec<String> =
        checks.iter().filter(|check| check.outcome == CheckOutcome::Fail).map(|check| check.name.clone()).collect();
    if failed.is_empty() && !checks.is_empty() {
        return Ok(());
    }
    let error = GateFailed { failed: failed.len(), all: checks.len(), names: failed };
    Err(StageFailure::from(error).with_details(json!({ "checks": checks })))
}

/// `9 checks passed`, with warnings if there are any.
fn summary(checks: &[Check]) -> String {
    let warnings = checks.iter().filter(|check| check.outcome == CheckOutcome::Warn).count();
    let warned = if warnings > 0 { format!(", {warnings} of them with a warning") } else { String::new() };
    format!("{} checks passed{warned}", checks.len())
}

/// `5,000`
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_gate_without_checks_lets_nothing_through() {
        assert!(judge(&[]).is_err());
    }
}
