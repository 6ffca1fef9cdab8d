//! How the tests treat samples that real columns have: gaps, constants, new categories, many rows, few rows.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use drift_tests::ExportedDriftTests as Tests;
use plinth_sdk::{
    Block, BlockBuilder, DriftTests, Field, Kind, Schema, bitmap,
    drift::{Outcome, Verdict},
};

const ALL: [&str; 5] = ["ks", "chi-square", "psi", "jensen-shannon", "wasserstein"];
const NUMERIC_ONLY: [&str; 2] = ["ks", "wasserstein"];

fn floats(values: &[Option<f64>]) -> (Schema, Block) {
    let schema = Schema::new([Field::new("x", Kind::Float64, true)]);
    let valid = bitmap(values.iter().map(Option::is_some));
    let mut block = BlockBuilder::new(&schema, values.len());
    block.f64s(values.iter().map(|value| value.unwrap_or(0.0)).collect(), Some(&valid)).unwrap();
    let block = block.finish().unwrap();
    (schema, block)
}

fn texts<T: AsRef<str>>(values: &[T]) -> (Schema, Block) {
    let schema = Schema::new([Field::new("x", Kind::Utf8, false)]);
    let mut block = BlockBuilder::new(&schema, values.len());
    block.texts(values.iter().map(|value| value.as_ref().as_bytes()), None).unwrap();
    let block = block.finish().unwrap();
    (schema, block)
}

fn compare(test: &str, reference: &[Option<f64>], current: &[Option<f64>]) -> Outcome {
    let (schema, reference) = floats(reference);
    Tests::test(test, &schema, &reference, &floats(current).1, "{}").unwrap()
}

/// A fixed, even-handed sequence in 0..1 (a splitmix).
fn uniform(seed: u64, n: usize) -> impl Iterator<Item = f64> {
    (0..n as u64).map(move |i| {
        let mut z = (seed.wrapping_mul(0x1000_0001).wrapping_add(i)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    })
}

fn some(values: impl Iterator<Item = f64>) -> Vec<Option<f64>> {
    values.map(Some).collect()
}

#[test]
fn a_sample_against_itself_is_zero() {
    let values = some(uniform(1, 500));
    for test in ALL {
        let outcome = compare(test, &values, &values);
        if test == "chi-square" {
            // Five hundred values that all differ: nothing repeats, so there is nothing to compare.
            assert_eq!(outcome.verdict, Verdict::Inconclusive);
            continue;
        }
        assert_eq!((outcome.statistic, outcome.verdict), (0.0, Verdict::NoDrift), "{test}");
    }
}

#[test]
fn what_is_missing_is_left_out_and_counted_out() {
    let whole = some(uniform(2, 300).map(|u| (u * 8.0).floor()));
    let mut gaps = whole.clone();
    gaps.extend([None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)].repeat(25));
    for test in ALL {
        let (a, b) = (compare(test, &whole, &whole), compare(test, &gaps, &whole));
        assert_eq!((b.n_reference, b.n_current), (300, 300), "{test}");
        assert_eq!(a.statistic, b.statistic, "{test}");
        assert_eq!(b.note.unwrap(), "50 infinite values of the reference count as missing", "{test}");
    }
}

#[test]
fn equal_constants_are_no_drift_and_unequal_ones_are() {
    let (five, six) = (vec![Some(5.0); 100], vec![Some(6.0); 100]);
    for test in ALL {
        let same = compare(test, &five, &five);
        assert_eq!((same.verdict, same.statistic), (Verdict::NoDrift, 0.0), "{test}");
        let moved = compare(test, &five, &six);
        assert_eq!(moved.verdict, Verdict::Drift, "{test}: {moved:?}");
        assert!(moved.statistic.is_finite());
    }
}

#[test]
fn minus_zero_is_zero() {
    let (plus, minus) = (vec![Some(0.0); 50], vec![Some(-0.0); 50]);
    for test in ALL {
        assert_eq!(compare(test, &plus, &minus).verdict, Verdict::NoDrift, "{test}");
    }
}

#[test]
fn an_empty_side_is_inconclusive_with_a_reason() {
    for test in ALL {
        for (reference, current) in [(vec![], vec![Some(1.0); 50]), (vec![Some(1.0); 50], vec![None; 50])] {
            let outcome = compare(test, &reference, &current);
            assert_eq!((outcome.verdict, outcome.effect_size), (Verdict::Inconclusive, None), "{test}");
            assert!(outcome.note.unwrap().contains("no values at all"), "{test}");
        }
    }
}

#[test]
fn few_rows_are_inconclusive_with_the_numbers_still_there() {
    let (few, far) = (vec![Some(1.0); 29], vec![Some(9.0); 100]);
    for test in ALL {
        let outcome = compare(test, &few, &far);
        assert_eq!(outcome.verdict, Verdict::Inconclusive, "{test}");
        assert!(outcome.statistic > 0.5, "{test}");
        let note = outcome.note.unwrap();
        assert!(note.ends_with("the reference has 29 usable rows; a verdict needs 30"), "{test}: {note}");
    }
}

#[test]
fn effect_sizes_do_not_grow_with_n() {
    let pair = |n| {
        let reference = some(uniform(3, n).map(|u| (u * 5.0).floor()));
        let current = some(uniform(4, n).map(|u| (u * u * 5.0).floor()));
        (reference, current)
    };
    let (small, large) = (pair(4_000), pair(64_000));
    for test in ALL {
        let effect = |(reference, current): &(Vec<_>, Vec<_>)| compare(test, reference, current).effect_size.unwrap();
        let (few, many) = (effect(&small), effect(&large));
        assert!((few / many - 1.0).abs() < 0.1, "{test}: {few} and {many}");
    }
}

#[test]
fn effect_of_categories_does_not_depend_on_the_balance_of_sizes() {
    let shares = |a: usize, b: usize| [vec!["a"; a], vec!["b"; b]].concat();
    let run = |reference: &[&str], current: &[&str]| {
        let (schema, reference) = texts(reference);
        Tests::test("chi-square", &schema, &reference, &texts(current).1, "{}").unwrap().effect_size.unwrap()
    };
    let even = run(&shares(600, 400), &shares(300, 700));
    let uneven = run(&shares(60_000, 40_000), &shares(30, 70));
    assert!((even - uneven).abs() < 1e-12, "{even} and {uneven}");
}

#[test]
fn a_category_that_the_reference_never_had_is_drift() {
    let reference = ["a", "b"].repeat(200);
    let current = [["a", "b"].repeat(150), vec!["new"; 100]].concat();
    let (schema, reference) = texts(&reference);
    for test in ALL.iter().filter(|test| !NUMERIC_ONLY.contains(test)) {
        let outcome = Tests::test(test, &schema, &reference, &texts(&current).1, "{}").unwrap();
        assert_eq!(outcome.verdict, Verdict::Drift, "{test}");
        assert!(outcome.statistic.is_finite());
    }
}

#[test]
fn a_column_of_identifiers_gives_no_alarm() {
    let names: Vec<String> = (0..2000).map(|i| format!("id-{i}")).collect();
    let (schema, reference) = texts(&names[..1000]);
    let expected = "2000 rare categories were compared as one; no category is frequent enough to be compared";
    for test in ALL.iter().filter(|test| !NUMERIC_ONLY.contains(test)) {
        let outcome = Tests::test(test, &schema, &reference, &texts(&names[1000..]).1, "{}").unwrap();
        assert_eq!((outcome.verdict, outcome.note.as_deref()), (Verdict::Inconclusive, Some(expected)), "{test}");
    }
}

/// The promise that decides whether people keep the alarms on: 5 % means about 5 %.
#[test]
fn false_alarms_come_as_often_as_the_level_says() {
    let pairs = 400;
    for test in ALL {
        let alarms = (0..pairs)
            .filter(|&pair| {
                let sample = |side: u64| {
                    let values = uniform(pair * 2 + side + 1000, 400);
                    let coarse = test == "chi-square";
                    some(values.map(move |u| if coarse { (u * 20.0).floor() } else { u }))
                };
                compare(test, &sample(0), &sample(1)).verdict == Verdict::Drift
            })
            .count();
        assert!(alarms <= 36, "{test}: {alarms} alarms in {pairs} pairs without drift");
        if ["ks", "chi-square"].contains(&test) {
            assert!(alarms >= 6, "{test}: {alarms} alarms in {pairs} pairs are too few for a level of 5 %");
        }
    }
}

#[test]
fn shifts_are_seen_in_both_directions() {
    let base = some(uniform(7, 400));
    for shift in [-0.3, 0.3] {
        let moved = some(uniform(8, 400).map(|u| u + shift));
        for test in ["ks", "psi", "jensen-shannon", "wasserstein"] {
            assert_eq!(compare(test, &base, &moved).verdict, Verdict::Drift, "{test} by {shift}");
        }
    }
}

#[test]
fn a_distance_has_no_unit() {
    let (a, b): (Vec<f64>, Vec<f64>) = (uniform(9, 300).collect(), uniform(10, 300).map(|u| u * 1.3).collect());
    let scaled = |values: &[f64], by: f64| some(values.iter().map(|v| v * by).collect::<Vec<_>>().into_iter());
    let plain = compare("wasserstein", &scaled(&a, 1.0), &scaled(&b, 1.0)).statistic;
    let large = compare("wasserstein", &scaled(&a, 1e6), &scaled(&b, 1e6)).statistic;
    assert!((plain / large - 1.0).abs() < 1e-9);
}

#[test]
fn options_are_checked() {
    let (schema, block) = floats(&[Some(1.0); 40]);
    let problem = |test: &str, options: &str| Tests::test(test, &schema, &block, &block, options).unwrap_err();
    assert_eq!(problem("ks", r#"{"threshold": 1.5}"#).message, "`threshold` is 1.5; it must be between 0 and 1");
    assert_eq!(problem("psi", r#"{"bins": 1}"#).message, "`bins` is 1; it must be 2 to 1000");
    assert_eq!(problem("psi", r#"{"bin": 1}"#).code, "bad-options");
    assert_eq!(problem("ks", r#"{"rows-min": 0}"#).code, "bad-options");
    let message = problem("kss", "{}").message;
    assert_eq!(message, "this component has no `kss`, did you mean `ks`?");
    let (text, block) = texts(&["a"]);
    assert_eq!(Tests::test("ks", &text, &block, &block, "{}").unwrap_err().code, "wrong-kind");
}

#[test]
fn a_long_tail_without_drift_gives_no_alarm() {
    // Cities as they come: a few large ones, and hundreds that occur once.
    let sample = |seed| uniform(seed, 1500).map(|u| format!("city-{}", (1.0 / (u + 1e-3)) as u32)).collect::<Vec<_>>();
    let (schema, reference) = texts(&sample(21));
    let (_, current) = texts(&sample(22));
    for test in ALL.iter().filter(|test| !NUMERIC_ONLY.contains(test)) {
        let outcome = Tests::test(test, &schema, &reference, &current, "{}").unwrap();
        assert_ne!(outcome.verdict, Verdict::Drift, "{test}: {outcome:?}");
        assert!(outcome.note.unwrap().contains("rare categories"), "{test}");
    }
}

#[test]
fn an_effect_minimum_silences_changes_that_do_not_matter() {
    let (schema, reference) = floats(&some(uniform(11, 50_000)));
    let (_, current) = floats(&some(uniform(12, 50_000).map(|u| u + 0.02)));
    let verdict = |options| Tests::test("ks", &schema, &reference, &current, options).unwrap().verdict;
    assert_eq!(verdict("{}"), Verdict::Drift);
    assert_eq!(verdict(r#"{"effect-min": 0.1}"#), Verdict::NoDrift);
}
