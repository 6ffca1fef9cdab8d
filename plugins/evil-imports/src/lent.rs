//! Lent tables, abused.

use plinth_sdk::{Problem, tables};

use crate::unknown;

/// Commits a misdeed; says what the host answered.
///
/// # Errors
/// The host's problem, where that is the answer.
pub fn commit(name: &str) -> Result<String, Problem> {
    Ok(match name {
        "table-unknown" => format!("{:?}", tables::open("../data")?.schema()),
        "table-odd-reads" => {
            let table = tables::open("data")?;
            let mut rows = Vec::new();
            for max in [0, u32::MAX, 1, 1, u32::MAX] {
                rows.push(table.next(max)?.map_or(0, |block| block.rows).to_string());
            }
            rows.join(" ")
        }
        #[cfg(target_arch = "wasm32")]
        "table-after-drop" => {
            drop(tables::open("data")?);
            crate::raw::schema_of(1)
        }
        "tables-reopened" => {
            for _ in 0..1_000_000 {
                drop(tables::open("data")?);
            }
            "1000000 tables".into()
        }
        _ => return Err(unknown(name)),
    })
}
