//! A component that abuses what the host offers, on command: the name of an item is the misdeed. It imports every
//! interface of `plinth:host`. As a gate it has one check whose `observed` says what the host answered; its loader
//! ([`sources`]) has the misdeeds that need a source, and says it in the token of its only partition.
//!
//! | item | does |
//! |---|---|
//! | `good` | nothing wrong |
//! | `config-huge-key` | asks for a setting whose key is 1 MiB |
//! | `config-flood` | asks for a setting 100,000 times |
//! | `config-endless` | asks for a setting without end |
//! | `kv-odd-keys` | sets and reads keys with `../`, NUL, line ends and other things that are no file name |
//! | `kv-bad-keys` | an empty key, and one of 64 KiB, which is longer than a name may be |
//! | `kv-long-key` | a key of 1 KiB |
//! | `kv-huge-value` | a value of 10 MB |
//! | `kv-fill` | sets values of 10 KiB under new keys until the host says no |
//! | `kv-key-flood` | sets empty values under new keys until the host says no |
//! | `kv-list-all` | lists 2^32 - 1 keys |
//! | `kv-long-prefix` | lists keys by a prefix of 1 MiB |
//! | `http-urls` | asks for URLs that lead past the grant: schemes, users, other hosts, numbers that are addresses |
//! | `http-methods` | posts, puts, patches and deletes |
//! | `http-bad-headers` | headers with line ends, headers of the connection, headers that are no headers |
//! | `http-many-headers` | 10,000 headers |
//! | `http-huge-header` | one header of 1 MiB |
//! | `http-huge-body` | posts 16 MiB |
//! | `http-get` | asks for `url` |
//! | `http-flood` | asks for `url` until the host says no |
//! | `http-endless` | asks for `url` without end, whatever the host says |
//! | `nn-unknown` | loads a model that nobody named |
//! | `nn-lying-shapes` | tensors whose bytes are not what their shapes say, among them shapes past 2^64 values |
//! | `nn-huge-inputs` | one input of 80 MiB |
//! | `nn-hoard` | loads the model `m` 1,000 times and lets go of none |
//! | `nn-endless` | runs the model `m` without end |
//! | `nn-after-drop`, `nn-drop-twice` | uses, and drops, a model that was dropped |
//! | `nn-of-a-table` | uses a table as if it were a model |
//! | `clock-flood` | looks at both clocks 100,000 times; says whether time fell |
//! | `random-huge` | asks for 2^32 - 1 random bytes |
//! | `random-flood` | asks for 64 KiB of random bytes without end |
//! | `secret-ungranted` | asks for a secret that nobody granted |
//! | `secret-logged` | logs the secret `key`, whole and in a longer text |
//! | `secret-told` | answers a problem with the secret `key` in its code, message and column |
//! | `secret-panic` | panics with the secret `key` |
//! | `secret-observed` | puts the secret `key` into the texts of its check |
//! | `secret-disguised` | logs the secret `key` in two halves and in upper case, which the host cannot know |
//! | `table-unknown` | opens a table that nobody lent |
//! | `table-odd-reads` | reads a table by 0 rows and by 2^32 - 1, and on past its end |
//! | `table-after-drop` | uses a table that was dropped |
//! | `tables-reopened` | opens and closes a table 1,000,000 times |
//! | `far-pointer` | hands the log a text beyond its memory |
//! | `bad-utf8` | hands the log a text that is not UTF-8 |
//! | `bad-level` | hands the log a level that there is not |
//!
//! | item of the loader | does |
//! |---|---|
//! | `object-far-reads` | reads from the end, from beyond it and from 2^64 - 1, each 2^32 - 1 bytes |
//! | `object-others` | opens what was not granted: other files, other schemes, NUL, `../` |
//! | `object-after-drop` | uses a source that was dropped |
//! | `objects-reopened` | opens and closes a source 1,000,000 times |
//! | `objects-listed` | lists everything below `/` |

pub mod lent;
pub mod models;
pub mod offered;
#[cfg(target_arch = "wasm32")]
mod raw;
pub mod sources;
pub mod stores;
pub mod web;

use plinth_sdk::{
    Gates, Item, Problem,
    gate::{Check, Evidence, Outcome},
    options,
};

/// The misdeeds of the gate.
pub const ITEMS: [&str; 45] = [
    "good",
    "config-huge-key",
    "config-flood",
    "config-endless",
    "kv-odd-keys",
    "kv-bad-keys",
    "kv-long-key",
    "kv-huge-value",
    "kv-fill",
    "kv-key-flood",
    "kv-list-all",
    "kv-long-prefix",
    "http-urls",
    "http-methods",
    "http-bad-headers",
    "http-many-headers",
    "http-huge-header",
    "http-huge-body",
    "http-get",
    "http-flood",
    "http-endless",
    "nn-unknown",
    "nn-lying-shapes",
    "nn-huge-inputs",
    "nn-hoard",
    "nn-endless",
    "nn-after-drop",
    "nn-drop-twice",
    "nn-of-a-table",
    "clock-flood",
    "random-huge",
    "random-flood",
    "secret-ungranted",
    "secret-logged",
    "secret-told",
    "secret-panic",
    "secret-observed",
    "secret-disguised",
    "table-unknown",
    "table-odd-reads",
    "table-after-drop",
    "tables-reopened",
    "far-pointer",
    "bad-utf8",
    "bad-level",
];

const OPTIONS: &str = r#"{"type":"object","properties":{"url":{"type":"string"}},"additionalProperties":false}"#;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    url: Option<String>,
}

/// The component's gates.
pub struct Evil;

impl Gates for Evil {
    fn describe() -> Vec<Item> {
        ITEMS.iter().map(|name| Item::new(*name, "Misbehaves on command", OPTIONS)).collect()
    }

    fn evaluate(name: &str, _evidence: &Evidence, options: &str) -> Result<Vec<Check>, Problem> {
        let url = options::parse::<Options>(options)?.url.unwrap_or_default();
        let observed = match name.split('-').next().unwrap_or_default() {
            "good" => "nothing".into(),
            "kv" => stores::commit(name)?,
            "http" => web::commit(name, &url)?,
            "nn" => models::commit(name)?,
            "table" | "tables" => lent::commit(name)?,
            _ => offered::commit(name)?,
        };
        let expected = if name == "secret-observed" { observed.clone() } else { String::new() };
        Ok(vec![Check { name: name.into(), outcome: Outcome::Pass, observed, expected, reason: String::new() }])
    }
}

/// The problem of a name that is no misdeed.
fn unknown(name: &str) -> Problem {
    Problem::bad_input("unknown-item", format!("there is no misdeed `{name}`"))
}

/// The code of a problem, or that there was none.
fn code<T>(answer: Result<T, Problem>) -> String {
    answer.map_or_else(|problem| problem.code, |_| "ok".into())
}

plinth_sdk::export_gate_component!(crate::Evil);
plinth_sdk::export_loader_component!(crate::sources::Evil);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_says_what_it_does_in_the_documentation() {
        let page = include_str!("lib.rs");
        for name in ITEMS.iter().chain(&sources::ITEMS) {
            assert!(
                page.lines().any(|line| line.starts_with("//! |") && line.contains(&format!("`{name}`"))),
                "{name}"
            );
        }
    }
}
