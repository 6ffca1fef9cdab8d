//! Drift tests: has the current sample left the reference?

use serde::de::DeserializeOwned;

use crate::{Block, Item, Kind, Problem, Schema};

/// One drift test of a component. List it in [`crate::export_drift_tests!`].
pub trait DriftTest: 'static {
    /// Kebab-case, unique within the component.
    const NAME: &'static str;
    /// One line for a list.
    const SUMMARY: &'static str;
    /// JSON Schema of its options.
    const OPTIONS: &'static str = crate::NO_OPTIONS;
    /// Column types it can compare.
    const KINDS: &'static [Kind];
    /// Whether it takes several columns at once.
    const MULTIVARIATE: bool = false;
    /// What its effect size measures, such as `largest gap between the distributions, 0 to 1`.
    const EFFECT: Option<&'static str> = None;
    /// Its options; give the type `#[serde(deny_unknown_fields)]`.
    type Options: DeserializeOwned;

    /// Compares two samples of one schema. Too few rows are an [`Verdict::Inconclusive`] outcome, not an error.
    ///
    /// # Errors
    /// Where options or columns are not what the test takes.
    fn test(schema: &Schema, reference: &Block, current: &Block, options: Self::Options) -> Result<Outcome, Problem>;
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The test's statistic, on its own scale.
    pub statistic: f64,
    /// Probability of such a statistic without drift, for tests that have one.
    pub p_value: Option<f64>,
    /// Size of the difference on a scale that does not grow with n; [`DriftTest::EFFECT`] names it.
    pub effect_size: Option<f64>,
    /// What the statistic, or the p-value where there is one, was compared with.
    pub threshold: f64,
    /// The conclusion.
    pub verdict: Verdict,
    /// Rows of the reference that counted: not null, not NaN.
    pub n_reference: u64,
    /// Rows of the current sample that counted.
    pub n_current: u64,
    /// Anything a person should know, such as why it is inconclusive.
    pub note: Option<String>,
}

/// What a test concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The samples are alike as far as the test can see.
    NoDrift,
    /// They differ by more than the threshold.
    Drift,
    /// Too few rows, or nothing that can be compared.
    Inconclusive,
}

/// A drift test that a component offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestItem {
    /// Name, summary, options.
    pub item: Item,
    /// Column types it can compare.
    pub kinds: Vec<Kind>,
    /// Whether it takes several columns at once.
    pub multivariate: bool,
    /// What its effect size measures; none for a test without one.
    pub effect: Option<String>,
}

/// A whole component of drift tests, for those that choose what to do by name; see [`crate::transform::Transforms`].
pub trait DriftTests: 'static {
    /// The tests that the component offers.
    fn describe() -> Vec<TestItem>;

    /// As [`DriftTest::test`], by name.
    ///
    /// # Errors
    /// As there; also where the name is none of ours.
    fn test(name: &str, schema: &Schema, reference: &Block, current: &Block, options: &str)
    -> Result<Outcome, Problem>;
}

/// The list entry of an item.
pub fn item<D: DriftTest>() -> TestItem {
    TestItem {
        item: Item::new(D::NAME, D::SUMMARY, D::OPTIONS),
        kinds: D::KINDS.to_vec(),
        multivariate: D::MULTIVARIATE,
        effect: D::EFFECT.map(str::to_owned),
    }
}

/// Tests with options as text; a univariate test gets exactly one column, of a kind that it takes.
///
/// # Errors
/// `bad-options`, `wrong-columns`, `wrong-kind`, and whatever `D` says.
pub fn test<D: DriftTest>(
    schema: &Schema,
    reference: &Block,
    current: &Block,
    options: &str,
) -> Result<Outcome, Problem> {
    if schema.is_empty() || (!D::MULTIVARIATE && schema.len() != 1) {
        let message = format!("`{}` compares one column, {} were given", D::NAME, schema.len());
        return Err(Problem::bad_input("wrong-columns", message));
    }
    if let Some(field) = schema.fields.iter().find(|field| !D::KINDS.contains(&field.kind)) {
        let message = format!("`{}` does not compare {} columns such as `{}`", D::NAME, field.kind, field.name);
        return Err(Problem::bad_input("wrong-kind", message).in_column(&field.name));
    }
    D::test(schema, reference, current, crate::options::parse(options)?)
}

/// Exports a component of drift tests: `export_drift_tests!(Psi, Ks)`, each a [`DriftTest`].
#[macro_export]
macro_rules! export_drift_tests {
    ($($item:ty),+ $(,)?) => {
        /// What this component exports: the listed drift tests.
        pub struct ExportedDriftTests;

        impl $crate::DriftTests for ExportedDriftTests {
            fn describe() -> ::std::vec::Vec<$crate::drift::TestItem> {
                ::std::vec![$($crate::drift::item::<$item>()),+]
            }

            fn test(
                name: &str,
                schema: &$crate::Schema,
                reference: &$crate::Block,
                current: &$crate::Block,
                options: &str,
            ) -> ::std::result::Result<$crate::drift::Outcome, $crate::Problem> {
                $(if name == <$item as $crate::DriftTest>::NAME {
                    return $crate::drift::test::<$item>(schema, reference, current, options);
                })+
                let items: ::std::vec::Vec<$crate::Item> =
                    <Self as $crate::DriftTests>::describe().into_iter().map(|test| test.item).collect();
                ::std::result::Result::Err($crate::unknown_item(name, &items))
            }
        }

        $crate::export_drift_component!(ExportedDriftTests);
    };
}

/// Exports a component of drift tests that chooses by name: a type that implements [`DriftTests`].
#[macro_export]
macro_rules! export_drift_component {
    ($component:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::drift::glue::Component<$component>;
    $crate::bindings::drift::export!(Exported with_types_in $crate::bindings::drift);
        };
    };
}

/// Between the generated bindings and [`DriftTests`].
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue {
    use std::marker::PhantomData;

    use super::{DriftTests, TestItem, Verdict};
    use crate::{Block, Problem, Schema, bindings::drift::exports::plinth::drift::drift as wit, host::report_panics};

    pub struct Component<T>(PhantomData<T>);

    impl<T: DriftTests> wit::Guest for Component<T> {
        fn describe() -> Vec<wit::TestItem> {
            report_panics();
            let tests = T::describe().into_iter();
            tests
                .map(|test| {
                    let TestItem { item, kinds, multivariate, effect } = test;
                    wit::TestItem { item, kinds, multivariate, effect }
                })
                .collect()
        }

        fn test(
            name: String,
            schema: Schema,
            reference: Block,
            current: Block,
            options: String,
        ) -> Result<wit::Outcome, Problem> {
            report_panics();
            let outcome = T::test(&name, &schema, &reference, &current, &options)?;
            Ok(wit::Outcome {
                statistic: outcome.statistic,
                p_value: outcome.p_value,
                effect_size: outcome.effect_size,
                threshold: outcome.threshold,
                verdict: match outcome.verdict {
                    Verdict::NoDrift => wit::Verdict::NoDrift,
                    Verdict::Drift => wit::Verdict::Drift,
                    Verdict::Inconclusive => wit::Verdict::Inconclusive,
                },
                n_reference: outcome.n_reference,
                n_current: outcome.n_current,
                note: outcome.note,
            })
        }
    }
}
