//! Quality gates: may this candidate go on?

use serde::de::DeserializeOwned;

use crate::{Item, Problem};

/// One gate of a component. List it in [`crate::export_gates!`].
pub trait Gate: 'static {
    /// Kebab-case, unique within the component.
    const NAME: &'static str;
    /// One line for a list.
    const SUMMARY: &'static str;
    /// JSON Schema of its options.
    const OPTIONS: &'static str = crate::NO_OPTIONS;
    /// Its options; give the type `#[serde(deny_unknown_fields)]`.
    type Options: DeserializeOwned;

    /// Judges. Rows behind the evidence come through [`crate::tables`] (`data`, `predictions`).
    ///
    /// # Errors
    /// Where it cannot judge; the host treats that as a failed check.
    fn evaluate(evidence: &Evidence, options: Self::Options) -> Result<Vec<Check>, Problem>;
}

/// What there is to judge by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// The one that wants to go on.
    pub candidate: Subject,
    /// The one in place, measured on the same rows; none the first time.
    pub baseline: Option<Subject>,
}

/// Something measured: a model version on a data set, or a data set alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subject {
    /// Its name for a person, such as `models:/churn/3`.
    pub reference: String,
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// Anything else known about it.
    pub tags: Vec<(String, String)>,
}

impl Subject {
    /// A metric of the whole, or of a slice.
    pub fn metric(&self, name: &str, slice: Option<&str>) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name && metric.slice.as_deref() == slice)
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Such as `accuracy`.
    pub name: String,
    /// Its value; may be NaN where it is undefined.
    pub value: f64,
    /// The slice it was measured on, such as `state=KS`; none for the whole.
    pub slice: Option<String>,
    /// Number of rows behind it.
    pub n: Option<u64>,
}

/// One check and what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked, such as `f1 > 0.8`.
    pub name: String,
    /// Its result.
    pub outcome: Outcome,
    /// What was seen, for a person.
    pub observed: String,
    /// What was wanted, for a person.
    pub expected: String,
    /// Why it matters or what to do, for a person; may be empty.
    pub reason: String,
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Worth a look; stops nothing.
    Warn,
    /// Stops the candidate.
    Fail,
}

/// A whole component of gates, for those that choose what to do by name; see [`crate::transform::Transforms`].
pub trait Gates: 'static {
    /// The gates that the component offers.
    fn describe() -> Vec<Item>;

    /// As [`Gate::evaluate`], by name.
    ///
    /// # Errors
    /// As there; also where the name is none of ours.
    fn evaluate(name: &str, evidence: &Evidence, options: &str) -> Result<Vec<Check>, Problem>;
}

/// The list entry of an item.
pub fn item<G: Gate>() -> Item {
    Item::new(G::NAME, G::SUMMARY, G::OPTIONS)
}

/// Judges with options as text.
///
/// # Errors
/// `bad-options`, and whatever `G` says.
pub fn evaluate<G: Gate>(evidence: &Evidence, options: &str) -> Result<Vec<Check>, Problem> {
    G::evaluate(evidence, crate::options::parse(options)?)
}

/// Exports a component of gates: `export_gates!(Metrics, Expectations)`, each a [`Gate`].
#[macro_export]
macro_rules! export_gates {
    ($($item:ty),+ $(,)?) => {
        /// What this component exports: the listed gates.
        pub struct ExportedGates;

        impl $crate::Gates for ExportedGates {
            fn describe() -> ::std::vec::Vec<$crate::Item> {
                ::std::vec![$($crate::gate::item::<$item>()),+]
            }

            fn evaluate(
                name: &str,
                evidence: &$crate::gate::Evidence,
                options: &str,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::gate::Check>, $crate::Problem> {
                $(if name == <$item as $crate::Gate>::NAME {
                    return $crate::gate::evaluate::<$item>(evidence, options);
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Gates>::describe()))
            }
        }

        $crate::export_gate_component!(ExportedGates);
    };
}

/// Exports a component of gates that chooses by name: a type that implements [`Gates`].
#[macro_export]
macro_rules! export_gate_component {
    ($component:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::gate::glue::Component<$component>;
    $crate::bindings::gate::export!(Exported with_types_in $crate::bindings::gate);
        };
    };
}

/// Between the generated bindings and [`Gates`].
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue {
    use std::marker::PhantomData;

    use super::{Evidence, Gates, Metric, Outcome, Subject};
    use crate::{Item, Problem, bindings::gate::exports::plinth::gate::gate as wit, host::report_panics};

    pub struct Component<T>(PhantomData<T>);

    impl<T: Gates> wit::Guest for Component<T> {
        fn describe() -> Vec<Item> {
            report_panics();
            T::describe()
        }

        fn evaluate(name: String, evidence: wit::Evidence, options: String) -> Result<Vec<wit::Check>, Problem> {
            report_panics();
            let evidence =
                Evidence { candidate: subject(evidence.candidate), baseline: evidence.baseline.map(subject) };
            let checks = T::evaluate(&name, &evidence, &options)?;
            let checks = checks.into_iter().map(|check| wit::Check {
                name: check.name,
                outcome: match check.outcome {
                    Outcome::Pass => wit::Outcome::Pass,
                    Outcome::Warn => wit::Outcome::Warn,
                    Outcome::Fail => wit::Outcome::Fail,
                },
                observed: check.observed,
                expected: check.expected,
                reason: check.reason,
            });
            Ok(checks.collect())
        }
    }

    fn subject(subject: wit::Subject) -> Subject {
        let metrics = subject.metrics.into_iter().map(|metric| Metric {
            name: metric.name,
            value: metric.value,
            slice: metric.slice,
            n: metric.n,
        });
        Subject { reference: subject.reference, metrics: metrics.collect(), tags: subject.tags }
    }
}
