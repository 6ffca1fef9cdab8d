//! Explanations of chains whose answers are known.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{Array, ArrayRef, Float32Array, Float64Array, StringArray, cast::AsArray, types::Float64Type};
use plinth_explain::{Sampling, Trees};
use plinth_ext::{Batch, ExtError, Field, Fitted, Kind, Model, Schema};

use crate::{Explainer, Method, Scale, ScoreError, Scorer, Signature};

/// Three classes of iris by six trees over four features.
fn trees() -> Trees {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../explain/tests/data/forest_covers.onnx");
    Trees::read(&std::fs::read(path).unwrap()).unwrap()
}

fn schema(names: &[&str], kind: Kind) -> Schema {
    Schema::new(names.iter().map(|name| Field::new(*name, kind, false)).collect()).unwrap()
}

/// What the trees add up to, through a function of the sums.
struct Forest {
    trees: Trees,
    input: Schema,
    output: Schema,
    link: fn(f64) -> f64,
}

impl Forest {
    fn arc(link: fn(f64) -> f64) -> Arc<dyn Model> {
        let input = schema(&["a", "b", "c", "d"], Kind::Float32);
        let output = schema(&["probability_x", "probability_y", "probability_z"], Kind::Float32);
        Arc::new(Self { trees: trees(), input, output, link })
    }
}

impl Model for Forest {
    fn input(&self) -> &Schema {
        &self.input
    }
    fn output(&self) -> &Schema {
        &self.output
    }
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        let cell = |column: usize, row: usize| {
            let column = features.column(column).as_any().downcast_ref::<Float32Array>().unwrap();
            f64::from(column.value(row))
        };
        let rows = (0..features.num_rows())
            .map(|row| self.trees.sums(&[cell(0, row), cell(1, row), cell(2, row), cell(3, row)]).unwrap());
        let rows: Vec<Vec<f64>> = rows.collect();
        let columns = (0..3).map(|class| -> ArrayRef {
            Arc::new(rows.iter().map(|sums| Some((self.link)(sums[class]) as f32)).collect::<Float32Array>())
        });
        Ok(Batch::new(self.output.clone(), columns.collect(), features.num_rows())?)
    }
}

/// Two raw columns, a number and a word, become four features: two of each; or, mixed, one of both.
struct Spread {
    input: Schema,
    output: Schema,
    mixed: bool,
}

impl Spread {
    fn arc(mixed: bool) -> Arc<dyn Fitted> {
        Arc::new(Self { input: raw_schema(), output: schema(&["a", "b", "c", "d"], Kind::Float64), mixed })
    }
}

impl Fitted for Spread {
    fn input(&self) -> &Schema {
        &self.input
    }
    fn output(&self) -> &Schema {
        &self.output
    }
    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
        let number = rows.column(0).as_primitive::<Float64Type>();
        let word = rows.column(1).as_string::<i32>();
        let of = |feature: &dyn Fn(f64, &str) -> f64| -> ArrayRef {
            Arc::new(
                (0..rows.num_rows())
                    .map(|row| Some(feature(number.value(row), word.value(row))))
                    .collect::<Float64Array>(),
            )
        };
        let mixed = if self.mixed { 1.0 } else { 0.0 };
        let columns = vec![
            of(&|number, _| number + 4.0),
            of(&|number, _| 3.5 - number),
            of(&|number, word| word.len() as f64 + mixed * number),
            of(&|_, word| if word.starts_with('v') { 2.0 } else { 0.2 }),
        ];
        Ok(Batch::new(self.output.clone(), columns, rows.num_rows())?)
    }
}

fn raw_schema() -> Schema {
    let fields = vec![Field::new("number", Kind::Float64, false), Field::new("word", Kind::Utf8, false)];
    Schema::new(fields).unwrap()
}

fn raw(rows: &[(f64, &str)]) -> Batch {
    let numbers: Float64Array = rows.iter().map(|(number, _)| Some(*number)).collect();
    let words = StringArray::from_iter_values(rows.iter().map(|(_, word)| *word));
    Batch::new(raw_schema(), vec![Arc::new(numbers), Arc::new(words)], rows.len()).unwrap()
}

fn reference() -> Batch {
    raw(&[(0.5, "a"), (1.5, "setosa"), (2.0, "vir"), (0.1, "versi"), (3.0, "b"), (1.0, "vvvvvv")])
}

fn scorer(mixed: bool, link: fn(f64) -> f64) -> Scorer {
    Scorer::new(Signature::new(raw_schema()), vec![Spread::arc(mixed)], Forest::arc(link)).unwrap()
}

fn explainer(scorer: &Scorer) -> Explainer {
    Explainer::new(scorer, &reference(), 100, Some(trees()), Sampling::default()).unwrap()
}

fn asked() -> Batch {
    raw(&[(2.5, "virgini"), (0.5, "a"), (-1.0, "unseen word"), (1.25, "v")])
}

#[test]
fn walks_of_raw_columns_say_what_coalitions_of_the_whole_chain_say() {
    let scorer = scorer(false, |sum| sum);
    let explainer = explainer(&scorer);
    assert_eq!(explainer.why_no_trees(), None);
    assert_eq!(explainer.scores(&scorer).collect::<Vec<_>>(), ["probability_x", "probability_y", "probability_z"]);
    let walked = explainer.explain(&scorer, &asked(), false).unwrap();
    let asked_all = explainer.explain(&scorer, &asked(), true).unwrap();
    let predictions = scorer.score(&asked()).unwrap();
    for (row, (walked, other)) in walked.iter().zip(&asked_all).enumerate() {
        assert_eq!((walked.method, walked.scale, walked.exact), (Method::Trees, Scale::Prediction, true));
        assert_eq!((other.method, other.scale, other.exact), (Method::Kernel, Scale::Prediction, true));
        for (class, (walked, other)) in walked.scores.iter().zip(&other.scores).enumerate() {
            let predicted = predictions.column(class).as_any().downcast_ref::<Float32Array>().unwrap().value(row);
            assert!((walked.value - f64::from(predicted)).abs() < 1e-6, "{walked:?} {predicted}");
            assert!((walked.base - other.base).abs() < 1e-6);
            // What a 32-bit prediction cannot hold.
            walked.parts.iter().zip(&other.parts).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{row}: {a} {b}"));
        }
    }
}

#[test]
fn an_explanation_is_given_up_when_its_time_is_over() {
    let scorer = scorer(false, |sum| sum);
    let explainer = explainer(&scorer);
    let (over, later) = (Instant::now() - Duration::from_millis(1), Instant::now() + Duration::from_secs(3_600));
    for kernel in [false, true] {
        let error = explainer.explain_until(&scorer, &asked(), kernel, Some(over)).unwrap_err();
        assert!(matches!(error, ScoreError::OutOfTime), "{error}");
        assert!(explainer.explain_until(&scorer, &asked(), kernel, Some(later)).is_ok());
    }
}

#[test]
fn a_feature_of_two_columns_is_seen_and_coalitions_are_asked() {
    let scorer = scorer(true, |sum| sum);
    let explainer = explainer(&scorer);
    assert_eq!(explainer.why_no_trees(), Some("a feature of the model follows from several columns"));
    let explained = explainer.explain(&scorer, &asked(), false).unwrap();
    assert!(explained.iter().all(|row| row.method == Method::Kernel));
}

#[test]
fn what_hides_in_the_reference_is_seen_in_the_row() {
    // All reference rows have one number, so that nothing shows there of how the mixed feature follows from it.
    let scorer = scorer(true, |sum| sum);
    let same = raw(&[(0.5, "a"), (0.5, "setosa"), (0.5, "vir")]);
    let explainer = Explainer::new(&scorer, &same, 100, Some(trees()), Sampling::default()).unwrap();
    assert_eq!(explainer.why_no_trees(), None);
    let explained = explainer.explain(&scorer, &raw(&[(2.5, "virgini"), (0.5, "longer")]), false).unwrap();
    assert_eq!(explained.iter().map(|row| row.method).collect::<Vec<_>>(), [Method::Kernel, Method::Trees]);
}

#[test]
fn log_odds_are_told_apart_from_probabilities_and_other_functions_are_not_trees() {
    let logistic = scorer(false, |sum| 1.0 / (1.0 + (-sum).exp()));
    let explained = explainer(&logistic).explain(&logistic, &asked(), false).unwrap();
    assert!(explained.iter().all(|row| row.scale == Scale::LogOdds && row.method == Method::Trees));
    let total: f64 = explained[0].scores.iter().map(|score| score.value).sum();
    assert!((total - 1.0).abs() < 1e-6, "the sums are a forest's probabilities: {total}");
    let other = scorer(false, |sum| sum * sum);
    let explainer = explainer(&other);
    assert_eq!(explainer.why_no_trees(), Some("what the trees add up to is not what the model answers"));
}

#[test]
fn the_reference_is_cut_evenly_and_must_have_a_row() {
    let scorer = scorer(false, |sum| sum);
    let explainer = Explainer::new(&scorer, &reference(), 3, None, Sampling::default()).unwrap();
    assert_eq!(explainer.reference_rows(), 3);
    let base = explainer.explain(&scorer, &asked(), false).unwrap()[0].scores[0].base;
    let picked = scorer.score(&raw(&[(0.5, "a"), (2.0, "vir"), (3.0, "b")])).unwrap();
    let column = picked.column(0).as_any().downcast_ref::<Float32Array>().unwrap();
    let mean = column.values().iter().map(|value| f64::from(*value)).sum::<f64>() / 3.0;
    assert!((base - mean).abs() < 1e-9, "{base} {mean}");
    let none = Explainer::new(&scorer, &reference().slice(0, 0), 3, None, Sampling::default()).unwrap_err();
    assert_eq!(none.to_string(), "the reference set holds no rows");
}
