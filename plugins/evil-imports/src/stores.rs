//! The store of keys and values, abused.

use plinth_sdk::{Problem, kv};

use crate::{code, unknown};

/// Keys that mean something to file systems, terminals and parsers.
const ODD: [&str; 12] = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/../b",
    "a\\..\\b",
    "nul\0key",
    "line\nend",
    "CON",
    "\u{202e}reversed",
    "%2e%2e%2f",
    " ",
];

/// Commits a misdeed; says what the host answered.
///
/// # Errors
/// The host's problem, where that is the answer.
pub fn commit(name: &str) -> Result<String, Problem> {
    Ok(match name {
        "kv-odd-keys" => {
            for key in ODD {
                kv::set(key, key.as_bytes())?;
            }
            let mut read = 0;
            for key in ODD {
                read += usize::from(kv::get(key)?.as_deref() == Some(key.as_bytes()));
            }
            let listed = kv::list_keys("", None, 100)?.len();
            for key in ODD {
                kv::delete(key)?;
            }
            format!("{read} read, {listed} listed, {} left", kv::list_keys("", None, 100)?.len())
        }
        "kv-bad-keys" => {
            let empty = code(kv::set("", b"x"));
            kv::set(&"k".repeat(64 << 10), b"x")?;
            empty
        }
        "kv-long-key" => {
            let key = "k".repeat(1 << 10);
            let swapped = code(kv::swap(&key, None, b"x"));
            let set = code(kv::set(&key, b"x"));
            [code(kv::set("", b"x")), code(kv::get(&key)), set, swapped, code(kv::delete(&key))].join(" ")
        }
        "kv-huge-value" => {
            let huge = vec![1; 10_000_000];
            let swapped = code(kv::swap("huge", None, &huge));
            // What is too large to be stored is not there.
            format!("{} {swapped} {}", code(kv::set("huge", &huge)), kv::swap("huge", Some(&huge), b"x")?)
        }
        "kv-fill" => until_no(&[1; 10 << 10])?,
        "kv-key-flood" => until_no(b"")?,
        "kv-list-all" => format!("{} listed", kv::list_keys("", None, u32::MAX)?.len()),
        "kv-long-prefix" => format!("{} listed", kv::list_keys(&"k".repeat(1 << 20), None, 1)?.len()),
        _ => return Err(unknown(name)),
    })
}

/// Sets new keys until that is a problem, which is the answer.
fn until_no(value: &[u8]) -> Result<String, Problem> {
    for number in 0.. {
        kv::set(&format!("key {number}"), value)?;
    }
    Ok(String::new())
}
