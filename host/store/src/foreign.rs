//! Databases of others: a SQLite file that is not a catalog of ours, read without a trace, or made anew and filled.
//!
//! A file that is read may be in use, and may be hostile: it is opened read-only, no lock is held longer than one query,
//! and nothing that its schema says is run.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    Row, StoreError, Tx, Value,
    sqlite::{BUSY_MS_MAX, SqliteTx},
};

/// A database of others.
#[derive(Debug)]
pub struct Foreign {
    path: PathBuf,
    connection: Connection,
}

impl Foreign {
    /// Opens a SQLite file for reading.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] says what kept it from being read: no such file, no database, locked, damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let meta = std::fs::metadata(path).map_err(|e| StoreError::io("open", path, e))?;
        if !meta.is_file() {
            return Err(StoreError::NotADatabase { path: path.to_owned() });
        }
        let connect = |name: &str, more: OpenFlags| -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
            let connection = Connection::open_with_flags(name, flags)?;
            connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS_MAX))?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.pragma_update(None, "query_only", true)?;
            connection.query_row("SELECT COUNT(*) FROM sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        let name = path.to_string_lossy();
        let opened = match connect(&name, OpenFlags::empty()) {
            // A log that was never written back needs a helper file beside it. Where that cannot be made, and nobody
            // has left a log, the file is all there is.
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen)
                    && !Path::new(&format!("{name}-wal")).exists() =>
            {
                let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
                connect(&format!("file:{escaped}?immutable=1"), OpenFlags::SQLITE_OPEN_URI)
            }
            other => other,
        };
        let connection = opened.map_err(|source| Self::refused(path, source))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Makes a SQLite file with some tables in it.
    ///
    /// # Errors
    /// [`StoreError`]; a file that is there already is one.
    pub fn create(path: &Path, schema: &str) -> Result<Self, StoreError> {
        std::fs::File::create_new(path).map_err(|e| StoreError::io("create", path, e))?;
        let connection = Connection::open(path).map_err(|source| Self::refused(path, source))?;
        let made = connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; BEGIN; {schema}; COMMIT;"));
        made.map_err(|source| Self::refused(path, source))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    fn refused(path: &Path, source: rusqlite::Error) -> StoreError {
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => StoreError::NotADatabase { path: path.to_owned() },
            _ => StoreError::Foreign { path: path.to_owned(), source },
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of its tables.
    ///
    /// # Errors
    /// [`StoreError::Foreign`].
    pub fn tables(&self) -> Result<Vec<String>, StoreError> {
        self.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", &[])?
            .iter()
            .map(|row| row.text(0))
            .collect()
    }

    /// Names of a table's columns; none if there is no such table.
    ///
    /// # Errors
    /// [`StoreError::Foreign`].
    pub fn columns(&self, table: &str) -> Result<Vec<String>, StoreError> {
        let rows = self.query("SELECT name FROM pragma_table_info($1)", &[table.into()])?;
        rows.iter().map(|row| row.text(0)).collect()
    }

    /// Rows of a query.
    ///
    /// # Errors
    /// [`StoreError::Foreign`].
    pub fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError> {
        let tx = SqliteTx::new(&self.connection, &self.path);
        tx.rows(sql, parameters).map_err(|source| Self::refused(&self.path, source))
    }

    /// Rows of a query, one by one, however many they are.
    ///
    /// # Errors
    /// [`StoreError::Foreign`], or what `each` returns.
    pub fn each<E: From<StoreError>>(
        &self,
        sql: &str,
        parameters: &[Value],
        each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let tx = SqliteTx::new(&self.connection, &self.path);
        tx.stream(sql, parameters, |source| Self::refused(&self.path, source), each)
    }

    /// Does `work` in a transaction; after an error nothing of it has happened.
    ///
    /// # Errors
    /// [`StoreError::Foreign`], or what `work` returns.
    pub fn write<T, E: From<StoreError>>(&mut self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        let refused = |source| Self::refused(&self.path, source);
        let transaction = self.connection.transaction().map_err(refused)?;
        let value = work(&mut SqliteTx::new(&transaction, &self.path))?;
        transaction.commit().map_err(refused)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_not_changed_and_what_is_no_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a?b#c%.db");
        let mut made = Foreign::create(&path, "CREATE TABLE t (a TEXT, b BIGINT)").unwrap();
        made.write::<_, StoreError>(|tx| tx.execute("INSERT INTO t VALUES ('x', 1)", &[])).unwrap();
        drop(made);
        assert!(Foreign::create(&path, "").is_err());
        let read = Foreign::open(&path).unwrap();
        assert_eq!(
            (read.tables().unwrap(), read.columns("t").unwrap()),
            (vec!["t".into()], vec!["a".into(), "b".into()])
        );
        let mut rows = Vec::new();
        read.each::<StoreError>("SELECT a, b FROM t WHERE b = $1", &[Value::Int(1)], |row| {
            rows.push(row);
            Ok(())
        })
        .unwrap();
        assert_eq!(rows, [Row(vec!["x".into(), Value::Int(1)])]);
        assert!(read.query("DELETE FROM t", &[]).is_err());
        let text = dir.path().join("text");
        std::fs::write(&text, "no database at all, but long enough to have a header of one hundred bytes".repeat(9))
            .unwrap();
        assert!(matches!(Foreign::open(&text), Err(StoreError::NotADatabase { .. })));
        assert!(matches!(Foreign::open(dir.path()), Err(StoreError::NotADatabase { .. })));
        assert!(matches!(Foreign::open(&dir.path().join("none")), Err(StoreError::Io { .. })));
    }

    #[test]
    fn a_database_that_another_writes_to_is_read_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("live.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x')").unwrap();
        let read = Foreign::open(&path).unwrap();
        assert_eq!(read.query("SELECT a FROM t", &[]).unwrap().len(), 1);
        writer.execute_batch("INSERT INTO t VALUES ('y')").unwrap();
        assert_eq!(read.query("SELECT a FROM t", &[]).unwrap().len(), 2);
    }
}
