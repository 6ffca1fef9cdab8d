//! What a file of the checkout may look like, whatever it is about.

use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;
use crate::repo::Repo;

/// Lines of a source file: a longer one holds more than one subject.
const LINES_MAX: usize = 700;

/// Lines of the comment that opens a crate: what it is, what it does not know, where to start, what always holds.
const OPENING_LINES_MIN: usize = 4;

/// Texts that do not belong into the checkout. Split, so that this file does not hold them itself.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "an open end: finish it or file it"),
    (concat!("FIX", "ME"), "an open end: finish it or file it"),
    (concat!("#[al", "low("), "write #[expect(…, reason = \"…\")]"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("<<<<", "<<< "), "an unfinished merge"),
];

/// Folders and endings of files that hold data, not prose or code.
const DATA: &[&str] =
    &[".csv", ".parquet", ".onnx", ".lock", ".wasm", ".json", ".jsonl", ".gz", ".png", ".svg", ".db", ".bin"];

/// Checks every file that git knows or would know.
pub(super) fn check(repo: &Repo) -> Result<Findings> {
    let mut findings = Vec::new();
    for file in repo.files()? {
        let name = file.to_string_lossy();
        if DATA.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let bytes = std::fs::read(repo.path(&name)).with_context(|| format!("cannot read {name}"))?;
        let Ok(text) = String::from_utf8(bytes) else {
            findings.push(format!("{name} is neither text nor a known kind of data"));
            continue;
        };
        findings.extend(look(&file, &text));
    }
    Ok(findings)
}

fn look(file: &Path, text: &str) -> Findings {
    let name = file.display();
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (word, reason) in FORBIDDEN {
            if line.contains(word) {
                findings.push(format!("{name}:{}: `{word}`: {reason}", index + 1));
            }
        }
    }
    if file.extension().is_some_and(|extension| extension == "rs") {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{name} has {lines} lines; {LINES_MAX} are the most"));
        }
        let opening = text.lines().take_while(|line| line.starts_with("//!")).count();
        if is_crate_root(file) && opening < OPENING_LINES_MIN {
            findings.push(format!(
                "{name} opens with {opening} lines of //!; {OPENING_LINES_MIN} are the least: what the crate is, what \
                 it does not know, where to start, what always holds"
            ));
        }
    }
    findings
}

/// Whether a file is what a crate of the product opens with; an example is as short as it can be.
fn is_crate_root(file: &Path) -> bool {
    !file.starts_with("examples") && (file.ends_with("src/lib.rs") || file.ends_with("src/main.rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_word_is_told_with_its_line() {
        let text = format!("a\nb {} c\n", FORBIDDEN[0].0);
        let found = look(Path::new("x.md"), &text);
        assert!(found.len() == 1 && found[0].starts_with("x.md:2: "), "{found:?}");
    }

    #[test]
    fn a_crate_opens_with_what_it_is() {
        assert_eq!(look(Path::new("host/a/src/lib.rs"), "//! A.\nfn a() {}\n").len(), 1);
        assert_eq!(look(Path::new("host/a/src/b.rs"), "//! B.\nfn b() {}\n").len(), 0);
        assert_eq!(look(Path::new("host/a/src/lib.rs"), &"//! A.\n".repeat(OPENING_LINES_MIN)).len(), 0);
    }

    #[test]
    fn a_file_of_two_subjects_is_too_long() {
        assert_eq!(look(Path::new("b.rs"), &"\n".repeat(LINES_MAX)).len(), 0);
        assert_eq!(look(Path::new("b.rs"), &"\n".repeat(LINES_MAX + 1)).len(), 1);
    }
}
