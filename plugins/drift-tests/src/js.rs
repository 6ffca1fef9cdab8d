//! The Jensen-Shannon distance.

use plinth_sdk::{Block, DriftTest, Kind, Problem, Schema, drift::Outcome};

use crate::{
    binned::{self, Options},
    categories::Categories,
    ruling::chi_square_95,
};

/// The square root of the Jensen-Shannon divergence, in base 2: 0 for equal shares, 1 where nothing overlaps.
///
/// Without drift the divergence is about `(1/n + 1/m) / (8 ln 2)` times a chi-square variable, which tells what chance
/// alone can do.
pub struct JensenShannon;

impl DriftTest for JensenShannon {
    const NAME: &'static str = "jensen-shannon";
    const SUMMARY: &'static str = "Jensen-Shannon distance, base 2";
    const EFFECT: Option<&'static str> = Some("the distance itself, 0 to 1");
    const OPTIONS: &'static str = binned::OPTIONS;
    const KINDS: &'static [Kind] = &Kind::ALL;
    type Options = Options;

    fn test(schema: &Schema, reference: &Block, current: &Block, options: Options) -> Result<Outcome, Problem> {
        binned::compare(schema, reference, current, &options, |categories| {
            let degrees = categories.counts.len() - 1;
            let chance = chi_square_95(degrees) * categories.counted.variance_factor() / (8.0 * std::f64::consts::LN_2);
            (divergence(categories).max(0.0).sqrt(), chance.sqrt())
        })
    }
}

/// The mean of both sides' divergence from their mixture, in bits.
fn divergence(categories: &Categories) -> f64 {
    let against = |share: f64, mixed: f64| if share > 0.0 { share * (share / mixed).log2() } else { 0.0 };
    let term = |(p, q): (f64, f64)| against(p, (p + q) / 2.0) + against(q, (p + q) / 2.0);
    categories.shares().map(term).sum::<f64>() / 2.0
}
