//! The catalog on PostgreSQL: one connection that writes, with group commit, and a few that read.
//!
//! It keeps the promises of the catalog on SQLite. There is one writer at a time, of all processes that share the
//! database: a transaction that writes begins by taking a lock of the server's. So no two of them run into each other,
//! and none is ever done twice.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use plinth_core::{Clock, SystemClock};

use crate::{
    StoreError, Tx, Value, migrate,
    postgres_link::{Link, Server},
    postgres_refusal::Refusal,
    postgres_sql,
    postgres_tx::PostgresTx,
};

/// Connections that read. A server has a hundred connections by default, and several processes may share it.
const READERS_MAX: usize = 12;
/// How long a reader waits for a connection that another one uses.
const READER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Writers that share one commit: past that the first of them would wait too long for the last.
const GROUP_MAX: usize = 256;

/// One writer at a time of those who share a schema. The first number is this program's among others in the database.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1886153060, hashtext(current_schema()))";
/// A query over tables that grew faster than the server's statistics may be planned badly enough to run for hours. It
/// is ended, and by the time it is asked again the server has looked at them.
const READER: &str = "SET statement_timeout = '120s'";
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Counts commits, for those who watch.
const CHANGES: &str = "CREATE TABLE changes (counter BIGINT NOT NULL); INSERT INTO changes (counter) VALUES (0);";

/// The catalog. Writers that come together share one transaction, and with it one flush to the server's device: each
/// runs in a savepoint of its own, and the last of those who wait commits for all.
#[derive(Debug)]
pub(crate) struct Postgres {
    writer: Mutex<Writer>,
    /// Writers that wait for their turn: whoever finds none behind it commits.
    waiting: AtomicUsize,
    committed: Condvar,
    readers: Mutex<Readers>,
    returned: Condvar,
    server: Server,
}

#[derive(Debug, Default)]
struct Writer {
    /// None before the first transaction, and after one that lost it.
    link: Option<Link>,
    /// The transaction that is open, if one is.
    group: Option<Arc<Group>>,
}

/// Writers whose changes become durable together.
#[derive(Debug, Default)]
struct Group {
    members: AtomicUsize,
    /// Whether one of them has changed anything.
    changed: AtomicBool,
    /// How the commit ended: nothing, or what the server said.
    outcome: OnceLock<Result<(), Refusal>>,
}

#[derive(Debug, Default)]
struct Readers {
    idle: Vec<Link>,
    /// Idle ones and those in use.
    open: usize,
}

impl Postgres {
    /// Connects and brings the schema up to date.
    pub(crate) fn open(url: &str) -> Result<Self, StoreError> {
        let server = Server::new(url)?;
        let mut link = server.connect().map_err(|refusal| server.told(refusal))?;
        let found = migrate(&server, &mut link)?;
        let known = migrate::known();
        if found > known {
            return Err(StoreError::NewerVersion { path: server.name().into(), found, known });
        }
        Ok(Self {
            writer: Mutex::new(Writer { link: Some(link), group: None }),
            waiting: AtomicUsize::new(0),
            committed: Condvar::new(),
            readers: Mutex::default(),
            returned: Condvar::new(),
            server,
        })
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> &str {
        self.server.name()
    }

    pub(crate) fn write<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut writer = held(&self.writer);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let group = self.begin(&mut writer).map_err(|refusal| self.server.told(refusal))?;
        let mut turn = Turn { postgres: self, writer: Some(writer) };
        let result = turn.work(&group, work);
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
            Err(refusal) => Err(self.server.told(refusal.clone()).into()),
        }
    }

    pub(crate) fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, E>) -> Result<T, E> {
        let mut lease = self.lease()?;
        if let Err(refusal) = lease.link().batch(BEGIN_READING) {
            // The server was restarted while the connection was idle. Nothing has run yet, so another one will do.
            if !refusal.is_of_connection() {
                return Err(self.server.told(refusal).into());
            }
            drop(lease);
            lease = self.lease()?;
            let begun = lease.link().batch(BEGIN_READING);
            begun.map_err(|refusal| self.server.told(refusal))?;
        }
        let result = work(&mut PostgresTx::new(&self.server, lease.link()));
        lease.give_back();
        result
    }

    pub(crate) fn change_counter(&self) -> Result<i64, StoreError> {
        let row = self.read::<_, StoreError>(|tx| tx.query_one("SELECT counter FROM changes", &[]))?;
        row.map_or(Ok(0), |row| row.int(0))
    }

    /// Opens a savepoint for one writer, in the group's transaction or in a new one.
    fn begin(&self, writer: &mut Writer) -> Result<Arc<Group>, Refusal> {
        if let (Some(group), Some(link)) = (&writer.group, &writer.link) {
            // The savepoint of the one before is ended here: that saves a message.
            return match link.batch("RELEASE turn; SAVEPOINT turn") {
                Ok(()) => Ok(Arc::clone(group)),
                Err(refusal) => {
                    self.finish(writer, Err(refusal.clone()));
                    Err(refusal)
                }
            };
        }
        // A server that was restarted meanwhile has ended the connection. Nothing has run yet, so another one will do.
        let mut refused = None;
        for _ in 0..2 {
            let link = match writer.link.take().filter(|link| !link.is_closed()) {
                Some(link) => link,
                None => self.server.connect()?,
            };
            match link.batch(&format!("BEGIN; {LOCK}; SAVEPOINT turn")) {
                Ok(()) => {
                    writer.link = Some(link);
                    return Ok(Arc::clone(writer.group.insert(Arc::default())));
                }
                Err(refusal) if refusal.is_of_connection() => refused = Some(refusal),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(refused.unwrap_or_else(Refusal::gone))
    }

    /// Commits what a group has done, if it has done anything.
    fn commit(&self, writer: &mut Writer) {
        let (Some(group), Some(link)) = (&writer.group, &writer.link) else { return };
        let outcome = if group.changed.load(Ordering::Relaxed) {
            link.batch("RELEASE turn; UPDATE changes SET counter = counter + 1; COMMIT")
        } else {
            link.batch("ROLLBACK")
        };
        self.finish(writer, outcome);
    }

    /// Ends a group; a connection that failed it is not used again.
    fn finish(&self, writer: &mut Writer, outcome: Result<(), Refusal>) {
        if outcome.is_err() {
            writer.link = None;
        }
        if let Some(group) = writer.group.take() {
            // Set once: only the one who takes the group out sets it.
            let _ = group.outcome.set(outcome);
        }
        self.committed.notify_all();
    }

    fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let deadline = Instant::now() + READER_WAIT_MAX;
        let mut readers = held(&self.readers);
        loop {
            while let Some(link) = readers.idle.pop() {
                if !link.is_closed() {
                    return Ok(Lease { postgres: self, link: Some(link) });
                }
                readers.open -= 1;
            }
            if readers.open < READERS_MAX {
                readers.open += 1;
                drop(readers);
                // Counted from here on, so that it is given back however this ends.
                let mut lease = Lease { postgres: self, link: None };
                let link = self.server.connect().and_then(|link| link.batch(READER).map(|()| link));
                lease.link = Some(link.map_err(|refusal| self.server.told(refusal))?);
                return Ok(lease);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("{READERS_MAX} others read, and none ended in time");
                return Err(self.server.told(Refusal { state: "55P03".into(), message }));
            }
            readers = self.returned.wait_timeout(readers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One writer's part in a group. However it ends, also by a panic, the group goes on and is committed.
struct Turn<'a> {
    postgres: &'a Postgres,
    writer: Option<MutexGuard<'a, Writer>>,
}

impl<'a> Turn<'a> {
    fn work<T, E: From<StoreError>>(
        &mut self,
        group: &Group,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E>,
    ) -> Result<T, E> {
        let server = &self.postgres.server;
        let Some(link) = self.writer.as_mut().and_then(|writer| writer.link.as_mut()) else {
            unreachable!("held until its end")
        };
        let mut tx = PostgresTx::new(server, link);
        let result = work(&mut tx);
        let result = match (result, tx.refusal) {
            // Of a savepoint in which a statement failed the server keeps nothing.
            (Ok(_), Some(refusal)) => Err(server.told(refusal).into()),
            (result, _) => result,
        };
        match &result {
            Ok(_) => group.changed.store(true, Ordering::Relaxed),
            Err(_) => self.undo(),
        }
        result
    }

    fn undo(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let undone = writer.link.as_ref().map_or_else(|| Err(Refusal::gone()), |link| link.batch("ROLLBACK TO turn"));
        if let Err(refusal) = undone {
            // The whole transaction ended with its connection.
            self.postgres.finish(writer, Err(refusal));
        }
    }

    fn end(mut self, group: &Group) -> MutexGuard<'a, Writer> {
        let mut writer = self.writer.take().unwrap_or_else(|| unreachable!("held until its end"));
        let members = group.members.fetch_add(1, Ordering::Relaxed) + 1;
        if members >= GROUP_MAX || self.postgres.waiting.load(Ordering::SeqCst) == 0 {
            self.postgres.commit(&mut writer);
        }
        writer
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Only after a panic: the others of the group must not wait for one who will not come.
        self.undo();
        if let Some(mut writer) = self.writer.take() {
            self.postgres.commit(&mut writer);
        }
    }
}

/// A reader's connection. One that is not given back is closed, and its transaction with it.
struct Lease<'a> {
    postgres: &'a Postgres,
    link: Option<Link>,
}

impl Lease<'_> {
    fn link(&mut self) -> &mut Link {
        self.link.as_mut().unwrap_or_else(|| unreachable!("held until it is given back"))
    }

    /// Ends the transaction; whoever is next finds that behind them.
    fn give_back(mut self) {
        if let Some(link) = self.link.take().filter(|link| !link.is_closed()) {
            link.send("ROLLBACK");
            let mut readers = held(&self.postgres.readers);
            readers.idle.push(link);
            readers.open += 1;
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        held(&self.postgres.readers).open -= 1;
        self.postgres.returned.notify_one();
    }
}

/// Brings the schema up to date; of several processes that arrive together, one does it. Returns the version that the
/// catalog has afterwards: the newest that is known, or a newer one that is left alone.
fn migrate(server: &Server, link: &mut Link) -> Result<i64, StoreError> {
    let told = |refusal| server.told(refusal);
    let encoding = PostgresTx::new(server, link).query_one("SELECT current_setting('server_encoding')", &[])?;
    let encoding = encoding.map(|row| row.text(0)).transpose()?.unwrap_or_default();
    if encoding != "UTF8" {
        let reason = format!("its encoding is {encoding}, and names and values may be any text: make one with UTF8");
        return Err(StoreError::CatalogUrl { name: server.name().into(), reason });
    }
    let found = version(&mut PostgresTx::new(server, link))?;
    if found >= migrate::known() {
        return Ok(found);
    }
    link.batch(&format!("BEGIN; {LOCK}")).map_err(told)?;
    // The second to arrive looks again once it is its turn.
    let mut found = version(&mut PostgresTx::new(server, link))?;
    for (name, sql) in migrate::MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        link.batch(&postgres_sql::migration(sql)).map_err(told)?;
        if found == 0 {
            link.batch(CHANGES).map_err(told)?;
        }
        found += 1;
        PostgresTx::new(server, link).execute(
            "INSERT INTO migrations (version, name, checksum, applied_us) VALUES ($1, $2, $3, $4)",
            &[found.into(), (*name).into(), migrate::checksum(sql).into(), Value::Int(SystemClock.now())],
        )?;
    }
    link.batch("COMMIT").map_err(told)?;
    Ok(found)
}

/// The newest migration that was applied; 0 before the first.
fn version(tx: &mut PostgresTx<'_>) -> Result<i64, StoreError> {
    let there = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relname = 'migrations' AND n.nspname = current_schema()";
    if tx.query_one(there, &[])?.is_none() {
        return Ok(0);
    }
    let row = tx.query_one("SELECT COALESCE(MAX(version), 0) FROM migrations", &[])?;
    row.map_or(Ok(0), |row| row.int(0))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
