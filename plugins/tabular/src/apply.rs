//! Bound steps applied to rows.

use plinth_sdk::{Field, Kind, Problem, map::each};

use crate::convert;
use crate::frame::{Column, Frame, Values, bit};
use crate::options::{Part, Unknown};

use crate::step::{Affine, Bound, Categories, FillValue};

impl Bound {
    /// Transforms rows; one out for each in.
    ///
    /// # Errors
    /// `unknown-category`, `bad-value`: with row and column.
    pub(crate) fn apply(&self, frame: &mut Frame) -> Result<(), Problem> {
        let rows = frame.rows;
        match self {
            Self::Fill(fills) => fills.iter().for_each(|(at, fill)| fill_column(&mut frame.columns[*at], fill, rows)),
            Self::Affine(affines) => {
                affines.iter().for_each(|(at, affine)| scale_column(&mut frame.columns[*at], affine, rows));
            }
            Self::OneHot { columns, unknown, drop_first } => {
                let mut out = Vec::new();
                for (column, encode) in std::mem::take(&mut frame.columns).into_iter().zip(columns) {
                    match encode {
                        None => out.push(column),
                        Some((name, categories)) => {
                            one_hot(&column, rows, name, categories, *unknown, *drop_first, &mut out)?;
                        }
                    }
                }
                frame.columns = out;
            }
            Self::Ordinal { columns, unknown } => {
                for (at, name, categories) in columns {
                    let codes = codes_of(&frame.columns[*at], rows, name, categories, *unknown)?;
                    let other = if *unknown == Unknown::Bucket { categories.len() as f64 } else { -1.0 };
                    let number = |code: &Option<usize>| code.map_or(other, |code| code as f64);
                    frame.columns[*at] =
                        Column { values: Values::F64(codes.iter().map(number).collect()), valid: None };
                }
            }
            Self::Bins(bins) => bins.iter().for_each(|(at, edges)| bin_column(&mut frame.columns[*at], edges, rows)),
            Self::Take(kept) => {
                let mut columns: Vec<Option<Column>> =
                    std::mem::take(&mut frame.columns).into_iter().map(Some).collect();
                frame.columns = kept.iter().filter_map(|&at| columns[at].take()).collect();
            }
            Self::Cast { columns, to } => {
                for (at, field) in columns {
                    let column = take_column(frame, *at);
                    frame.columns[*at] = convert::cast(column, rows, field, *to)?;
                }
            }
            Self::Dates { columns, parts, keep } => frame.columns = dates(frame, columns, parts, *keep),
        }
        Ok(())
    }
}

fn take_column(frame: &mut Frame, at: usize) -> Column {
    std::mem::replace(&mut frame.columns[at], Column { values: Values::F64(Vec::new()), valid: None })
}

/// A float that is NaN counts as missing, as in scikit-learn.
fn fill_column(column: &mut Column, fill: &FillValue, rows: usize) {
    if let (FillValue::Float(_), Values::I64(_)) = (fill, &column.values) {
        let values = std::mem::replace(&mut column.values, Values::F64(Vec::new()));
        column.values = convert::widen(values);
    }
    let valid = column.valid.take();
    let missing = |row: usize| valid.as_deref().is_some_and(|valid| !bit(valid, row));
    match (fill, &mut column.values) {
        (FillValue::Float(fill), Values::F64(values)) => {
            for (row, value) in values.iter_mut().enumerate() {
                if value.is_nan() || missing(row) {
                    *value = *fill;
                }
            }
        }
        (FillValue::Float(fill), Values::F32(values)) => {
            for (row, value) in values.iter_mut().enumerate() {
                if value.is_nan() || missing(row) {
                    *value = *fill as f32;
                }
            }
        }
        (FillValue::Int(fill), Values::I64(values)) => {
            (0..rows).filter(|&row| missing(row)).for_each(|row| values[row] = *fill);
        }
        (FillValue::Flag(true), Values::Bits(bits)) => {
            (0..rows).filter(|&row| missing(row)).for_each(|row| bits[row / 8] |= 1 << (row % 8));
        }
        (FillValue::Text(fill), Values::Bytes(offsets, bytes)) if valid.is_some() => {
            let mut filled = Vec::with_capacity(bytes.len() + fill.len());
            let mut start = 0_usize;
            for row in 0..rows {
                let end = offsets[row + 1] as usize;
                let text = if missing(row) { fill.as_bytes() } else { &bytes[start..end] };
                filled.extend_from_slice(text);
                start = end;
                offsets[row + 1] = filled.len() as u32;
            }
            *bytes = filled;
        }
        // A null flag is stored as false already; other pairs were refused when the step was bound.
        _ => {}
    }
}

fn scale_column(column: &mut Column, affine: &Affine, rows: usize) {
    if let Values::F32(values) = &mut column.values {
        for value in values.iter_mut() {
            let mut wide = [f64::from(*value)];
            scale(&mut wide, affine);
            *value = wide[0] as f32;
        }
        if let Some(valid) = &column.valid {
            (0..rows).filter(|&row| !bit(valid, row)).for_each(|row| values[row] = 0.0);
        }
        return;
    }
    let values = std::mem::replace(&mut column.values, Values::F64(Vec::new()));
    column.values = convert::widen(values);
    if let Values::F64(values) = &mut column.values {
        scale(values, affine);
        if let Some(valid) = &column.valid {
            zero_nulls(values, valid);
        }
    }
}

/// Scales values in place.
pub(crate) fn scale(values: &mut [f64], affine: &Affine) {
    let Affine { subtract, multiply, add, clip, .. } = *affine;
    // Most scales add nothing, and a third of the arithmetic shows.
    if add == 0.0 {
        each(values, |value| (value - subtract) * multiply);
    } else {
        each(values, |value| (value - subtract) * multiply + add);
    }
    if let Some((low, high)) = clip {
        // NaN stays NaN under clamp.
        each(values, |value| value.clamp(low, high));
    }
}

/// The value slot of a null holds zero.
pub(crate) fn zero_nulls(values: &mut [f64], valid: &[u8]) {
    for (run, &present) in values.chunks_mut(8).zip(valid) {
        if present != 0xff {
            for (index, value) in run.iter_mut().enumerate() {
                if present >> index & 1 == 0 {
                    *value = 0.0;
                }
            }
        }
    }
}

fn bin_column(column: &mut Column, edges: &[f64], rows: usize) {
    let values = std::mem::replace(&mut column.values, Values::F64(Vec::new()));
    column.values = convert::widen(values);
    if let Values::F64(values) = &mut column.values {
        for value in values.iter_mut().take(rows).filter(|value| !value.is_nan()) {
            *value = edges.partition_point(|edge| *edge <= *value) as f64;
        }
        if let Some(valid) = &column.valid {
            zero_nulls(values, valid);
        }
    }
}

fn one_hot(
    column: &Column,
    rows: usize,
    name: &str,
    categories: &Categories,
    unknown: Unknown,
    drop_first: bool,
    out: &mut Vec<Column>,
) -> Result<(), Problem> {
    let codes = codes_of(column, rows, name, categories, unknown)?;
    let skipped = usize::from(drop_first);
    let width = categories.len() - skipped + usize::from(unknown == Unknown::Bucket);
    let mut made = vec![vec![0.0_f64; rows]; width];
    for (row, code) in codes.iter().enumerate() {
        let slot = match code {
            Some(code) => code.checked_sub(skipped),
            None if unknown == Unknown::Bucket => Some(width - 1),
            None => None,
        };
        if let Some(slot) = slot {
            made[slot][row] = 1.0;
        }
    }
    out.extend(made.into_iter().map(|values| Column { values: Values::F64(values), valid: None }));
    Ok(())
}

/// The place of each row's value among the categories; none for null and for what was not seen.
fn codes_of(
    column: &Column,
    rows: usize,
    name: &str,
    categories: &Categories,
    unknown: Unknown,
) -> Result<Vec<Option<usize>>, Problem> {
    let mut codes = Vec::with_capacity(rows);
    for row in 0..rows {
        let code = if column.is_valid(row) { code_at(column, row, categories) } else { None };
        if code.is_none() && unknown == Unknown::Error {
            return Err(unseen(column, row, name));
        }
        codes.push(code);
    }
    Ok(codes)
}

fn code_at(column: &Column, row: usize, categories: &Categories) -> Option<usize> {
    match (categories, &column.values) {
        (Categories::Texts(known), _) => {
            let text = column.bytes_at(row);
            known.binary_search_by(|there| there.as_bytes().cmp(text)).ok()
        }
        (Categories::Ints(known), Values::I64(values)) => known.binary_search(&values[row]).ok(),
        (Categories::Flags(known), Values::Bits(bits)) => known.binary_search(&bit(bits, row)).ok(),
        _ => None,
    }
}

fn unseen(column: &Column, row: usize, name: &str) -> Problem {
    let value = match &column.values {
        _ if !column.is_valid(row) => "null".to_owned(),
        Values::I64(values) => values[row].to_string(),
        Values::Bits(bits) => bit(bits, row).to_string(),
        _ => format!("`{}`", String::from_utf8_lossy(column.bytes_at(row))),
    };
    let message = format!(
        "column {name} holds {value}, which the encoder was not fitted on; set unknown: ignore or unknown: bucket"
    );
    Problem::bad_input("unknown-category", message).in_column(name).at_row(row as u64)
}

fn dates(frame: &mut Frame, columns: &[bool], parts: &[Part], keep: bool) -> Vec<Column> {
    let mut out = Vec::new();
    for (column, &apart) in std::mem::take(&mut frame.columns).into_iter().zip(columns) {
        let made = if apart { convert::date_parts(&column, frame.rows, parts) } else { Vec::new() };
        if !apart || keep {
            out.push(column);
        }
        out.extend(made);
    }
    out
}

/// A chain that only scales float64 columns: it changes their list in place and leaves the rest of a block alone.
#[derive(Debug, Clone)]
pub(crate) struct InPlace {
    ops: Vec<InPlaceOp>,
    /// float64 columns of the block.
    f64_columns: usize,
    /// Nullable columns of the block.
    nullable_columns: usize,
}

#[derive(Debug, Clone)]
struct InPlaceOp {
    /// Which of the float64 columns.
    slot: usize,
    /// Which of the nullable columns, if it is one.
    nullable: Option<usize>,
    affine: Affine,
}

impl InPlace {
    /// The plan, where the chain is of that kind.
    pub(crate) fn of(fields: &[Field], steps: &[Bound]) -> Option<Self> {
        let count = |upto: usize, of: &dyn Fn(&Field) -> bool| fields[..upto].iter().filter(|field| of(field)).count();
        let is_f64 = |field: &Field| field.kind == Kind::Float64;
        let is_nullable = |field: &Field| field.nullable;
        let mut ops = Vec::new();
        for step in steps {
            let Bound::Affine(affines) = step else { return None };
            for (at, affine) in affines {
                if !is_f64(&fields[*at]) {
                    return None;
                }
                ops.push(InPlaceOp {
                    slot: count(*at, &is_f64),
                    nullable: fields[*at].nullable.then(|| count(*at, &is_nullable)),
                    affine: affine.clone(),
                });
            }
        }
        Some(Self {
            ops,
            f64_columns: count(fields.len(), &is_f64),
            nullable_columns: count(fields.len(), &is_nullable),
        })
    }

    /// Transforms the float64 list of a block of `rows` rows.
    ///
    /// # Errors
    /// `bad-block` where the lists do not have the lengths that the schema says.
    pub(crate) fn apply(&self, rows: usize, f64s: &mut [f64], validity: &[u8]) -> Result<(), Problem> {
        let bitmap = rows.div_ceil(8);
        if f64s.len() != rows * self.f64_columns
            || !(validity.is_empty() || validity.len() == bitmap * self.nullable_columns)
        {
            return Err(Problem::bad_input(
                "bad-block",
                "the lists of the block do not have the lengths that its schema says",
            ));
        }
        for op in &self.ops {
            let values = &mut f64s[op.slot * rows..(op.slot + 1) * rows];
            scale(values, &op.affine);
            if let (Some(nullable), false) = (op.nullable, validity.is_empty()) {
                zero_nulls(values, &validity[nullable * bitmap..(nullable + 1) * bitmap]);
            }
        }
        Ok(())
    }
}
