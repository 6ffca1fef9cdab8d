//! Files of another store: where a URI that it wrote down leads to below one folder, and to nowhere else.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use plinth_core::{codes, refs::path_problem};

use crate::output::{Failure, read_failure};

/// The folder that holds the artifacts of another store, if one was named.
#[derive(Debug)]
pub(super) struct Root(Option<PathBuf>);

/// A file that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Below the folder that was looked through, with slashes.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Microseconds.
    pub(super) updated: i64,
}

impl Root {
    /// Of a folder, which must be there.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = dir else { return Ok(Self(None)) };
        let real = fs::canonicalize(dir).map_err(|error| read_failure(dir, &error))?;
        if !real.is_dir() {
            let message = format!("{} is no folder", dir.display());
            return Err(
                Failure::new(codes::FILE_NOT_FOUND, message).hint("let --artifacts name the folder of artifacts")
            );
        }
        Ok(Self(Some(real)))
    }

    /// Whether a folder was named.
    pub(super) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// The folder of a URI that is not remote. The store may have been moved: the longest end of the URI's path, of two
    /// parts or more, that is a folder here is it.
    pub(super) fn folder(&self, uri: &str) -> Option<PathBuf> {
        let root = self.0.as_deref()?;
        let path = local_path(uri);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.iter().any(|part| *part == ".." || part.contains(['\0', '\\'])) {
            return None;
        }
        let inside = |path: PathBuf| fs::canonicalize(path).ok().filter(|real| real.starts_with(root) && real.is_dir());
        if path.starts_with('/')
            && let Some(found) = inside(PathBuf::from(&path))
        {
            return Some(found);
        }
        (0..parts.len().saturating_sub(1)).find_map(|from| inside(root.join(parts[from..].join("/"))))
    }

    /// Files below a folder, in order; `problem` is told of what cannot be taken over.
    pub(super) fn files(&self, folder: &Path, problem: &mut dyn FnMut(String, String)) -> Vec<Found> {
        let mut found = Vec::new();
        let mut open = vec![(folder.to_owned(), String::new())];
        while let Some((folder, prefix)) = open.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    problem(folder.display().to_string(), error.to_string());
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let shown = path.display().to_string();
                let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
                    problem(shown, "its name is no UTF-8".into());
                    continue;
                };
                if let Some(reason) = path_problem(&name) {
                    problem(shown, reason.to_owned());
                    continue;
                }
                match self.meta(&path) {
                    Ok(meta) if meta.is_dir() => open.push((path, format!("{name}/"))),
                    Ok(meta) if meta.is_file() => {
                        let since =
                            meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                        let updated = since.map_or(0, |since| since.as_micros() as i64);
                        found.push(Found { name, path, bytes: meta.len(), updated });
                    }
                    Ok(_) => problem(shown, "it is no plain file".into()),
                    Err(reason) => problem(shown, reason),
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// What something is. Links are followed to files inside, and to nothing else.
    fn meta(&self, path: &Path) -> Result<fs::Metadata, String> {
        let meta = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
        if !meta.is_symlink() {
            return Ok(meta);
        }
        let real = fs::canonicalize(path).map_err(|error| format!("it is a link: {error}"))?;
        if !self.0.as_deref().is_some_and(|root| real.starts_with(root)) {
            return Err("it is a link that leads out of the folder of artifacts".into());
        }
        let meta = fs::metadata(&real).map_err(|error| error.to_string())?;
        if meta.is_file() { Ok(meta) } else { Err("it is a link to a folder".into()) }
    }
}

/// Whether a URI names a place that clients reach by themselves.
pub(super) fn is_remote(uri: &str) -> bool {
    match uri.split_once(':') {
        Some((scheme, _)) => {
            let drive = scheme.len() == 1;
            !drive && !scheme.contains('/') && !matches!(scheme, "file" | "mlflow-artifacts")
        }
        None => false,
    }
}

/// Whether a model version's source is a path or a URI of the old server's own files.
pub(super) fn is_local(uri: &str) -> bool {
    !is_remote(uri) && (uri.contains('/') || uri.contains('\\'))
}

/// The path of a URI of files.
pub(super) fn local_path(uri: &str) -> String {
    let (rest, escaped) = match uri.strip_prefix("mlflow-artifacts:").or_else(|| uri.strip_prefix("file:")) {
        Some(rest) => (rest, uri.starts_with("file:")),
        None => (uri, false),
    };
    // A host may stand between two slashes and the path.
    let rest = match rest.strip_prefix("//").filter(|_| rest.len() < uri.len()) {
        Some(after) => after.find('/').map_or("", |at| &after[at..]),
        None => rest,
    };
    if escaped { unescaped(rest) } else { rest.to_owned() }
}

/// Text whose `%20` are resolved once.
pub(super) fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The names of the folders of a path, but for dots.
pub(super) fn parts(path: &str) -> Vec<String> {
    let plain = |part: Component<'_>| match part {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    Path::new(path).components().filter_map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_moved_is_found_and_nothing_outside_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("artifacts");
        fs::create_dir_all(root.join("1/abc/artifacts/model")).unwrap();
        fs::create_dir_all(dir.path().join("secret/x")).unwrap();
        fs::write(root.join("1/abc/artifacts/model/f"), "x").unwrap();
        fs::write(dir.path().join("secret/x/f"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret/x/f"), root.join("1/abc/artifacts/out")).unwrap();
        std::os::unix::fs::symlink(root.join("1/abc/artifacts/model/f"), root.join("1/abc/artifacts/in")).unwrap();
        let files = Root::open(Some(&root)).unwrap();
        let real = fs::canonicalize(&root).unwrap().join("1/abc/artifacts");
        for uri in [
            "mlflow-artifacts:/1/abc/artifacts",
            "mlflow-artifacts://host:5000/1/abc/artifacts",
            "file:///old/place/mlruns/1/abc/artifacts",
            "/old/place/mlruns/1/abc/artifacts",
            "./mlruns/1/abc/artifacts",
            root.join("1/abc/artifacts").to_str().unwrap(),
        ] {
            assert_eq!(files.folder(uri), Some(real.clone()), "{uri}");
        }
        let secret = dir.path().join("secret/x");
        for uri in [secret.to_str().unwrap(), "../secret/x", "/artifacts", "mlflow-artifacts:/1/%2e%2e/../secret/x"] {
            assert_eq!(files.folder(uri), None, "{uri}");
        }
        let mut problems = Vec::new();
        let found = files.files(&real, &mut |what, reason| problems.push((what, reason)));
        let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["in", "model/f"]);
        assert!(problems.len() == 1 && problems[0].1.contains("leads out"), "{problems:?}");
        assert!(Root::open(Some(&dir.path().join("none"))).is_err());
    }

    #[test]
    fn remote_places_stay_where_they_are() {
        assert!(is_remote("s3://b/x") && is_remote("runs:/x") && is_remote("models:/m-1") && is_remote("dbfs:/x"));
        assert!(!is_remote("/a/b:c") && !is_remote("file:/x") && !is_remote("C:\\x") && !is_remote("./a"));
        assert!(is_local("./a") && !is_local("dummy-source") && !is_local("runs:/x/y"));
    }
}
