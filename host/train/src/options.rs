//! What there is to train with, and the options of each: one table that is the check, the default and the reference.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::TrainError;

/// What is to be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One of a few classes.
    Classification,
    /// A number.
    Regression,
    /// Groups that nobody named.
    Clustering,
}

impl Task {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
            Self::Clustering => "clustering",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How it is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trainer {
    /// A linear model of the log-odds, L2-regularised (linfa).
    LogisticRegression,
    /// A linear model, L1- and L2-regularised (linfa).
    ElasticNet,
    /// Averaged trees on bootstrapped rows (ours).
    RandomForest,
    /// Small trees, each of which corrects those before it (forust).
    GradientBoosting,
    /// Centres of groups (linfa).
    KMeans,
}

impl Trainer {
    /// Every trainer.
    pub const ALL: [Self; 5] =
        [Self::LogisticRegression, Self::ElasticNet, Self::RandomForest, Self::GradientBoosting, Self::KMeans];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogisticRegression => "logistic-regression",
            Self::ElasticNet => "elastic-net",
            Self::RandomForest => "random-forest",
            Self::GradientBoosting => "gradient-boosting",
            Self::KMeans => "k-means",
        }
    }

    /// The trainers of a task, the one to try first in front.
    pub const fn for_task(task: Task) -> &'static [Self] {
        match task {
            Task::Classification => &[Self::GradientBoosting, Self::RandomForest, Self::LogisticRegression],
            Task::Regression => &[Self::GradientBoosting, Self::RandomForest, Self::ElasticNet],
            Task::Clustering => &[Self::KMeans],
        }
    }

    /// The trainer of that name, if it does the task.
    ///
    /// # Errors
    /// [`TrainError::UnknownTrainer`].
    pub fn from_name(name: &str, task: Task) -> Result<Self, TrainError> {
        let known = Self::for_task(task).iter().copied();
        known
            .into_iter()
            .find(|trainer| trainer.name() == name)
            .ok_or_else(|| TrainError::UnknownTrainer { name: name.to_owned(), task })
    }

    /// Whether it learns from rows with nulls; their NaN is then understood by the exported model too.
    pub const fn handles_missing(self) -> bool {
        matches!(self, Self::GradientBoosting)
    }

    /// Its options.
    pub const fn options(self) -> &'static [OptionSpec] {
        use OptionKind::{Choice, Count, Flag, Real};
        match self {
            Self::LogisticRegression => {
                const {
                    &[
                        OptionSpec::new(
                            "l2",
                            "weight of the squared coefficients",
                            Real { min: 0.0, max: 1e9, default: 1.0 },
                        ),
                        OptionSpec::new(
                            "max-iterations",
                            "steps of the solver",
                            Count { min: 1, max: 100_000, default: 200 },
                        ),
                        OptionSpec::new(
                            "tolerance",
                            "gradient to stop at",
                            Real { min: 1e-12, max: 1.0, default: 1e-4 },
                        ),
                    ]
                }
            }
            Self::ElasticNet => {
                const {
                    &[
                        OptionSpec::new(
                            "penalty",
                            "weight of both penalties",
                            Real { min: 0.0, max: 1e9, default: 1.0 },
                        ),
                        OptionSpec::new(
                            "l1-ratio",
                            "share of the L1 penalty",
                            Real { min: 0.0, max: 1.0, default: 0.5 },
                        ),
                        OptionSpec::new(
                            "max-iterations",
                            "passes of the solver",
                            Count { min: 1, max: 100_000, default: 1_000 },
                        ),
                        OptionSpec::new(
                            "tolerance",
                            "duality gap to stop at",
                            Real { min: 1e-12, max: 1.0, default: 1e-4 },
                        ),
                    ]
                }
            }
            Self::RandomForest => {
                const {
                    &[
                        OptionSpec::new("trees", "number of trees", Count { min: 1, max: 5_000, default: 100 }),
                        OptionSpec::new(
                            "max-depth",
                            "splits from root to leaf",
                            Count { min: 1, max: 64, default: 16 },
                        ),
                        OptionSpec::new(
                            "min-rows-leaf",
                            "rows in a leaf",
                            Count { min: 1, max: 1_000_000, default: 1 },
                        ),
                        OptionSpec::new(
                            "max-features",
                            "features tried for each split; auto is sqrt for classes and all for numbers",
                            Choice { of: &["auto", "sqrt", "log2", "third", "all"], default: "auto" },
                        ),
                        OptionSpec::new(
                            "bins",
                            "thresholds tried for each feature",
                            Count { min: 2, max: 255, default: 255 },
                        ),
                        OptionSpec::new(
                            "bootstrap",
                            "draw rows with replacement for each tree",
                            Flag { default: true },
                        ),
                    ]
                }
            }
            Self::GradientBoosting => {
                const {
                    &[
                        OptionSpec::new("trees", "number of trees", Count { min: 1, max: 10_000, default: 100 }),
                        OptionSpec::new(
                            "learning-rate",
                            "share of each tree that counts: less wants more trees",
                            Real { min: 1e-4, max: 1.0, default: 0.1 },
                        ),
                        OptionSpec::new("max-leaves", "leaves of a tree", Count { min: 2, max: 4_096, default: 31 }),
                        OptionSpec::new(
                            "max-depth",
                            "splits from root to leaf",
                            Count { min: 1, max: 64, default: 64 },
                        ),
                        OptionSpec::new(
                            "min-leaf-weight",
                            "sum of second derivatives in a leaf: its rows for numbers, a quarter of them at most for classes",
                            Real { min: 0.0, max: 1e9, default: 5.0 },
                        ),
                        OptionSpec::new(
                            "l1",
                            "penalty that sets small leaves to zero",
                            Real { min: 0.0, max: 1e9, default: 0.0 },
                        ),
                        OptionSpec::new("l2", "penalty on large leaves", Real { min: 0.0, max: 1e9, default: 1.0 }),
                        OptionSpec::new(
                            "bins",
                            "thresholds tried for each feature",
                            Count { min: 2, max: 1_024, default: 256 },
                        ),
                        OptionSpec::new(
                            "row-share",
                            "rows drawn for each tree",
                            Real { min: 0.01, max: 1.0, default: 1.0 },
                        ),
                        OptionSpec::new(
                            "feature-share",
                            "features drawn for each tree",
                            Real { min: 0.01, max: 1.0, default: 1.0 },
                        ),
                    ]
                }
            }
            Self::KMeans => {
                const {
                    &[
                        OptionSpec::new("clusters", "number of groups", Count { min: 1, max: 10_000, default: 8 }),
                        OptionSpec::new(
                            "runs",
                            "starts, of which the best is kept",
                            Count { min: 1, max: 1_000, default: 10 },
                        ),
                        OptionSpec::new(
                            "max-iterations",
                            "steps of one run",
                            Count { min: 1, max: 100_000, default: 300 },
                        ),
                        OptionSpec::new(
                            "tolerance",
                            "movement to stop at",
                            Real { min: 1e-12, max: 1e3, default: 1e-4 },
                        ),
                    ]
                }
            }
        }
    }
}

impl fmt::Display for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One option of a trainer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptionSpec {
    /// Kebab-case.
    pub name: &'static str,
    /// One line for a reference.
    pub summary: &'static str,
    /// Type, range and default.
    pub kind: OptionKind,
}

impl OptionSpec {
    const fn new(name: &'static str, summary: &'static str, kind: OptionKind) -> Self {
        Self { name, summary, kind }
    }
}

/// Type, range and default of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptionKind {
    /// A whole number.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// If not given.
        default: u64,
    },
    /// A number.
    Real {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
        /// If not given.
        default: f64,
    },
    /// True or false.
    Flag {
        /// If not given.
        default: bool,
    },
    /// One of a few words.
    Choice {
        /// The words.
        of: &'static [&'static str],
        /// If not given.
        default: &'static str,
    },
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { min, max, .. } => write!(f, "a whole number from {min} to {max}"),
            Self::Real { min, max, .. } => write!(f, "a number from {min} to {max}"),
            Self::Flag { .. } => f.write_str("true or false"),
            Self::Choice { of, .. } => write!(f, "one of {}", of.join(", ")),
        }
    }
}

/// Checked options of one trainer: every option of its table, and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    trainer: Trainer,
    values: BTreeMap<&'static str, Value>,
}

impl Options {
    /// Checks options as a user wrote them; null and an absent option mean the default.
    ///
    /// # Errors
    /// [`TrainError::UnknownOption`], [`TrainError::BadOption`], [`TrainError::OptionsNotObject`].
    pub fn check(trainer: Trainer, given: &Value) -> Result<Self, TrainError> {
        let none = Map::new();
        let given = match given {
            Value::Null => &none,
            Value::Object(map) => map,
            other => return Err(TrainError::OptionsNotObject { trainer, found: other.to_string() }),
        };
        let specs = trainer.options();
        if let Some(name) = given.keys().find(|name| specs.iter().all(|spec| spec.name != **name)) {
            let known = specs.iter().map(|spec| spec.name.to_owned()).collect();
            return Err(TrainError::UnknownOption { trainer, name: name.clone(), known });
        }
        let values = specs
            .iter()
            .map(|spec| Ok((spec.name, check_one(trainer, spec, given.get(spec.name).unwrap_or(&Value::Null))?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self { trainer, values })
    }

    /// Whose they are.
    pub const fn trainer(&self) -> Trainer {
        self.trainer
    }

    /// All of them with their values, defaults included: what a run records as parameters.
    pub const fn values(&self) -> &BTreeMap<&'static str, Value> {
        &self.values
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.values.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or_default()
    }

    pub(crate) fn real(&self, name: &str) -> f64 {
        self.values.get(name).and_then(Value::as_f64).unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    pub(crate) fn choice(&self, name: &str) -> &str {
        self.values.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

fn check_one(trainer: Trainer, spec: &OptionSpec, value: &Value) -> Result<Value, TrainError> {
    let checked = match (spec.kind, value) {
        (OptionKind::Count { default, .. }, Value::Null) => Some(default.into()),
        (OptionKind::Real { default, .. }, Value::Null) => Some(default.into()),
        (OptionKind::Flag { default }, Value::Null) => Some(default.into()),
        (OptionKind::Choice { default, .. }, Value::Null) => Some(default.into()),
        (OptionKind::Count { min, max, .. }, value) => {
            // A whole number may come from YAML or a command line as 10.0.
            let whole =
                value.as_u64().or_else(|| value.as_f64().filter(|v| v.fract() == 0.0 && *v >= 0.0).map(|v| v as u64));
            whole.filter(|count| (min..=max).contains(count)).map(Value::from)
        }
        (OptionKind::Real { min, max, .. }, value) => {
            value.as_f64().filter(|real| (min..=max).contains(real)).map(Value::from)
        }
        (OptionKind::Flag { .. }, value) => value.as_bool().map(Value::from),
        (OptionKind::Choice { of, .. }, value) => value.as_str().filter(|word| of.contains(word)).map(Value::from),
    };
    checked.ok_or_else(|| TrainError::BadOption {
        trainer,
        name: spec.name.to_owned(),
        value: value.to_string(),
        expected: spec.kind.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use plinth_core::{Coded, codes};
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_options_have_their_defaults_and_given_ones_are_kept() {
        let options = Options::check(Trainer::RandomForest, &json!({"trees": 20, "max-depth": null})).unwrap();
        assert_eq!((options.count("trees"), options.count("max-depth")), (20, 16));
        assert_eq!(options.choice("max-features"), "auto");
        assert!(options.flag("bootstrap"));
        assert_eq!(options.values().len(), Trainer::RandomForest.options().len());
        assert_eq!(Options::check(Trainer::KMeans, &Value::Null).unwrap().count("clusters"), 8);
        assert_eq!(Options::check(Trainer::RandomForest, &json!({"trees": 20.0})).unwrap().count("trees"), 20);
    }

    #[test]
    fn every_default_is_within_its_own_range() {
        for trainer in Trainer::ALL {
            let defaults = Options::check(trainer, &Value::Null).unwrap();
            let given = json!(defaults.values());
            assert_eq!(Options::check(trainer, &given).unwrap(), defaults, "{trainer}");
        }
    }

    #[test]
    fn a_wrong_option_is_named_with_what_is_accepted() {
        let check = |given| Options::check(Trainer::RandomForest, &given).unwrap_err();
        let error = check(json!({"max-dept": 3}));
        assert_eq!(error.to_string(), "random-forest has no option `max-dept`");
        assert_eq!(error.hint().unwrap(), "did you mean `max-depth`?");
        assert_eq!(error.code(), codes::BAD_OPTIONS);
        let error = check(json!({"trees": 0}));
        assert_eq!(error.to_string(), "option `trees` of random-forest is 0, not a whole number from 1 to 5000");
        for bad in [json!({"trees": "ten"}), json!({"trees": 1.5}), json!({"trees": -1}), json!({"bootstrap": 1})] {
            assert_eq!(check(bad).code(), codes::BAD_OPTIONS);
        }
        let error = check(json!({"max-features": "most"}));
        assert!(error.to_string().ends_with("not one of auto, sqrt, log2, third, all"), "{error}");
        assert_eq!(check(json!([1])).to_string(), "the options of random-forest are [1], not an object");
    }

    #[test]
    fn a_trainer_is_known_by_its_task() {
        assert_eq!(Trainer::from_name("k-means", Task::Clustering).unwrap(), Trainer::KMeans);
        let error = Trainer::from_name("elastic-net", Task::Classification).unwrap_err();
        assert_eq!(error.to_string(), "no trainer for classification is called `elastic-net`");
        let error = Trainer::from_name("random-forrest", Task::Regression).unwrap_err();
        assert_eq!(
            (error.hint().unwrap().as_str(), error.code()),
            ("did you mean `random-forest`?", codes::BAD_TRAINER)
        );
    }
}
