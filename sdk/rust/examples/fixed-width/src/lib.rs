//! A loader of text files whose columns have fixed widths: the example of its extension point.
//!
//! `Options` is what it takes, `FixedWidth` plans and opens, `Records` reads one partition; what a cell holds is in
//! `cells`. A record is found by its number alone, so partitions are cut without reading a byte. It does not know the
//! host: sources come through `objects`, and tests lend them.

mod cells;

use std::collections::HashSet;

use cells::Cells;
use plinth_sdk::{
    Block, BlockBuilder, Field, Kind, Loader, Problem, Schema,
    loader::{Partition, ReadPlan, Reader},
    objects::{self, Object},
    options::integer,
};

/// The loader.
pub struct FixedWidth;

/// Its options.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    columns: Vec<Column>,
    #[serde(rename = "partition-rows", default = "partition_rows", deserialize_with = "integer")]
    partition_rows: u64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    #[serde(deserialize_with = "integer")]
    width: usize,
    kind: Kind,
    #[serde(default = "nullable")]
    nullable: bool,
}

fn partition_rows() -> u64 {
    65536
}

fn nullable() -> bool {
    true
}

/// Longest record, and most bytes and rows that are read at once.
const RECORD_MAX: usize = 16 << 20;
const READ_MAX: usize = 64 << 20;
const ROWS_MAX: usize = 8192;

impl Options {
    /// What the JSON Schema says and the types do not.
    fn check(&self) -> Result<(), Problem> {
        let wrong = |message: String| Err(Problem::bad_input("bad-options", message));
        if self.columns.is_empty() {
            return wrong("option `columns`: there is no column in it".into());
        }
        if self.partition_rows < 1 {
            return wrong("option `partition-rows`: it must be at least 1".into());
        }
        let mut names = HashSet::new();
        for Column { name, width, kind, .. } in &self.columns {
            if name.is_empty() {
                return wrong("option `columns`: a column has no name".into());
            }
            if !names.insert(name) {
                return wrong(format!("option `columns`: `{name}` is in it twice"));
            }
            if !(1..RECORD_MAX).contains(width) {
                return wrong(format!("option `columns`: `{name}` is {width} bytes wide; it must be 1 to 16 MiB"));
            }
            if !matches!(kind, Kind::Int64 | Kind::Float64 | Kind::Utf8 | Kind::Boolean) {
                return wrong(format!("option `columns`: `{name}` cannot be {kind}"));
            }
        }
        if self.columns.iter().try_fold(1, |sum: usize, column| sum.checked_add(column.width)) > Some(RECORD_MAX) {
            return wrong("option `columns`: a record is over 16 MiB wide".into());
        }
        Ok(())
    }

    /// Bytes of a record, with its newline.
    fn record(&self) -> usize {
        self.columns.iter().map(|column| column.width).sum::<usize>() + 1
    }

    fn schema(&self) -> Schema {
        let field = |column: &Column| Field::new(&column.name, column.kind, column.nullable);
        Schema::new(self.columns.iter().map(field).collect::<Vec<_>>())
    }
}

impl Loader for FixedWidth {
    const NAME: &'static str = "fixed-width";
    const SUMMARY: &'static str = "Text files whose columns have fixed widths";
    const OPTIONS: &'static str = r#"{
        "type": "object",
        "properties": {
            "columns": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "width": {"type": "integer", "minimum": 1},
                        "kind": {"enum": ["int64", "float64", "utf8", "boolean"]},
                        "nullable": {"type": "boolean", "default": true}
                    },
                    "required": ["name", "width", "kind"],
                    "additionalProperties": false
                }
            },
            "partition-rows": {"type": "integer", "minimum": 1, "default": 65536}
        },
        "required": ["columns"],
        "additionalProperties": false
    }"#;
    type Options = Options;
    type Reader = Records;

    fn plan(source: &str, options: Options) -> Result<ReadPlan, Problem> {
        options.check()?;
        let (size, record) = (objects::open(source)?.size(), options.record() as u64);
        if size % record != 0 {
            let message = format!("{size} bytes are no whole number of records of {record} bytes");
            return Err(Problem::bad_input("bad-source", message));
        }
        let mut partitions = Vec::new();
        let mut first = 0;
        while first < size / record {
            let rows = options.partition_rows.min(size / record - first);
            partitions.push(Partition {
                token: [first.to_le_bytes(), rows.to_le_bytes()].concat(),
                rows_hint: Some(rows),
                bytes_hint: Some(rows * record),
            });
            first += rows;
        }
        Ok(ReadPlan { schema: options.schema(), partitions })
    }

    fn open(source: &str, options: Options, schema: Schema, token: Vec<u8>) -> Result<Records, Problem> {
        options.check()?;
        let part = token.as_chunks::<8>();
        let ([first, rows], []) = part else {
            return Err(Problem::bad_input("bad-token", "the partition is none of this loader's"));
        };
        if schema != options.schema() {
            return Err(Problem::bad_input("bad-token", "the partition is of other columns"));
        }
        let next = u64::from_le_bytes(*first);
        let end = next.saturating_add(u64::from_le_bytes(*rows));
        Ok(Records {
            object: objects::open(source)?,
            record: options.record(),
            columns: options.columns,
            schema,
            next,
            end,
        })
    }
}

plinth_sdk::export_loaders!(FixedWidth);

/// A partition being read.
pub struct Records {
    object: Object,
    columns: Vec<Column>,
    schema: Schema,
    record: usize,
    next: u64,
    end: u64,
}

impl Reader for Records {
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem> {
        let most = (max_rows as usize).min(ROWS_MAX).min(READ_MAX / self.record);
        let rows = (self.end - self.next).min(most as u64) as usize;
        if rows == 0 {
            return Ok(None);
        }
        let bytes = self.object.read(self.next * self.record as u64, (rows * self.record) as u32)?;
        if bytes.len() != rows * self.record {
            return Err(Problem::bad_input("bad-source", format!("the source ends before row {}", self.end)));
        }
        let mut columns: Vec<Cells<'_>> = self.schema.fields.iter().map(Cells::of).collect();
        for (row, record) in (self.next..).zip(bytes.chunks_exact(self.record)) {
            self.read(record, &mut columns).map_err(|problem| problem.at_row(row))?;
        }
        self.next += rows as u64;
        let mut builder = BlockBuilder::new(&self.schema, rows);
        columns.into_iter().try_for_each(|column| column.build(&mut builder))?;
        builder.finish().map(Some)
    }
}

impl Records {
    /// Takes the cells of one record.
    fn read<'a>(&self, record: &'a [u8], into: &mut [Cells<'a>]) -> Result<(), Problem> {
        let Some((b'\n', mut rest)) = record.split_last() else {
            return Err(Problem::bad_input("bad-row", "the record does not end with a newline"));
        };
        for (column, cells) in self.columns.iter().zip(into) {
            let (cell, after) = rest.split_at(column.width);
            cells.push(cell).map_err(|problem| problem.in_column(&column.name))?;
            rest = after;
        }
        Ok(())
    }
}
