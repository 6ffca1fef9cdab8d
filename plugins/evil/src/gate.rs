//! Gates that misbehave.

use plinth_sdk::{
    Gates, Item, Problem,
    gate::{Check, Evidence, Outcome},
    tables,
};

use crate::deeds;

/// Misdeeds of gates alone.
pub const OWN: [&str; 5] = ["good", "no-checks", "many-checks", "huge-text", "hoard-tables"];

/// The component's gates.
pub struct Evil;

impl Gates for Evil {
    fn describe() -> Vec<Item> {
        items()
    }

    fn evaluate(name: &str, _evidence: &Evidence, _options: &str) -> Result<Vec<Check>, Problem> {
        deeds::check(name, &OWN)?;
        deeds::commit(name)?;
        if name == "hoard-tables" {
            let mut kept = Vec::new();
            for _ in 0..deeds::HOARD {
                kept.push(tables::open("data")?);
            }
        }
        let check = Check {
            name: "evil".into(),
            outcome: Outcome::Pass,
            observed: if name == "huge-text" { "x".repeat(64 << 20) } else { "nothing".into() },
            expected: "nothing".into(),
            reason: String::new(),
        };
        Ok(match name {
            "no-checks" => Vec::new(),
            "many-checks" => vec![check; 1_000_000],
            _ => vec![check],
        })
    }
}

/// List entries.
pub fn items() -> Vec<Item> {
    deeds::items(&OWN, plinth_sdk::NO_OPTIONS)
}
