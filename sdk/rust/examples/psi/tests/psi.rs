//! The plugin at work, natively.

use plinth_sdk::{
    Block, DriftTests, Field, Kind, Problem, Schema,
    drift::{Outcome, Verdict},
};
use psi_rust::ExportedDriftTests as Plugin;

fn psi(reference: Vec<f64>, current: Vec<f64>, options: &str) -> Result<Outcome, Problem> {
    let schema = Schema::new([Field::new("x", Kind::Float64, false)]);
    let block = |values: Vec<f64>| Block { rows: values.len() as u32, f64s: values, ..Block::default() };
    Plugin::test("psi", &schema, &block(reference), &block(current), options)
}

fn sawtooth(shift: u32) -> Vec<f64> {
    (0..200).map(|row| f64::from(row % 50 + shift)).collect()
}

#[test]
fn a_shift_is_drift_and_the_same_rows_are_none() {
    let same = psi(sawtooth(0), sawtooth(0), "{}").unwrap();
    assert_eq!((same.verdict, same.statistic, same.n_current), (Verdict::NoDrift, 0.0, 200));
    let moved = psi(sawtooth(0), sawtooth(15), r#"{"bins": 4}"#).unwrap();
    // Bins hold 48, 52, 48, 52 and 0, 40, 48, 112 of 200, and half a row more.
    let share = |count: f64| (count + 0.5) / 202.0;
    let bins = [(48.0, 0.0), (52.0, 40.0), (48.0, 48.0), (52.0, 112.0)];
    let expected: f64 = bins.map(|(r, c)| (share(c) - share(r)) * (share(c) / share(r)).ln()).into_iter().sum();
    assert!((moved.statistic - expected).abs() < 1e-12, "{} and {expected}", moved.statistic);
    assert_eq!((moved.verdict, moved.effect_size), (Verdict::Drift, Some(moved.statistic)));
}

#[test]
fn equal_values_share_a_bin() {
    let outcome = psi(vec![0.0, -0.0, 0.0, 1.0], vec![-0.0, 0.0, 1.0, f64::NAN], r#"{"rows-min": 3}"#).unwrap();
    assert_eq!((outcome.n_reference, outcome.n_current), (4, 3));
    // Edges are 0 and 1: no value lies below 0, so the first bin is empty.
    let share = |count: f64, rows: f64| (count + 0.5) / (rows + 1.5);
    let bins = [(0.0, 0.0), (3.0, 2.0), (1.0, 1.0)].map(|(r, c)| (share(r, 4.0), share(c, 3.0)));
    let expected: f64 = bins.map(|(p, q)| (q - p) * (q / p).ln()).into_iter().sum();
    assert!((outcome.statistic - expected).abs() < 1e-12, "{} and {expected}", outcome.statistic);
}

#[test]
fn too_few_rows_are_no_verdict() {
    let few = psi(vec![1.0; 3], vec![], "{}").unwrap();
    assert_eq!(few.note.as_deref(), Some("the reference has 3 usable rows; a verdict needs 30"));
    assert_eq!((few.verdict, few.statistic, few.effect_size), (Verdict::Inconclusive, 0.0, None));
    let few = psi(sawtooth(0), vec![1.0], "{}").unwrap();
    assert_eq!(few.note.as_deref(), Some("the current sample has 1 usable rows; a verdict needs 30"));
}

#[test]
fn options_out_of_range_are_told() {
    for options in [r#"{"bins": 1}"#, r#"{"bins": 1001}"#, r#"{"threshold": 0}"#, r#"{"rows-min": 0}"#] {
        assert_eq!(psi(vec![], vec![], options).unwrap_err().code, "bad-options", "{options}");
    }
}
