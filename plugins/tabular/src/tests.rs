//! Behaviour of whole fits: chains, passes, partitions, states.

use plinth_sdk::{Block, BlockBuilder, Field, Kind, Schema, Step};
use proptest::prelude::*;

use crate::{Fit, Fitted};

const CHAIN: &str = r#"{"steps": [
    {"drop": ["id"]},
    {"impute": {"columns": "numeric", "strategy": "median"}},
    {"impute": {"columns": "categorical", "strategy": "most-frequent"}},
    {"one-hot": {"columns": ["state"], "unknown": "ignore"}},
    {"standard-scale": "numeric"}
]}"#;

fn schema() -> Schema {
    Schema::new([
        Field::new("id", Kind::Int64, false),
        Field::new("minutes", Kind::Float64, true),
        Field::new("calls", Kind::Int64, true),
        Field::new("state", Kind::Utf8, true),
    ])
}

type Row = (Option<f64>, Option<i64>, Option<&'static str>);

fn block(rows: &[Row]) -> Block {
    let schema = schema();
    let bits = |present: &dyn Fn(&Row) -> bool| -> Vec<u8> {
        rows.chunks(8)
            .map(|run| run.iter().enumerate().fold(0, |byte, (at, row)| byte | u8::from(present(row)) << at))
            .collect()
    };
    let mut builder = BlockBuilder::new(&schema, rows.len());
    builder.s64s((0..rows.len() as i64).collect(), None).unwrap();
    builder.f64s(rows.iter().map(|row| row.0.unwrap_or(0.0)).collect(), Some(&bits(&|row| row.0.is_some()))).unwrap();
    builder.s64s(rows.iter().map(|row| row.1.unwrap_or(0)).collect(), Some(&bits(&|row| row.1.is_some()))).unwrap();
    builder
        .texts(
            rows.iter().map(|row| row.2.unwrap_or("")).collect::<Vec<_>>().into_iter(),
            Some(&bits(&|row| row.2.is_some())),
        )
        .unwrap();
    builder.finish().unwrap()
}

/// Fits over partitions as a coordinator would: each its own fit, merged in the order given, every pass.
fn fit(item: &str, schema: &Schema, options: &str, partitions: &[Vec<Block>]) -> (Vec<u8>, u32) {
    let start = || Fit::start(item, schema, options).unwrap();
    let mut whole = start();
    for pass in 1.. {
        // Taken before any row of this pass: the steps fitted so far and no counts.
        let progress = whole.partial().unwrap();
        for partition in partitions {
            let mut part = start();
            part.merge(&progress).unwrap();
            partition.iter().for_each(|block| part.update(block).unwrap());
            whole.merge(&part.partial().unwrap()).unwrap();
        }
        if let Step::Done(state) = whole.end_pass().unwrap() {
            return (state, pass);
        }
    }
    unreachable!("a fit ends")
}

fn rows() -> Vec<Row> {
    vec![
        (Some(1.0), Some(3), Some("KS")),
        (None, Some(5), Some("OH")),
        (Some(3.0), None, None),
        (Some(8.0), Some(5), Some("KS")),
    ]
}

#[test]
fn a_chain_imputes_encodes_and_scales_in_two_passes() {
    let (state, passes) = fit("chain", &schema(), CHAIN, &[vec![block(&rows())]]);
    assert_eq!(passes, 2);
    let fitted = Fitted::load("chain", &state, &schema()).unwrap();
    let names: Vec<&str> = fitted.output().fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["minutes", "calls", "state=KS", "state=OH"]);
    assert!(fitted.output().fields.iter().all(|field| field.kind == Kind::Float64 && !field.nullable));
    let out = fitted.apply(block(&rows())).unwrap();
    assert_eq!(out.rows, 4);
    assert!(out.validity.is_empty());
    // minutes 1 3 3 8: mean 3.75, variance 6.6875; calls 3 5 5 5: mean 4.5, variance 0.75.
    let deviation = 6.6875_f64.sqrt();
    for (got, value) in out.f64s[..4].iter().zip([1.0, 3.0, 3.0, 8.0]) {
        assert!((got - (value - 3.75) / deviation).abs() < 1e-15);
    }
    assert!((out.f64s[4] - -1.5 / 0.75_f64.sqrt()).abs() < 1e-15);
    assert_eq!(out.f64s[8..], [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn the_dropped_and_the_untouched_may_be_missing_when_a_model_answers() {
    let (state, _) = fit("chain", &schema(), CHAIN, &[vec![block(&rows())]]);
    let mut fields = schema().fields;
    fields.remove(0);
    fields.reverse();
    let fitted = Fitted::load("chain", &state, &Schema::new(fields)).unwrap();
    let names: Vec<&str> = fitted.output().fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["state=KS", "state=OH", "calls", "minutes"]);
}

#[test]
fn schemas_that_the_fit_did_not_see_are_refused_by_column() {
    let (state, _) = fit("chain", &schema(), CHAIN, &[vec![block(&rows())]]);
    let refuse = |fields: Vec<Field>| Fitted::load("chain", &state, &Schema::new(fields)).err().unwrap();
    let mut fields = schema().fields;
    fields[1].kind = Kind::Utf8;
    let refused = refuse(fields);
    assert_eq!(refused.message, "column minutes is utf8, and the transform was fitted on float64");
    let mut fields = schema().fields;
    fields.push(Field::new("extra", Kind::Int64, false));
    assert_eq!(refuse(fields).code, "unexpected-column");
    let mut fields = schema().fields;
    fields.remove(2);
    let refused = refuse(fields);
    assert_eq!((refused.code.as_str(), refused.column.as_deref()), ("unknown-column", Some("calls")));
}

#[test]
fn states_that_are_cut_changed_or_of_another_item_are_refused() {
    let (state, _) = fit("chain", &schema(), CHAIN, &[vec![block(&rows())]]);
    for end in 0..state.len() {
        assert_eq!(Fitted::load("chain", &state[..end], &schema()).err().unwrap().code, "bad-state", "{end}");
    }
    assert_eq!(Fitted::load("impute", &state, &schema()).err().unwrap().code, "wrong-item");
    let mut newer = state.clone();
    newer[4] = 2;
    assert!(Fitted::load("chain", &newer, &schema()).err().unwrap().message.contains("version 2"));
}

#[test]
fn unknown_categories_follow_the_policy() {
    let fields = [Field::new("state", Kind::Utf8, true)];
    let text = |values: &[&str], valid: u8| {
        let schema = Schema::new(fields.clone());
        let mut builder = BlockBuilder::new(&schema, values.len());
        builder.texts(values.iter(), Some(&[valid])).unwrap();
        builder.finish().unwrap()
    };
    let schema = Schema::new(fields.clone());
    let apply = |item: &str, unknown: &str| {
        let options = format!(r#"{{"columns": ["state"], "unknown": "{unknown}"}}"#);
        let (state, _) = fit(item, &schema, &options, &[vec![text(&["b", "a"], 0b11)]]);
        Fitted::load(item, &state, &schema).unwrap().apply(text(&["b", "zz", ""], 0b011))
    };
    let refused = apply("one-hot", "error").unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.row, refused.column.as_deref()),
        ("unknown-category", Some(1), Some("state"))
    );
    assert!(refused.message.contains("`zz`") && refused.message.contains("unknown: ignore"), "{}", refused.message);
    assert_eq!(apply("one-hot", "ignore").unwrap().f64s, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(apply("one-hot", "bucket").unwrap().f64s, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    assert_eq!(apply("ordinal", "ignore").unwrap().f64s, [1.0, -1.0, -1.0]);
    assert_eq!(apply("ordinal", "bucket").unwrap().f64s, [1.0, 2.0, 2.0]);
}

#[test]
fn nulls_stay_null_and_hold_zero_when_scaled_in_place() {
    let schema = Schema::new([Field::new("x", Kind::Float64, true), Field::new("t", Kind::Utf8, false)]);
    let mut builder = BlockBuilder::new(&schema, 3);
    builder.f64s(vec![1.0, 0.0, 3.0], Some(&[0b101])).unwrap();
    builder.texts(["a", "b", "c"].into_iter(), None).unwrap();
    let rows = builder.finish().unwrap();
    let (state, _) = fit("standard-scale", &schema, r#"{"columns": "numeric"}"#, &[vec![rows.clone()]]);
    let out = Fitted::load("standard-scale", &state, &schema).unwrap().apply(rows.clone()).unwrap();
    assert_eq!(out, Block { f64s: vec![-1.0, 0.0, 1.0], ..rows });
}

#[test]
fn what_cannot_be_learned_is_said() {
    let schema = schema();
    let start = |options: &str| Fit::start("chain", &schema, options).err().unwrap();
    let refused = start(r#"{"steps":[{"standard-scale":["state"]}]}"#);
    assert_eq!(refused.code, "unsupported-kind");
    let refused = start(r#"{"steps":[{"drop":["stat"]}]}"#);
    assert!(refused.message.contains("did you mean `state`?"), "{}", refused.message);
    let mut empty = Fit::start("chain", &schema, CHAIN).unwrap();
    assert_eq!(empty.end_pass().unwrap_err().code, "no-rows");
    let mut nulls = Fit::start("chain", &schema, CHAIN).unwrap();
    nulls.update(&block(&[(None, Some(1), Some("a"))])).unwrap();
    assert_eq!(nulls.end_pass().unwrap_err().column.as_deref(), Some("minutes"));
    let mut infinite = Fit::start("standard-scale", &schema, r#"{"columns":"numeric"}"#).unwrap();
    let refused = infinite.update(&block(&[(Some(1.0), None, None), (Some(f64::INFINITY), None, None)])).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.row), ("infinite-value", Some(1)));
}

#[test]
fn a_selector_that_needs_encoded_columns_waits_for_them() {
    let options = r#"{"steps":[{"drop":["id","calls","minutes"]},{"one-hot":["state"]},{"standard-scale":["state=KS"]},{"select":["state=KS"]}]}"#;
    let only = |rows: &[Row]| block(rows);
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.2.is_some()).collect();
    let (state, passes) = fit("chain", &schema(), options, &[vec![only(&rows)]]);
    assert_eq!(passes, 2);
    let out = Fitted::load("chain", &state, &schema()).unwrap().apply(only(&rows)).unwrap();
    assert_eq!(out.f64s.len(), 3);
    assert!(out.f64s.iter().sum::<f64>().abs() < 1e-15);
}

#[test]
fn steps_without_learning_need_no_rows() {
    let mut fit = Fit::start("select", &schema(), r#"{"columns":["state","id"]}"#).unwrap();
    let Step::Done(state) = fit.end_pass().unwrap() else { panic!("select needs no other pass") };
    let fitted = Fitted::load("select", &state, &schema()).unwrap();
    let out = fitted.apply(block(&rows())).unwrap();
    assert_eq!((out.s64s, out.bytes), (vec![0, 1, 2, 3], b"KSOHKS".to_vec()));
    assert_eq!(out.validity, [0b1011]);
}

/// The float64 columns of what a chain of these steps makes of `rows`, one list a column, by name.
fn made(steps: &str, rows: &[Row]) -> Vec<(String, Vec<Option<f64>>)> {
    let options = format!(r#"{{"steps": [{steps}]}}"#);
    let (state, _) = fit("chain", &schema(), &options, &[vec![block(rows)]]);
    let fitted = Fitted::load("chain", &state, &schema()).unwrap();
    let out = fitted.apply(block(rows)).unwrap();
    let fields = fitted.output().fields.iter().enumerate().filter(|(_, field)| field.kind == Kind::Float64);
    fields.map(|(at, field)| (field.name.clone(), out.numbers(fitted.output(), at).unwrap().collect())).collect()
}

#[test]
fn groups_of_columns_can_have_exceptions_and_pass_encoded_columns_by() {
    let steps = r#"{"drop": ["id"]}, {"ordinal": {"columns": "categorical", "unknown": "ignore"}},
        {"min-max-scale": {"columns": "numeric", "except": ["calls"], "range": [-1, 1]}}"#;
    let made = made(steps, &rows());
    assert_eq!(made[0], ("minutes".to_owned(), vec![Some(-1.0), None, Some(2.0 * (2.0 / 7.0) - 1.0), Some(1.0)]));
    assert_eq!(made[1], ("state".to_owned(), vec![Some(0.0), Some(1.0), Some(-1.0), Some(0.0)]));
    assert_eq!(made.len(), 2, "calls stayed an integer");
}

#[test]
fn clipping_holds_later_rows_within_the_range() {
    let options = r#"{"columns": ["minutes"], "clip": true}"#;
    let (state, _) = fit("min-max-scale", &schema(), options, &[vec![block(&rows())]]);
    let later = block(&[(Some(-50.0), None, None), (Some(99.0), None, None), (Some(f64::NAN), None, None)]);
    let out = Fitted::load("min-max-scale", &state, &schema()).unwrap().apply(later).unwrap();
    assert_eq!(out.f64s[..2], [0.0, 1.0]);
    assert!(out.f64s[2].is_nan());
}

#[test]
fn integers_that_are_scaled_become_floats_and_equal_values_become_zero() {
    let rows: Vec<Row> = vec![(Some(2.0), Some(7), None), (Some(2.0), Some(9), None)];
    let made = made(r#"{"standard-scale": ["minutes", "calls"]}"#, &rows);
    assert_eq!(made[0].1, [Some(0.0), Some(0.0)]);
    assert_eq!(made[1].1, [Some(-1.0), Some(1.0)]);
}

#[test]
fn casts_and_date_parts_feed_later_steps() {
    let steps = r#"{"cast": {"columns": ["calls"], "to": "utf8"}}, {"impute": {"columns": ["calls"], "strategy": "constant", "value": "none"}},
        {"one-hot": {"columns": ["calls"], "drop-first": true}}, {"cast": {"columns": ["id"], "to": "timestamp-us"}},
        {"date-parts": {"columns": ["id"], "parts": ["year", "second"]}}, {"drop": ["minutes", "state"]}"#;
    let made = made(steps, &rows());
    let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["id.year", "id.second", "calls=5", "calls=none"]);
    assert_eq!(made[0].1[0], Some(1970.0));
    assert_eq!(made[2].1, [Some(0.0), Some(1.0), Some(0.0), Some(1.0)]);
}

#[test]
fn too_many_categories_are_told_before_memory_is_spent() {
    let mut fit = Fit::start("one-hot", &schema(), r#"{"columns": ["state"], "max-categories": 1}"#).unwrap();
    let refused = fit.update(&block(&rows())).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.column.as_deref()), ("too-many-categories", Some("state")));
}

#[test]
fn partials_of_earlier_passes_and_of_other_fits_are_refused() {
    let start = || Fit::start("chain", &schema(), CHAIN).unwrap();
    let mut ahead = start();
    ahead.update(&block(&rows())).unwrap();
    let early = ahead.partial().unwrap();
    assert_eq!(ahead.end_pass().unwrap(), Step::AnotherPass);
    assert!(ahead.merge(&early).unwrap_err().message.contains("earlier pass"));
    let mut other = Fit::start("standard-scale", &schema(), r#"{"columns": "numeric"}"#).unwrap();
    assert_eq!(other.merge(&early).unwrap_err().code, "bad-partial");
    for end in 0..early.len() {
        assert_eq!(start().merge(&early[..end]).unwrap_err().code, "bad-partial", "{end}");
    }
}

fn any_row() -> impl Strategy<Value = Row> {
    (
        prop::option::weighted(0.8, -1e6_f64..1e6),
        prop::option::weighted(0.8, -50_i64..50),
        prop::option::weighted(0.8, prop::sample::select(vec!["KS", "OH", "VT", "a longer one"])),
    )
}

proptest! {
    #[test]
    fn a_fit_does_not_depend_on_how_rows_were_spread(
        mut rows in prop::collection::vec(any_row(), 1..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        rows.push((Some(1.0), Some(1), Some("KS")));
        let (whole, _) = fit("chain", &schema(), CHAIN, &[vec![block(&rows)]]);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len())).collect();
        at.extend([0, rows.len()]);
        at.sort_unstable();
        let parts: Vec<Vec<Block>> = at.windows(2).rev().map(|pair| vec![block(&rows[pair[0]..pair[1]])]).collect();
        let (spread, _) = fit("chain", &schema(), CHAIN, &parts);
        prop_assert_eq!(whole, spread);
    }

    #[test]
    fn garbage_for_a_state_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Fitted::load("chain", &bytes, &schema());
        bytes.splice(0..0, *b"PTAB\x01");
        let _ = Fitted::load("chain", &bytes, &schema());
    }
}
