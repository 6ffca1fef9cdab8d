//! Expectations of the table as a whole: its columns, their types, its number of rows.

use plinth_sdk::{Block, Field, Kind, Problem, Schema, options::nearest};

use super::Watch;
use crate::{
    rule::{Bounds, Finding},
    words::{count, list},
};

/// `row-count`
pub(super) struct RowCount(pub(super) Bounds);

impl Watch for RowCount {
    fn see(&mut self, _schema: &Schema, _block: &Block, _first_row: u64) -> Result<(), Problem> {
        Ok(())
    }

    fn conclude(self: Box<Self>, rows: u64) -> Finding {
        Finding {
            name: format!("row count {}", self.0.signs()),
            holds: self.0.hold(rows as f64),
            observed: count(rows),
            expected: self.0.words(),
            reason: String::new(),
        }
    }
}

/// `columns`: known before the first row.
pub(super) struct Columns(Finding);

impl Columns {
    /// One watch for each of the three lists that is given.
    ///
    /// # Errors
    /// `bad-options` where none is.
    pub(super) fn all(
        schema: &Schema,
        present: &[String],
        absent: &[String],
        exactly: Option<&[String]>,
    ) -> Result<Vec<Box<dyn Watch>>, Problem> {
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        let finding = |name: &str, faults: &[String], good: &str, bad: &str, expected: String, reason: String| {
            let holds = faults.is_empty();
            let observed = if holds { good.to_owned() } else { format!("{bad}: {}", list(faults)) };
            let reason = if holds { String::new() } else { reason };
            Box::new(Self(Finding { name: name.to_owned(), holds, observed, expected, reason })) as Box<dyn Watch>
        };
        let mut watches = Vec::new();
        if !present.is_empty() {
            let missing: Vec<String> = present.iter().filter(|name| !names.contains(&name.as_str())).cloned().collect();
            let near: String = missing
                .iter()
                .map(|name| (name, nearest(name, names.iter().copied())))
                .find(|(_, near)| !near.is_empty())
                .map_or_else(String::new, |(name, near)| format!("`{name}` is not there{near}"));
            watches.push(finding("columns present", &missing, "all of them", "missing", list(present), near));
        }
        if !absent.is_empty() {
            let found: Vec<String> = absent.iter().filter(|name| names.contains(&name.as_str())).cloned().collect();
            let expected = format!("no {}", list(absent));
            watches.push(finding("columns absent", &found, "none of them", "present", expected, String::new()));
        }
        if let Some(exactly) = exactly {
            let first = (0..exactly.len().max(names.len()))
                .find(|&at| exactly.get(at).map(String::as_str) != names.get(at).copied());
            let show = |name: Option<&str>| name.map_or("nothing".into(), |name| format!("`{name}`"));
            let reason = first.map_or_else(String::new, |at| {
                let wanted = show(exactly.get(at).map(String::as_str));
                format!("column {} is {}, not {wanted}", at + 1, show(names.get(at).copied()))
            });
            let observed = if first.is_none() { "as expected".into() } else { list(&names) };
            watches.push(Box::new(Self(Finding {
                name: "columns exactly".into(),
                holds: first.is_none(),
                observed,
                expected: list(exactly),
                reason,
            })));
        }
        if watches.is_empty() {
            return Err(Problem::bad_input("bad-options", "`columns` needs `present`, `absent` or `exactly`"));
        }
        Ok(watches)
    }
}

impl Watch for Columns {
    fn see(&mut self, _schema: &Schema, _block: &Block, _first_row: u64) -> Result<(), Problem> {
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        self.0
    }
}

/// `column-type`
pub(super) struct ColumnType {
    pub(super) name: String,
    pub(super) found: Kind,
    pub(super) wanted: Kind,
}

impl Watch for ColumnType {
    fn see(&mut self, _schema: &Schema, _block: &Block, _first_row: u64) -> Result<(), Problem> {
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        Finding {
            name: format!("{} is {}", self.name, self.wanted),
            holds: self.found == self.wanted,
            observed: self.found.to_string(),
            expected: self.wanted.to_string(),
            reason: String::new(),
        }
    }
}

/// An expectation of a column that is not there, or holds what the expectation is not for.
pub(super) struct NoColumn {
    name: String,
    observed: String,
    expected: String,
    reason: String,
}

impl NoColumn {
    pub(super) fn new(schema: &Schema, column: &str, what: &str) -> Self {
        let near = nearest(column, schema.fields.iter().map(|field| field.name.as_str()));
        Self {
            name: format!("{column}: {what}"),
            observed: "no such column".into(),
            expected: format!("a column `{column}`"),
            reason: format!("the table has no `{column}`{near}"),
        }
    }

    pub(super) fn of_another_type(field: &Field, what: &str, wanted: &str) -> Self {
        Self {
            name: format!("{}: {what}", field.name),
            observed: format!("a column of {}", field.kind),
            expected: wanted.to_owned(),
            reason: format!("`{what}` is for columns that hold {wanted}"),
        }
    }
}

impl Watch for NoColumn {
    fn see(&mut self, _schema: &Schema, _block: &Block, _first_row: u64) -> Result<(), Problem> {
        Ok(())
    }

    fn conclude(self: Box<Self>, _rows: u64) -> Finding {
        Finding { name: self.name, holds: false, observed: self.observed, expected: self.expected, reason: self.reason }
    }
}
