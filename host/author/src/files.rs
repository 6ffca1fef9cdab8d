//! What a new project is made of, by its path in Plinth's repository.

/// Every file, sorted by path.
pub(crate) const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// A text that is known to be there; empty if it is not, which tests find.
pub(crate) fn text(path: &str) -> &'static str {
    let found = FILES.binary_search_by_key(&path, |(name, _)| name);
    found.ok().and_then(|at| std::str::from_utf8(FILES[at].1).ok()).unwrap_or_default()
}

/// The files below a folder, without its path.
pub(crate) fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES.iter().filter_map(move |(name, bytes)| Some((name.strip_prefix(folder)?.strip_prefix('/')?, *bytes)))
}
