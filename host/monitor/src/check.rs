//! Runs the tests and draws the conclusion.

use std::sync::Arc;

use plinth_core::did_you_mean;
use plinth_ext::{Batch, DriftTest, Kind, TestItem, Verdict};

use crate::{
    ColumnClass, ColumnReport, Config, MonitorError, Report, TestReport,
    summary::{short, summarise},
};

/// The drift tests on offer, from any number of plugins.
#[derive(Clone, Default)]
pub struct Suite {
    tests: Vec<Arc<dyn DriftTest>>,
}

impl Suite {
    /// A suite of the tests that these plugins offer; of two tests with one name the first is used.
    pub fn new(tests: Vec<Arc<dyn DriftTest>>) -> Self {
        Self { tests }
    }

    /// Every test on offer.
    pub fn items(&self) -> impl Iterator<Item = &TestItem> {
        self.tests.iter().flat_map(|plugin| plugin.items())
    }

    fn find(&self, name: &str) -> Result<(&dyn DriftTest, &TestItem), MonitorError> {
        self.tests
            .iter()
            .find_map(|plugin| plugin.items().iter().find(|i| i.item.name == name).map(|item| (plugin.as_ref(), item)))
            .ok_or_else(|| {
                let names: Vec<&str> = self.items().map(|i| i.item.name.as_str()).collect();
                MonitorError::UnknownTest { name: name.to_owned(), hint: did_you_mean(name, names) }
            })
    }
}

/// Compares `current` with `reference`, column by column.
///
/// The columns are the reference's; the current sample may have more, which are ignored. A column of the reference
/// that is absent from the current sample is an error unless it is excluded.
///
/// # Errors
/// [`MonitorError`]: columns do not match, a side is empty, a configured test does not exist.
pub fn check(reference: &Batch, current: &Batch, suite: &Suite, config: &Config) -> Result<Report, MonitorError> {
    let config = config.clone().checked()?;
    for (side, batch) in [("reference", reference), ("current", current)] {
        if batch.num_rows() == 0 {
            return Err(MonitorError::Empty { side });
        }
    }
    for name in config.numeric_tests.iter().chain(&config.categorical_tests) {
        suite.find(name)?;
    }
    for name in &config.exclude {
        reference.schema().require(name)?;
    }
    let pairs = reference
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| !config.exclude.contains(&field.name))
        .map(|(index, field)| Ok((index, current.schema().require(&field.name)?)))
        .collect::<Result<Vec<_>, MonitorError>>()?;

    let mut columns = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pairs.len().max(1));
        let config = &config;
        let workers: Vec<_> = pairs
            .chunks(pairs.len().div_ceil(threads).max(1))
            .map(|chunk| {
                scope.spawn(move || {
                    chunk
                        .iter()
                        .map(|&(r, c)| column(&reference.project(&[r]), &current.project(&[c]), suite, config))
                        .collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        let mut columns = Vec::with_capacity(pairs.len());
        for worker in workers {
            columns.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, MonitorError>(columns)
    })?;

    conclude(&mut columns, &config);
    // A test that failed saw nothing: whether its column drifted is not known, so neither is the whole.
    let faulted = columns.iter().any(|column| column.tests.first().is_some_and(|test| test.error.is_some()));
    let count = |verdict| columns.iter().filter(|column| column.verdict == verdict).count() as u32;
    let (drifted, calm) = (count(Verdict::Drift), count(Verdict::NoDrift));
    columns.sort_by(|a, b| {
        let rank = |column: &ColumnReport| (column.verdict != Verdict::Drift, column.class == ColumnClass::Skipped);
        rank(a).cmp(&rank(b)).then(b.effect().unwrap_or(0.0).total_cmp(&a.effect().unwrap_or(0.0)))
    });
    Ok(Report {
        reference: "reference".into(),
        current: "current".into(),
        rows_reference: reference.num_rows() as u64,
        rows_current: current.num_rows() as u64,
        verdict: if drifted >= config.columns_min {
            Verdict::Drift
        } else if calm == 0 || faulted {
            Verdict::Inconclusive
        } else {
            Verdict::NoDrift
        },
        columns_drifted: drifted,
        columns_tested: drifted + calm,
        columns,
        performance: None,
    })
}

/// Tests one column; both batches hold that column alone.
fn column(reference: &Batch, current: &Batch, suite: &Suite, config: &Config) -> Result<ColumnReport, MonitorError> {
    let field = reference.schema().fields()[0].clone();
    let found = &current.schema().fields()[0];
    let current = if found.kind == field.kind { current.clone() } else { widen(current, &field)? };
    let current = &current;
    let (class, summary) = summarise(field.kind, reference.column(0), current.column(0));
    let mut notes = Vec::new();
    let share = |nulls: u64, batch: &Batch| nulls as f64 / batch.num_rows() as f64;
    let rise = share(summary.nulls_current, current) - share(summary.nulls_reference, reference);
    if rise > config.null_share_rise_max {
        notes.push(format!(
            "nulls rose from {} % to {} %",
            short(100.0 * share(summary.nulls_reference, reference)),
            short(100.0 * share(summary.nulls_current, current))
        ));
    }
    if !summary.unseen.is_empty() {
        notes.push(format!("values the reference does not have: {}", summary.unseen.join(", ")));
    }
    let names = match class {
        ColumnClass::Numeric => &config.numeric_tests[..],
        ColumnClass::Categorical => &config.categorical_tests[..],
        ColumnClass::Skipped => {
            notes.push("not compared: an identifier, a time or bytes".into());
            &[]
        }
    };
    // Both sides share one schema, so that a test sees the same field whatever the nullability of either sample.
    let shared = plinth_ext::Schema::new(vec![plinth_ext::Field::new(&field.name, field.kind, true)])?;
    let side = |batch: &Batch| Batch::new(shared.clone(), batch.columns().to_vec(), batch.num_rows());
    let (left, right) = (side(reference)?, side(current)?);
    let mut tests = Vec::with_capacity(names.len());
    for name in names {
        let (plugin, item) = suite.find(name)?;
        if !item.kinds.contains(&field.kind) {
            continue;
        }
        tests.push(match plugin.test(name, &left, &right, "{}") {
            Ok(outcome) => {
                let effect = outcome.effect_size.and(item.effect.clone());
                TestReport { test: name.clone(), outcome: Some(outcome), error: None, effect }
            }
            Err(error) => {
                tracing::warn!(test = %name, column = %field.name, %error, "a drift test failed and counts as inconclusive");
                TestReport { test: name.clone(), outcome: None, error: Some(error.to_string()), effect: None }
            }
        });
    }
    // A null among a handful of rows is a large share of them and says nothing.
    let rows = reference.num_rows().min(current.num_rows()) as u64;
    let nulls_rose = rise > config.null_share_rise_max && rows >= config.rows_min;
    let verdict = Verdict::Inconclusive;
    Ok(ColumnReport { name: field.name, class, verdict, p_adjusted: None, tests, summary, nulls_rose, notes })
}

/// Reads a column of integers, or of the other float width, as the reference's numeric type. Files that were read on
/// their own may have inferred a whole-numbered column of floats as integers.
fn widen(batch: &Batch, field: &plinth_ext::Field) -> Result<Batch, MonitorError> {
    use arrow_array::{Array, ArrayRef, Float32Array, Float64Array, Int64Array};
    let column = batch.column(0);
    let any = column.as_any();
    let numbers: Option<Vec<Option<f64>>> = if let Some(a) = any.downcast_ref::<Int64Array>() {
        Some(a.iter().map(|v| v.map(|v| v as f64)).collect())
    } else if let Some(a) = any.downcast_ref::<Float64Array>() {
        Some(a.iter().collect())
    } else {
        any.downcast_ref::<Float32Array>().map(|a| a.iter().map(|v| v.map(f64::from)).collect())
    };
    let array: ArrayRef = match (field.kind, numbers) {
        (Kind::Float64, Some(numbers)) => std::sync::Arc::new(Float64Array::from(numbers)),
        (Kind::Float32, Some(numbers)) => {
            std::sync::Arc::new(numbers.into_iter().map(|v| v.map(|v| v as f32)).collect::<Float32Array>())
        }
        (Kind::Int64, Some(numbers)) if numbers.iter().flatten().all(|v| v.fract() == 0.0) => {
            std::sync::Arc::new(numbers.into_iter().map(|v| v.map(|v| v as i64)).collect::<Int64Array>())
        }
        _ if column.null_count() == column.len() => arrow_array::new_null_array(&field.kind.to_arrow(), column.len()),
        _ => {
            let found = &batch.schema().fields()[0];
            return Err(MonitorError::Type { name: field.name.clone(), reference: field.kind, current: found.kind });
        }
    };
    let schema = plinth_ext::Schema::new(vec![plinth_ext::Field::new(&field.name, field.kind, true)])?;
    Ok(Batch::new(schema, vec![array], batch.num_rows())?)
}

/// Corrects the p-values of the deciding tests for their number and gives every column its verdict.
fn conclude(columns: &mut [ColumnReport], config: &Config) {
    let usable = |column: &ColumnReport| {
        column
            .tests
            .first()
            .and_then(|test| test.outcome.clone())
            .filter(|o| o.verdict != Verdict::Inconclusive && o.n_reference.min(o.n_current) >= config.rows_min)
    };
    let raw: Vec<(usize, f64)> = columns
        .iter()
        .enumerate()
        .filter_map(|(index, column)| usable(column).and_then(|o| o.p_value).map(|p| (index, p)))
        .collect();
    let adjusted = benjamini_hochberg(&raw.iter().map(|(_, p)| *p).collect::<Vec<_>>());
    for ((index, _), p) in raw.iter().zip(adjusted) {
        columns[*index].p_adjusted = Some(p);
    }
    for column in columns {
        let Some(outcome) = usable(column) else {
            // A column that lost its values cannot be compared, and that is the change.
            let failed = column.tests.first().is_some_and(|test| test.error.is_some());
            if column.class != ColumnClass::Skipped && !failed && column.nulls_rose {
                column.verdict = Verdict::Drift;
            }
            continue;
        };
        let drifted = match column.p_adjusted {
            Some(p) => p <= config.false_discovery_rate && outcome.effect_size.is_none_or(|e| e >= config.effect_min),
            None => outcome.verdict == Verdict::Drift,
        };
        column.verdict = if drifted { Verdict::Drift } else { Verdict::NoDrift };
    }
}

/// Adjusted p-values in the order given: the smallest false discovery rate at which each would be rejected
/// (Benjamini and Hochberg 1995, step-up).
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_unstable_by(|&a, &b| p_values[b].total_cmp(&p_values[a]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut least = 1.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let m = p_values.len() as f64;
        least = least.min(p_values[index] * m / (m - rank as f64));
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use arrow_array::Float64Array;
    use plinth_ext::{DriftOutcome, ExtError, Field, Item, Schema};

    use super::*;

    /// A native test that compares means, so that the rules around tests can be seen at work.
    struct Means {
        items: Vec<TestItem>,
    }

    impl Means {
        fn suite() -> Suite {
            let item = |name: &str| TestItem {
                item: Item { name: name.into(), summary: String::new(), options_schema: "{}".into() },
                kinds: vec![Kind::Float64],
                multivariate: false,
                effect: None,
            };
            Suite::new(vec![Arc::new(Self { items: vec![item("means"), item("faulty")] })])
        }
    }

    impl DriftTest for Means {
        fn items(&self) -> &[TestItem] {
            &self.items
        }

        fn test(&self, item: &str, reference: &Batch, current: &Batch, _: &str) -> Result<DriftOutcome, ExtError> {
            if item == "faulty" {
                return Err(ExtError::fault("means", plinth_core::codes::PLUGIN_TRAP, "trapped"));
            }
            if current.column(0).null_count() == current.num_rows() {
                return Ok(DriftOutcome {
                    statistic: 0.0,
                    p_value: None,
                    effect_size: None,
                    threshold: 0.05,
                    verdict: Verdict::Inconclusive,
                    n_reference: reference.num_rows() as u64,
                    n_current: 0,
                    note: None,
                });
            }
            let mean = |batch: &Batch| {
                let array = batch.column(0).as_any().downcast_ref::<Float64Array>().unwrap();
                array.iter().flatten().sum::<f64>() / array.len() as f64
            };
            let gap = (mean(reference) - mean(current)).abs();
            Ok(DriftOutcome {
                statistic: gap,
                p_value: Some(if gap > 0.01 { 0.001 } else { 0.9 }),
                effect_size: Some(gap),
                threshold: 0.05,
                verdict: if gap > 0.01 { Verdict::Drift } else { Verdict::NoDrift },
                n_reference: reference.num_rows() as u64,
                n_current: current.num_rows() as u64,
                note: None,
            })
        }
    }

    fn table(columns: &[(&str, f64)], rows: usize) -> Batch {
        let fields = columns.iter().map(|(name, _)| Field::new(*name, Kind::Float64, false)).collect();
        let arrays = columns
            .iter()
            .map(|(_, shift)| Arc::new(Float64Array::from_iter_values((0..rows).map(|i| shift + (i % 7) as f64))) as _)
            .collect();
        Batch::new(Schema::new(fields).unwrap(), arrays, rows).unwrap()
    }

    fn config(test: &str) -> Config {
        Config { numeric_tests: vec![test.into()], categorical_tests: vec![], ..Config::default() }
    }

    #[test]
    fn a_shifted_column_drifts_and_stands_first() {
        let report = check(
            &table(&[("a", 0.0), ("b", 0.0)], 70),
            &table(&[("a", 0.0), ("b", 1.0)], 70),
            &Means::suite(),
            &config("means"),
        )
        .unwrap();
        assert_eq!(report.verdict, Verdict::Drift);
        assert_eq!((report.columns_drifted, report.columns_tested), (1, 2));
        assert_eq!(report.columns[0].name, "b");
        assert_eq!(report.columns[0].p_adjusted, Some(0.002));
    }

    #[test]
    fn a_tiny_effect_is_no_drift_however_small_its_p_value() {
        let report =
            check(&table(&[("a", 0.0)], 70), &table(&[("a", 0.05)], 70), &Means::suite(), &config("means")).unwrap();
        assert_eq!(report.verdict, Verdict::NoDrift);
    }

    #[test]
    fn few_rows_and_faulty_tests_are_inconclusive() {
        let few =
            check(&table(&[("a", 0.0)], 20), &table(&[("a", 9.0)], 20), &Means::suite(), &config("means")).unwrap();
        assert_eq!(few.verdict, Verdict::Inconclusive);
        let faulty =
            check(&table(&[("a", 0.0)], 70), &table(&[("a", 9.0)], 70), &Means::suite(), &config("faulty")).unwrap();
        assert_eq!(faulty.verdict, Verdict::Inconclusive);
        assert!(faulty.columns[0].tests[0].error.as_deref().unwrap().contains("trapped"));
    }

    #[test]
    fn a_column_that_lost_its_values_has_drifted() {
        let nulls: arrow_array::ArrayRef = Arc::new(Float64Array::from(vec![None; 70]));
        let schema = Schema::new(vec![Field::new("a", Kind::Float64, true)]).unwrap();
        let current = Batch::new(schema, vec![nulls], 70).unwrap();
        let lost = check(&table(&[("a", 0.0)], 70), &current, &Means::suite(), &config("means")).unwrap();
        assert_eq!(lost.verdict, Verdict::Drift);
        assert!(lost.columns[0].notes[0].contains("nulls rose"), "{:?}", lost.columns[0].notes);
        let few = check(&table(&[("a", 0.0)], 70), &current.slice(0, 8), &Means::suite(), &config("means")).unwrap();
        assert_eq!(few.verdict, Verdict::Inconclusive);
    }

    #[test]
    fn missing_columns_empty_sides_and_unknown_tests_are_named() {
        let (ab, a) = (table(&[("alpha", 0.0), ("beta", 0.0)], 60), table(&[("alpha", 0.0)], 60));
        assert_eq!(
            check(&ab, &a, &Means::suite(), &config("means")).unwrap_err().to_string(),
            "the current data does not have the reference's columns: unknown column `beta`"
        );
        assert!(check(&a, &ab, &Means::suite(), &config("means")).is_ok(), "extra columns are ignored");
        let none = Batch::empty(a.schema().clone());
        assert!(matches!(
            check(&a, &none, &Means::suite(), &config("means")),
            Err(MonitorError::Empty { side: "current" })
        ));
        assert!(matches!(check(&a, &a, &Means::suite(), &config("mean")), Err(MonitorError::UnknownTest { .. })));
    }

    #[test]
    fn integers_are_read_as_the_references_floats() {
        let ints: arrow_array::ArrayRef = Arc::new(arrow_array::Int64Array::from_iter_values(0..70));
        let current =
            Batch::new(Schema::new(vec![Field::new("a", Kind::Int64, false)]).unwrap(), vec![ints], 70).unwrap();
        assert!(check(&table(&[("a", 0.0)], 70), &current, &Means::suite(), &config("means")).is_ok());
    }

    #[test]
    fn adjusted_p_values_match_the_published_procedure() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "BH") gives 0.02 0.04 0.04 0.02.
        let adjusted = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005]);
        for (found, wanted) in adjusted.iter().zip([0.02, 0.04, 0.04, 0.02]) {
            assert!((found - wanted).abs() < 1e-12, "{adjusted:?}");
        }
    }
}
