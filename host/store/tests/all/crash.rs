//! A writer that is killed at any moment loses nothing it has acknowledged.
//!
//! The writer is this test binary, started again with the same test as its only one and [`DIR`] set: it then [`write`]s.
//! A line on its standard output is an acknowledgement: it is written after the transaction, so whatever a line names must be there afterwards.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use plinth_core::ContentHash;
use plinth_store::{Access, AuditEntry, Store, StoreError, append_audit, doctor, doctor_with, emit, verify_audit};

use crate::place::Place;

const DIR: &str = "PLINTH_CRASH_DIR";
const CATALOG: &str = "PLINTH_CRASH_CATALOG";
const ROUNDS: u64 = 12;

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_acknowledged() {
    survives(Place::sqlite, "kill_9_at_any_moment_loses_nothing_that_was_acknowledged");
}

#[test]
fn nor_does_it_on_postgresql() {
    survives(Place::postgres, "nor_does_it_on_postgresql");
}

fn survives(place: impl FnOnce() -> Place, test: &str) {
    if let Some(dir) = env::var_os(DIR) {
        return write(Path::new(&dir));
    }
    let place = place();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let (mut child, mut lines) = start(place.dir(), place.catalog(), test);
        // Spread over the work of a writer: after another number of acknowledgements each time, and then at another
        // place within the next one. 0 acknowledgements is a kill while the directory is being opened or filled.
        for _ in 0..round * 5 % 23 {
            acknowledged.insert(acknowledgement(&mut lines).expect("a writer goes on until it is killed"));
        }
        for n in 0..round * 40_000 {
            std::hint::black_box(n);
        }
        kill(&mut child);
        // What had been said when the kill came, but not been heard yet, counts too.
        while let Some(hash) = acknowledgement(&mut lines) {
            acknowledged.insert(hash);
        }
        check(&place, &acknowledged);
    }
    assert!(acknowledged.len() > 50, "only {} acknowledgements were seen", acknowledged.len());
}

#[test]
fn the_half_of_a_blob_that_a_killed_writer_leaves_is_named_and_then_removed() {
    if let Some(dir) = env::var_os(DIR) {
        return write_half(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut lines) =
        start(dir.path(), None, "the_half_of_a_blob_that_a_killed_writer_leaves_is_named_and_then_removed");
    acknowledgement(&mut lines).expect("it says when half of the blob is written");
    kill(&mut child);
    let left: Vec<_> = fs::read_dir(dir.path().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let findings = doctor(dir.path(), false).unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].what.contains(left[0].to_str().unwrap()) && !findings[0].harmful, "{findings:?}");
    let store = Store::open(dir.path(), Access::Writer { command: "test".into() }).unwrap();
    assert!(!left[0].exists(), "the next writer sweeps up");
    assert!(store.blobs().list().unwrap().is_empty(), "half a blob is no blob");
    drop(store);
    assert_eq!(doctor(dir.path(), false).unwrap(), []);
}

/// Everything acknowledged is there and whole, and a transaction is there in all its parts or not at all.
fn check(place: &Place, acknowledged: &BTreeSet<ContentHash>) {
    let store = Store::open_with(place.dir(), place.catalog(), Access::Writer { command: "check".into() })
        .expect("the lock went with its process");
    let (filed, events, records) = store
        .catalog()
        .read::<_, StoreError>(|tx| {
            let hashes = tx.query("SELECT blob FROM stage_outputs", &[])?;
            let filed = hashes.iter().map(|row| row.hash(0)).collect::<Result<BTreeSet<_>, _>>()?;
            let events = tx.query("SELECT id FROM outbox", &[])?.len();
            Ok((filed, events, verify_audit(tx)?))
        })
        .unwrap();
    let lost: Vec<_> = acknowledged.difference(&filed).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    for hash in &filed {
        store.blobs().check(hash).expect("a row's blob is stored before the row");
    }
    assert_eq!((events, records), (filed.len(), filed.len() as u64), "each row came with its event and its record");
    drop(store);
    assert_eq!(doctor_with(place.dir(), place.catalog(), false).unwrap(), []);
}

/// Starts a test of this file again, as the writer.
fn start(dir: &Path, catalog: Option<&str>, test: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("crash::{test}"), "--nocapture"])
        .env(DIR, dir)
        .envs(catalog.map(|url| (CATALOG, url)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, lines)
}

/// The next acknowledgement; none once the writer is dead. A line without its end was never acknowledged.
fn acknowledgement(lines: &mut BufReader<ChildStdout>) -> Option<ContentHash> {
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // The test harness says things too.
        if let Some(hash) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("stored ")) {
            return Some(hash.parse().unwrap());
        }
        line.clear();
    }
    None
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
    assert!(!status.success());
}

/// A writer that stops in the middle of a blob and waits for its end.
fn write_half(dir: &Path) {
    let store = Store::open(dir, Access::Writer { command: "crash test".into() }).unwrap();
    let mut blob = store.blobs().writer().unwrap();
    blob.write_all(&[7; 100_000]).unwrap();
    println!("\nstored {}", ContentHash::of(b"half"));
    // Until the kill, or until whoever should kill is gone.
    let _ = std::io::stdin().read(&mut [0]);
}

/// A writer that goes on until it is killed.
fn write(dir: &Path) {
    let catalog = env::var(CATALOG).ok();
    let access = Access::Writer { command: "crash test".into() };
    let store = Store::open_with(dir, catalog.as_deref(), access).unwrap();
    // The test harness may have begun a line.
    println!();
    let first = store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT stage_key FROM stage_runs", &[]));
    for n in first.unwrap().len().. {
        // From a few bytes to some hundred thousand; no two alike.
        let hash = store.blobs().put(format!("{n} ").repeat(1 + n * n * 37 % 60_000).as_bytes()).unwrap();
        store.catalog().write::<_, StoreError>(|tx| file(tx, n, hash)).unwrap();
        println!("stored {hash}");
    }
}

fn file(tx: &mut dyn plinth_store::Tx, n: usize, hash: ContentHash) -> Result<(), StoreError> {
    let key = format!("{n:064x}");
    tx.execute(
        "INSERT INTO stage_runs (stage_key, pipeline, stage, outcome, run_id, started_us, finished_us, plinth)
         VALUES ($1, 'crash', 'stage', '{}', 'run', 0, 1, '0.1.0')",
        &[key.as_str().into()],
    )?;
    tx.execute(
        "INSERT INTO stage_outputs (stage_key, name, blob, bytes) VALUES ($1, 'out', $2, 0)",
        &[key.as_str().into(), hash.into()],
    )?;
    emit(tx, 0, "stage.finished", "{}")?;
    let entry = AuditEntry {
        time: 0,
        principal: "crash test".into(),
        action: "stage.file".into(),
        subject: key,
        detail: "{}".into(),
    };
    append_audit(tx, &entry)
}
