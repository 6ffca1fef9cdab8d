//! Bytes of sources that a plugin may read.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use plinth_ext::Problem;

/// Where a plugin's `plinth:host/objects` leads. Grants are its business: it opens what was granted and nothing else.
pub trait ObjectSource: Send + Sync {
    /// Opens a source.
    ///
    /// # Errors
    /// A problem with the code `file-not-found`, `file-unreadable`, `denied` or `io`.
    fn open(&self, uri: &str) -> Result<Arc<dyn ObjectRead>, Problem>;

    /// At most `max` of the URIs below a prefix, sorted, of those after `after`.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Problem>;
}

/// An open source; it does not change while it is open.
pub trait ObjectRead: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`; gives the bytes read, fewer than asked for only at the end.
    ///
    /// # Errors
    /// A problem with the code `io`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Problem>;
}

/// Files that an operator named, and the files below folders that an operator named.
///
/// A path is granted if what it leads to, with links followed, is a granted file or lies below a granted folder.
#[derive(Debug, Clone, Default)]
pub struct FileObjects {
    granted: Vec<PathBuf>,
}

impl FileObjects {
    /// Grants files and folders. One that does not exist grants nothing, and opening it says so.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { granted: paths.into_iter().collect() }
    }

    fn resolve(&self, uri: &str) -> Result<PathBuf, Problem> {
        let path = local_path(uri)?;
        let real = match fs::canonicalize(&path) {
            Ok(real) => real,
            // Whether a path exists that was not granted is nobody's business.
            Err(error) if self.names(&path) => return Err(io_problem(uri, &error)),
            Err(_) => return Err(denied(uri)),
        };
        let granted = self.granted.iter().filter_map(|granted| fs::canonicalize(granted).ok());
        if granted.into_iter().any(|granted| real.starts_with(granted)) { Ok(real) } else { Err(denied(uri)) }
    }

    /// Whether a path, as it is written, is granted.
    fn names(&self, path: &Path) -> bool {
        let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
        plain && self.granted.iter().any(|granted| path.starts_with(granted))
    }
}

impl ObjectSource for FileObjects {
    fn open(&self, uri: &str) -> Result<Arc<dyn ObjectRead>, Problem> {
        let path = self.resolve(uri)?;
        // Asked before: to open a pipe is to wait for somebody who writes into it.
        let metadata = fs::metadata(&path).map_err(|error| io_problem(uri, &error))?;
        if !metadata.is_file() {
            return Err(problem("file-unreadable", format!("`{uri}` is not a file")));
        }
        let file = File::open(&path).map_err(|error| io_problem(uri, &error))?;
        Ok(Arc::new(OpenFile { file, size: metadata.len(), uri: uri.to_owned() }))
    }

    fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Problem> {
        let root = self.resolve(prefix)?;
        let base = prefix.trim_end_matches('/');
        let wanted = |uri: &str| after.is_none_or(|after| uri > after);
        if root.is_file() {
            return Ok(Some(base.to_owned()).filter(|uri| wanted(uri)).into_iter().take(max).collect());
        }
        let mut found = Vec::new();
        let mut folders = vec![(root, base.to_owned())];
        while let Some((folder, name)) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| io_problem(&name, &error))? {
                let entry = entry.map_err(|error| io_problem(&name, &error))?;
                let kind = entry.file_type().map_err(|error| io_problem(&name, &error))?;
                let child = format!("{name}/{}", entry.file_name().to_string_lossy());
                // Links are left out: they may lead anywhere, or round in a circle.
                if kind.is_dir() {
                    folders.push((entry.path(), child));
                } else if kind.is_file() && wanted(&child) {
                    found.push(child);
                }
            }
        }
        found.sort();
        found.truncate(max);
        Ok(found)
    }
}

struct OpenFile {
    file: File,
    size: u64,
    uri: String,
}

impl ObjectRead for OpenFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Problem> {
        let mut done = 0;
        while done < buffer.len() {
            match read_some(&self.file, offset + done as u64, &mut buffer[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_problem(&self.uri, &error)),
            }
        }
        Ok(done)
    }
}

#[cfg(unix)]
fn read_some(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_some(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

fn local_path(uri: &str) -> Result<PathBuf, Problem> {
    let path = match uri.split_once("://") {
        Some(("file", path)) => path,
        Some((scheme, _)) => {
            return Err(problem("denied", format!("`{uri}` has the scheme `{scheme}`, which is not granted")));
        }
        None => uri,
    };
    if path.is_empty() || path.contains('\0') {
        return Err(problem("denied", format!("`{uri}` is not a path")));
    }
    Ok(PathBuf::from(path))
}

fn denied(uri: &str) -> Problem {
    problem("denied", format!("`{uri}` is not among the sources that were granted"))
}

fn io_problem(uri: &str, error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => problem("file-not-found", format!("`{uri}` does not exist")),
        io::ErrorKind::PermissionDenied => problem("file-unreadable", format!("`{uri}` may not be read: {error}")),
        _ => Problem { retryable: true, ..problem("io", format!("cannot read `{uri}`: {error}")) },
    }
}

fn problem(code: &str, message: String) -> Problem {
    Problem { code: code.to_owned(), message, ..Problem::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<Arc<dyn ObjectRead>, Problem>) -> String {
        result.map(|_| "opened".to_owned()).unwrap_or_else(|problem| problem.code)
    }

    #[cfg(unix)]
    #[test]
    fn only_what_was_granted_opens_whatever_the_path_looks_like() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("in/sub")).unwrap();
        fs::write(root.join("in/sub/a.csv"), "abc").unwrap();
        fs::write(root.join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(root.join("secret"), root.join("in/link")).unwrap();
        let objects = FileObjects::new([root.join("in")]);
        let at = |path: &str| root.join(path).display().to_string();
        assert_eq!(code(objects.open(&at("in/sub/a.csv"))), "opened");
        assert_eq!(code(objects.open(&format!("file://{}", at("in/sub/a.csv")))), "opened");
        assert_eq!(code(objects.open(&at("in/sub/b.csv"))), "file-not-found");
        assert_eq!(code(objects.open(&at("in/../secret"))), "denied");
        assert_eq!(code(objects.open(&at("in/../missing"))), "denied");
        assert_eq!(code(objects.open(&at("in/link"))), "denied");
        assert_eq!(code(objects.open(&at("secret"))), "denied");
        assert_eq!(code(objects.open("s3://bucket/key")), "denied");
        assert_eq!(code(objects.open(&at("in/sub"))), "file-unreadable");
        assert_eq!(objects.list(&at("in"), None, 9).unwrap(), [at("in/sub/a.csv")]);
        assert_eq!(objects.list(root.to_str().unwrap(), None, 9).unwrap_err().code, "denied");
        let exact = FileObjects::new([root.join("secret")]);
        assert_eq!(code(exact.open(&at("secret"))), "opened");
        assert_eq!(exact.list(&at("secret"), None, 9).unwrap(), [at("secret")]);
        assert_eq!(exact.list(&at("secret"), Some(&at("secret")), 9).unwrap(), [""; 0]);
        assert_eq!(code(exact.open(&at("in/sub/a.csv"))), "denied");
    }

    #[test]
    fn what_the_system_refuses_has_a_code_by_its_kind() {
        // Permissions do not bind a user who may do everything, so the system's answers are made up.
        let told = |kind: io::ErrorKind| io_problem("a.csv", &kind.into());
        let denied = told(io::ErrorKind::PermissionDenied);
        assert_eq!((denied.code.as_str(), denied.retryable), ("file-unreadable", false));
        assert!(denied.message.starts_with("`a.csv` may not be read: "), "{}", denied.message);
        assert_eq!(told(io::ErrorKind::NotFound).code, "file-not-found");
        let slow = told(io::ErrorKind::TimedOut);
        assert_eq!((slow.code.as_str(), slow.retryable), ("io", true));
    }

    #[test]
    fn reads_stop_at_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0123456789").unwrap();
        let objects = FileObjects::new([file.path().to_owned()]);
        let open = objects.open(file.path().to_str().unwrap()).unwrap();
        let mut buffer = [0; 8];
        assert_eq!((open.size(), open.read_at(6, &mut buffer).unwrap()), (10, 4));
        assert_eq!(&buffer[..4], b"6789");
        assert_eq!(open.read_at(99, &mut buffer).unwrap(), 0);
    }
}
