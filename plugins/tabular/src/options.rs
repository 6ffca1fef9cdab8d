//! What a step is asked to do: options as JSON, parsed once into checked types.
//!
//! Every item but `chain` is a chain of one step. In a chain a step is an object with one key:
//! `{"impute": {"columns": "numeric", "strategy": "median"}}`; a step with columns alone may be written short:
//! `{"drop": ["customer_id"]}`.

use plinth_sdk::{Kind, Problem};
use serde::Deserialize;
use serde_json::Value;

/// Steps in one chain, at most.
const STEPS_MAX: usize = 256;

/// The steps this component has, by the names that options use.
pub(crate) const STEPS: [&str; 11] = [
    "impute",
    "standard-scale",
    "min-max-scale",
    "robust-scale",
    "one-hot",
    "ordinal",
    "quantile-bin",
    "select",
    "drop",
    "cast",
    "date-parts",
];

/// One step, its options checked.
#[derive(Debug, Clone)]
pub(crate) enum Spec {
    Impute { target: Target, strategy: Strategy, value: Option<Value> },
    StandardScale { target: Target, center: bool, scale: bool },
    MinMaxScale { target: Target, low: f64, high: f64, clip: bool },
    RobustScale { target: Target, low: f64, high: f64 },
    OneHot { target: Target, unknown: Unknown, drop_first: bool, categories_max: usize },
    Ordinal { target: Target, unknown: Unknown, categories_max: usize },
    QuantileBin { target: Target, bins: usize },
    Select { target: Target },
    Drop { target: Target },
    Cast { target: Target, to: Kind },
    DateParts { target: Target, parts: Vec<Part>, keep: bool },
}

/// Which columns a step works on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Target {
    pub(crate) columns: Columns,
    #[serde(default)]
    pub(crate) except: Vec<String>,
}

/// Columns by name or by what they hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "columns must be `numeric`, `categorical`, `all` or a list of names")]
pub(crate) enum Columns {
    Group(Group),
    Names(Vec<String>),
}

/// Columns by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    /// int64, float32 and float64, but not what an encoder of this chain made.
    Numeric,
    /// utf8 and boolean.
    Categorical,
    /// Every column.
    All,
}

/// What takes the place of a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Strategy {
    Mean,
    Median,
    MostFrequent,
    Constant,
}

/// What an encoder does with a category that it was not fitted on, and with null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unknown {
    /// A problem.
    #[default]
    Error,
    /// All zeros, or -1.
    Ignore,
    /// A category of its own.
    Bucket,
}

/// A part of a timestamp, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    Year,
    Quarter,
    Month,
    Day,
    DayOfYear,
    /// 0 = Monday.
    Weekday,
    /// 1 on Saturday and Sunday.
    IsWeekend,
    Hour,
    Minute,
    Second,
    /// Days since 1970-01-01, with the time as a fraction.
    EpochDays,
}

impl Part {
    /// The name that options and output columns use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Day => "day",
            Self::DayOfYear => "day-of-year",
            Self::Weekday => "weekday",
            Self::IsWeekend => "is-weekend",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::EpochDays => "epoch-days",
        }
    }
}

/// Reads the options of an item into its steps.
///
/// # Errors
/// `unknown-item`, or `bad-options` naming the step and the key.
pub(crate) fn parse(item: &str, options: &str) -> Result<Vec<Spec>, Problem> {
    let options: Value = if options.trim().is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_str(options)
            .map_err(|e| Problem::bad_input("bad-options", format!("options are not JSON: {e}")))?
    };
    if item != "chain" {
        if !STEPS.contains(&item) {
            return Err(Problem::bad_input("unknown-item", format!("no transform is named {item}")));
        }
        return Ok(vec![
            parse_step(item, options).map_err(|e| Problem::bad_input("bad-options", format!("{item}: {e}")))?,
        ]);
    }
    let chain: Chain =
        serde_json::from_value(options).map_err(|e| Problem::bad_input("bad-options", format!("chain: {e}")))?;
    if chain.steps.is_empty() || chain.steps.len() > STEPS_MAX {
        return Err(Problem::bad_input(
            "bad-options",
            format!("chain: has {} steps; give between 1 and {STEPS_MAX}", chain.steps.len()),
        ));
    }
    let mut specs = Vec::with_capacity(chain.steps.len());
    for (index, step) in chain.steps.into_iter().enumerate() {
        let at = |e: String| Problem::bad_input("bad-options", format!("chain: step {}: {e}", index + 1));
        let mut entries = step.into_iter();
        let (Some((name, options)), None) = (entries.next(), entries.next()) else {
            return Err(at("must have exactly one key, the name of the step".to_owned()));
        };
        specs.push(parse_step(&name, options).map_err(|e| at(format!("{name}: {e}")))?);
    }
    Ok(specs)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    steps: Vec<serde_json::Map<String, Value>>,
}

/// Declares a step's options; all of them have columns and except.
macro_rules! options {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        struct $name {
            columns: Columns,
            #[serde(default)]
            except: Vec<String>,
            $($(#[$attribute])* $field: $type,)*
        }
    };
}

options!(ImputeOptions { strategy: Strategy, #[serde(default)] value: Option<Value>, });
options!(StandardOptions {
    #[serde(default = "yes")]
    center: bool,
    #[serde(default = "yes")]
    scale: bool,
});
options!(MinMaxOptions {
    #[serde(default = "unit_range")]
    range: [f64; 2],
    #[serde(default)]
    clip: bool,
});
options!(RobustOptions {
    #[serde(default = "quartiles")]
    quantiles: [f64; 2],
});
options!(OneHotOptions {
    #[serde(default)]
    unknown: Unknown,
    #[serde(default)]
    drop_first: bool,
    #[serde(default = "one_hot_max")]
    max_categories: usize,
});
options!(OrdinalOptions {
    #[serde(default)]
    unknown: Unknown,
    #[serde(default = "ordinal_max")]
    max_categories: usize,
});
options!(BinOptions {
    #[serde(default = "five")]
    bins: usize,
});
options!(PlainOptions {});
options!(CastOptions { to: Kind });
options!(DateOptions { parts: Vec<Part>, #[serde(default)] keep: bool, });

fn yes() -> bool {
    true
}
fn unit_range() -> [f64; 2] {
    [0.0, 1.0]
}
fn quartiles() -> [f64; 2] {
    [0.25, 0.75]
}
fn one_hot_max() -> usize {
    1_000
}
fn ordinal_max() -> usize {
    100_000
}
fn five() -> usize {
    5
}

/// Reads one step; the error says what is wrong with its options.
fn parse_step(name: &str, options: Value) -> Result<Spec, String> {
    let options = match options {
        short @ (Value::Array(_) | Value::String(_)) => {
            Value::Object(serde_json::Map::from_iter([("columns".to_owned(), short)]))
        }
        long => long,
    };
    macro_rules! read {
        ($type:ty) => {{
            let options: $type = serde_json::from_value(options).map_err(|e| e.to_string())?;
            options
        }};
    }
    macro_rules! target {
        ($options:expr) => {
            Target { columns: $options.columns, except: $options.except }
        };
    }
    Ok(match name {
        "impute" => {
            let o = read!(ImputeOptions);
            if (o.strategy == Strategy::Constant) != o.value.is_some() {
                return Err("value goes with the strategy constant, and with no other".to_owned());
            }
            Spec::Impute { strategy: o.strategy, value: o.value.clone(), target: target!(o) }
        }
        "standard-scale" => {
            let o = read!(StandardOptions);
            Spec::StandardScale { center: o.center, scale: o.scale, target: target!(o) }
        }
        "min-max-scale" => {
            let o = read!(MinMaxOptions);
            let [low, high] = o.range;
            if !(low < high && low.is_finite() && high.is_finite()) {
                return Err(format!("range [{low}, {high}] must rise"));
            }
            Spec::MinMaxScale { low, high, clip: o.clip, target: target!(o) }
        }
        "robust-scale" => {
            let o = read!(RobustOptions);
            let [low, high] = o.quantiles;
            if !(0.0 <= low && low < high && high <= 1.0) {
                return Err(format!("quantiles [{low}, {high}] must rise within 0 and 1"));
            }
            Spec::RobustScale { low, high, target: target!(o) }
        }
        "one-hot" => {
            let o = read!(OneHotOptions);
            Spec::OneHot {
                unknown: o.unknown,
                drop_first: o.drop_first,
                categories_max: at_least_one(o.max_categories, "max-categories")?,
                target: target!(o),
            }
        }
        "ordinal" => {
            let o = read!(OrdinalOptions);
            let categories_max = at_least_one(o.max_categories, "max-categories")?;
            Spec::Ordinal { unknown: o.unknown, categories_max, target: target!(o) }
        }
        "quantile-bin" => {
            let o = read!(BinOptions);
            if !(2..=10_000).contains(&o.bins) {
                return Err(format!("bins {} must lie between 2 and 10000", o.bins));
            }
            Spec::QuantileBin { bins: o.bins, target: target!(o) }
        }
        "select" => {
            let o = read!(PlainOptions);
            Spec::Select { target: target!(o) }
        }
        "drop" => {
            let o = read!(PlainOptions);
            Spec::Drop { target: target!(o) }
        }
        "cast" => {
            let o = read!(CastOptions);
            Spec::Cast { to: o.to, target: target!(o) }
        }
        "date-parts" => {
            let o = read!(DateOptions);
            if o.parts.is_empty() {
                return Err("parts must name at least one part".to_owned());
            }
            Spec::DateParts { parts: o.parts.clone(), keep: o.keep, target: target!(o) }
        }
        other => {
            return Err(format!("no step is named {other}; there are {}", STEPS.join(", ")));
        }
    })
}

fn at_least_one(n: usize, key: &str) -> Result<usize, String> {
    if (1..=1_000_000).contains(&n) { Ok(n) } else { Err(format!("{key} {n} must lie between 1 and 1000000")) }
}

impl Spec {
    /// The name that options use.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Impute { .. } => "impute",
            Self::StandardScale { .. } => "standard-scale",
            Self::MinMaxScale { .. } => "min-max-scale",
            Self::RobustScale { .. } => "robust-scale",
            Self::OneHot { .. } => "one-hot",
            Self::Ordinal { .. } => "ordinal",
            Self::QuantileBin { .. } => "quantile-bin",
            Self::Select { .. } => "select",
            Self::Drop { .. } => "drop",
            Self::Cast { .. } => "cast",
            Self::DateParts { .. } => "date-parts",
        }
    }

    /// The columns it works on.
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Impute { target, .. }
            | Self::StandardScale { target, .. }
            | Self::MinMaxScale { target, .. }
            | Self::RobustScale { target, .. }
            | Self::OneHot { target, .. }
            | Self::Ordinal { target, .. }
            | Self::QuantileBin { target, .. }
            | Self::Select { target }
            | Self::Drop { target }
            | Self::Cast { target, .. }
            | Self::DateParts { target, .. } => target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_step_is_its_columns() {
        let specs = parse("chain", r#"{"steps":[{"drop":["a","b"]},{"standard-scale":"numeric"}]}"#).unwrap();
        assert!(matches!(&specs[0].target().columns, Columns::Names(names) if names == &["a", "b"]));
        assert!(matches!(specs[1].target().columns, Columns::Group(Group::Numeric)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_step() {
        for (options, expected) in [
            (
                r#"{"steps":[{"drop":["a"]},{"impute":{"columns":"numeric","stratgy":"mean"}}]}"#,
                "step 2: impute: unknown field `stratgy`",
            ),
            (r#"{"steps":[{"imptue":{}}]}"#, "no step is named imptue"),
            (r#"{"steps":[]}"#, "has 0 steps"),
            (r#"{"steps":[{"impute":{"columns":"numbers","strategy":"mean"}}]}"#, "columns must be `numeric`"),
            (r#"{"steps":[{"impute":{"columns":"numeric","strategy":"constant"}}]}"#, "value goes with"),
            (r#"{"step":[]}"#, "unknown field `step`"),
        ] {
            let refused = parse("chain", options).unwrap_err();
            assert_eq!(refused.code, "bad-options");
            assert!(refused.message.contains(expected), "{}", refused.message);
        }
    }
}
