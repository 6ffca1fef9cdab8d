//! What keys, names and values may be: MLflow's rules, so that what one server takes the other takes.

use crate::TrackingError;

/// Letters, digits, `_`, `-`, `.`, space, `:` and `/`.
const CHARACTERS: &str = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), \
                          spaces ( ), colon(:) and slashes (/).";

/// The key of a metric, a parameter or a tag. `field` names it as the request does, such as `metrics[3].name`.
pub(crate) fn check_key(key: &str, field: impl FnOnce() -> String) -> Result<(), TrackingError> {
    // Nearly every key is a plain word.
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ')) {
        return Ok(());
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    if !key.chars().all(allowed) {
        return Err(TrackingError::BadName { value: key.to_owned(), field: field(), reason: CHARACTERS.to_owned() });
    }
    resolved_name(key, field)
}

/// A name that, were it a path, would lead to itself.
pub(crate) fn resolved_name(name: &str, field: impl FnOnce() -> String) -> Result<(), TrackingError> {
    let resolved = normal_path(name);
    if resolved == name && resolved != "." && !resolved.starts_with("..") && !resolved.starts_with('/') {
        return Ok(());
    }
    let reason = format!(
        "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. \
         This name would resolve to '{resolved}'"
    );
    Err(TrackingError::BadName { value: name.to_owned(), field: field(), reason })
}

/// At most `limit` characters.
pub(crate) fn check_length(value: &str, limit: u32, field: impl FnOnce() -> String) -> Result<(), TrackingError> {
    // A text has at least as many bytes as characters.
    if value.len() <= limit as usize || value.chars().count() <= limit as usize {
        return Ok(());
    }
    Err(TrackingError::TooLong { field: field(), limit })
}

/// The first `limit` characters: where MLflow cuts a value rather than refusing it.
pub(crate) fn fitting(value: &str, limit: u32) -> &str {
    // A text has at least as many bytes as characters.
    if value.len() <= limit as usize {
        return value;
    }
    value.char_indices().nth(limit as usize).map_or(value, |(end, _)| &value[..end])
}

/// Where a POSIX path leads: `a//b/../c` is `a/c`.
fn normal_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let rooted = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// A text from outside, short enough for a message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_words_and_paths_that_stay_where_they_are() {
        let ok = |key: &str| check_key(key, || "key".into()).is_ok();
        for key in ["loss", "val/loss", "a.b", "läuft", "with space", "a:b", "..."] {
            assert_eq!(ok(key), key != "...", "{key}");
        }
        for key in ["", "a//b", "./a", "a/", "/a", "../a", "a/../b", ".", "a\\b", "a%", "a\nb"] {
            assert!(!ok(key), "{key}");
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(check_length("ääää", 4, || "key".into()).is_ok());
        assert!(check_length("ääääa", 4, || "key".into()).is_err());
        assert_eq!((fitting("ääääa", 4), fitting("ää", 4), fitting("abcde", 4)), ("ääää", "ää", "abcd"));
    }
}
