//! A plugin's key-value store in a folder: one file for each key, replaced whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use plinth_core::{ContentHash, PluginLimits};
use plinth_ext::Problem;

use crate::{
    offered::{KvBounds, keys_problem, quota_problem, too_large},
    services::KeyValues,
};

/// Keys and values in the files of a folder, which several processes may share. A file holds the length of the key in
/// four bytes, the key, and the value; its name is the hash of the key, so that no key is a path.
#[derive(Debug)]
pub struct FileKeyValues {
    plugin: String,
    folder: PathBuf,
    bytes_max: u64,
    bounds: KvBounds,
    /// One change at a time, or two of them would both find room.
    changing: Mutex<()>,
    temporary: AtomicU64,
}

impl FileKeyValues {
    /// The store of a plugin in `folder`, which is made with the first key. `bytes_max` bounds keys and values.
    pub fn new(plugin: &str, folder: PathBuf, bytes_max: u64, limits: &PluginLimits) -> Self {
        Self {
            plugin: plugin.to_owned(),
            folder,
            bytes_max,
            bounds: limits.into(),
            changing: Mutex::new(()),
            temporary: AtomicU64::new(0),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{}.kv", ContentHash::of(key.as_bytes())))
    }

    /// The files of the folder with their sizes as far as they count.
    fn files(&self) -> Result<Vec<(PathBuf, u64)>, Problem> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "kv") {
                // One that another process removed just now does not count.
                if let Ok(metadata) = entry.metadata() {
                    files.push((path, metadata.len().saturating_sub(4)));
                }
            }
        }
        Ok(files)
    }

    /// Sets a key, while nobody else changes anything.
    fn put(&self, key: &str, value: &[u8]) -> Result<(), Problem> {
        let (max, len) = (self.bounds.value, value.len() as u64);
        if len > max {
            return Err(too_large("kv-too-large", "a value", len, max, "kv-value-bytes-max"));
        }
        let path = self.path(key);
        let others = self.files()?;
        let others = || others.iter().filter(|(other, _)| *other != path);
        if others().count() >= self.bounds.keys as usize {
            return Err(keys_problem(self.bounds.keys));
        }
        let bytes = others().map(|(_, bytes)| bytes).sum::<u64>() + key.len() as u64 + len;
        if bytes > self.bytes_max {
            return Err(quota_problem(bytes, self.bytes_max, &self.plugin));
        }
        let mut file = (key.len() as u32).to_le_bytes().to_vec();
        file.extend_from_slice(key.as_bytes());
        file.extend_from_slice(value);
        self.write(&path, &file).map_err(|error| failed(&error))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{}.{number}", std::process::id()));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, path)
    }
}

impl KeyValues for FileKeyValues {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Problem> {
        match fs::read(self.path(key)) {
            Ok(bytes) => Ok(split(&bytes).filter(|(found, _)| *found == key).map(|(_, value)| value.to_vec())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(key, value)
    }

    fn swap(&self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(key)?.as_deref() != expected {
            return Ok(false);
        }
        self.put(key, value).map(|()| true)
    }

    fn delete(&self, key: &str) -> Result<(), Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Problem> {
        let mut keys = Vec::new();
        for (path, _) in self.files()? {
            let Ok(bytes) = fs::read(path) else { continue };
            let key = split(&bytes).map(|(key, _)| key);
            keys.extend(
                key.filter(|key| key.starts_with(prefix) && after.is_none_or(|after| *key > after)).map(str::to_owned),
            );
        }
        keys.sort();
        keys.truncate(max);
        Ok(keys)
    }
}

/// The key and the value of a file.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (key, value) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((std::str::from_utf8(key).ok()?, value))
}

fn failed(error: &io::Error) -> Problem {
    Problem { code: "io".into(), message: format!("the store: {error}"), retryable: true, ..Problem::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(bytes_max: u64) -> (tempfile::TempDir, FileKeyValues) {
        let dir = tempfile::tempdir().unwrap();
        let limits = PluginLimits { kv_keys_max: 3, kv_value_bytes_max: 100, ..PluginLimits::default() };
        let store = FileKeyValues::new("p", dir.path().join("kv"), bytes_max, &limits);
        (dir, store)
    }

    #[test]
    fn keys_outlive_the_store_and_are_listed_in_pages() {
        let (dir, store) = store(1_000);
        for key in ["b/2", "b/1", "../../a"] {
            store.set(key, key.as_bytes()).unwrap();
        }
        let again = FileKeyValues::new("p", dir.path().join("kv"), 1_000, &PluginLimits::default());
        assert_eq!(again.get("../../a").unwrap().as_deref(), Some(&b"../../a"[..]));
        assert_eq!(again.list("b/", None, 1).unwrap(), ["b/1"]);
        assert_eq!(again.list("b/", Some("b/1"), 9).unwrap(), ["b/2"]);
        again.delete("b/1").unwrap();
        again.delete("b/1").unwrap();
        assert_eq!((again.get("b/1").unwrap(), again.list("", None, 9).unwrap().len()), (None, 2));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no key is a path");
    }

    #[test]
    fn a_swap_happens_only_where_the_value_is_the_one_expected() {
        let (_dir, store) = store(1_000);
        assert!(!store.swap("n", Some(b"0"), b"1").unwrap(), "there is none yet");
        assert!(store.swap("n", None, b"1").unwrap());
        assert!(!store.swap("n", None, b"2").unwrap() && !store.swap("n", Some(b"0"), b"2").unwrap());
        assert!(store.swap("n", Some(b"1"), b"2").unwrap());
        assert_eq!(store.get("n").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(store.swap("n", Some(b"2"), &[0; 101]).unwrap_err().code, "kv-too-large");
    }

    #[test]
    fn swaps_at_the_same_time_lose_no_count() {
        let (_dir, store) = store(1_000);
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<u32>().unwrap();
        let count = || {
            for _ in 0..25 {
                loop {
                    let seen = store.get("n").unwrap();
                    let next = seen.as_deref().map_or(0, number) + 1;
                    if store.swap("n", seen.as_deref(), next.to_string().as_bytes()).unwrap() {
                        break;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(count);
            }
        });
        assert_eq!(number(&store.get("n").unwrap().unwrap()), 100);
    }

    #[test]
    fn the_quota_the_value_and_the_number_of_keys_are_bounded() {
        let (_dir, store) = store(60);
        store.set("a", &[0; 50]).unwrap();
        let full = store.set("b", &[0; 20]).unwrap_err();
        assert_eq!(full.code, "kv-quota");
        assert_eq!(
            full.message,
            "72 bytes of keys and values, more than the quota of 60; if the plugin needs it, write in plinth.toml under \
             [plugins.\"p\"]: kv.bytes = 128"
        );
        // Replacing frees what was there.
        store.set("a", &[0; 40]).unwrap();
        assert_eq!(store.set("a", &[0; 101]).unwrap_err().code, "kv-too-large");
        ["b", "c"].into_iter().for_each(|key| store.set(key, b"").unwrap());
        assert_eq!(store.set("d", b"").unwrap_err().message.split(';').next(), Some("more than 3 keys"));
    }
}
