//! What is remembered between runs: results of stages, who works on which, and content hashes of files.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use plinth_core::{Clock, ContentHash, Micros, SystemClock};
use plinth_store::{Store, StoreError, Tx};

use crate::{Output, PipelineError, StageOutcome};

/// How long a lease lasts when nobody prolongs it.
const LEASE: Duration = Duration::from_secs(90);
/// How often a running stage prolongs its lease.
pub(crate) const LEASE_RENEW: Duration = Duration::from_secs(30);

/// Results of stages in a state directory.
pub struct Cache {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    me: Owner,
}

/// A result that was filed.
#[derive(Debug, Clone)]
pub struct StageRow {
    /// What the stage made.
    pub outcome: StageOutcome,
    /// What it took.
    pub elapsed: Duration,
}

/// What became of the wish to run a stage.
pub(crate) enum Acquired {
    /// It may be run; `abandoned` is the run of a process that died while it held the stage.
    Free { abandoned: Option<String> },
    /// Another process runs it.
    Held { holder: String },
}

/// A process, told apart from a later one with the same number by its start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: u32,
    started: u64,
}

impl Cache {
    /// The results in `store`.
    pub fn new(store: Arc<Store>) -> Self {
        let pid = std::process::id();
        let me = Owner { pid, started: process_start(pid).unwrap_or_default() };
        Self { store, clock: Arc::new(SystemClock), me }
    }

    /// The state directory.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The result filed under a key, if every blob of it is still there.
    pub(crate) fn find(&self, key: ContentHash) -> Result<Option<StageRow>, StoreError> {
        let found = self.store.catalog().read(|tx| {
            let Some(row) = tx.query_one(
                "SELECT outcome, finished_us - started_us FROM stage_runs WHERE stage_key = $1",
                &[key.into()],
            )?
            else {
                return Ok(None);
            };
            let rows = tx.query("SELECT name, blob, bytes FROM stage_outputs WHERE stage_key = $1", &[key.into()])?;
            let outputs = rows
                .iter()
                .map(|row| Ok(Output { name: row.text(0)?, blob: row.hash(1)?, bytes: row.int(2)?.unsigned_abs() }))
                .collect::<Result<Vec<_>, StoreError>>()?;
            Ok::<_, StoreError>(Some((row.text(0)?, row.int(1)?, outputs)))
        })?;
        let Some((text, micros, outputs)) = found else { return Ok(None) };
        // A row of another release that reads differently is a miss, not an error.
        let Ok(mut outcome) = serde_json::from_str::<StageOutcome>(&text) else { return Ok(None) };
        for output in &outputs {
            if !self.store.blobs().contains(&output.blob)? {
                tracing::warn!(blob = %output.blob, output = %output.name, "a stage's result lost a blob; it is made again");
                return Ok(None);
            }
        }
        outcome.outputs = outputs;
        Ok(Some(StageRow { outcome, elapsed: Duration::from_micros(micros.unsigned_abs()) }))
    }

    /// Takes the right to run a stage.
    pub(crate) fn acquire(&self, key: ContentHash, run_id: &str) -> Result<Acquired, StoreError> {
        let now = self.clock.now();
        self.store.catalog().write(|tx| {
            let held = tx.query_one("SELECT owner, deadline_us FROM leases WHERE stage_key = $1", &[key.into()])?;
            let mut abandoned = None;
            if let Some(row) = held {
                let (text, deadline) = (row.text(0)?, row.int(1)?);
                let (owner, run) = Owner::parse(&text);
                match owner {
                    Some(owner) if deadline > now && owner != self.me && owner.is_alive() => {
                        return Ok(Acquired::Held { holder: format!("process {}", owner.pid) });
                    }
                    Some(owner) if owner != self.me => abandoned = run,
                    _ => {}
                }
            }
            tx.execute(
                "INSERT INTO leases (stage_key, owner, deadline_us) VALUES ($1, $2, $3) \
                 ON CONFLICT (stage_key) DO UPDATE SET owner = $2, deadline_us = $3",
                &[key.into(), self.me.text(run_id).into(), deadline(now).into()],
            )?;
            Ok(Acquired::Free { abandoned })
        })
    }

    /// Prolongs a lease.
    pub(crate) fn renew(&self, key: ContentHash) -> Result<(), StoreError> {
        let until = deadline(self.clock.now());
        self.store.catalog().write(|tx| {
            tx.execute("UPDATE leases SET deadline_us = $2 WHERE stage_key = $1", &[key.into(), until.into()])?;
            Ok(())
        })
    }

    /// Gives a lease back.
    pub(crate) fn release(&self, key: ContentHash) -> Result<(), StoreError> {
        self.store.catalog().write(|tx| end_lease(tx, key))
    }

    /// Removes the leases of processes that died: a stage that no later run wants would keep its lease for ever.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let leases =
            self.store.catalog().read(|tx| tx.query("SELECT stage_key, owner, deadline_us FROM leases", &[]))?;
        let mut dead = Vec::new();
        for row in leases {
            let (key, owner, until) = (row.text(0)?, row.text(1)?, row.int(2)?);
            if until <= now || Owner::parse(&owner).0.is_none_or(|owner| !owner.is_alive()) {
                dead.push([key.into(), owner.into(), until.into()]);
            }
        }
        // Most runs find nothing, and a write waits for the disk.
        if dead.is_empty() {
            return Ok(());
        }
        self.store.catalog().write(|tx| {
            // Each as it was seen: one that was taken over in between is another.
            let sql = "DELETE FROM leases WHERE stage_key = $1 AND owner = $2 AND deadline_us = $3";
            dead.iter().try_for_each(|lease| tx.execute(sql, lease).map(|_| ()))
        })
    }

    /// Files a result whose blobs are durable, and ends the lease, in one transaction.
    pub(crate) fn record(&self, filed: &Filed<'_>) -> Result<(), StoreError> {
        let Filed { key, pipeline, stage, run_id, outcome, elapsed } = *filed;
        let finished = self.clock.now();
        let started = finished - i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        // Outputs have rows of their own, where the doctor finds them.
        let text = serde_json::to_string(&StageOutcome { outputs: Vec::new(), ..outcome.clone() })
            .expect("an outcome has only text keys");
        self.store.catalog().write(|tx| {
            tx.execute("DELETE FROM stage_outputs WHERE stage_key = $1", &[key.into()])?;
            tx.execute("DELETE FROM stage_runs WHERE stage_key = $1", &[key.into()])?;
            tx.execute(
                "INSERT INTO stage_runs (stage_key, pipeline, stage, outcome, run_id, started_us, finished_us, plinth) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    key.into(),
                    pipeline.into(),
                    stage.into(),
                    text.as_str().into(),
                    run_id.into(),
                    started.into(),
                    finished.into(),
                    env!("CARGO_PKG_VERSION").into(),
                ],
            )?;
            for output in &outcome.outputs {
                tx.execute(
                    "INSERT INTO stage_outputs (stage_key, name, blob, bytes) VALUES ($1, $2, $3, $4)",
                    &[key.into(), (&output.name).into(), output.blob.into(), output.bytes.into()],
                )?;
            }
            end_lease(tx, key)
        })
    }

    /// The content hash of a file. Read only if size, time of change or number differ from the last time.
    ///
    /// # Errors
    /// [`PipelineError::Io`] names the file.
    pub fn file_hash(&self, path: &Path) -> Result<ContentHash, PipelineError> {
        let io = |action| move |source| PipelineError::Io { action, path: path.to_owned(), source };
        let meta = fs::metadata(path).map_err(io("look at"))?;
        let stamp = stamp(&meta);
        let name = path.display().to_string();
        let known = self.store.catalog().read(|tx| {
            let row = tx.query_one(
                "SELECT blob FROM file_hashes WHERE path = $1 AND stamp = $2",
                &[name.as_str().into(), stamp.as_str().into()],
            )?;
            row.map(|row| row.hash(0)).transpose()
        })?;
        if let Some(known) = known {
            return Ok(known);
        }
        let mut hasher = blake3::Hasher::new();
        let file = fs::File::open(path).map_err(io("open"))?;
        hasher.update_reader(file).map_err(io("read"))?;
        let hash = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        // A file that changed a moment ago may change again within the clock's grain: not worth remembering.
        let now = self.clock.now();
        let settled = modified(&meta).is_some_and(|at| now - at > 50_000);
        if settled {
            self.store.catalog().write(|tx| {
                tx.execute(
                    "INSERT INTO file_hashes (path, stamp, blob) VALUES ($1, $2, $3) \
                     ON CONFLICT (path) DO UPDATE SET stamp = $2, blob = $3",
                    &[name.into(), stamp.into(), hash.into()],
                )
                .map(|_| ())
            })?;
        }
        Ok(hash)
    }
}

/// A result to file.
#[derive(Clone, Copy)]
pub(crate) struct Filed<'a> {
    pub(crate) key: ContentHash,
    pub(crate) pipeline: &'a str,
    pub(crate) stage: &'a str,
    pub(crate) run_id: &'a str,
    pub(crate) outcome: &'a StageOutcome,
    pub(crate) elapsed: Duration,
}

impl Owner {
    /// `PID@START RUN`
    fn text(&self, run_id: &str) -> String {
        format!("{}@{} {run_id}", self.pid, self.started)
    }

    fn parse(text: &str) -> (Option<Self>, Option<String>) {
        let (process, run) = text.split_once(' ').unwrap_or((text, ""));
        let owner = process
            .split_once('@')
            .and_then(|(pid, started)| Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? }));
        (owner, (!run.is_empty()).then(|| run.to_owned()))
    }

    /// Whether the process still runs. Where that cannot be asked, the deadline alone decides.
    fn is_alive(&self) -> bool {
        !Path::new("/proc/self/stat").exists() || process_start(self.pid) == Some(self.started)
    }
}

/// When a process started, in clock ticks since the machine did; none if there is no such process.
fn process_start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold spaces; the 20th field after it is the start.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn end_lease(tx: &mut dyn Tx, key: ContentHash) -> Result<(), StoreError> {
    tx.execute("DELETE FROM leases WHERE stage_key = $1", &[key.into()]).map(|_| ())
}

fn deadline(now: Micros) -> Micros {
    now.saturating_add(i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX))
}

fn modified(meta: &fs::Metadata) -> Option<Micros> {
    let at = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(at.as_micros()).ok()
}

#[cfg(unix)]
fn stamp(meta: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(
        "{} {}.{:09} {}.{:09} {}:{}",
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.dev(),
        meta.ino()
    )
}

#[cfg(not(unix))]
fn stamp(meta: &fs::Metadata) -> String {
    format!("{} {:?}", meta.len(), meta.modified().ok())
}

#[cfg(test)]
mod tests {
    use plinth_store::Access;

    use super::*;

    fn cache(dir: &Path) -> Cache {
        Cache::new(Arc::new(Store::open(dir, Access::Shared).unwrap()))
    }

    #[test]
    fn a_lease_of_a_living_process_is_respected_and_of_a_dead_one_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let mine = cache(dir.path());
        let key = ContentHash::of(b"key");
        let parent = std::os::unix::process::parent_id();
        let mut other = cache(dir.path());
        other.me = Owner { pid: parent, started: process_start(parent).unwrap() };
        assert!(matches!(other.acquire(key, "theirs").unwrap(), Acquired::Free { abandoned: None }));
        match mine.acquire(key, "mine").unwrap() {
            Acquired::Held { holder } => assert_eq!(holder, format!("process {parent}")),
            Acquired::Free { .. } => panic!("a living process holds it"),
        }
        // The same number, another process.
        other.me.started += 1;
        other.release(key).unwrap();
        other.acquire(key, "theirs").unwrap();
        let taken = mine.acquire(key, "mine").unwrap();
        assert!(matches!(taken, Acquired::Free { abandoned: Some(run) } if run == "theirs"));
    }

    #[test]
    fn leases_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mine = cache(dir.path());
        let parent = std::os::unix::process::parent_id();
        let mut other = cache(dir.path());
        let keys = ["mine", "living", "dead"].map(|name| ContentHash::of(name.as_bytes()));
        mine.acquire(keys[0], "run").unwrap();
        other.me = Owner { pid: parent, started: process_start(parent).unwrap() };
        other.acquire(keys[1], "run").unwrap();
        other.me.started += 1;
        other.acquire(keys[2], "run").unwrap();
        mine.sweep().unwrap();
        let left = mine.store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT stage_key FROM leases", &[]));
        let mut left: Vec<_> = left.unwrap().iter().map(|row| row.hash(0).unwrap()).collect();
        left.sort_by_key(|key| keys.iter().position(|known| known == key));
        assert_eq!(left, keys[..2]);
    }

    #[test]
    fn a_lease_ends_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (mut mine, mut other) = (cache(dir.path()), cache(dir.path()));
        let parent = std::os::unix::process::parent_id();
        other.me = Owner { pid: parent, started: process_start(parent).unwrap() };
        other.clock = Arc::new(plinth_core::FixedClock::at(0));
        let key = ContentHash::of(b"key");
        other.acquire(key, "theirs").unwrap();
        mine.clock = Arc::new(plinth_core::FixedClock::at(1));
        assert!(matches!(mine.acquire(key, "mine").unwrap(), Acquired::Held { .. }));
        mine.clock = Arc::new(plinth_core::FixedClock::at(deadline(0) + 1));
        assert!(matches!(mine.acquire(key, "mine").unwrap(), Acquired::Free { .. }));
    }

    #[test]
    fn a_changed_file_gets_another_hash_although_its_size_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir.path().join("state"));
        let path = dir.path().join("data.csv");
        fs::write(&path, "one").unwrap();
        assert_eq!(cache.file_hash(&path).unwrap(), ContentHash::of(b"one"));
        assert_eq!(cache.file_hash(&path).unwrap(), ContentHash::of(b"one"));
        fs::write(&path, "two").unwrap();
        assert_eq!(cache.file_hash(&path).unwrap(), ContentHash::of(b"two"));
        let error = cache.file_hash(&dir.path().join("gone")).unwrap_err();
        assert_eq!(plinth_core::Coded::code(&error), plinth_core::codes::FILE_NOT_FOUND);
    }
}
