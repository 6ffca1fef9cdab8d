//! What can go wrong with a statement, and what the engine's errors mean to a user.

use std::fmt::Write;

use datafusion::{
    arrow::error::ArrowError,
    common::{DataFusionError, SchemaError as EngineSchemaError},
};
use plinth_core::{Code, Coded, Place, closest, codes, did_you_mean};
use plinth_ext::ExtError;

/// A statement could not be read, planned or run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// Something with a code, told in one line.
    #[error("{message}")]
    Refused {
        /// Its code.
        code: Code,
        /// One line.
        message: String,
        /// The fix, if one is known.
        hint: Option<String>,
    },
    /// A transform failed on some rows.
    #[error("function `{function}`, {rows}: {error}")]
    Function {
        /// As the statement calls it.
        function: String,
        /// Which rows it was given, in words.
        rows: String,
        /// Where those rows start.
        first: u64,
        /// What it said.
        error: ExtError,
    },
    /// A transform could not be fitted, or bound to its columns.
    #[error("function `{function}`: {error}")]
    Binding {
        /// As the statement calls it.
        function: String,
        /// What it said.
        error: ExtError,
        /// The fix, where the error itself knows none.
        hint: Option<String>,
    },
    /// A loader failed on a file.
    #[error(transparent)]
    Source(#[from] ExtError),
}

impl SqlError {
    /// An error of some code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into(), hint: None }
    }

    /// A statement that does not read as one, or asks for what is not done.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(codes::BAD_SQL, message)
    }

    /// The same with its fix.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Refused { hint, .. } | Self::Binding { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// For the engine, which hands it back.
    pub(crate) fn into_engine(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl Coded for SqlError {
    fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Function { error, .. } | Self::Binding { error, .. } | Self::Source(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Binding { error, hint, .. } => error.hint().or_else(|| hint.clone()),
            Self::Function { error, .. } | Self::Source(error) => error.hint(),
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.retryable(),
            Self::Function { error, .. } | Self::Binding { error, .. } | Self::Source(error) => error.retryable(),
        }
    }

    fn place(&self) -> Place {
        match self {
            // The transform counts from the start of what it was given, whoever reads it from the start of the rows.
            Self::Function { error, first, .. } => {
                let place = error.place();
                Place { row: place.row.map(|row| row + first), column: place.column }
            }
            Self::Binding { error, .. } | Self::Source(error) => error.place(),
            Self::Refused { .. } => Place::default(),
        }
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        of_engine(&error, &[])
    }
}

/// What an error of the engine means; `functions` are the names that a call may have meant, beside the engine's own.
pub(crate) fn of_engine(error: &DataFusionError, functions: &[String]) -> SqlError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_engine(inner, functions),
        DataFusionError::Shared(inner) => of_engine(inner, functions),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => of_engine(first, functions),
            None => SqlError::new(codes::INTERNAL, "the engine failed and does not say how"),
        },
        DataFusionError::External(inner) => of_other(&**inner, functions),
        DataFusionError::SchemaError(schema, _) => of_schema(schema),
        DataFusionError::ResourcesExhausted(text) => exhausted(text),
        DataFusionError::IoError(io) => of_io(io),
        DataFusionError::ArrowError(arrow, _) => of_arrow(arrow, functions),
        DataFusionError::ParquetError(parquet) => SqlError::new(codes::BAD_TABLE, line(&parquet.to_string())),
        DataFusionError::ObjectStore(store) => SqlError::new(codes::FILE_UNREADABLE, line(&store.to_string())),
        DataFusionError::SQL(parser, _) => SqlError::bad(line(&parser.to_string())),
        DataFusionError::Execution(text) => of_execution(text),
        DataFusionError::Plan(text) => of_plan(text, functions),
        DataFusionError::NotImplemented(text) => SqlError::bad(format!("not supported: {}", line(text))),
        other => SqlError::new(codes::INTERNAL, line(&other.strip_backtrace()))
            .with_hint("this is a defect: please report it with the statement"),
    }
}

fn of_other(error: &(dyn std::error::Error + Send + Sync + 'static), functions: &[String]) -> SqlError {
    if let Some(ours) = error.downcast_ref::<SqlError>() {
        return ours.clone();
    }
    match error.downcast_ref::<DataFusionError>() {
        Some(engine) => of_engine(engine, functions),
        None => SqlError::new(codes::BAD_VALUE, line(&error.to_string())),
    }
}

fn of_arrow(error: &ArrowError, functions: &[String]) -> SqlError {
    match error {
        ArrowError::ExternalError(inner) => of_other(&**inner, functions),
        ArrowError::IoError(_, io) => of_io(io),
        ArrowError::ParquetError(text) => SqlError::new(codes::BAD_TABLE, line(text)),
        other => SqlError::new(codes::BAD_VALUE, line(&other.to_string())),
    }
}

/// An error of the system.
pub(crate) fn of_io(error: &std::io::Error) -> SqlError {
    use std::io::ErrorKind;
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::FileTooLarge => codes::DISK_FULL,
        ErrorKind::NotFound => codes::FILE_NOT_FOUND,
        ErrorKind::PermissionDenied => codes::FILE_UNREADABLE,
        _ => codes::IO,
    };
    SqlError::new(code, error.to_string())
}

fn exhausted(text: &str) -> SqlError {
    let text = line(text);
    // The whole list of who holds what is of no use to a user.
    let short = text.split(" with top memory consumers").next().unwrap_or(&text);
    let (what, hint) = match text.contains("disk") || text.contains("spill") {
        true => ("room for what does not fit in memory", "raise limits.sql.spill-bytes-max in plinth.toml"),
        false => {
            ("memory", "take fewer rows or columns at a time, or raise limits.sql.memory-bytes-max in plinth.toml")
        }
    };
    SqlError::new(codes::LIMIT_EXCEEDED, format!("the statement wants more {what} than its limit: {short}"))
        .with_hint(hint)
}

fn of_schema(error: &EngineSchemaError) -> SqlError {
    match error {
        EngineSchemaError::FieldNotFound { field, valid_fields } => {
            let known: Vec<&str> = valid_fields.iter().map(|field| field.name.as_str()).collect();
            unknown_column(&field.name, field.relation.as_ref().map(ToString::to_string).as_deref(), &known)
        }
        EngineSchemaError::AmbiguousReference { field } => {
            SqlError::new(codes::UNKNOWN_COLUMN, format!("column `{}` is in several of the tables", field.name))
                .with_hint("write TABLE.COLUMN")
        }
        other => SqlError::bad(line(&other.to_string())),
    }
}

/// The error for a column that there is not.
pub(crate) fn unknown_column(name: &str, table: Option<&str>, known: &[&str]) -> SqlError {
    let from = table.map(|table| format!(" in `{table}`")).unwrap_or_default();
    let error = SqlError::new(codes::UNKNOWN_COLUMN, format!("unknown column `{name}`{from}"));
    // Names are folded to lower case unless they are quoted.
    if let Some(cased) = known.iter().find(|other| **other != name && other.eq_ignore_ascii_case(name)) {
        return error.with_hint(format!("write \"{cased}\", with the quotes: other names are read in lower case"));
    }
    match known.is_empty() {
        true => error.with_hint("there is no table here: add from, or write text in single quotes"),
        false => error.with_hint(did_you_mean(name, listed(known))),
    }
}

/// So many that they can be read.
fn listed<'a>(known: &[&'a str]) -> Vec<&'a str> {
    known.iter().copied().take(100).collect()
}

fn of_plan(text: &str, functions: &[String]) -> SqlError {
    let text = line(text);
    if let Some(rest) = text.strip_prefix("Invalid function '")
        && let Some((name, rest)) = rest.split_once('\'')
    {
        let error = SqlError::new(codes::FUNCTION_NOT_FOUND, format!("unknown function `{name}`"));
        if let Some(near) = closest(name, functions.iter().map(String::as_str)) {
            return error.with_hint(format!("did you mean `{near}`?"));
        }
        let guess = rest.split("Did you mean '").nth(1).and_then(|rest| rest.split('\'').next());
        return match guess.filter(|guess| closest(name, [*guess]).is_some()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("name a transform with --function NAME=PLUGIN, or see `plinth plugin list`"),
        };
    }
    if let Some(rest) = text.strip_prefix("table '")
        && let Some((name, _)) = rest.split_once("' not found")
    {
        return no_table(name);
    }
    SqlError::bad(text)
}

fn no_table(name: &str) -> SqlError {
    let name = name.strip_prefix("datafusion.public.").unwrap_or(name);
    SqlError::new(codes::TABLE_NOT_FOUND, format!("unknown table `{name}`"))
        .with_hint("name a file in quotes, as in from 'rows.parquet', or a table with --table NAME=FILE")
}

/// What an operator says while it runs, or a statement that changes tables.
fn of_execution(text: &str) -> SqlError {
    let text = line(text);
    let absent = |kind: &str| text.strip_prefix(kind)?.strip_prefix(" '")?.strip_suffix("' doesn't exist");
    match (absent("Table"), absent("View")) {
        (Some(name), _) => no_table(name),
        (_, Some(name)) => SqlError::new(codes::TABLE_NOT_FOUND, format!("unknown view `{name}`")),
        _ => SqlError::new(codes::BAD_VALUE, text),
    }
}

/// A message in one line, without what only a developer of the engine would want.
pub(crate) fn line(text: &str) -> String {
    let text = text.split("\n\nbacktrace").next().unwrap_or(text);
    let text = text.split("This issue was likely caused by a bug").next().unwrap_or(text);
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        let _ = write!(out, "{word}");
    }
    let mut out = out.trim_end_matches('.').to_owned();
    // Names of instances that a statement made of a function; see `rewrite`.
    while let Some(at) = out.find(crate::rewrite::MARK) {
        let digits = out[at + crate::rewrite::MARK.len_utf8()..].bytes().take_while(u8::is_ascii_digit).count();
        out.replace_range(at..at + crate::rewrite::MARK.len_utf8() + digits, "");
    }
    const LONGEST: usize = 600;
    if let Some((end, _)) = out.char_indices().nth(LONGEST) {
        out.truncate(end);
        out.push('…');
    }
    out
}
