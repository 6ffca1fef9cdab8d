//! Where in a pipeline file, or on the command line, something was written.
//!
//! The YAML parser gives a position for what it rejects itself. What is found wrong later (an unknown stage, an
//! option of a plugin) is known by its path only, and [`locate`] looks the path up in the text.

use std::fmt;

/// Where something was written, as a person would look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file; the position is left out where it could not be found.
    File {
        /// As the user named it.
        path: String,
        /// Line and column, from 1.
        position: Option<(usize, usize)>,
    },
    /// On the command line, such as `--set train.trainer=...`.
    Argument(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, position: Some((line, column)) } => write!(f, "{path}:{line}:{column}"),
            Self::File { path, position: None } => f.write_str(path),
            Self::Argument(text) => f.write_str(text),
        }
    }
}

/// Line and column, from 1, of the key that `path` leads to; the deepest key found where the whole path is not.
///
/// Understands block mappings, and flow mappings (`{a: 1}`) below a block key. Good enough for messages: it never
/// decides what a file means.
pub(crate) fn locate(text: &str, path: &[&str]) -> Option<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut range = 0..lines.len();
    let mut parent_indent = None;
    let mut found = None;
    for key in path {
        let mut child_indent = None;
        let mut hit = None;
        for index in range.clone() {
            let Some(indent) = indent_of(lines[index]) else { continue };
            if parent_indent.is_some_and(|parent| indent <= parent) {
                break;
            }
            if indent == *child_indent.get_or_insert(indent) && key_of(lines[index]) == Some(key) {
                hit = Some((index, indent));
                break;
            }
        }
        let Some((index, indent)) = hit else {
            // The rest of the path may be in a flow mapping on the line of its parent or below.
            return range
                .clone()
                .take_while(|&i| found.is_none() || indent_of(lines[i]).is_none_or(|n| Some(n) > parent_indent))
                .chain(found.map(|(line, _)| line - 1))
                .find_map(|i| flow_key(lines[i], key).map(|column| (i + 1, column)))
                .or(found);
        };
        found = Some((index + 1, indent + 1));
        parent_indent = Some(indent);
        range = index + 1..lines.len();
    }
    found
}

/// Width of the indentation; none for lines that hold nothing.
fn indent_of(line: &str) -> Option<usize> {
    let content = line.trim_start_matches(' ');
    (!content.trim().is_empty() && !content.starts_with('#')).then_some(line.len() - content.len())
}

/// The key that a block mapping's line starts with.
fn key_of(line: &str) -> Option<&str> {
    let content = line.trim_start();
    let quote = content.chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote {
        Some(quote) => {
            let (key, rest) = content[1..].split_once(quote)?;
            rest.trim_start().starts_with(':').then_some(key)
        }
        None => {
            let (key, rest) = content.split_once(':')?;
            (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(key.trim_end())
        }
    }
}

/// Column, from 1, of `key:` in a flow mapping.
fn flow_key(line: &str, key: &str) -> Option<usize> {
    line.match_indices(key).find_map(|(at, _)| {
        let before = line[..at].trim_end_matches(['"', '\'']).trim_end();
        let after = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        ((before.ends_with('{') || before.ends_with(',')) && after.starts_with(':'))
            .then(|| line[..at].chars().count() + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: x\nstages:\n  # kind: no\n  load:\n    kind: load\n    options: {delimiter: ';', \"nulls\": 1}\n\n  train:\n    kind: train\n    params:\n      depth: 3\n";

    #[test]
    fn block_and_flow_keys_are_found() {
        for (path, expected) in [
            (&["stages"][..], (2, 1)),
            (&["stages", "train", "kind"], (9, 5)),
            (&["stages", "train", "params", "depth"], (11, 7)),
            (&["stages", "load", "options", "delimiter"], (6, 15)),
            (&["stages", "load", "options", "nulls"], (6, 32)),
        ] {
            assert_eq!(locate(TEXT, path), Some(expected), "{path:?}");
        }
    }

    #[test]
    fn a_key_of_another_stage_is_not_taken_for_it() {
        assert_eq!(locate(TEXT, &["stages", "load", "params"]), Some((4, 3)), "the stage itself");
        assert_eq!(locate(TEXT, &["nothing"]), None);
    }
}
