//! The population stability index.

use plinth_sdk::{Block, DriftTest, Kind, Problem, Schema, drift::Outcome};

use crate::{
    binned::{self, Options},
    categories::Categories,
    ruling::chi_square_95,
};

/// `Σ (c - r) ln(c / r)` over the shares of categories or of quantile bins of the reference.
///
/// Where a side lacks a category, half a row is added to every count of both sides, so that the index stays finite.
/// Without drift it is about `(1/n + 1/m)` times a chi-square variable, which tells what chance alone can do.
pub struct Psi;

impl DriftTest for Psi {
    const NAME: &'static str = "psi";
    const SUMMARY: &'static str = "Population stability index";
    const EFFECT: Option<&'static str> = Some("the index itself (0.1 moderate, 0.25 large)");
    const OPTIONS: &'static str = binned::OPTIONS;
    const KINDS: &'static [Kind] = &Kind::ALL;
    type Options = Options;

    fn test(schema: &Schema, reference: &Block, current: &Block, options: Options) -> Result<Outcome, Problem> {
        binned::compare(schema, reference, current, &options, |categories| {
            let chance = chi_square_95(categories.counts.len() - 1) * categories.counted.variance_factor();
            (index(categories), chance)
        })
    }
}

fn index(categories: &Categories) -> f64 {
    let lacking = categories.counts.iter().any(|&(r, c)| r == 0 || c == 0);
    let extra = if lacking { 0.5 } else { 0.0 };
    let added = extra * categories.counts.len() as f64;
    let n = categories.counted.n_reference as f64 + added;
    let m = categories.counted.n_current as f64 + added;
    let term = |&(r, c): &(u64, u64)| {
        let (r, c) = ((r as f64 + extra) / n, (c as f64 + extra) / m);
        (c - r) * (c / r).ln()
    };
    categories.counts.iter().map(term).sum()
}
