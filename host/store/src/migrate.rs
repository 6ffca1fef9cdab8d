//! Brings the schema of a catalog up to date: numbered, forward only, each in one transaction.

use std::path::Path;

use plinth_core::{Clock, ContentHash, SystemClock};
use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;

/// Every migration, in order; the number of the first is 1. A released one never changes.
pub(crate) const MIGRATIONS: &[(&str, &str)] = &[
    ("base", include_str!("migrations/0001_base.sql")),
    ("tracking", include_str!("migrations/0002_tracking.sql")),
    ("registry", include_str!("migrations/0003_registry.sql")),
    ("traces", include_str!("migrations/0004_traces.sql")),
    ("webhooks", include_str!("migrations/0005_webhooks.sql")),
    ("access", include_str!("migrations/0006_access.sql")),
    ("uploads", include_str!("migrations/0007_uploads.sql")),
    ("search", include_str!("migrations/0008_search.sql")),
    ("artifacts", include_str!("migrations/0009_artifacts.sql")),
    ("endpoints", include_str!("migrations/0010_endpoints.sql")),
    ("rollouts", include_str!("migrations/0011_rollouts.sql")),
    ("explanations", include_str!("migrations/0012_explanations.sql")),
];

/// The newest schema of this binary.
pub(crate) const fn known() -> i64 {
    MIGRATIONS.len() as i64
}

/// Applies what is missing.
pub(crate) fn up(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = known();
    let found = apply(connection, known).map_err(StoreError::catalog(path))?;
    if found > known { Err(StoreError::NewerVersion { path: path.to_owned(), found, known }) } else { Ok(()) }
}

/// The version that the catalog has afterwards: `known`, or a newer one that is left alone.
fn apply(connection: &mut Connection, known: i64) -> rusqlite::Result<i64> {
    let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    let found: i64 = version(connection)?;
    if found >= known {
        return Ok(found);
    }
    // Two processes may arrive together: the second looks again once it is its turn.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found >= known {
        return Ok(found);
    }
    for (index, (name, sql)) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO migrations (version, name, checksum, applied_us) VALUES (?1, ?2, ?3, ?4)",
            rusqlite::params![index as i64 + 1, name, checksum(sql), SystemClock.now()],
        )?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(known)
}

/// Checks that what was applied is what this binary holds.
pub(crate) fn verify(tx: &mut dyn crate::Tx, path: &Path) -> Result<(), StoreError> {
    for row in tx.query("SELECT version, checksum FROM migrations ORDER BY version", &[])? {
        let version = row.int(0)?;
        let sql = MIGRATIONS.get(version as usize - 1).map(|(_, sql)| checksum(sql));
        if sql != Some(row.text(1)?) {
            return Err(StoreError::MigrationChanged { version, path: path.to_owned() });
        }
    }
    Ok(())
}

pub(crate) fn checksum(sql: &str) -> String {
    ContentHash::of(sql.as_bytes()).to_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_of_a_newer_plinth_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = crate::Catalog::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NewerVersion { found: 99, .. }), "{error}");
    }
}
