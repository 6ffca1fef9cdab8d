//! Who writes. The system gives the lock back when its process ends, however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use crate::StoreError;

/// The right to write, held until dropped.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _file: File,
}

impl WriterLock {
    pub(crate) fn take(dir: &Path, command: &str) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let io = |action| {
            let path = path.clone();
            move |error| StoreError::io(action, &path, error)
        };
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // The owner may not have written its name yet; the refusal stands either way.
                let _ = file.read_to_string(&mut owner);
                let owner =
                    if owner.trim().is_empty() { "another process".to_owned() } else { owner.trim().to_owned() };
                return Err(StoreError::InUse { dir: dir.to_owned(), owner });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        file.set_len(0).map_err(io("write"))?;
        file.seek(SeekFrom::Start(0)).map_err(io("write"))?;
        writeln!(file, "process {} ({command})", std::process::id()).map_err(io("write"))?;
        Ok(Self { _file: file })
    }
}
