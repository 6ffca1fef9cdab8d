//! A fitted step: what it learned, bound to the columns of a schema, ready to be applied.

use std::collections::BTreeSet;

use plinth_sdk::{Field, Kind, Problem};
use serde::{Deserialize, Serialize};

use crate::learn::{numeric, unsupported};
use crate::options::{Columns, Group, Part, Spec, Strategy, Target, Unknown};

/// A column while a chain is being planned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Col {
    pub(crate) field: Field,
    /// Made by an encoder of this chain: `numeric` passes it by.
    pub(crate) encoded: bool,
}

/// What takes the place of a missing value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum FillValue {
    Float(f64),
    Int(i64),
    Flag(bool),
    Text(String),
}

/// `(x - subtract) * multiply + add`, then clipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Affine {
    pub(crate) column: String,
    pub(crate) subtract: f64,
    pub(crate) multiply: f64,
    pub(crate) add: f64,
    pub(crate) clip: Option<(f64, f64)>,
}

/// The categories of a column, ascending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Categories {
    Texts(Vec<String>),
    Ints(Vec<i64>),
    Flags(Vec<bool>),
}

/// What a step learned, by column name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Learned {
    Fill(Vec<(String, FillValue)>),
    Affine(Vec<Affine>),
    OneHot {
        columns: Vec<(String, Categories)>,
        unknown: Unknown,
        drop_first: bool,
    },
    Ordinal {
        columns: Vec<(String, Categories)>,
        unknown: Unknown,
    },
    /// Inner edges, ascending.
    Bins(Vec<(String, Vec<f64>)>),
    Select(Vec<String>),
    Drop(Vec<String>),
    Cast {
        columns: Vec<String>,
        to: Kind,
    },
    Dates {
        columns: Vec<String>,
        parts: Vec<Part>,
        keep: bool,
    },
}

/// A step bound to column positions.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    Fill(Vec<(usize, FillValue)>),
    Affine(Vec<(usize, Affine)>),
    /// By input position: what to encode there, or nothing.
    OneHot {
        columns: Vec<Option<(String, Categories)>>,
        unknown: Unknown,
        drop_first: bool,
    },
    Ordinal {
        columns: Vec<(usize, String, Categories)>,
        unknown: Unknown,
    },
    Bins(Vec<(usize, Vec<f64>)>),
    /// The positions that stay, in their new order.
    Take(Vec<usize>),
    Cast {
        columns: Vec<(usize, Field)>,
        to: Kind,
    },
    /// By input position: whether to take it apart.
    Dates {
        columns: Vec<bool>,
        parts: Vec<Part>,
        keep: bool,
    },
}

impl Categories {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Texts(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Flags(values) => values.len(),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Texts(values) => values.clone(),
            Self::Ints(values) => values.iter().map(ToString::to_string).collect(),
            Self::Flags(values) => values.iter().map(ToString::to_string).collect(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Texts(_) => Kind::Utf8,
            Self::Ints(_) => Kind::Int64,
            Self::Flags(_) => Kind::Boolean,
        }
    }

    fn ascend(&self) -> bool {
        fn rising<T: Ord>(values: &[T]) -> bool {
            values.windows(2).all(|pair| pair[0] < pair[1])
        }
        match self {
            Self::Texts(values) => rising(values),
            Self::Ints(values) => rising(values),
            Self::Flags(values) => rising(values),
        }
    }
}

impl Target {
    /// The positions of the columns it names, ascending for a group and as listed for names.
    ///
    /// # Errors
    /// `unknown-column`, `no-columns`.
    pub(crate) fn resolve(&self, step: &str, cols: &[Col]) -> Result<Vec<usize>, Problem> {
        for name in &self.except {
            position(step, name, cols)?;
        }
        let excepted = |col: &Col| self.except.contains(&col.field.name);
        let mut found = Vec::new();
        match &self.columns {
            Columns::Names(names) => {
                for name in names {
                    let at = position(step, name, cols)?;
                    if found.contains(&at) {
                        let message = format!("{step}: column {name} is named twice");
                        return Err(Problem::bad_input("bad-options", message).in_column(name));
                    }
                    if !excepted(&cols[at]) {
                        found.push(at);
                    }
                }
            }
            Columns::Group(group) => {
                found.extend((0..cols.len()).filter(|&at| group.holds(&cols[at]) && !excepted(&cols[at])));
            }
        }
        Ok(found)
    }
}

impl Group {
    fn holds(self, col: &Col) -> bool {
        match self {
            Self::All => true,
            Self::Numeric => numeric(col.field.kind) && !col.encoded,
            Self::Categorical => matches!(col.field.kind, Kind::Utf8 | Kind::Boolean),
        }
    }
}

/// Where a column is.
///
/// # Errors
/// `unknown-column`, with the name that was meant, where one is near.
pub(crate) fn position(step: &str, name: &str, cols: &[Col]) -> Result<usize, Problem> {
    cols.iter().position(|col| col.field.name == name).ok_or_else(|| {
        let near = plinth_sdk::options::nearest(name, cols.iter().map(|col| col.field.name.as_str()));
        Problem::bad_input("unknown-column", format!("{step}: there is no column `{name}`{near}")).in_column(name)
    })
}

/// The step itself, where it has nothing to learn from rows.
///
/// # Errors
/// As [`Target::resolve`]; `bad-options` where a constant does not suit its columns.
pub(crate) fn without_learning(spec: &Spec, cols: &[Col]) -> Result<Option<Learned>, Problem> {
    let names = || -> Result<Vec<String>, Problem> {
        let found = spec.target().resolve(spec.name(), cols)?;
        Ok(found.into_iter().map(|at| cols[at].field.name.clone()).collect())
    };
    Ok(Some(match spec {
        Spec::Select { .. } => Learned::Select(names()?),
        Spec::Drop { .. } => Learned::Drop(names()?),
        Spec::Cast { to, .. } => Learned::Cast { columns: names()?, to: *to },
        Spec::DateParts { parts, keep, .. } => Learned::Dates { columns: names()?, parts: parts.clone(), keep: *keep },
        Spec::Impute { target, strategy: Strategy::Constant, value: Some(value) } => {
            let mut fills = Vec::new();
            for at in target.resolve(spec.name(), cols)? {
                let field = &cols[at].field;
                let fill = match field.kind {
                    Kind::Float64 | Kind::Float32 => value.as_f64().map(FillValue::Float),
                    Kind::Int64 => value.as_i64().map(FillValue::Int),
                    Kind::Boolean => value.as_bool().map(FillValue::Flag),
                    Kind::Utf8 => value.as_str().map(|text| FillValue::Text(text.to_owned())),
                    Kind::TimestampUs | Kind::Binary => None,
                };
                let fill = fill.ok_or_else(|| {
                    let message = format!("impute: {value} cannot fill column {}, which is {}", field.name, field.kind);
                    Problem::bad_input("bad-options", message).in_column(&field.name)
                })?;
                fills.push((field.name.clone(), fill));
            }
            Learned::Fill(fills)
        }
        _ => return Ok(None),
    }))
}

impl Learned {
    /// Whether it can be what a fit led to. States come from outside and are not trusted.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Fill(fills) => {
                fills.iter().all(|(_, fill)| !matches!(fill, FillValue::Float(value) if !value.is_finite()))
            }
            Self::Affine(affines) => affines.iter().all(|a| {
                let clip = a.clip.is_none_or(|(low, high)| low <= high);
                clip && [a.subtract, a.multiply, a.add].iter().all(|value| value.is_finite())
            }),
            Self::OneHot { columns, .. } | Self::Ordinal { columns, .. } => {
                columns.iter().all(|(_, categories)| categories.ascend() && categories.len() > 0)
            }
            Self::Bins(bins) => bins.iter().all(|(_, edges)| edges.windows(2).all(|pair| pair[0] < pair[1])),
            Self::Dates { parts, .. } => !parts.is_empty(),
            Self::Select(_) | Self::Drop(_) | Self::Cast { .. } => true,
        }
    }

    /// Finds its columns, and says which columns come out.
    ///
    /// # Errors
    /// `unknown-column`, `unsupported-kind`, `duplicate-column`, `no-columns`.
    pub(crate) fn bind(&self, cols: &[Col]) -> Result<(Bound, Vec<Col>), Problem> {
        let mut out = cols.to_vec();
        let bound = match self {
            Self::Fill(fills) => {
                let mut bound = Vec::new();
                for (name, fill) in fills {
                    let at = position("impute", name, cols)?;
                    let kind = cols[at].field.kind;
                    out[at].field.kind = match (fill, kind) {
                        (FillValue::Float(_), Kind::Int64) => Kind::Float64,
                        (FillValue::Float(_), Kind::Float32 | Kind::Float64)
                        | (FillValue::Int(_), Kind::Int64)
                        | (FillValue::Flag(_), Kind::Boolean)
                        | (FillValue::Text(_), Kind::Utf8) => kind,
                        _ => return Err(unsupported("impute", &cols[at], "the kind it was fitted on")),
                    };
                    out[at].field.nullable = false;
                    bound.push((at, fill.clone()));
                }
                Bound::Fill(bound)
            }
            Self::Affine(affines) => {
                let mut bound = Vec::new();
                for affine in affines {
                    let at = position("scale", &affine.column, cols)?;
                    if !numeric(cols[at].field.kind) {
                        return Err(unsupported("scale", &cols[at], "numbers"));
                    }
                    if cols[at].field.kind == Kind::Int64 {
                        out[at].field.kind = Kind::Float64;
                    }
                    bound.push((at, affine.clone()));
                }
                Bound::Affine(bound)
            }
            Self::OneHot { columns, unknown, drop_first } => {
                let mut bound = vec![None; cols.len()];
                for (name, categories) in columns {
                    let at = encodable("one-hot", name, categories, cols)?;
                    bound[at] = Some((name.clone(), categories.clone()));
                }
                out.clear();
                for (col, encode) in cols.iter().zip(&bound) {
                    match encode {
                        None => out.push(col.clone()),
                        Some((name, categories)) => {
                            let mut names = categories.names();
                            names.drain(..usize::from(*drop_first));
                            if *unknown == Unknown::Bucket {
                                names.push("(unknown)".to_owned());
                            }
                            out.extend(names.into_iter().map(|value| encoded(format!("{name}={value}"))));
                        }
                    }
                }
                Bound::OneHot { columns: bound, unknown: *unknown, drop_first: *drop_first }
            }
            Self::Ordinal { columns, unknown } => {
                let mut bound = Vec::new();
                for (name, categories) in columns {
                    let at = encodable("ordinal", name, categories, cols)?;
                    out[at] = encoded(name.clone());
                    bound.push((at, name.clone(), categories.clone()));
                }
                Bound::Ordinal { columns: bound, unknown: *unknown }
            }
            Self::Bins(bins) => {
                let mut bound = Vec::new();
                for (name, edges) in bins {
                    let at = position("quantile-bin", name, cols)?;
                    if !numeric(cols[at].field.kind) {
                        return Err(unsupported("quantile-bin", &cols[at], "numbers"));
                    }
                    out[at] = Col { field: Field { kind: Kind::Float64, ..cols[at].field.clone() }, encoded: true };
                    bound.push((at, edges.clone()));
                }
                Bound::Bins(bound)
            }
            Self::Select(names) => {
                let kept = names.iter().map(|name| position("select", name, cols)).collect::<Result<Vec<_>, _>>()?;
                out = kept.iter().map(|&at| cols[at].clone()).collect();
                Bound::Take(kept)
            }
            Self::Drop(names) => {
                // A column that is to go may be missing already: the label is, when a model answers.
                let kept: Vec<usize> = (0..cols.len()).filter(|&at| !names.contains(&cols[at].field.name)).collect();
                out = kept.iter().map(|&at| cols[at].clone()).collect();
                Bound::Take(kept)
            }
            Self::Cast { columns, to } => {
                let mut bound = Vec::new();
                for name in columns {
                    let at = position("cast", name, cols)?;
                    crate::convert::check(&cols[at], *to)?;
                    out[at] = Col { field: Field { kind: *to, ..cols[at].field.clone() }, encoded: false };
                    bound.push((at, cols[at].field.clone()));
                }
                Bound::Cast { columns: bound, to: *to }
            }
            Self::Dates { columns, parts, keep } => {
                let mut bound = vec![false; cols.len()];
                for name in columns {
                    let at = position("date-parts", name, cols)?;
                    if cols[at].field.kind != Kind::TimestampUs {
                        return Err(unsupported("date-parts", &cols[at], "timestamps"));
                    }
                    bound[at] = true;
                }
                out.clear();
                for (col, &apart) in cols.iter().zip(&bound) {
                    if !apart || *keep {
                        out.push(col.clone());
                    }
                    if apart {
                        out.extend(parts.iter().map(|part| Col {
                            field: Field {
                                name: format!("{}.{}", col.field.name, part.name()),
                                kind: Kind::Float64,
                                nullable: col.field.nullable,
                            },
                            encoded: false,
                        }));
                    }
                }
                Bound::Dates { columns: bound, parts: parts.clone(), keep: *keep }
            }
        };
        check_names(&out)?;
        Ok((bound, out))
    }
}

fn encoded(name: String) -> Col {
    Col { field: Field { name, kind: Kind::Float64, nullable: false }, encoded: true }
}

fn encodable(step: &str, name: &str, categories: &Categories, cols: &[Col]) -> Result<usize, Problem> {
    let at = position(step, name, cols)?;
    if cols[at].field.kind != categories.kind() {
        return Err(unsupported(step, &cols[at], "the kind it was fitted on"));
    }
    Ok(at)
}

fn check_names(cols: &[Col]) -> Result<(), Problem> {
    if cols.is_empty() {
        return Err(Problem::bad_input("no-columns", "no column is left; select fewer out or drop fewer"));
    }
    let mut seen = BTreeSet::new();
    for col in cols {
        if !seen.insert(col.field.name.as_str()) {
            let message = format!("two columns would be named {}; rename one in the source", col.field.name);
            return Err(Problem::bad_input("duplicate-column", message).in_column(&col.field.name));
        }
    }
    Ok(())
}
