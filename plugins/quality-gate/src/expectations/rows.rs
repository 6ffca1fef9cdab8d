//! Expectations of rows beside each other, and of values beside each other in a row.

use std::hash::{DefaultHasher, Hash, Hasher};

use plinth_sdk::{Block, Field, Kind, Problem, Schema};

use super::{Watch, columns::NoColumn, kinds::Sign, values::missing};
use crate::{
    rule::Finding,
    words::{list, number, percent, rows},
};

/// `unique`: by a hash of 64 bits for each row, so that memory is 16 bytes a row whatever the values. Nulls are equal
/// to each other.
pub(super) struct Unique {
    columns: Vec<usize>,
    names: Vec<String>,
    hashes: Vec<(u64, u64)>,
}

impl Unique {
    pub(super) fn new(columns: Vec<usize>, names: &[String]) -> Self {
        Self { columns, names: names.to_vec(), hashes: Vec::new() }
    }
}

impl Watch for Unique {
    fn see(&mut self, schema: &Schema, block: &Block, first_row: u64) -> Result<(), Problem> {
        let mut hashers = vec![DefaultHasher::new(); block.rows as usize];
        for &column in &self.columns {
            hash_column(schema, block, column, &mut hashers)?;
        }
        let rows = hashers.into_iter().zip(first_row..);
        self.hashes.extend(rows.map(|(hasher, row)| (hasher.finish(), row)));
        Ok(())
    }

    fn conclude(mut self: Box<Self>, all: u64) -> Finding {
        self.hashes.sort_unstable();
        let mut repeats = 0_u64;
        let mut first: Option<(u64, u64)> = None;
        for run in self.hashes.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            repeats += run.len() as u64 - 1;
            if first.is_none_or(|(_, row)| run[1].1 < row) {
                first = Some((run[0].1, run[1].1));
            }
        }
        let what = self.names.join(" + ");
        Finding {
            name: format!("{what} unique"),
            holds: repeats == 0,
            observed: match repeats {
                0 => format!("{} all differ", rows(all)),
                _ => format!("{} of {} repeat an earlier one", repeats, rows(all)),
            },
            expected: "no value twice".into(),
            reason: first.map_or_else(String::new, |(a, b)| format!("row {b} repeats row {a}")),
        }
    }
}

fn hash_column(schema: &Schema, block: &Block, column: usize, hashers: &mut [DefaultHasher]) -> Result<(), Problem> {
    let valid = block.valid(schema, column)?;
    let rows = hashers.iter_mut().enumerate();
    let tag = |row: usize, hasher: &mut DefaultHasher| valid.is_valid(row).hash(hasher);
    match schema.fields[column].kind {
        Kind::Utf8 | Kind::Binary => {
            let values = block.binaries(schema, column)?;
            rows.for_each(|(row, hasher)| {
                tag(row, hasher);
                values.get(row).hash(hasher);
            });
        }
        Kind::Int64 | Kind::TimestampUs => {
            let values = block.s64s(schema, column)?;
            rows.for_each(|(row, hasher)| {
                tag(row, hasher);
                values[row].hash(hasher);
            });
        }
        _ => {
            let values: Vec<Option<f64>> = block.numbers(schema, column)?.collect();
            rows.for_each(|(row, hasher)| {
                tag(row, hasher);
                // Both zeros are one value.
                values[row].map(|value| (value + 0.0).to_bits()).hash(hasher);
            });
        }
    }
    Ok(())
}

/// `varies`: at least two different values.
pub(super) struct Varies {
    column: usize,
    name: String,
    first: Option<u64>,
    varies: bool,
}

impl Varies {
    pub(super) fn new(column: usize, field: &Field) -> Self {
        Self { column, name: field.name.clone(), first: None, varies: false }
    }
}

impl Watch for Varies {
    fn see(&mut self, schema: &Schema, block: &Block, _first_row: u64) -> Result<(), Problem> {
        if self.varies {
            return Ok(());
        }
        let missing = missing(schema, block, self.column)?;
        let mut hashers = vec![DefaultHasher::new(); block.rows as usize];
        hash_column(schema, block, self.column, &mut hashers)?;
        let present = hashers.iter().zip(missing).filter(|(_, missing)| !missing);
        for hash in present.map(|(hasher, _)| hasher.finish()) {
            self.varies |= *self.first.get_or_insert(hash) != hash;
        }
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        let observed = match (self.varies, self.first) {
            (true, _) => "several values",
            (false, Some(_)) => "one value in all rows",
            (false, None) => "no values",
        };
        Finding {
            name: format!("{} varies", self.name),
            holds: self.varies,
            observed: observed.into(),
            expected: "at least two different values".into(),
            reason: if self.varies { String::new() } else { "nothing can be learned from it".into() },
        }
    }
}

/// `increasing`: each value at least (strictly: more than) the one before. Nulls are passed over.
pub(super) struct Increasing {
    column: usize,
    name: String,
    strictly: bool,
    last: Option<f64>,
    falls: u64,
    first: Option<(u64, f64, f64)>,
}

impl Increasing {
    pub(super) fn new(column: usize, field: &Field, strictly: bool) -> Self {
        Self { column, name: field.name.clone(), strictly, last: None, falls: 0, first: None }
    }
}

impl Watch for Increasing {
    fn see(&mut self, schema: &Schema, block: &Block, first_row: u64) -> Result<(), Problem> {
        for (row, value) in block.numbers(schema, self.column)?.enumerate() {
            let Some(value) = value.filter(|value| !value.is_nan()) else { continue };
            if let Some(last) = self.last
                && (value < last || (self.strictly && value == last))
            {
                self.falls += 1;
                self.first.get_or_insert((first_row + row as u64, last, value));
            }
            self.last = Some(value);
        }
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        let (word, expected) = if self.strictly {
            ("strictly increasing", "each more than the one before")
        } else {
            ("increasing", "none less than the one before")
        };
        Finding {
            name: format!("{} {word}", self.name),
            holds: self.falls == 0,
            observed: if self.falls == 0 { "in order".into() } else { format!("{} out of order", rows(self.falls)) },
            expected: expected.into(),
            reason: self.first.map_or_else(String::new, |(row, last, value)| {
                format!("row {row} has {} after {}", number(value), number(last))
            }),
        }
    }
}

/// `pair`: two columns of a row compared. Rows where one of them is missing are passed over.
pub(super) struct Pair {
    left: usize,
    sign: Sign,
    right: usize,
    name: String,
    allowed: f64,
    present: u64,
    faults: u64,
    first: Option<(u64, String)>,
}

impl Pair {
    /// Two numbers, or two texts.
    pub(super) fn watch(schema: &Schema, left: usize, sign: Sign, right: usize, allowed: f64) -> Box<dyn Watch> {
        let (a, b) = (&schema.fields[left], &schema.fields[right]);
        let text = |field: &Field| matches!(field.kind, Kind::Utf8 | Kind::Binary);
        if text(a) != text(b) {
            let other = if text(a) { "text in both columns" } else { "numbers in both columns" };
            return Box::new(NoColumn::of_another_type(b, "pair", other));
        }
        let shown = match sign {
            Sign::Above => ">",
            Sign::AtLeast => ">=",
            Sign::Below => "<",
            Sign::AtMost => "<=",
            Sign::Equal => "==",
            Sign::Unequal => "!=",
        };
        let name = format!("{} {shown} {}", a.name, b.name);
        Box::new(Self { left, sign, right, name, allowed, present: 0, faults: 0, first: None })
    }

    fn holds<T: PartialOrd + ?Sized>(&self, left: &T, right: &T) -> bool {
        match self.sign {
            Sign::Above => left > right,
            Sign::AtLeast => left >= right,
            Sign::Below => left < right,
            Sign::AtMost => left <= right,
            Sign::Equal => left == right,
            Sign::Unequal => left != right,
        }
    }

    fn compared(&mut self, holds: bool, row: u64, shown: impl FnOnce() -> String) {
        self.present += 1;
        if !holds {
            self.faults += 1;
            self.first.get_or_insert_with(|| (row, shown()));
        }
    }
}

impl Watch for Pair {
    fn see(&mut self, schema: &Schema, block: &Block, first_row: u64) -> Result<(), Problem> {
        let (left, right) = (missing(schema, block, self.left)?, missing(schema, block, self.right)?);
        let both = (0..block.rows as usize).filter(|&row| !left[row] && !right[row]);
        match (schema.fields[self.left].kind, schema.fields[self.right].kind) {
            (Kind::Utf8 | Kind::Binary, _) => {
                let (a, b) = (block.binaries(schema, self.left)?, block.binaries(schema, self.right)?);
                for row in both {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let holds = self.holds(a.get(row), b.get(row));
                    self.compared(holds, first_row + row as u64, || list(&[text(a.get(row)), text(b.get(row))]));
                }
            }
            (Kind::Int64 | Kind::TimestampUs, Kind::Int64 | Kind::TimestampUs) => {
                let (a, b) = (block.s64s(schema, self.left)?, block.s64s(schema, self.right)?);
                for row in both {
                    let holds = self.holds(&a[row], &b[row]);
                    self.compared(holds, first_row + row as u64, || format!("{} and {}", a[row], b[row]));
                }
            }
            _ => {
                let numbers = |column| block.numbers(schema, column).map(Iterator::collect::<Vec<_>>);
                let (a, b) = (numbers(self.left)?, numbers(self.right)?);
                for row in both {
                    let (Some(a), Some(b)) = (a[row], b[row]) else { continue };
                    let holds = self.holds(&a, &b);
                    self.compared(holds, first_row + row as u64, || format!("{} and {}", number(a), number(b)));
                }
            }
        }
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        let holds = self.faults as f64 <= self.allowed * self.present as f64;
        let expected = match self.allowed {
            0.0 => "in every row that has both".into(),
            allowed => format!("in all rows that have both, but for {} %", number(100.0 * allowed)),
        };
        Finding {
            name: self.name.clone(),
            holds,
            observed: match (self.present, self.faults) {
                (0, _) => "no row has both".into(),
                (present, 0) => format!("in all of {}", rows(present)),
                (present, faults) => format!("not in {faults} of {} ({})", rows(present), percent(faults, present)),
            },
            expected,
            reason: match self.first {
                Some((row, shown)) if !holds => format!("row {row} has {shown}"),
                _ => String::new(),
            },
        }
    }
}
