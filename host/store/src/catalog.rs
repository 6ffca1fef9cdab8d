//! The catalog: rows, and transactions over them.
//!
//! Every query is written once, in SQL that SQLite and PostgreSQL both read, against [`Tx`].

use std::path::{Path, PathBuf};

use crate::{StoreError, postgres::Postgres, sqlite::Sqlite};

/// A value that goes into or comes out of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// An integer; times are microseconds, booleans 0 or 1.
    Int(i64),
    /// A float; never NaN, which SQLite would store as NULL.
    Real(f64),
    /// Text; identifiers, hashes and JSON too.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

macro_rules! from {
    ($($type:ty => $make:expr),* $(,)?) => {
        $(impl From<$type> for Value { fn from(value: $type) -> Self { ($make)(value) } })*
    };
}

from! {
    i64 => Self::Int,
    u64 => |v| Self::Int(i64::try_from(v).unwrap_or(i64::MAX)),
    u32 => |v| Self::Int(i64::from(v)),
    bool => |v| Self::Int(i64::from(v)),
    f64 => Self::Real,
    String => Self::Text,
    &str => |v: &str| Self::Text(v.to_owned()),
    &String => |v: &String| Self::Text(v.clone()),
    plinth_core::ContentHash => |v: plinth_core::ContentHash| Self::Text(v.to_hex()),
    Vec<u8> => Self::Bytes,
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    fn get(&self, column: usize) -> &Value {
        self.0.get(column).unwrap_or(&Value::Null)
    }

    fn wrong(&self, column: usize, expected: &'static str) -> StoreError {
        StoreError::Row { column, expected, found: format!("{:?}", self.get(column)).chars().take(80).collect() }
    }

    /// The text in a column, from 0.
    ///
    /// # Errors
    /// [`StoreError::Row`] if it is anything else.
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        self.opt_text(column)?.ok_or_else(|| self.wrong(column, "text"))
    }

    /// The text in a column, if it is not NULL.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        match self.get(column) {
            Value::Text(text) => Ok(Some(text.clone())),
            Value::Null => Ok(None),
            _ => Err(self.wrong(column, "text")),
        }
    }

    /// The integer in a column.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| self.wrong(column, "an integer"))
    }

    /// The integer in a column, if it is not NULL.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.get(column) {
            Value::Int(int) => Ok(Some(*int)),
            Value::Null => Ok(None),
            _ => Err(self.wrong(column, "an integer")),
        }
    }

    /// The number in a column, as a float.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn real(&self, column: usize) -> Result<f64, StoreError> {
        self.opt_real(column)?.ok_or_else(|| self.wrong(column, "a number"))
    }

    /// The number in a column, as a float, if it is not NULL.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn opt_real(&self, column: usize) -> Result<Option<f64>, StoreError> {
        match self.get(column) {
            Value::Real(real) => Ok(Some(*real)),
            Value::Int(int) => Ok(Some(*int as f64)),
            Value::Null => Ok(None),
            _ => Err(self.wrong(column, "a number")),
        }
    }

    /// The content hash in a column.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    pub fn hash(&self, column: usize) -> Result<plinth_core::ContentHash, StoreError> {
        self.text(column)?.parse().map_err(|_| self.wrong(column, "a content hash"))
    }
}

/// A value that is looked at where the database holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// An integer.
    Int(i64),
    /// A float.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// One row of a result that goes by: it is looked at, not kept.
pub trait Cells {
    /// What is in a column, from 0.
    ///
    /// # Errors
    /// [`StoreError::Row`] if it is text that is no UTF-8.
    fn cell(&self, column: usize) -> Result<Cell<'_>, StoreError>;

    /// The text in a column.
    ///
    /// # Errors
    /// [`StoreError::Row`] if it is anything else.
    fn text_at(&self, column: usize) -> Result<&str, StoreError> {
        match self.cell(column)? {
            Cell::Text(text) => Ok(text),
            other => Err(wrong_cell(column, "text", other)),
        }
    }

    /// The integer in a column.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    fn int_at(&self, column: usize) -> Result<i64, StoreError> {
        match self.cell(column)? {
            Cell::Int(int) => Ok(int),
            other => Err(wrong_cell(column, "an integer", other)),
        }
    }

    /// The number in a column, as a float.
    ///
    /// # Errors
    /// [`StoreError::Row`].
    fn real_at(&self, column: usize) -> Result<f64, StoreError> {
        match self.cell(column)? {
            Cell::Real(real) => Ok(real),
            Cell::Int(int) => Ok(int as f64),
            other => Err(wrong_cell(column, "a number", other)),
        }
    }
}

fn wrong_cell(column: usize, expected: &'static str, found: Cell<'_>) -> StoreError {
    StoreError::Row { column, expected, found: format!("{found:?}").chars().take(80).collect() }
}

impl Cells for Row {
    fn cell(&self, column: usize) -> Result<Cell<'_>, StoreError> {
        Ok(match self.get(column) {
            Value::Null => Cell::Null,
            Value::Int(int) => Cell::Int(*int),
            Value::Real(real) => Cell::Real(*real),
            Value::Text(text) => Cell::Text(text),
            Value::Bytes(bytes) => Cell::Bytes(bytes),
        })
    }
}

/// What is done with each row of a result.
pub type Visit<'a> = dyn FnMut(&dyn Cells) -> Result<(), StoreError> + 'a;

/// Which database a catalog is kept in, for the few queries whose text depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, in the state directory.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A transaction. Placeholders are `$1`, `$2`, … and may be used in any order and more than once.
pub trait Tx {
    /// Which SQL it takes.
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    /// Rows of a query.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// Shows the rows of a query one by one, without keeping them: for results of many rows.
    ///
    /// # Errors
    /// [`StoreError::Catalog`], and what `visit` returns.
    fn each(&mut self, sql: &str, parameters: &[Value], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.query(sql, parameters)?.iter().try_for_each(|row| visit(row))
    }

    /// Number of rows that a statement changed.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, StoreError>;

    /// Runs a statement for one set of parameters after the other; says how many rows each changed. On a server this
    /// costs one wait for an answer, not one for each set.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    fn execute_all(&mut self, sql: &str, sets: &mut dyn Iterator<Item = Vec<Value>>) -> Result<Vec<u64>, StoreError> {
        sets.map(|parameters| self.execute(sql, &parameters)).collect()
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    fn query_one(&mut self, sql: &str, parameters: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }

    /// Tells that this transaction writes rows of a run in `runs`, `params`, `run_tags` or `latest_metrics`. Whoever
    /// writes such rows has to, or values of them that are kept in memory go stale; builds with assertions see to it.
    fn run_changed(&mut self, _rid: i64) {}

    /// Tells that it writes such rows of many runs, or of runs whose numbers are not known.
    fn all_runs_changed(&mut self) {}

    /// How many commits had changed runs in the state that this transaction sees; nothing where nobody counts them.
    ///
    /// # Errors
    /// [`StoreError::Catalog`].
    fn runs_version(&mut self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }
}

/// An open catalog. May be used from many threads; writes line up.
#[derive(Debug)]
pub struct Catalog(Database);

#[derive(Debug)]
enum Database {
    Sqlite(Box<Sqlite>),
    Postgres(Box<Postgres>),
}

impl Catalog {
    /// Opens a catalog on SQLite and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self(Database::Sqlite(Box::new(Sqlite::open(path)?))))
    }

    /// Opens a catalog on PostgreSQL and brings its schema up to date.
    pub(crate) fn connect(url: &str) -> Result<Self, StoreError> {
        Ok(Self(Database::Postgres(Box::new(Postgres::open(url)?))))
    }

    /// How messages call it: a file, or a database without its password.
    pub fn name(&self) -> PathBuf {
        match &self.0 {
            Database::Sqlite(sqlite) => sqlite.path().to_owned(),
            Database::Postgres(postgres) => postgres.name().into(),
        }
    }

    /// Does `work` in a transaction that writes. It is on the device when this returns; after an error nothing of it
    /// has happened. There is one such transaction at a time, of all processes that share the catalog. On PostgreSQL a
    /// statement that was refused ends the transaction, whatever `work` makes of it: it must pass the error on.
    ///
    /// # Errors
    /// What `work` returns, or [`StoreError`].
    pub fn write<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        match &self.0 {
            Database::Sqlite(sqlite) => sqlite.write(work),
            Database::Postgres(postgres) => postgres.write(work),
        }
    }

    /// Does `work` in a transaction that only reads and sees one state of the catalog.
    ///
    /// # Errors
    /// What `work` returns, or [`StoreError`].
    pub fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        match &self.0 {
            Database::Sqlite(sqlite) => sqlite.read(work),
            Database::Postgres(postgres) => postgres.read(work),
        }
    }

    /// A number that changes whenever another process or this one has changed the catalog: a cheap question for those
    /// who watch.
    ///
    /// # Errors
    /// [`StoreError::Catalog`]; [`StoreError::Postgres`].
    pub fn change_counter(&self) -> Result<i64, StoreError> {
        match &self.0 {
            Database::Sqlite(sqlite) => sqlite.change_counter(),
            Database::Postgres(postgres) => postgres.change_counter(),
        }
    }

    /// The runs that were changed between two states of the catalog, by what [`Tx::runs_version`] said in them; nothing if
    /// that is not known, because it is long ago, or another process had a part in it.
    pub fn runs_changed(&self, from: i64, to: i64) -> Option<Vec<i64>> {
        match &self.0 {
            Database::Sqlite(sqlite) => sqlite.runs_changed(from, to),
            Database::Postgres(_) => None,
        }
    }

    /// What SQLite's own check of the file finds; empty when all is well. PostgreSQL looks at its pages as it reads
    /// them.
    pub(crate) fn integrity(&self) -> Result<Vec<String>, StoreError> {
        match &self.0 {
            Database::Sqlite(sqlite) => sqlite.integrity(),
            Database::Postgres(_) => Ok(Vec::new()),
        }
    }
}
