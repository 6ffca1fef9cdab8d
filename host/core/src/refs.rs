//! How users name things: `models:/churn@champion`, `models:/churn/7`, `runs:/RUN_ID/path`.

use std::{fmt, str::FromStr};

use crate::{Code, Coded, codes};

/// Longest name of a registered model or an alias, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Names a model version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelRef {
    /// `models:/NAME/VERSION`
    Version {
        /// Registered model.
        name: String,
        /// Version number, from 1.
        version: u64,
    },
    /// `models:/NAME@ALIAS`
    Alias {
        /// Registered model.
        name: String,
        /// Alias, such as `champion`.
        alias: String,
    },
}

impl ModelRef {
    /// The registered model's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Version { name, .. } | Self::Alias { name, .. } => name,
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { name, version } => write!(f, "models:/{name}/{version}"),
            Self::Alias { name, alias } => write!(f, "models:/{name}@{alias}"),
        }
    }
}

/// Names a file among a run's artifacts: `runs:/RUN_ID/path/in/run`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArtifactRef {
    /// 32 hexadecimal digits.
    pub run_id: String,
    /// Path below the run's artifacts: relative, forward slashes, no `.` or `..`; may be empty.
    pub path: String,
}

impl fmt::Display for ArtifactRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runs:/{}/{}", self.run_id, self.path)
    }
}

/// A reference that does not read as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} reference: {reason}")]
pub struct RefError {
    text: String,
    kind: &'static str,
    reason: &'static str,
}

impl Coded for RefError {
    fn code(&self) -> Code {
        codes::BAD_REFERENCE
    }

    fn hint(&self) -> Option<String> {
        Some(match self.kind {
            "model" => "write models:/NAME@ALIAS or models:/NAME/VERSION, for example models:/churn@champion".into(),
            _ => "write runs:/RUN_ID/PATH".into(),
        })
    }
}

/// Why `name` cannot be the name of a model or an alias, if it cannot.
pub fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Some("the name is longer than 256 bytes")
    } else if name.chars().any(|c| c.is_control() || matches!(c, '/' | ':' | '@' | '\\' | '%')) {
        Some("the name may not contain / : @ \\ % or control characters")
    } else if name == "." || name == ".." {
        Some("the name may not be a dot")
    } else {
        None
    }
}

/// Longest path of an artifact, in bytes.
const PATH_BYTES_MAX: usize = 4_096;
/// Longest part of one: what file systems take, so that every artifact can be a file somewhere.
const PART_BYTES_MAX: usize = 255;

/// Why `path` cannot be a path among artifacts, if it cannot. Escapes are looked through: a path that would lead
/// somewhere else once it is decoded, however often, is refused as it stands.
pub fn path_problem(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Some("the path is longer than 4096 bytes");
    }
    let mut path = path.to_owned();
    loop {
        if let Some(problem) = plain_path_problem(&path) {
            return Some(problem);
        }
        // Each round makes it shorter.
        match decoded(&path) {
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(next) => path = next,
                Err(_) => return Some("the path has escapes that are no UTF-8"),
            },
            None => return None,
        }
    }
}

fn plain_path_problem(path: &str) -> Option<&'static str> {
    // Look-alikes of dots and slashes count as what they look like: something between us and a file may normalise.
    let path: String = path
        .chars()
        .map(|c| match c {
            '\u{ff0e}' | '\u{2024}' | '\u{fe52}' => '.',
            '\u{ff0f}' | '\u{2044}' | '\u{2215}' | '\u{29f8}' => '/',
            '\u{ff3c}' | '\u{2216}' | '\u{fe68}' | '\u{29f5}' | '\u{29f9}' => '\\',
            c => c,
        })
        .collect();
    let hidden = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffd}');
    let scheme = |first: &str| {
        first.split_once(':').is_some_and(|(scheme, rest)| {
            // `C:` and `file:`, or any scheme before a slash.
            let letters = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
            letters && (rest.is_empty() || scheme.len() == 1 || scheme.eq_ignore_ascii_case("file"))
        })
    };
    if path.starts_with('/') {
        Some("the path is absolute")
    } else if path.chars().any(|c| c.is_control() || c == '\\' || hidden(c)) {
        Some("the path may not contain back-slashes or control characters")
    } else if path.contains('#') {
        Some("the path may not contain `#`")
    } else if path.is_empty() {
        None
    } else if path.split('/').any(|part| part.trim_matches(|c: char| c == '.' || c.is_whitespace()).is_empty()) {
        Some("the path may not contain empty parts, or parts of nothing but dots and blanks")
    } else if path.split('/').any(|part| part.len() > PART_BYTES_MAX) {
        Some("a part of the path is longer than 255 bytes")
    } else if path.split('/').next().is_some_and(scheme) {
        Some("the path starts with a scheme or a drive")
    } else {
        None
    }
}

/// The bytes of a text whose percent escapes are resolved once; nothing if it has none.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at, mut found) = (Vec::with_capacity(bytes.len()), 0, false);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                (at, found) = (at + 3, true);
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    found.then_some(out)
}

impl FromStr for ModelRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        let fail = |reason| RefError { text: text.chars().take(200).collect(), kind: "model", reason };
        let rest = text.strip_prefix("models:/").ok_or_else(|| fail("it does not start with models:/"))?;
        if let Some((name, alias)) = rest.split_once('@') {
            if let Some(reason) = name_problem(name).or_else(|| name_problem(alias)) {
                return Err(fail(reason));
            }
            return Ok(Self::Alias { name: name.to_owned(), alias: alias.to_owned() });
        }
        let (name, version) = rest.rsplit_once('/').ok_or_else(|| fail("it names no version and no alias"))?;
        if let Some(reason) = name_problem(name) {
            return Err(fail(reason));
        }
        match version.parse() {
            Ok(version) if version > 0 => Ok(Self::Version { name: name.to_owned(), version }),
            _ => Err(fail("the version is not a number from 1")),
        }
    }
}

impl FromStr for ArtifactRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        let fail = |reason| RefError { text: text.chars().take(200).collect(), kind: "run", reason };
        let rest = text.strip_prefix("runs:/").ok_or_else(|| fail("it does not start with runs:/"))?;
        let (run_id, path) = rest.split_once('/').unwrap_or((rest, ""));
        if run_id.len() != 32 || !run_id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fail("the run id is not 32 hexadecimal digits"));
        }
        match path_problem(path) {
            Some(reason) => Err(fail(reason)),
            None => Ok(Self { run_id: run_id.to_owned(), path: path.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_references_round_trip() {
        for text in ["models:/churn@champion", "models:/churn/7"] {
            assert_eq!(text.parse::<ModelRef>().map(|r| r.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn hostile_references_are_refused() {
        for text in [
            "churn",
            "models:/",
            "models:/churn",
            "models:/churn/0",
            "models:/../x/1",
            "models:/a%2f/1",
            "models:/a@",
            "models:/a\0@b",
        ] {
            assert!(text.parse::<ModelRef>().is_err(), "{text}");
        }
        let id = "0123456789abcdef0123456789abcdef";
        for path in ["../x", "a/../b", "/etc/passwd", "a\\b", "a//b", "a/\0"] {
            assert!(format!("runs:/{id}/{path}").parse::<ArtifactRef>().is_err(), "{path}");
        }
        assert!(format!("runs:/{id}/model/model.onnx").parse::<ArtifactRef>().is_ok());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused_however_they_are_dressed() {
        for path in [
            "..",
            "a/..",
            "../a",
            "%2e%2e/a",
            "%2E%2e%2Fa",
            "%252e%252e%252fa",
            "a/%25252e%25252e/b",
            "/a",
            "%2fa",
            "\\a",
            "a%5c..%5cb",
            "a\0b",
            "a%00b",
            "a\nb",
            "a\u{7f}b",
            "a\u{85}b",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "...",
            ".. /a",
            "a/ /b",
            "C:/a",
            "C:a",
            "c%3a/a",
            "file:a",
            "file:///etc/passwd",
            "FILE:/a",
            "s3://bucket/a",
            "http:/a",
            "a#b",
            "a%23b",
            "\u{ff0e}\u{ff0e}/a",
            "..\u{ff0f}a",
            "a\u{2215}..\u{2215}b",
            "\u{2024}\u{2024}/a",
            "a/\u{202e}txt.exe",
            "%c0%ae%c0%ae/a",
            "%ff",
        ] {
            assert!(path_problem(path).is_some(), "{path:?}");
        }
        assert!(path_problem(&"a".repeat(256)).is_some() && path_problem(&"a/".repeat(3000)).is_some());
        for path in [
            "a.txt",
            "a/b/c.parquet",
            "a b/c",
            "100%",
            "100%done",
            "v1.",
            ".hidden",
            "a..b/c",
            "..a",
            "plot: loss.png",
            "\u{e4}\u{f6}/\u{65e5}\u{672c}\u{8a9e}.bin",
            "a@b=c&d+e~f",
            "\u{1f600}.png",
            "step:10/x",
            "a%20b",
        ] {
            assert_eq!(path_problem(path), None, "{path:?}");
        }
    }
}
