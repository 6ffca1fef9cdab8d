//! What a file holds: its columns, their types, and its partitions.

use std::collections::{BTreeMap, HashMap};

use plinth_sdk::loader::ReadPlan;
use plinth_sdk::{Field, Kind, Problem, Schema, objects};
use serde::Deserialize;
use text_rows::{Guess, Input, Lines, Span, cell};

use crate::line::{self, Cell, Sink};

/// Columns of one file, at most: more are a sign of data in keys.
const COLUMNS_MAX: usize = 10_000;

/// Options of the loader; `options.json` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Types of columns by name.
    pub types: BTreeMap<String, Kind>,
    /// What to do with a key that is no column.
    pub unknown_keys: UnknownKeys,
    /// Bytes at the start of the file that columns and types are inferred from.
    pub sample_bytes: usize,
    /// About how many bytes one partition has.
    pub partition_bytes: u64,
}

/// What to do with a key that is no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownKeys {
    /// A problem.
    #[default]
    Error,
    /// Its value is left out.
    Ignore,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            types: BTreeMap::new(),
            unknown_keys: UnknownKeys::Error,
            sample_bytes: 1 << 20,
            partition_bytes: 8 << 20,
        }
    }
}

/// Looks at a file.
///
/// # Errors
/// `empty-file`, `bad-json`, `bad-options`, `too-many-columns`, and the host's.
pub(crate) fn plan(source: &str, options: &Options) -> Result<ReadPlan, Problem> {
    if let Some((name, _)) = options.types.iter().find(|(_, kind)| **kind == Kind::Binary) {
        let message = format!("types: column `{name}` cannot be binary; JSON holds text, so use utf8");
        return Err(Problem::bad_input("bad-options", message).in_column(name));
    }
    let object = objects::open(source)?;
    let size = object.size();
    let empty = || Problem::bad_input("empty-file", format!("{source}: the file is empty; give it an object a line"));
    if size == 0 {
        return Err(empty());
    }
    let span = Span { start: 0, end: size, line: 1, gzip: Input::is_gzip(&object)? };
    let sample = text_rows::sample(source, &object, span, options.sample_bytes)?;
    let (start, first_line) = text_rows::first_record(&sample.head);
    let head = &sample.head[start..];
    if head.trim_ascii().is_empty() {
        return Err(empty());
    }
    let mut columns = Guesses::default();
    for (at, line) in lines(&head[..head.len().min(options.sample_bytes)]).enumerate() {
        match line::read(line, &mut columns, &mut String::new()) {
            Ok(()) => {}
            Err(line::LineError::Problem(problem)) => return Err(problem),
            // The first line tells whether this is the format at all; later ones are told of when they are read.
            Err(line::LineError::Json(why)) if at == 0 => return Err(bad_json(source, first_line, line, &why)),
            Err(line::LineError::Json(_)) => {}
        }
    }
    for line in sample.pieces.iter().flat_map(|piece| lines(piece)) {
        if let Err(line::LineError::Problem(problem)) = line::read(line, &mut columns, &mut String::new()) {
            return Err(problem);
        }
    }
    let schema = columns.schema(options);
    if schema.is_empty() {
        return Err(Problem::bad_input("bad-json", format!("{source}: the objects have no keys")));
    }
    let records = Span { start: start as u64, end: size.max(start as u64), line: first_line, ..span };
    let partitions = text_rows::split(&object, records, options.partition_bytes, Lines::default())?;
    Ok(ReadPlan { schema, partitions })
}

/// A line that cannot be read.
pub(crate) fn bad_json(source: &str, line: u64, text: &[u8], why: &str) -> Problem {
    let shown: String = String::from_utf8_lossy(text).chars().take(60).collect();
    let hint = if text.trim_ascii_start().starts_with(b"[") {
        "; a list of objects is not JSON lines: write one object a line, for example with jq -c '.[]'"
    } else {
        ""
    };
    let code = if std::str::from_utf8(text).is_err() { "invalid-utf8" } else { "bad-json" };
    Problem::bad_input(code, format!("{source}: line {line}: {why}: `{shown}`{hint}"))
}

/// The lines that are not blank. The last one may be cut.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// Columns in the order in which they were first seen.
#[derive(Default)]
struct Guesses {
    columns: Vec<(String, Guess)>,
    places: HashMap<String, usize>,
}

impl Sink for Guesses {
    fn take(&mut self, path: &str, cell: Cell<'_>) -> Result<(), Problem> {
        let at = match self.places.get(path) {
            Some(&at) => at,
            None => {
                if self.columns.len() == COLUMNS_MAX {
                    let message = format!(
                        "the objects have more than {COLUMNS_MAX} keys; give the columns as types and set unknown-keys: ignore"
                    );
                    return Err(Problem::bad_input("too-many-columns", message));
                }
                self.columns.push((path.to_owned(), Guess::Nothing));
                self.places.insert(path.to_owned(), self.columns.len() - 1);
                self.columns.len() - 1
            }
        };
        let guess = &mut self.columns[at].1;
        *guess = guess.and(guess_of(&cell));
        Ok(())
    }
}

impl Guesses {
    fn schema(self, options: &Options) -> Schema {
        let mut fields: Vec<Field> = Vec::with_capacity(self.columns.len());
        for (name, guess) in self.columns {
            let kind = options.types.get(&name).copied();
            if kind.is_none() && options.unknown_keys == UnknownKeys::Ignore && !options.types.is_empty() {
                // With types given and unknown keys ignored, the types are the columns.
                continue;
            }
            fields.push(Field { kind: kind.unwrap_or_else(|| guess.kind()), name, nullable: true });
        }
        for (name, &kind) in &options.types {
            if !fields.iter().any(|field| field.name == *name) {
                fields.push(Field { name: name.clone(), kind, nullable: true });
            }
        }
        Schema { fields }
    }
}

/// The type of one value.
pub(crate) fn guess_of(cell: &Cell<'_>) -> Guess {
    match cell {
        Cell::Null => Guess::Nothing,
        Cell::Bool(_) => Guess::Kind(Kind::Boolean),
        Cell::Int(_) => Guess::Kind(Kind::Int64),
        Cell::Float(_) => Guess::Kind(Kind::Float64),
        Cell::Text(text) if cell::timestamp(text.as_bytes()).is_some() => Guess::Kind(Kind::TimestampUs),
        // An integer that fits no int64 would lose digits as a float.
        Cell::Large(_) | Cell::Text(_) | Cell::List(_) => Guess::Kind(Kind::Utf8),
    }
}
