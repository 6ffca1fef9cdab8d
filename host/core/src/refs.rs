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

/// Why `path` cannot be a path among artifacts, if it cannot.
pub fn path_problem(path: &str) -> Option<&'static str> {
    if path.len() > 4096 {
        Some("the path is longer than 4096 bytes")
    } else if path.starts_with('/') {
        Some("the path is absolute")
    } else if path.chars().any(|c| c.is_control() || c == '\\') {
        Some("the path may not contain back-slashes or control characters")
    } else if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("the path may not contain empty parts, `.` or `..`")
    } else {
        None
    }
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
}
