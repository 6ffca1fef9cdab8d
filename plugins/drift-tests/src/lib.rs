//! Drift tests: has the current sample of a column left the reference?
//!
//! | item | compares | p-value | effect size, 0 to 1 unless said |
//! |---|---|---|---|
//! | `ks` | numbers | yes | largest gap between the two distributions |
//! | `chi-square` | categories | yes | Cramér's V of the two samples weighted alike |
//! | `psi` | both | no | the index itself, 0 upwards |
//! | `jensen-shannon` | both | no | the distance itself, in base 2 |
//! | `wasserstein` | numbers | no | the distance in reference standard deviations, 0 upwards |
//!
//! What all of them do: both sides are samples, neither is taken for the truth. A null and a NaN count as missing and
//! are dropped on each side; an infinity likewise, with a note. Below `rows-min` rows on a side the verdict is
//! inconclusive and the numbers are still shown. An effect size does not grow with n, so that a test on a million
//! rows can be told from a change that matters; with `effect-min` a drift needs an effect of that size.
//!
//! A new test is a file here, its name in the list of exports, and SciPy's values in `tests/golden.py`.
//!
//! What this crate does not know: windows, several columns, correction for multiple testing. The host does these.

mod binned;
mod categories;
mod chi;
mod js;
mod ks;
mod numbers;
mod psi;
mod ruling;
mod significance;
mod wasserstein;

pub use chi::ChiSquare;
pub use js::JensenShannon;
pub use ks::Ks;
pub use psi::Psi;
pub use wasserstein::Wasserstein;

plinth_sdk::export_drift_tests!(Ks, ChiSquare, Psi, JensenShannon, Wasserstein);
