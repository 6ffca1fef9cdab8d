//! The expectations by name, and what watches each.

use plinth_sdk::{Field, Kind, Problem, Schema};
use serde_json::Value;

use super::{
    Watch,
    columns::{ColumnType, Columns, NoColumn, RowCount},
    rows::{Increasing, Pair, Unique, Varies},
    values::{Aggregate, Fault, Nulls, Statistic, Violations},
};
use crate::rule::Bounds;

/// One expectation, as options spell it.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Expectation {
    RowCount(Range),
    Columns(ColumnsOptions),
    ColumnType(ColumnTypeOptions),
    NullShare(NullShareOptions),
    Range(RangeOptions),
    InSet(InSetOptions),
    Length(RangeOptions),
    Unique(UniqueOptions),
    Varies(ColumnOptions),
    Increasing(IncreasingOptions),
    Pair(PairOptions),
    Mean(AggregateOptions),
    Sum(AggregateOptions),
    Median(AggregateOptions),
    Quantile(QuantileOptions),
}

/// Bounds alone.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    above: Option<f64>,
    min: Option<f64>,
    below: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct ColumnsOptions {
    /// These are there, among others perhaps.
    present: Vec<String>,
    /// These are not.
    absent: Vec<String>,
    /// These and no others, in this order.
    exactly: Option<Vec<String>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnTypeOptions {
    column: Names,
    #[serde(rename = "type")]
    kind: Kind,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NullShareOptions {
    column: Names,
    max: f64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RangeOptions {
    column: Names,
    above: Option<f64>,
    min: Option<f64>,
    below: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    allow_share: f64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct InSetOptions {
    column: Names,
    values: Vec<Value>,
    #[serde(default)]
    allow_share: f64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UniqueOptions {
    /// One column, or several whose values together are unique.
    columns: Names,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnOptions {
    column: Names,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncreasingOptions {
    column: Names,
    #[serde(default)]
    strictly: bool,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PairOptions {
    left: String,
    is: Sign,
    right: String,
    #[serde(default)]
    allow_share: f64,
}

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(super) enum Sign {
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    Unequal,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AggregateOptions {
    column: Names,
    above: Option<f64>,
    min: Option<f64>,
    below: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuantileOptions {
    column: Names,
    q: f64,
    above: Option<f64>,
    min: Option<f64>,
    below: Option<f64>,
    max: Option<f64>,
}

/// A name or several.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

macro_rules! bounds {
    ($options:expr, $what:expr) => {{
        let bounds = Bounds { above: $options.above, min: $options.min, below: $options.below, max: $options.max };
        bounds.check($what)
    }};
}

impl Expectation {
    /// What watches it: one for each column it names. A column that is not there fails when all is concluded, so that
    /// the other expectations are still judged.
    ///
    /// # Errors
    /// `bad-options` where it makes no sense whatever the data.
    pub(super) fn watch(&self, schema: &Schema) -> Result<Vec<Box<dyn Watch>>, Problem> {
        Ok(match self {
            Self::RowCount(options) => vec![Box::new(RowCount(bounds!(options, "`row-count`")?))],
            Self::Columns(options) => {
                Columns::all(schema, &options.present, &options.absent, options.exactly.as_deref())?
            }
            Self::ColumnType(options) => each(schema, &options.column, "type", |_, field| {
                Ok(Box::new(ColumnType { name: field.name.clone(), found: field.kind, wanted: options.kind }))
            })?,
            Self::NullShare(options) => {
                let max = share("`null-share`", "max", options.max)?;
                each(schema, &options.column, "null-share", |column, field| {
                    Ok(Box::new(Nulls::new(column, field, max)))
                })?
            }
            Self::Range(options) => {
                let bounds = bounds!(options, "`range`")?;
                let allowed = share("`range`", "allow-share", options.allow_share)?;
                each(schema, &options.column, "range", |column, field| {
                    Ok(match field.kind {
                        Kind::Utf8 | Kind::Binary => wrong(field, "range", "a number"),
                        _ => Box::new(Violations::new(column, field, Fault::OutOfRange(bounds), allowed)),
                    })
                })?
            }
            Self::Length(options) => {
                let bounds = bounds!(options, "`length`")?;
                let allowed = share("`length`", "allow-share", options.allow_share)?;
                each(schema, &options.column, "length", |column, field| {
                    Ok(match field.kind {
                        Kind::Utf8 => Box::new(Violations::new(column, field, Fault::Length(bounds), allowed)),
                        _ => wrong(field, "length", "text"),
                    })
                })?
            }
            Self::InSet(options) => {
                let allowed = share("`in-set`", "allow-share", options.allow_share)?;
                if options.values.is_empty() {
                    return Err(Problem::bad_input("bad-options", "`in-set`: `values` is empty"));
                }
                each(schema, &options.column, "in-set", |column, field| {
                    let fault = Fault::in_set(field, &options.values)?;
                    Ok(Box::new(Violations::new(column, field, fault, allowed)))
                })?
            }
            Self::Unique(options) => {
                let names = options.columns.all();
                if names.is_empty() {
                    return Err(Problem::bad_input("bad-options", "`unique`: `columns` is empty"));
                }
                match names.iter().find(|name| schema.index_of(name).is_none()) {
                    Some(absent) => vec![Box::new(NoColumn::new(schema, absent, "unique"))],
                    None => {
                        let columns = names.iter().filter_map(|name| schema.index_of(name)).collect();
                        vec![Box::new(Unique::new(columns, names))]
                    }
                }
            }
            Self::Varies(options) => {
                each(schema, &options.column, "varies", |column, field| Ok(Box::new(Varies::new(column, field))))?
            }
            Self::Increasing(options) => each(schema, &options.column, "increasing", |column, field| {
                Ok(match field.kind {
                    Kind::Utf8 | Kind::Binary => wrong(field, "increasing", "a number or a time"),
                    _ => Box::new(Increasing::new(column, field, options.strictly)),
                })
            })?,
            Self::Pair(options) => {
                let allowed = share("`pair`", "allow-share", options.allow_share)?;
                match (schema.index_of(&options.left), schema.index_of(&options.right)) {
                    (None, _) => vec![Box::new(NoColumn::new(schema, &options.left, "pair"))],
                    (_, None) => vec![Box::new(NoColumn::new(schema, &options.right, "pair"))],
                    (Some(left), Some(right)) => vec![Pair::watch(schema, left, options.is, right, allowed)],
                }
            }
            Self::Mean(options) => aggregate(schema, &options.column, Statistic::Mean, bounds!(options, "`mean`")?)?,
            Self::Sum(options) => aggregate(schema, &options.column, Statistic::Sum, bounds!(options, "`sum`")?)?,
            Self::Median(options) => {
                aggregate(schema, &options.column, Statistic::Quantile(0.5), bounds!(options, "`median`")?)?
            }
            Self::Quantile(options) => {
                let q = share("`quantile`", "q", options.q)?;
                aggregate(schema, &options.column, Statistic::Quantile(q), bounds!(options, "`quantile`")?)?
            }
        })
    }
}

/// A watch for each named column; one that always fails for a column that is not there.
fn each<'a>(
    schema: &Schema,
    names: &Names,
    what: &'static str,
    make: impl Fn(usize, &Field) -> Result<Box<dyn Watch + 'a>, Problem>,
) -> Result<Vec<Box<dyn Watch + 'a>>, Problem> {
    if names.all().is_empty() {
        return Err(Problem::bad_input("bad-options", format!("`{what}` names no column")));
    }
    let one = |name: &String| match schema.index_of(name) {
        Some(column) => make(column, &schema.fields[column]),
        None => Ok(Box::new(NoColumn::new(schema, name, what)) as Box<dyn Watch>),
    };
    names.all().iter().map(one).collect()
}

fn aggregate(
    schema: &Schema,
    names: &Names,
    statistic: Statistic,
    bounds: Bounds,
) -> Result<Vec<Box<dyn Watch>>, Problem> {
    each(schema, names, statistic.name(), |column, field| {
        Ok(match field.kind {
            Kind::Utf8 | Kind::Binary => wrong(field, statistic.name(), "a number"),
            _ => Box::new(Aggregate::new(column, field, statistic, bounds)),
        })
    })
}

fn wrong(field: &Field, what: &'static str, wanted: &'static str) -> Box<dyn Watch> {
    Box::new(NoColumn::of_another_type(field, what, wanted))
}

fn share(what: &str, key: &str, value: f64) -> Result<f64, Problem> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(Problem::bad_input("bad-options", format!("{what}: `{key}` is {value}; it must be 0 to 1")))
}
