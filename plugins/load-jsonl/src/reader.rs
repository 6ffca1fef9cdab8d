//! Lines as rows of a block.

use std::collections::HashMap;

use plinth_sdk::{Block, Kind, Problem, Schema, objects, options::nearest};
use text_rows::{Columns, Input, Span, Window, cell};

use crate::line::{self, Cell, LineError, Sink};
use crate::plan::{Options, UnknownKeys, bad_json, guess_of};

/// Rows of one block, at most.
const ROWS_MAX: u32 = 1 << 16;

/// One partition being read.
pub struct JsonlReader {
    window: Window,
    rows: Rows,
    path: String,
}

/// What lines are read into.
struct Rows {
    source: String,
    columns: Columns,
    places: HashMap<String, usize>,
    /// By column: rows that have a value, or a null, so far.
    filled: Vec<usize>,
    /// Rows that are complete.
    rows: usize,
    line: u64,
    /// Where the next key probably is: lines tend to have their keys in one order.
    next: usize,
    unknown_keys: UnknownKeys,
}

impl JsonlReader {
    /// Opens a partition.
    ///
    /// # Errors
    /// `bad-token`, and the host's.
    pub fn open(source: &str, options: &Options, schema: Schema, token: &[u8]) -> Result<Self, Problem> {
        let object = objects::open(source)?;
        let span = Span::from_token(token, object.size())?;
        let mut window = Window::new(Input::open(source, object, span));
        if span.gzip {
            window.skip(span.start)?;
        }
        let places = schema.fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        let rows = Rows {
            source: source.to_owned(),
            places,
            filled: vec![0; schema.len()],
            columns: Columns::new(schema),
            rows: 0,
            line: span.line,
            next: 0,
            unknown_keys: options.unknown_keys,
        };
        Ok(Self { window, rows, path: String::new() })
    }
}

impl plinth_sdk::loader::Reader for JsonlReader {
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem> {
        let max = max_rows.clamp(1, ROWS_MAX) as usize;
        let Self { window, rows, path } = self;
        rows.rows = 0;
        rows.filled.fill(0);
        while rows.rows < max {
            if window.at >= window.whole {
                if !window.refill(&rows.source, rows.line)? {
                    break;
                }
                continue;
            }
            let bytes = &window.bytes[window.at..window.whole];
            let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
            let text = bytes[..end].trim_ascii();
            if !text.is_empty() {
                line::read(text, rows, path).map_err(|error| match error {
                    LineError::Problem(problem) => problem,
                    LineError::Json(why) => bad_json(&rows.source, rows.line, text, &why),
                })?;
                rows.end_row();
            }
            window.at += end + 1;
            rows.line += 1;
            if rows.rows % 1024 == 1023 && rows.columns.is_full() {
                break;
            }
        }
        if rows.rows == 0 {
            return Ok(None);
        }
        let block = rows.columns.take(rows.rows).map_err(|(_, column)| {
            let name = &rows.columns.schema().fields[column].name;
            text_rows::invalid_utf8(&rows.source, rows.line, name)
        })?;
        Ok(Some(block))
    }
}

impl Rows {
    fn place(&mut self, path: &str) -> Option<usize> {
        let guess = self.next;
        let at = match self.columns.schema().fields.get(guess) {
            Some(field) if field.name == path => guess,
            _ => *self.places.get(path)?,
        };
        self.next = at + 1;
        Some(at)
    }

    /// Columns that the line did not name are null.
    fn end_row(&mut self) {
        self.rows += 1;
        self.next = 0;
        for (column, filled) in self.columns.all().iter_mut().zip(&mut self.filled) {
            if *filled < self.rows {
                column.push_null();
                *filled = self.rows;
            }
        }
    }

    #[cold]
    fn refuse(&self, code: &str, path: &str, why: &str) -> Problem {
        Problem::bad_input(code, format!("{}: line {}, key `{path}`: {why}", self.source, self.line)).in_column(path)
    }

    #[cold]
    fn unknown(&self, path: &str) -> Problem {
        let near = nearest(path, self.columns.schema().fields.iter().map(|field| field.name.as_str()));
        let why = format!("the sample did not have it{near}; add it to types, or set unknown-keys: ignore");
        self.refuse("unknown-key", path, &why)
    }

    #[cold]
    fn bad_value(&self, path: &str, cell: &Cell<'_>, kind: Kind) -> Problem {
        let wider = text_rows::Guess::Kind(kind).and(guess_of(cell)).kind();
        let wider = if wider == kind { Kind::Utf8 } else { wider };
        let shown: String = cell.to_string().chars().take(80).collect();
        self.refuse("bad-value", path, &format!("`{shown}` is not {kind}; mend it, or set types: {{{path}: {wider}}}"))
    }
}

impl Sink for Rows {
    fn take(&mut self, path: &str, cell: Cell<'_>) -> Result<(), Problem> {
        let Some(at) = self.place(path) else {
            return match self.unknown_keys {
                _ if cell == Cell::Null => Ok(()),
                UnknownKeys::Ignore => Ok(()),
                UnknownKeys::Error => Err(self.unknown(path)),
            };
        };
        if self.filled[at] > self.rows {
            return Err(self.refuse("duplicate-key", path, "the line has it twice; leave one out"));
        }
        self.filled[at] = self.rows + 1;
        let kind = self.columns.schema().fields[at].kind;
        let column = self.columns.column(at);
        match (kind, &cell) {
            (_, Cell::Null) => column.push_null(),
            (Kind::Boolean, Cell::Bool(value)) => column.push_bool(*value),
            (Kind::Int64, Cell::Int(value)) => column.push_int(*value),
            (Kind::Float64 | Kind::Float32, Cell::Float(value)) => column.push_float(*value),
            (Kind::Float64 | Kind::Float32, Cell::Int(value)) => column.push_float(*value as f64),
            (Kind::Float64 | Kind::Float32, Cell::Large(value)) => column.push_float(*value as f64),
            (Kind::Utf8, Cell::Text(text)) => column.push_text(text.as_bytes()),
            (Kind::Utf8, other) => column.push_text(other.to_string().as_bytes()),
            (Kind::TimestampUs, Cell::Text(text)) => match cell::timestamp(text.as_bytes()) {
                Some(stamp) => column.push_int(stamp),
                None => return Err(self.bad_value(path, &cell, kind)),
            },
            _ => return Err(self.bad_value(path, &cell, kind)),
        }
        Ok(())
    }
}
