//! Who may open a state directory, and how quickly.

use std::time::Instant;

use plinth_core::{Coded, codes};
use plinth_store::{Access, Store, StoreError};

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
fn opening_again_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), Access::Shared).unwrap());
    // The best of many, so that a busy machine does not decide; the bound is ten times what is wanted.
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            let store = Store::open(dir.path(), Access::Shared).unwrap();
            store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT run_id FROM runs", &[])).unwrap();
            start.elapsed()
        })
        .min()
        .expect("it was opened");
    assert!(best.as_millis() < 50, "{best:?}");
}
