//! Who may open a state directory, and what many at once make of it.

use std::{path::Path, sync::Barrier, thread};

use plinth_core::{Coded, codes};
use plinth_store::{Access, Store, StoreError, doctor};

fn writer(command: &str) -> Access {
    Access::Writer { command: command.into() }
}

#[test]
fn a_second_writer_is_told_process_and_command_and_readers_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path(), writer("plinth run")).unwrap();
    let error = Store::open(dir.path(), writer("plinth run")).unwrap_err();
    assert_eq!(error.code(), codes::STATE_IN_USE);
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("plinth run"), "{text}");
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");

    let reader = Store::open(dir.path(), Access::Shared).unwrap();
    let hash = first.blobs().put(b"for all").unwrap();
    assert_eq!(reader.blobs().get(&hash).unwrap(), b"for all");
    drop(first);
    Store::open(dir.path(), writer("plinth run")).unwrap();
}

#[test]
fn many_may_open_a_directory_that_is_not_there_yet() {
    const CROWD: usize = 8;
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/state");
        let barrier = Barrier::new(CROWD);
        let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'came', '{}')";
        thread::scope(|scope| {
            for _ in 0..CROWD {
                scope.spawn(|| {
                    barrier.wait();
                    let store = Store::open(&path, Access::Shared).unwrap();
                    store.catalog().write::<_, StoreError>(|tx| tx.execute(insert, &[])).unwrap();
                });
            }
        });
        let store = Store::open(&path, Access::Shared).unwrap();
        let rows = store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT id FROM outbox", &[])).unwrap();
        assert_eq!(rows.len(), CROWD);
        drop(store);
        assert_eq!(doctor(&path, false).unwrap(), []);
    }
}

/// The writer that meets a full disk: what the test below is when it is started again with [`FULL_DIR`] set.
fn fill(dir: &Path) {
    let store = Store::open(dir, Access::Shared).unwrap();
    // The test harness may have begun a line.
    println!();
    let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'fill', $1)";
    for n in 0..10_000 {
        let row = ["y".repeat(5_000).into()];
        if let Err(error) = store.catalog().write::<_, StoreError>(|tx| tx.execute(insert, &row)) {
            println!("refused after {n}: {} {error} ({})", error.code(), error.hint().unwrap());
            return;
        }
        println!("stored {n}");
    }
}

/// Says where to write until the disk is full.
const FULL_DIR: &str = "PLINTH_FULL_DIR";

#[test]
fn a_catalog_without_room_is_named_and_keeps_what_it_had() {
    if let Some(dir) = std::env::var_os(FULL_DIR) {
        return fill(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), Access::Shared).unwrap());
    // A limit on the size of files makes the system refuse a write as a full device does.
    let this = "open::a_catalog_without_room_is_named_and_keeps_what_it_had";
    let out = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 800; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(this)
        .env(FULL_DIR, dir.path())
        .output()
        .unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let refused = out.lines().find(|line| line.starts_with("refused")).expect("the limit is met");
    for part in ["disk-full", dir.path().join("catalog.db").to_str().unwrap(), "free some room"] {
        assert!(refused.contains(part), "{refused}");
    }
    let stored = out.lines().filter(|line| line.starts_with("stored")).count();
    assert!(stored > 0, "{out}");
    let store = Store::open(dir.path(), Access::Shared).unwrap();
    let rows = store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT id FROM outbox", &[])).unwrap();
    assert_eq!(rows.len(), stored);
    drop(store);
    assert_eq!(doctor(dir.path(), false).unwrap(), []);
}
