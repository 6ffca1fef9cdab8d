//! The audit log: who changed what and why, each record chained to the one before by blake3.

use plinth_core::{ContentHash, Micros};

use crate::{StoreError, Tx, Value};

/// The fact that says which record is the last, and its hash: without it, a log whose end is cut off looks whole.
const HEAD: &str = "audit.head";

/// A change worth an audit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub time: Micros,
    /// Who.
    pub principal: String,
    /// What was done, such as `alias.set`.
    pub action: String,
    /// To what, such as `models:/churn@champion`.
    pub subject: String,
    /// Everything else, as JSON.
    pub detail: String,
}

impl AuditEntry {
    fn hash(&self, seq: i64, previous: &str) -> String {
        let (seq, time) = (seq.to_string(), self.time.to_string());
        let parts = [previous, &seq, &time, &self.principal, &self.action, &self.subject, &self.detail];
        ContentHash::of_parts(parts.map(str::as_bytes)).to_hex()
    }
}

/// Appends a record in the transaction of the change it tells of.
///
/// # Errors
/// [`StoreError::Catalog`].
pub fn append_audit(tx: &mut dyn Tx, entry: &AuditEntry) -> Result<(), StoreError> {
    let last = tx.query_one("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", &[])?;
    let (seq, previous) = match last {
        Some(row) => (row.int(0)? + 1, row.text(1)?),
        None => (1, String::new()),
    };
    let hash = entry.hash(seq, &previous);
    let head = format!("{seq} {hash}");
    tx.execute(
        "INSERT INTO audit (seq, time_us, principal, action, subject, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            Value::Int(seq),
            Value::Int(entry.time),
            Value::from(&entry.principal),
            Value::from(&entry.action),
            Value::from(&entry.subject),
            Value::from(&entry.detail),
            Value::from(hash),
        ],
    )?;
    tx.execute(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[Value::from(HEAD), Value::from(head)],
    )?;
    Ok(())
}

/// Proves the log whole; returns its number of records.
///
/// # Errors
/// [`StoreError::Audit`] names the first record that is missing or was changed.
pub fn verify_audit(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    let (mut previous, mut records) = (String::new(), 0);
    let sql = "SELECT seq, time_us, principal, action, subject, detail, hash FROM audit ORDER BY seq";
    tx.each(sql, &[], &mut |row| {
        records += 1;
        let seq = row.int_at(0)?;
        let text = |column: usize| row.text_at(column).map(str::to_owned);
        let entry = AuditEntry {
            time: row.int_at(1)?,
            principal: text(2)?,
            action: text(3)?,
            subject: text(4)?,
            detail: text(5)?,
        };
        if seq != records {
            return Err(StoreError::Audit { seq: records, reason: "it is missing".into() });
        }
        let hash = text(6)?;
        if entry.hash(seq, &previous) != hash {
            return Err(StoreError::Audit { seq, reason: "its content does not have its hash".into() });
        }
        previous = hash;
        Ok(())
    })?;
    // A log that is older than its head has none until its next record.
    let head = tx.query_one("SELECT value FROM facts WHERE name = $1", &[Value::from(HEAD)])?;
    if let Some(head) = head
        && head.text(0)? != format!("{records} {previous}")
    {
        return Err(StoreError::Audit { seq: records + 1, reason: "the log does not end where its head says".into() });
    }
    Ok(records as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[test]
    fn a_changed_or_missing_record_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("catalog.db")).unwrap();
        let entry = |n: i64| AuditEntry {
            time: n,
            principal: "ann".into(),
            action: "alias.set".into(),
            subject: "models:/churn@champion".into(),
            detail: "{}".into(),
        };
        let write = |sql: &str| catalog.write(|tx| tx.execute(sql, &[])).map_err(|e: StoreError| e).unwrap();
        catalog.write::<_, StoreError>(|tx| (1..=3).try_for_each(|n| append_audit(tx, &entry(n)))).unwrap();
        assert_eq!(catalog.read(verify_audit).unwrap(), 3);
        write("UPDATE audit SET principal = 'eve' WHERE seq = 2");
        assert!(matches!(catalog.read(verify_audit), Err(StoreError::Audit { seq: 2, .. })));
        write("UPDATE audit SET principal = 'ann' WHERE seq = 2");
        write("DELETE FROM audit WHERE seq = 3");
        assert!(matches!(catalog.read(verify_audit), Err(StoreError::Audit { seq: 3, .. })));
        write("DELETE FROM audit WHERE seq = 1");
        assert!(matches!(catalog.read(verify_audit), Err(StoreError::Audit { seq: 1, .. })));
    }
}
