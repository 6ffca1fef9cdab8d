//! Attributions as the `shap` package gives them (data/make.py), what must always add up, and every coalition by hand.

use std::{collections::BTreeMap, convert::Infallible, path::Path};

use plinth_explain::{ExplainError, Players, Sampling, Shares, Trees, shapley};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    base: Vec<f64>,
    /// For each row, for each player, for each output.
    values: Vec<Vec<Vec<f64>>>,
}

#[derive(Deserialize)]
struct Entry {
    rows: Vec<Vec<f64>>,
    reference: Vec<Vec<f64>>,
    interventional: Option<Expected>,
    path_dependent: Option<Expected>,
    kernel: Option<Expected>,
}

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden() -> BTreeMap<String, Entry> {
    let mut all: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&data("golden.json")).expect("an object");
    all.remove("made_by").expect("says by what it was made");
    all.into_iter().map(|(name, entry)| (name, serde_json::from_value(entry).expect("an entry"))).collect()
}

fn same(found: &Shares, base: &[f64], values: &[Vec<f64>], tolerance: f64, what: &str) {
    assert_eq!(found.base.len(), base.len(), "{what}");
    let near = |found: f64, expected: f64| (found - expected).abs() <= tolerance * expected.abs().max(1.0);
    for (found, expected) in found.base.iter().zip(base) {
        assert!(near(*found, *expected), "{what}: base {found}, not {expected}");
    }
    for (player, expected) in values.iter().enumerate() {
        for (found, expected) in found.of(player).iter().zip(expected) {
            assert!(near(*found, *expected), "{what}: player {player} {found}, not {expected}");
        }
    }
}

fn adds_up(shares: &Shares, sums: &[f64]) {
    for (total, sum) in shares.total().iter().zip(sums) {
        assert!((total - sum).abs() <= 1e-9 * sum.abs().max(1.0), "{total} is not {sum}");
    }
}

#[test]
fn trees_are_explained_as_shap_explains_them() {
    let golden = golden();
    for (name, file) in [
        ("forest", "forest_covers.onnx"),
        ("boosted", "boosted_covers.onnx"),
        ("deep", "deep_covers.onnx"),
        ("odds", "odds.onnx"),
    ] {
        let (entry, trees) = (&golden[name], Trees::read(&data(file)).unwrap());
        let players = Players::features(entry.rows[0].len());
        // Leaves of regressions are tens and hundreds, which 32 bits hold to 1e-7 of that.
        let against = entry.interventional.as_ref().unwrap();
        for (row, values) in entry.rows.iter().zip(&against.values) {
            let found = trees.against(row, &entry.reference, &players).unwrap();
            same(&found, &against.base, values, 2e-6, &format!("{name} against a reference"));
            adds_up(&found, &trees.sums(row).unwrap());
        }
        assert_eq!(trees.has_covers(), entry.path_dependent.is_some(), "{name}");
        let Some(along) = &entry.path_dependent else {
            assert_eq!(trees.along_paths(&entry.rows[0], &players), Err(ExplainError::NoCovers));
            continue;
        };
        for (row, values) in entry.rows.iter().zip(&along.values) {
            let found = trees.along_paths(row, &players).unwrap();
            same(&found, &along.base, values, 2e-6, &format!("{name} along paths"));
            adds_up(&found, &trees.sums(row).unwrap());
        }
    }
}

/// The reference's mean of a function, in which members of the coalition have the row's values.
fn mixed(function: impl Fn(&[f64]) -> Vec<f64>, row: &[f64], reference: &[Vec<f64>], member: &[bool]) -> Vec<f64> {
    let mut mean = Vec::new();
    for other in reference {
        let cells = row.iter().zip(other).zip(member);
        let values =
            function(&cells.map(|((row, other), member)| if *member { *row } else { *other }).collect::<Vec<_>>());
        mean.resize(values.len(), 0.0);
        mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += value / reference.len() as f64);
    }
    mean
}

#[test]
fn functions_are_explained_as_shap_explains_them() {
    let function = |x: &[f64]| vec![(x[0] * x[1] + x[2]).tanh() + x[3] * x[3] * x[4] - x[5].max(x[6])];
    let golden = golden();
    let entry = &golden["function"];
    let kernel = entry.kernel.as_ref().unwrap();
    for (row, values) in entry.rows.iter().zip(&kernel.values) {
        let found = shapley(7, 1, Sampling::default(), |asked| {
            Ok::<_, Infallible>(
                asked.iter().flat_map(|member| mixed(function, row, &entry.reference, member)).collect(),
            )
        });
        same(&found.unwrap(), &kernel.base, values, 1e-8, "function");
    }
}

/// What every coalition by itself says of trees against a reference, features joined to players.
fn by_coalitions(trees: &Trees, row: &[f64], reference: &[Vec<f64>], of: &[usize], count: usize) -> Shares {
    let all = Sampling { coalitions: 1 << count, seed: 0 };
    let sums = |x: &[f64]| trees.sums(x).expect("a whole row");
    let shares = shapley(count, trees.outputs(), all, |asked| {
        let features = |member: &[bool]| of.iter().map(|player| member[*player]).collect::<Vec<_>>();
        Ok::<_, Infallible>(asked.iter().flat_map(|member| mixed(sums, row, reference, &features(member))).collect())
    });
    shares.unwrap()
}

#[test]
fn walks_say_what_every_coalition_says_also_of_joined_features() {
    for (name, file, of, count) in [
        ("forest", "forest_covers.onnx", vec![0, 1, 2, 3], 4),
        ("forest", "forest_covers.onnx", vec![1, 0, 1, 0], 3),
        ("odds", "odds.onnx", vec![0, 0, 0, 0], 1),
        ("boosted", "boosted_covers.onnx", vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10),
        ("deep", "deep_covers.onnx", vec![0, 1, 2, 0, 1, 2, 3, 3, 3, 0], 4),
    ] {
        let golden = golden();
        let (entry, trees) = (&golden[name], Trees::read(&data(file)).unwrap());
        let players = Players::groups(of.clone(), count);
        for row in &entry.rows {
            let found = trees.against(row, &entry.reference, &players).unwrap();
            let expected = by_coalitions(&trees, row, &entry.reference, &of, count);
            let values: Vec<Vec<f64>> = (0..count).map(|player| expected.of(player).to_vec()).collect();
            same(&found, &expected.base, &values, 1e-9, name);
        }
    }
}

#[test]
fn covers_can_be_counted_and_rows_that_came_nowhere_do_no_harm() {
    let golden = golden();
    let entry = &golden["deep"];
    let trees = Trees::read(&data("deep_covers.onnx")).unwrap().with_covers_of(&entry.reference[..3]).unwrap();
    let players = Players::features(10);
    for row in &entry.rows {
        let found = trees.along_paths(row, &players).unwrap();
        adds_up(&found, &trees.sums(row).unwrap());
        // The mean over what was counted is the mean over the rows themselves.
        let mean = mixed(|x| trees.sums(x).unwrap(), row, &entry.reference[..3], &[false; 10]);
        assert!((found.base[0] - mean[0]).abs() < 1e-9, "{} {}", found.base[0], mean[0]);
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let trees = Trees::read(&data("forest_covers.onnx")).unwrap();
    let players = Players::features(4);
    assert_eq!((trees.outputs(), trees.features(), trees.len(), trees.is_empty()), (3, 4, 6, false));
    assert_eq!(trees.against(&[0.0; 4], &[], &players), Err(ExplainError::NoReference));
    let short = ExplainError::TooFewFeatures { feature: 3, given: 2 };
    assert_eq!(trees.against(&[0.0; 4], &[vec![0.0; 2]], &players), Err(short.clone()));
    assert_eq!(trees.along_paths(&[0.0; 2], &players), Err(short.clone()));
    assert_eq!(trees.along_paths(&[0.0; 4], &Players::features(2)), Err(short));
    assert!(matches!(Trees::read(b"nonsense"), Err(ExplainError::NotOnnx(_))));
    assert!(matches!(Trees::read(b""), Err(ExplainError::NotOnnx(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_row_adds_up(row in prop::collection::vec(prop_oneof![-1.0..8.0_f64, Just(f64::NAN)], 4)) {
        let golden = golden();
        let row: Vec<f64> = row.iter().map(|value| f64::from(*value as f32)).collect();
        for (name, file) in [("forest", "forest_covers.onnx"), ("odds", "odds.onnx")] {
            let trees = Trees::read(&data(file)).unwrap();
            let sums = trees.sums(&row).unwrap();
            adds_up(&trees.against(&row, &golden[name].reference, &Players::features(4)).unwrap(), &sums);
            if trees.has_covers() {
                adds_up(&trees.along_paths(&row, &Players::features(4)).unwrap(), &sums);
            }
        }
    }

    /// A damaged file is refused or read, and what is read can be asked.
    #[test]
    fn damaged_models_do_no_harm(at in 0_usize..3_900, byte in any::<u8>()) {
        let mut model = data("odds.onnx");
        model[at] = byte;
        if let Ok(trees) = Trees::read(&model) {
            let row = vec![0.5; trees.features().min(1 << 16)];
            if trees.features() == row.len() {
                let players = Players::features(row.len());
                let shares = trees.against(&row, &[vec![1.0; row.len()]], &players).unwrap();
                prop_assert_eq!(shares.base.len(), trees.outputs());
            }
        }
    }
}
