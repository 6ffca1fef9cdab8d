//! Drift tests that misbehave.

use plinth_sdk::{
    Block, DriftTests, Item, Kind, Problem, Schema,
    drift::{Outcome, TestItem, Verdict},
};

use crate::deeds;

/// Misdeeds of drift tests alone.
pub const OWN: [&str; 5] = ["good", "nan-statistic", "odd-p-value", "lying-n", "huge-note"];

/// The component's drift tests.
pub struct Evil;

impl DriftTests for Evil {
    fn describe() -> Vec<TestItem> {
        let test = |item| TestItem { item, kinds: Kind::ALL.to_vec(), multivariate: true, effect: None };
        items().into_iter().map(test).collect()
    }

    fn test(
        name: &str,
        _schema: &Schema,
        reference: &Block,
        current: &Block,
        _options: &str,
    ) -> Result<Outcome, Problem> {
        deeds::check(name, &OWN)?;
        deeds::commit(name)?;
        let mut outcome = Outcome {
            statistic: 0.0,
            p_value: Some(1.0),
            effect_size: Some(0.0),
            threshold: 0.05,
            verdict: Verdict::NoDrift,
            n_reference: u64::from(reference.rows),
            n_current: u64::from(current.rows),
            note: None,
        };
        match name {
            "nan-statistic" => {
                outcome.statistic = f64::NAN;
                outcome.p_value = Some(f64::NAN);
                outcome.effect_size = Some(f64::NAN);
                outcome.threshold = f64::NAN;
            }
            "odd-p-value" => outcome.p_value = Some(2.0),
            "lying-n" => (outcome.n_reference, outcome.n_current) = (u64::MAX, u64::MAX),
            "huge-note" => outcome.note = Some("x".repeat(64 << 20)),
            _ => {}
        }
        Ok(outcome)
    }
}

/// List entries.
pub fn items() -> Vec<Item> {
    deeds::items(&OWN, plinth_sdk::NO_OPTIONS)
}
