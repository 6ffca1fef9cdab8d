//! What a PostgreSQL server says when it does not do what was asked, and what that is to a user.

use std::{error::Error, fmt};

use plinth_core::{Code, codes};

/// Why the server did not, as it said it; a copy for everyone who shared a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The SQLSTATE; empty if it was not the server but the connection to it that failed.
    pub(crate) state: String,
    /// For a person.
    pub(crate) message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Refusal {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(told) = error.as_db_error() {
            return Self { state: told.code().code().to_owned(), message: told.message().to_owned() };
        }
        // The library's own words say only where it happened; the cause says what.
        let message = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        Self { state: String::new(), message }
    }

    /// The connection is no more.
    pub(crate) fn gone() -> Self {
        Self { state: String::new(), message: "the connection was closed".into() }
    }

    /// Whether another connection may do what this one did not.
    pub(crate) fn is_of_connection(&self) -> bool {
        self.state.is_empty() || self.state.starts_with("08") || self.state.starts_with("57P")
    }

    /// Whether a prepared statement is to blame that the schema, or a pooler in between, has outrun.
    pub(crate) fn is_of_statement(&self) -> bool {
        matches!(self.state.as_str(), "0A000" | "26000")
    }

    pub(crate) fn code(&self) -> Code {
        let class = self.state.get(..2).unwrap_or_default();
        match (class, self.state.as_str()) {
            ("", _) if self.message.contains("password missing") => codes::CATALOG_DENIED,
            // No answer; a server that goes or comes; too many connections; no such database; one that only reads.
            ("" | "08", _) | ("57", "57P01" | "57P02" | "57P03" | "57P04" | "57P05") => codes::CATALOG_UNAVAILABLE,
            (_, "53300" | "3D000" | "25006") => codes::CATALOG_UNAVAILABLE,
            ("28", _) | (_, "42501") => codes::CATALOG_DENIED,
            (_, "53100") => codes::DISK_FULL,
            (_, "55P03" | "40001" | "40P01" | "57014") => codes::STATE_IN_USE,
            // A NUL, a number out of range, a bad pattern, a key too long for an index.
            (_, "22021" | "22003" | "2201B" | "54000") => codes::BAD_VALUE,
            ("XX", "XX001" | "XX002") => codes::BLOB_CORRUPT,
            _ => codes::CATALOG,
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self.state.as_str() {
            "3D000" => "make the database: `createdb -E UTF8 NAME`",
            "25006" => "name the primary server: this one is a copy that only reads",
            "53300" => "raise max_connections of the server, or run fewer processes on it",
            "42501" => "let the user make tables there: `GRANT CREATE, USAGE ON SCHEMA public TO NAME`",
            "54000" => "use a shorter name or path",
            _ if self.message.contains("no encryption") => {
                "the server wants TLS, which the catalog's connections do not speak: let this machine in without it, \
                 by a `host` line in pg_hba.conf, or through a tunnel"
            }
            _ => match self.code() {
                code if code == codes::CATALOG_DENIED => "check user and password in the catalog's URL",
                code if code == codes::CATALOG_UNAVAILABLE => "check that the server runs and that the URL names it",
                code if code == codes::STATE_IN_USE => "try again in a moment",
                code if code == codes::DISK_FULL => {
                    "free some room on the server's device; what was stored before is safe"
                }
                code if code == codes::BLOB_CORRUPT => "restore the database from a backup",
                _ => return None,
            },
        };
        Some(hint.into())
    }
}
