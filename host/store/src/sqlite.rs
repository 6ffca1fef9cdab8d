//! The catalog on SQLite: one connection that writes, with group commit, and a few that read.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, config::DbConfig, functions::FunctionFlags, types::ValueRef};

#[cfg(debug_assertions)]
use crate::run_changes::witness::Witness;
use crate::{
    Cell, Cells, Row, StoreError, Tx, Value, Visit, migrate,
    run_changes::{Changed, RunChanges},
};

/// How long a process waits for another's transaction. Transactions here take milliseconds.
pub(crate) const BUSY_MS_MAX: u64 = 5_000;
/// Who read at the same time, at least and at most. More than can run at once would only take each other's turns, each
/// with pages of its own to read first; those of a few stay known.
const READERS: RangeInclusive<usize> = 4..=16;
/// Pages of the catalog that reading connections keep together: what searches walk along is asked for again and again.
const READERS_CACHE_KIB: usize = 64 << 10;
/// Writers that share one commit: past that the first of them would wait too long for the last.
const GROUP_MAX: usize = 256;
/// The fact that counts commits that changed runs.
const RUNS_VERSION: &str = "runs-version";

/// The catalog. Writers that come together share one transaction, and with it one flush to the device: each runs in a
/// savepoint of its own, and the last of those who wait commits for all.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    writer: Mutex<Writer>,
    /// Writers that wait for their turn: whoever finds none behind it commits.
    waiting: AtomicUsize,
    committed: Condvar,
    readers: Mutex<Readers>,
    /// A reading connection has come back.
    returned: Condvar,
    readers_max: usize,
    run_changes: RunChanges,
}

/// Reading connections: idle ones, the last used on top, and how many there are in all.
#[derive(Debug, Default)]
struct Readers {
    idle: Vec<Connection>,
    open: usize,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    /// The transaction that is open, if one is.
    group: Option<Arc<Group>>,
    /// The runs that it has changed.
    changed: Changed,
    #[cfg(debug_assertions)]
    witness: Witness,
}

/// Writers whose changes become durable together.
#[derive(Debug, Default)]
struct Group {
    members: AtomicUsize,
    /// How the commit ended: nothing, or what SQLite said.
    outcome: OnceLock<Result<(), (rusqlite::ffi::Error, String)>>,
}

impl Sqlite {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = connect(path).map_err(StoreError::catalog(path))?;
        migrate::up(&mut connection, path)?;
        #[cfg(debug_assertions)]
        let witness = Witness::of(&connection).map_err(StoreError::catalog(path))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(Writer {
                connection,
                group: None,
                changed: Changed::default(),
                #[cfg(debug_assertions)]
                witness,
            }),
            waiting: AtomicUsize::new(0),
            committed: Condvar::new(),
            readers: Mutex::default(),
            returned: Condvar::new(),
            readers_max: thread::available_parallelism()
                .map_or(1, |cores| 2 * cores.get())
                .clamp(*READERS.start(), *READERS.end()),
            run_changes: RunChanges::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut writer = held(&self.writer);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let group = match &writer.group {
            Some(group) => Arc::clone(group),
            None => {
                // Immediate: a transaction that reads before it writes must not find out at its end that it may not.
                statement(&writer.connection, "BEGIN IMMEDIATE").map_err(StoreError::catalog(&self.path))?;
                Arc::clone(writer.group.insert(Arc::default()))
            }
        };
        let mut turn = Turn { sqlite: self, writer: Some(writer) };
        let result = turn.work(work);
        let mut writer = turn.end(&group);
        // A refusal changed nothing, so it need not become durable.
        let value = result?;
        let outcome = loop {
            match group.outcome.get() {
                Some(outcome) => break outcome,
                None => writer = self.committed.wait(writer).unwrap_or_else(PoisonError::into_inner),
            }
        };
        match outcome {
            Ok(()) => Ok(value),
            Err((code, message)) => {
                let source = rusqlite::Error::SqliteFailure(*code, Some(message.clone()));
                Err(StoreError::catalog(&self.path)(source).into())
            }
        }
    }

    pub(crate) fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        let mut loan = self.reader().map_err(StoreError::catalog(&self.path))?;
        let transaction = loan.connection().transaction().map_err(StoreError::catalog(&self.path))?;
        work(&mut SqliteTx::new(&transaction, &self.path))
    }

    fn reader(&self) -> rusqlite::Result<Loan<'_>> {
        // Whoever reads within a reading would hold one connection and wait for another.
        #[cfg(debug_assertions)]
        assert!(!READING.replace(true), "a reading within a reading");
        let mut readers = held(&self.readers);
        loop {
            if let Some(connection) = readers.idle.pop() {
                return Ok(Loan { sqlite: self, connection: Some(connection) });
            }
            if readers.open < self.readers_max {
                readers.open += 1;
                drop(readers);
                let mut loan = Loan { sqlite: self, connection: None };
                loan.connection = Some(reader(&self.path, READERS_CACHE_KIB / self.readers_max)?);
                return Ok(loan);
            }
            readers = self.returned.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn change_counter(&self) -> Result<i64, StoreError> {
        // data_version tells of other connections only; total_changes of this one.
        let connection = &held(&self.writer).connection;
        let others: i64 = connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))
            .map_err(StoreError::catalog(&self.path))?;
        Ok((others << 32) ^ connection.total_changes() as i64)
    }

    pub(crate) fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let connection = &held(&self.writer).connection;
        let lines = || {
            let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        };
        let lines = lines().map_err(StoreError::catalog(&self.path))?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

#[cfg(debug_assertions)]
thread_local! {
    /// Whether this thread has borrowed a reading connection.
    static READING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A reading connection that goes back, however its use ends.
struct Loan<'a> {
    sqlite: &'a Sqlite,
    connection: Option<Connection>,
}

impl Loan<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().unwrap_or_else(|| unreachable!("held until it goes back"))
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        READING.set(false);
        let mut readers = held(&self.sqlite.readers);
        match self.connection.take() {
            Some(connection) => readers.idle.push(connection),
            None => readers.open -= 1,
        }
        self.sqlite.returned.notify_one();
    }
}

/// One writer's part in a group. However it ends, also by a panic, the group goes on and is committed.
struct Turn<'a> {
    sqlite: &'a Sqlite,
    writer: Option<MutexGuard<'a, Writer>>,
}

impl<'a> Turn<'a> {
    fn work<T, E: From<StoreError>>(&mut self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        let (Some(writer), path) = (&mut self.writer, &self.sqlite.path) else { unreachable!("held until its end") };
        let savepoint = Savepoint::begin(&writer.connection).map_err(StoreError::catalog(path))?;
        #[cfg(debug_assertions)]
        writer.witness.forget();
        let mut tx = SqliteTx::new(&writer.connection, path);
        let result = work(&mut tx)?;
        let changed = tx.changed;
        #[cfg(debug_assertions)]
        writer.witness.compare(&changed);
        savepoint.keep().map_err(StoreError::catalog(path))?;
        writer.changed.add(changed);
        Ok(result)
    }

    fn end(mut self, group: &Group) -> MutexGuard<'a, Writer> {
        let mut writer = self.writer.take().unwrap_or_else(|| unreachable!("held until its end"));
        let members = group.members.fetch_add(1, Ordering::Relaxed) + 1;
        if members >= GROUP_MAX || self.sqlite.waiting.load(Ordering::SeqCst) == 0 {
            self.sqlite.commit(&mut writer);
        }
        writer
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Only after a panic: the others of the group must not wait for one who will not come.
        if let Some(mut writer) = self.writer.take() {
            self.sqlite.commit(&mut writer);
        }
    }
}

impl Sqlite {
    fn commit(&self, writer: &mut Writer) {
        let Some(group) = writer.group.take() else { return };
        let changed = std::mem::take(&mut writer.changed);
        let version =
            if changed.is_empty() { Ok(None) } else { self.count_commit(&writer.connection, changed).map(Some) };
        let noted = version.as_ref().ok().copied().flatten();
        let outcome = version.and_then(|_| statement(&writer.connection, "COMMIT")).map_err(|error| {
            let code = error.sqlite_error().copied().unwrap_or(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR));
            (code, error.to_string())
        });
        if outcome.is_err() {
            // Best effort: SQLite may have rolled back by itself.
            let _ = statement(&writer.connection, "ROLLBACK");
            if let Some(version) = noted {
                self.run_changes.retract(version);
            }
        }
        // Set once: only the one who takes the group out sets it.
        let _ = group.outcome.set(outcome);
        self.committed.notify_all();
    }

    /// Counts the commit that is about to be made, which changes runs, and notes which, before anybody can see them.
    fn count_commit(&self, connection: &Connection, changed: Changed) -> rusqlite::Result<i64> {
        let sql = "INSERT INTO facts (name, value) VALUES (?1, '1')
                   ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1
                   RETURNING CAST(value AS INTEGER)";
        let version = connection.prepare_cached(sql)?.query_row([RUNS_VERSION], |row| row.get(0))?;
        self.run_changes.add(version, changed);
        Ok(version)
    }

    pub(crate) fn runs_changed(&self, from: i64, to: i64) -> Option<Vec<i64>> {
        self.run_changes.between(from, to)
    }
}

/// Changes that are undone unless they are kept.
struct Savepoint<'a>(Option<&'a Connection>);

impl<'a> Savepoint<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Self> {
        statement(connection, "SAVEPOINT turn")?;
        Ok(Self(Some(connection)))
    }

    fn keep(mut self) -> rusqlite::Result<()> {
        self.0.take().map_or(Ok(()), |connection| statement(connection, "RELEASE turn"))
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            // If SQLite has rolled everything back already, there is no savepoint left to return to.
            let _ = statement(connection, "ROLLBACK TO turn").and_then(|()| statement(connection, "RELEASE turn"));
        }
    }
}

fn statement(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    write_ahead(&connection)?;
    // FULL: with WAL it is what makes a commit survive the loss of power, not only of the process.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    // As PostgreSQL does it, and as users of `LIKE` expect it here.
    connection.pragma_update(None, "case_sensitive_like", true)?;
    // Plans follow from a statement's text alone: else SQLite makes each of ours anew for every other value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    regular_expressions(&connection)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// `text REGEXP pattern`, which SQLite has a word for but no function. The engine takes linear time.
fn regular_expressions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("regexp", 2, flags, |context| {
        let pattern = context.get_or_create_aux(0, |value| {
            let text = value.as_str().map_err(|error| error.to_string())?;
            regex_lite::Regex::new(text).map_err(|error| error.to_string())
        })?;
        Ok(context.get_raw(1).as_str_or_null().ok().flatten().is_some_and(|text| pattern.is_match(text)))
    })
}

/// Those who open a new catalog together all want to switch it to WAL. The switch takes a lock that SQLite does not
/// wait for, whatever the busy timeout, so the waiting is done here. A catalog that has WAL keeps it.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && start.elapsed() < Duration::from_millis(BUSY_MS_MAX) =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// A connection that refuses to write: what a reading transaction changed would be rolled back without a word.
fn reader(path: &Path, cache_kib: usize) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -(cache_kib as i64))?;
    Ok(connection)
}

/// A panic in another thread's closure rolled its transaction back; the connection is sound.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct SqliteTx<'a> {
    connection: &'a Connection,
    path: &'a Path,
    changed: Changed,
}

impl<'a> SqliteTx<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path, changed: Changed::default() }
    }

    /// Rows of a query, one by one.
    pub(crate) fn stream<E>(
        &self,
        sql: &str,
        parameters: &[Value],
        refused: impl Fn(rusqlite::Error) -> StoreError,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<StoreError>,
    {
        let mut statement = self.connection.prepare_cached(&numbered(sql)).map_err(&refused)?;
        let columns = statement.column_count();
        let parameters = rusqlite::params_from_iter(parameters.iter().map(Parameter));
        let mut rows = statement.query(parameters).map_err(&refused)?;
        while let Some(row) = rows.next().map_err(&refused)? {
            let cells = (0..columns).map(|i| row.get_ref(i).map(value)).collect::<Result<Vec<_>, _>>();
            each(Row(cells.map_err(&refused)?))?;
        }
        Ok(())
    }

    pub(crate) fn rows(&self, sql: &str, parameters: &[Value]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(&numbered(sql))?;
        let columns = statement.column_count();
        let rows = statement.query_map(rusqlite::params_from_iter(parameters.iter().map(Parameter)), |row| {
            (0..columns).map(|i| row.get_ref(i).map(value)).collect::<Result<Vec<_>, _>>().map(Row)
        })?;
        rows.collect()
    }

    fn visit(&self, sql: &str, parameters: &[Value], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let failed = StoreError::catalog(self.path);
        let mut statement = match self.connection.prepare_cached(&numbered(sql)) {
            Ok(statement) => statement,
            Err(error) => return Err(failed(error)),
        };
        let mut rows = match statement.query(rusqlite::params_from_iter(parameters.iter().map(Parameter))) {
            Ok(rows) => rows,
            Err(error) => return Err(failed(error)),
        };
        loop {
            match rows.next() {
                Ok(Some(row)) => visit(&Passing(row))?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn change(&self, sql: &str, parameters: &[Value]) -> rusqlite::Result<usize> {
        let mut statement = self.connection.prepare_cached(&numbered(sql))?;
        statement.execute(rusqlite::params_from_iter(parameters.iter().map(Parameter)))
    }
}

impl Tx for SqliteTx<'_> {
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.rows(sql, parameters).map_err(StoreError::catalog(self.path))
    }

    fn each(&mut self, sql: &str, parameters: &[Value], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.visit(sql, parameters, visit)
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, StoreError> {
        Ok(self.change(sql, parameters).map_err(StoreError::catalog(self.path))? as u64)
    }

    fn execute_all(&mut self, sql: &str, sets: &mut dyn Iterator<Item = Vec<Value>>) -> Result<Vec<u64>, StoreError> {
        // Prepared once: to find the statement again for each of a thousand rows takes as long as to insert them.
        let mut change = || {
            let mut statement = self.connection.prepare_cached(&numbered(sql))?;
            sets.map(|row| Ok(statement.execute(rusqlite::params_from_iter(row.iter().map(Parameter)))? as u64))
                .collect()
        };
        let changed: rusqlite::Result<Vec<u64>> = change();
        changed.map_err(StoreError::catalog(self.path))
    }

    fn run_changed(&mut self, rid: i64) {
        self.changed.run(rid);
    }

    fn all_runs_changed(&mut self) {
        self.changed.all();
    }

    fn runs_version(&mut self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT CAST(value AS INTEGER) FROM facts WHERE name = $1";
        Ok(Some(self.query_one(sql, &[RUNS_VERSION.into()])?.map_or(Ok(0), |row| row.int(0))?))
    }
}

/// A row that SQLite still holds.
struct Passing<'a>(&'a rusqlite::Row<'a>);

impl Cells for Passing<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, StoreError> {
        let wrong = |found: String| StoreError::Row { column, expected: "a value", found };
        Ok(match self.0.get_ref(column).map_err(|error| wrong(error.to_string()))? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(int) => Cell::Int(int),
            ValueRef::Real(real) => Cell::Real(real),
            ValueRef::Text(text) => Cell::Text(std::str::from_utf8(text).map_err(|error| wrong(error.to_string()))?),
            ValueRef::Blob(bytes) => Cell::Bytes(bytes),
        })
    }
}

struct Parameter<'a>(&'a Value);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(int) => ValueRef::Integer(*int),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

/// `$n` as SQLite wants it, `?n`: with `$n` it would number parameters by first appearance. Text in quotes stays.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quoted = false;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        quoted ^= c == '\'';
        let placeholder = c == '$' && !quoted && rest.peek().is_some_and(char::is_ascii_digit);
        out.push(if placeholder { '?' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Sqlite) {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&dir.path().join("catalog.db")).unwrap();
        (dir, sqlite)
    }

    #[test]
    fn placeholders_go_by_number_not_by_appearance() {
        assert_eq!(numbered("select '$1', $2, $1"), "select '$1', ?2, ?1");
        let (_dir, sqlite) = open();
        let rows = sqlite
            .read::<_, StoreError>(|tx| tx.query("SELECT $2, $1, $2", &[Value::Int(1), Value::from("two")]))
            .unwrap();
        assert_eq!(rows, [Row(vec!["two".into(), Value::Int(1), "two".into()])]);
    }

    #[test]
    fn rows_that_go_by_are_those_of_a_query_and_end_where_the_visitor_ends_them() {
        let (_dir, sqlite) = open();
        let sql = "SELECT 1, 0.5, 'three', NULL, x'04' UNION ALL SELECT 2, 1.5, 'x', NULL, x'05'";
        let mut seen = Vec::new();
        let outcome = sqlite.read::<_, StoreError>(|tx| {
            tx.each(sql, &[], &mut |row| {
                seen.push((row.int_at(0)?, row.real_at(1)?, row.text_at(2)?.to_owned()));
                assert_eq!((row.cell(3)?, row.int_at(0)? == 1), (Cell::Null, row.cell(4)? == Cell::Bytes(&[4])));
                row.int_at(2).map(drop)
            })
        });
        assert!(matches!(outcome, Err(StoreError::Row { column: 2, .. })), "{outcome:?}");
        assert_eq!(seen, [(1, 0.5, "three".to_owned())]);
    }

    #[test]
    fn writers_that_come_together_are_all_durable_and_a_failed_one_leaves_the_others_whole() {
        let (dir, sqlite) = open();
        let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES ($1, 'x', '{}')";
        std::thread::scope(|scope| {
            for thread in 0..8_i64 {
                let sqlite = &sqlite;
                scope.spawn(move || {
                    for n in 0..50 {
                        let outcome = sqlite.write::<_, StoreError>(|tx| {
                            tx.execute(insert, &[Value::Int(thread * 100 + n)])?;
                            if n % 5 == 0 { tx.execute("no such statement", &[]).map(|_| ()) } else { Ok(()) }
                        });
                        assert_eq!(outcome.is_err(), n % 5 == 0);
                    }
                });
            }
        });
        // Another connection sees only what was committed.
        let other = Sqlite::open(&dir.path().join("catalog.db")).unwrap();
        let count = other.read::<_, StoreError>(|tx| tx.query("SELECT COUNT(*) FROM outbox", &[])).unwrap();
        assert_eq!(count, [Row(vec![Value::Int(8 * 40)])]);
    }

    #[test]
    fn a_panicking_closure_is_undone_and_the_next_writer_goes_on() {
        let (_dir, sqlite) = open();
        let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'x', '{}')";
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sqlite.write::<(), StoreError>(|tx| {
                tx.execute(insert, &[])?;
                panic!("a defect")
            })
        }));
        assert!(panicked.is_err());
        sqlite.write::<_, StoreError>(|tx| tx.execute(insert, &[])).unwrap();
        let rows = sqlite.read::<_, StoreError>(|tx| tx.query("SELECT id FROM outbox", &[])).unwrap();
        assert_eq!(rows.len(), 1);
    }

    #[test]
    fn a_failed_closure_changes_nothing() {
        let (_dir, sqlite) = open();
        let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'x', '{}')";
        let failed: Result<(), StoreError> = sqlite.write(|tx| {
            tx.execute(insert, &[])?;
            tx.execute("no such statement", &[]).map(|_| ())
        });
        assert!(failed.is_err());
        let count = |sqlite: &Sqlite| {
            sqlite.read(|tx| tx.query("SELECT id FROM outbox", &[])).map(|rows| rows.len()).map_err(|e: StoreError| e)
        };
        assert_eq!(count(&sqlite).unwrap(), 0);
        sqlite.write::<_, StoreError>(|tx| tx.execute(insert, &[])).unwrap();
        assert_eq!(count(&sqlite).unwrap(), 1);
    }

    #[test]
    fn a_reading_closure_that_writes_is_refused_and_the_catalog_is_named() {
        let (dir, sqlite) = open();
        let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'x', '{}')";
        let error = sqlite.read::<_, StoreError>(|tx| tx.execute(insert, &[])).unwrap_err();
        assert!(error.to_string().contains(dir.path().join("catalog.db").to_str().unwrap()), "{error}");
    }

    #[test]
    fn changes_of_runs_are_known_from_one_state_to_the_next_unless_others_made_some() {
        let (dir, mine) = open();
        let other = Sqlite::open(&dir.path().join("catalog.db")).unwrap();
        let version = |sqlite: &Sqlite| sqlite.read::<_, StoreError>(|tx| tx.runs_version()).unwrap().unwrap();
        let change = |sqlite: &Sqlite, rid: i64| {
            let work = |tx: &mut dyn Tx| {
                tx.run_changed(rid);
                Ok::<_, StoreError>(())
            };
            sqlite.write(work).unwrap();
        };
        let start = version(&mine);
        mine.write::<_, StoreError>(|_| Ok(())).unwrap();
        assert_eq!(version(&mine), start);
        change(&mine, 5);
        change(&mine, 3);
        let refused = mine.write::<(), StoreError>(|tx| {
            tx.run_changed(4);
            tx.execute("no such statement", &[]).map(drop)
        });
        assert!(refused.is_err());
        let later = version(&mine);
        assert_eq!((later, version(&other)), (start + 2, start + 2));
        assert_eq!((mine.runs_changed(start, later), other.runs_changed(start, later)), (Some(vec![3, 5]), None));
        change(&other, 7);
        assert_eq!(mine.runs_changed(later, version(&mine)), None);
        change(&mine, 8);
        assert_eq!(mine.runs_changed(later, version(&mine)), None);
        assert_eq!(mine.runs_changed(later + 1, version(&mine)), Some(vec![8]));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "`Tx::run_changed` was not called")]
    fn a_writer_that_does_not_tell_of_a_run_is_found_out() {
        let (_dir, sqlite) = open();
        let sql = "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name)
                   VALUES ('r', '0', '', '', '', '')";
        let _ = sqlite.write::<_, StoreError>(|tx| tx.execute(sql, &[]));
    }

    #[test]
    fn the_change_counter_sees_own_and_foreign_writes() {
        let (dir, mine) = open();
        let other = Sqlite::open(&dir.path().join("catalog.db")).unwrap();
        let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'x', '{}')";
        let start = mine.change_counter().unwrap();
        assert_eq!(mine.change_counter().unwrap(), start);
        other.write::<_, StoreError>(|tx| tx.execute(insert, &[])).unwrap();
        let after_other = mine.change_counter().unwrap();
        assert_ne!(after_other, start);
        mine.write::<_, StoreError>(|tx| tx.execute(insert, &[])).unwrap();
        assert_ne!(mine.change_counter().unwrap(), after_other);
    }
}
