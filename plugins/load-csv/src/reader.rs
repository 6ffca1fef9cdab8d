//! Records as rows of a block.

use plinth_sdk::{Block, Kind, Problem, Schema, objects};
use text_rows::{Column, Columns, Guess, Input, Span, Window, cell, invalid_utf8};

use crate::dialect::{Dialect, Options};
use crate::record::find_end;

/// Rows of one block, at most.
const ROWS_MAX: u32 = 1 << 16;

/// One partition being read.
pub struct CsvReader {
    source: String,
    dialect: Dialect,
    columns: Columns,
    kinds: Vec<Kind>,
    window: Window,
    /// Line of the next record.
    line: u64,
    /// Rows of this block whose line is not the one after that of the row before, with their lines.
    line_marks: Vec<(usize, u64)>,
    unescaped: Vec<u8>,
}

/// Why a record could not be read.
enum Trouble {
    /// It does not end in the window; the line on which a quote was opened.
    Incomplete(u64),
    Problem(Problem),
}

impl CsvReader {
    /// Opens a partition.
    ///
    /// # Errors
    /// `bad-token`, `bad-options`, and the host's.
    pub fn open(source: &str, options: &Options, schema: Schema, token: &[u8]) -> Result<Self, Problem> {
        let dialect = Dialect::of(options)?;
        let object = objects::open(source)?;
        let span = Span::from_token(token, object.size())?;
        if schema.is_empty() {
            return Err(Problem::bad_input("bad-schema", "the schema has no column; plan the source again"));
        }
        let mut reader = Self {
            source: source.to_owned(),
            dialect,
            kinds: schema.fields.iter().map(|field| field.kind).collect(),
            columns: Columns::new(schema),
            window: Window::new(Input::open(source, object, span)),
            line: span.line,
            line_marks: Vec::new(),
            unescaped: Vec::new(),
        };
        if span.gzip {
            // The bytes up to the data, which is where `start` is in what comes out of the decoder.
            reader.window.skip(span.start)?;
        }
        Ok(reader)
    }

    /// Reads one record into the columns; `false` where it was a blank line.
    fn read_record(&mut self, row: usize) -> Result<bool, Trouble> {
        let Self { window, columns, kinds, dialect, .. } = self;
        let bytes = &window.bytes[..window.whole];
        let line = self.line;
        let mut at = window.at;
        if bytes[at] == b'\n' || bytes[at..].starts_with(b"\r\n") {
            self.window.at += if bytes[at] == b'\n' { 1 } else { 2 };
            self.line += 1;
            self.line_marks.push((row, self.line));
            return Ok(false);
        }
        let mut fields = 0;
        let mut breaks = 0;
        for (column, &kind) in columns.all().iter_mut().zip(kinds.iter()) {
            let ends_record;
            let taken = if Some(bytes[at]) == dialect.quote {
                let quoted =
                    quoted_cell(bytes, at, dialect, &mut self.unescaped).ok_or(Trouble::Incomplete(line + breaks))?;
                let taken = push_quoted(column, kind, quoted.text);
                at = quoted.end;
                if bytes[at..].starts_with(b"\r\n") {
                    at += 1;
                }
                if bytes[at] != dialect.delimiter && bytes[at] != b'\n' {
                    let trouble = self.text_behind_quote(line + breaks, fields);
                    return Err(Trouble::Problem(trouble));
                }
                breaks += quoted.breaks;
                ends_record = bytes[at] == b'\n';
                taken.then_some(()).ok_or_else(|| quoted.text.to_vec())
            } else {
                let end = find_end(bytes, at, dialect.delimiter);
                let mut text = &bytes[at..end];
                ends_record = bytes[end] == b'\n';
                if ends_record && text.last() == Some(&b'\r') {
                    text = &text[..text.len() - 1];
                }
                at = end;
                push(column, kind, text, dialect).then_some(()).ok_or_else(|| text.to_vec())
            };
            if let Err(text) = taken {
                return Err(self.bad_cell(line, line + breaks, fields, &text));
            }
            at += 1;
            fields += 1;
            if ends_record {
                break;
            }
        }
        // The byte before tells whether the record ended with the last column.
        if fields < kinds.len() || bytes[at - 1] != b'\n' {
            return Err(self.ragged(line));
        }
        self.window.at = at;
        self.line += 1 + breaks;
        if breaks > 0 {
            self.line_marks.push((row + 1, self.line));
        }
        Ok(true)
    }

    /// A record with too few or too many fields, which may also be one that does not end in the window.
    #[cold]
    fn ragged(&mut self, line: u64) -> Trouble {
        let Some(record) = crate::record::split(&self.window.bytes[self.window.at..self.window.whole], &self.dialect)
        else {
            return Trouble::Incomplete(line);
        };
        let (found, wanted) = (record.cells.len(), self.kinds.len());
        let message = format!(
            "{}: line {line} has {found} fields, and the header has {wanted}; quote cells that hold the delimiter `{}`, \
             or mend the line",
            self.source, self.dialect.delimiter as char
        );
        Trouble::Problem(Problem::bad_input("ragged-row", message))
    }

    /// A cell that is not of its column's type. Where the record has too few or too many fields, that is the reason.
    #[cold]
    fn bad_cell(&mut self, record_line: u64, line: u64, column: usize, text: &[u8]) -> Trouble {
        let record = crate::record::split(&self.window.bytes[self.window.at..self.window.whole], &self.dialect);
        match record {
            Some(record) if record.cells.len() != self.kinds.len() => self.ragged(record_line),
            _ => Trouble::Problem(self.bad_value(line, column, text)),
        }
    }

    #[cold]
    fn bad_value(&self, line: u64, column: usize, text: &[u8]) -> Problem {
        let field = &self.columns.schema().fields[column];
        let wider = Guess::Kind(field.kind).and(Guess::of(text)).kind();
        let wider = if wider == field.kind { Kind::Utf8 } else { wider };
        let shown: String = String::from_utf8_lossy(text).chars().take(80).collect();
        let message = format!(
            "{}: line {line}, column `{}`: `{shown}` is not {}; mend it, or set types: {{{}: {wider}}}, or add it to nulls",
            self.source, field.name, field.kind, field.name
        );
        Problem::bad_input("bad-value", message).in_column(&field.name)
    }

    #[cold]
    fn text_behind_quote(&self, line: u64, column: usize) -> Problem {
        let name = &self.columns.schema().fields[column].name;
        let message = format!(
            "{}: line {line}, column `{name}`: there is text behind a closing quote; double quotes within a cell, or set \
             quote to nothing",
            self.source
        );
        Problem::bad_input("bad-quote", message).in_column(name)
    }

    /// The line of a row of this block.
    fn line_of(&self, row: usize) -> u64 {
        let mark = self.line_marks.iter().rev().find(|(marked, _)| *marked <= row);
        mark.map_or(self.line, |(marked, line)| line + (row - marked) as u64)
    }
}

impl plinth_sdk::loader::Reader for CsvReader {
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem> {
        let max = max_rows.clamp(1, ROWS_MAX) as usize;
        let mut rows = 0;
        self.line_marks.clear();
        self.line_marks.push((0, self.line));
        while rows < max {
            if self.window.at >= self.window.whole {
                if !self.window.refill(&self.source, self.line)? {
                    break;
                }
                continue;
            }
            match self.read_record(rows) {
                Ok(true) => {
                    rows += 1;
                    if rows % 1024 == 0 && self.columns.is_full() {
                        break;
                    }
                }
                Ok(false) => {}
                Err(Trouble::Problem(problem)) => return Err(problem),
                Err(Trouble::Incomplete(opened)) => {
                    self.columns.truncate(rows);
                    if self.window.is_last() {
                        let message = format!(
                            "{}: line {opened}: a quote opens here and never closes; close it, or set quote to nothing",
                            self.source
                        );
                        return Err(Problem::bad_input("unterminated-quote", message));
                    }
                    self.window.refill(&self.source, self.line)?;
                }
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        match self.columns.take(rows) {
            Ok(block) => Ok(Some(block)),
            Err((row, column)) => {
                let name = &self.columns.schema().fields[column].name;
                Err(invalid_utf8(&self.source, self.line_of(row), name))
            }
        }
    }
}

/// A cell within quotes.
struct Quoted<'a> {
    text: &'a [u8],
    /// Byte behind the closing quote.
    end: usize,
    /// Line breaks within.
    breaks: u64,
}

/// Reads the quoted cell that starts at `start`; `None` where it does not end within `bytes`.
fn quoted_cell<'a>(bytes: &'a [u8], start: usize, dialect: &Dialect, unescaped: &'a mut Vec<u8>) -> Option<Quoted<'a>> {
    let quote = dialect.quote?;
    let next = |from: usize| bytes[from..].iter().position(|&byte| byte == quote).map(|at| from + at);
    let first = start + 1;
    let mut end = next(first)?;
    let mut text = &bytes[first..end];
    if bytes.get(end + 1) == Some(&quote) {
        unescaped.clear();
        let mut from = first;
        while bytes.get(end + 1) == Some(&quote) {
            unescaped.extend_from_slice(&bytes[from..=end]);
            from = end + 2;
            end = next(from)?;
        }
        unescaped.extend_from_slice(&bytes[from..end]);
        text = unescaped;
    }
    if end + 1 >= bytes.len() {
        return None;
    }
    let breaks = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
    Some(Quoted { text, end: end + 1, breaks })
}

/// Pushes an unquoted cell; `false` where it is not of the kind.
#[inline]
fn push(column: &mut Column, kind: Kind, text: &[u8], dialect: &Dialect) -> bool {
    if dialect.is_null(text) {
        column.push_null();
        return true;
    }
    push_value(column, kind, text)
}

/// Pushes a quoted cell. It is taken as it is: a quoted `NA` is text, and an empty one is an empty text; in columns
/// of other kinds an empty one is null.
fn push_quoted(column: &mut Column, kind: Kind, text: &[u8]) -> bool {
    if text.is_empty() && kind != Kind::Utf8 {
        column.push_null();
        return true;
    }
    push_value(column, kind, text)
}

#[inline]
fn push_value(column: &mut Column, kind: Kind, text: &[u8]) -> bool {
    let exact = match kind {
        Kind::Utf8 | Kind::Binary => {
            column.push_text(text);
            Some(())
        }
        Kind::Float64 | Kind::Float32 => cell::float(text).map(|value| column.push_float(value)),
        Kind::Int64 => cell::int(text).map(|value| column.push_int(value)),
        Kind::TimestampUs => cell::timestamp(text).map(|value| column.push_int(value)),
        Kind::Boolean => cell::boolean(text).map(|value| column.push_bool(value)),
    };
    if exact.is_some() {
        return true;
    }
    // Blanks around a number are the only thing that is forgiven.
    let trimmed = text.trim_ascii();
    trimmed.len() < text.len() && !trimmed.is_empty() && push_value(column, kind, trimmed)
}
