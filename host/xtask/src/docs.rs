//! `cargo xtask docs`: reference pages that are written from the code, so that they cannot be wrong.

mod contract;
mod reference;

use std::fmt::Write as _;

use anyhow::{Context, Result};
use plinth_core::{Class, codes};

use crate::{
    check::{deny, frozen},
    repo::Repo,
    shell,
};

pub(crate) const HELP: &str = "docs

Writes host/docs/errors.md from the table of error codes, host/docs/plugin-reference.md from wit/ and the limits, and
.config/deny.toml from the tables of `cargo xtask check`, which fails where one of them is not what the code says; adds
new files of a version that is being frozen to wit/frozen/frozen.lock.";

/// A generated page: its path, and what it should hold.
pub(crate) struct Page {
    pub(crate) path: &'static str,
    pub(crate) content: String,
}

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    anyhow::ensure!(arguments.is_empty(), "docs takes no argument `{}`", arguments[0]);
    for page in pages(repo)? {
        let path = repo.path(page.path);
        if std::fs::read_to_string(&path).is_ok_and(|now| now == page.content) {
            continue;
        }
        std::fs::write(&path, page.content).with_context(|| format!("cannot write {}", path.display()))?;
        shell::say(&format!("wrote {}", page.path));
    }
    Ok(())
}

/// Every generated page.
pub(crate) fn pages(repo: &Repo) -> Result<Vec<Page>> {
    let limits = repo.path("host/core/src/limits.rs");
    let limits = std::fs::read_to_string(&limits).with_context(|| format!("cannot read {}", limits.display()))?;
    Ok(vec![
        Page { path: "host/docs/errors.md", content: errors() },
        Page { path: "host/docs/plugin-reference.md", content: reference::page(&repo.path("wit"), &limits)? },
        Page { path: deny::CONFIG, content: deny::config() },
        Page { path: "wit/frozen/frozen.lock", content: frozen::lock(&repo.path("wit"))? },
    ])
}

fn errors() -> String {
    let mut page = String::from(
        "# Error codes\n\n\
         <!-- Written by `cargo xtask docs` from host/core/src/codes.rs. -->\n\n\
         Every failure has one of these codes. A code keeps its meaning for ever; new ones are added at the end. The exit\n\
         code is that of the command line, the status that of the HTTP interface. *Again?* tells whether the same thing\n\
         may work when it is tried again unchanged.\n\n\
         Some answers over HTTP say it more exactly: `bad-request` is 405 for a method that a path does not take and 408 for\n\
         a body that does not come, `overloaded` is 429 for a caller who asks too often and 504 where the caller\'s own time\n\
         is over. What a model or a plugin that serves does wrong, also against a limit of its own, is 500.\n\n\
         | code | meaning | exit code | status | again? |\n|---|---|---|---|---|\n",
    );
    for code in codes::ALL {
        let (class, again) = (code.class(), if code.retryable() { "yes" } else { "no" });
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {again} |",
            code.name(),
            code.meaning(),
            class.exit_code(),
            code.http_status()
        )
        .expect("writing to a string does not fail");
    }
    page.push_str("\n## Exit codes\n\n| exit code | what it says |\n|---|---|\n| 0 | it worked |\n");
    for (class, meaning) in EXIT_CODES {
        writeln!(page, "| {} | {meaning} |", class.exit_code()).expect("writing to a string does not fail");
    }
    page
}

const EXIT_CODES: [(Class, &str); 14] = [
    (Class::Internal, "a defect of Plinth"),
    (Class::Usage, "the command line or the configuration is wrong"),
    (Class::Gate, "a quality gate said no"),
    (Class::Drift, "a drift test said yes"),
    (Class::BadInput, "the data or a file given is wrong"),
    (Class::NotFound, "the thing named does not exist"),
    (Class::Conflict, "the thing exists already, or changed underneath"),
    (Class::Denied, "not granted"),
    (Class::Plugin, "a plugin misbehaved or is not what it should be"),
    (Class::Limit, "a documented limit was reached"),
    (Class::Busy, "someone else holds what is needed"),
    (Class::Unavailable, "something the work needs (a library, a device, a disk) is not there"),
    (Class::Corrupt, "stored bytes are not what they were"),
    (Class::Interrupted, "the user stopped the work"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_that_a_code_has_is_in_the_table_of_exit_codes() {
        for code in codes::ALL {
            assert!(EXIT_CODES.iter().any(|(class, _)| *class == code.class()), "{code}");
        }
    }
}
