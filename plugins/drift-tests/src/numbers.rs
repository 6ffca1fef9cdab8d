//! The two samples of a numeric column.

use plinth_sdk::{Block, Problem, Schema};

use crate::ruling::Counted;

/// Finite values of both sides, each ascending.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) reference: Vec<f64>,
    pub(crate) current: Vec<f64>,
    pub(crate) counted: Counted,
}

impl Numbers {
    /// The values of the one column. Nulls and NaNs are dropped, infinities too, with a note.
    ///
    /// # Errors
    /// `wrong-kind` for text, `bad-block`.
    pub(crate) fn read(schema: &Schema, reference: &Block, current: &Block) -> Result<Self, Problem> {
        let mut notes = Vec::new();
        let mut side = |block: &Block, name: &str| -> Result<Vec<f64>, Problem> {
            let mut infinite = 0_u64;
            let mut values = Vec::with_capacity(block.rows as usize);
            for value in block.numbers(schema, 0)?.flatten() {
                if value.is_finite() {
                    // So that both zeros are one value.
                    values.push(value + 0.0);
                } else if value.is_infinite() {
                    infinite += 1;
                }
            }
            if infinite > 0 {
                notes.push(format!("{infinite} infinite values of the {name} count as missing"));
            }
            values.sort_unstable_by(f64::total_cmp);
            Ok(values)
        };
        let (reference, current) = (side(reference, "reference")?, side(current, "current sample")?);
        let counted = Counted { n_reference: reference.len() as u64, n_current: current.len() as u64, notes };
        Ok(Self { reference, current, counted })
    }

    /// Calls `step` at each distinct value of either side, ascending, with the number of values up to and including
    /// it on both sides.
    pub(crate) fn walk(&self, mut step: impl FnMut(f64, usize, usize)) {
        let (reference, current) = (&self.reference[..], &self.current[..]);
        let (mut i, mut j) = (0, 0);
        while i < reference.len() || j < current.len() {
            let value = match (reference.get(i), current.get(j)) {
                (Some(a), Some(b)) => a.min(*b),
                (Some(only), None) | (None, Some(only)) => *only,
                (None, None) => return,
            };
            while reference.get(i) == Some(&value) {
                i += 1;
            }
            while current.get(j) == Some(&value) {
                j += 1;
            }
            step(value, i, j);
        }
    }
}

/// The quantile of ascending values, linear between neighbours (Hyndman and Fan's type 7).
pub(crate) fn quantile(ascending: &[f64], share: f64) -> f64 {
    let position = share * (ascending.len() - 1) as f64;
    let below = ascending[position.floor() as usize];
    let above = ascending[position.ceil() as usize];
    below + (above - below) * position.fract()
}
