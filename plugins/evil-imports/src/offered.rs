//! Settings, clocks, random numbers, secrets and the log, abused.

use std::hint::black_box;

use plinth_sdk::{Problem, clock, config, log, random, secrets};

use crate::unknown;

/// Commits a misdeed; says what the host answered.
///
/// # Errors
/// The host's problem, where that is the answer.
pub fn commit(name: &str) -> Result<String, Problem> {
    Ok(match name {
        "config-huge-key" => format!("{:?}", config::get(&"k".repeat(1 << 20))),
        "config-flood" => {
            let found = (0..100_000).filter(|_| config::get("nothing").is_some()).count();
            format!("{found} of 100000")
        }
        "config-endless" => loop {
            black_box(config::get("nothing"));
        },
        "clock-flood" => {
            let mut falls = 0;
            let (mut last, mut last_us) = (0, i64::MIN);
            for _ in 0..100_000 {
                let (now, now_us) = (clock::monotonic_ns(), clock::now_us());
                falls += usize::from(now < last) + usize::from(now_us < last_us);
                (last, last_us) = (now, now_us);
            }
            format!("{falls} falls")
        }
        "random-huge" => format!("{} bytes", random::get_bytes(u32::MAX).len()),
        "random-flood" => loop {
            black_box(random::get_bytes(64 << 10));
        },
        "secret-ungranted" => secrets::get("of-somebody-else")?,
        "secret-logged" => {
            let secret = secrets::get("key")?;
            log::warn(&secret);
            log::warn(format!("{{\"authorization\": \"Bearer {secret}\"}}{secret}{secret}"));
            "logged".into()
        }
        "secret-told" => {
            let secret = secrets::get("key")?;
            return Err(Problem::bad_input(secret.clone(), format!("the key is {secret}!")).in_column(secret));
        }
        "secret-panic" => give_up(&secrets::get("key")?),
        "secret-observed" => secrets::get("key")?,
        "secret-disguised" => {
            let secret = secrets::get("key")?;
            let (start, end) = secret.split_at(secret.len() / 2);
            log::warn(start);
            log::warn(end);
            log::warn(secret.to_uppercase());
            "logged".into()
        }
        #[cfg(target_arch = "wasm32")]
        "far-pointer" => crate::raw::log_from_afar(),
        #[cfg(target_arch = "wasm32")]
        "bad-utf8" => crate::raw::log_bytes(b"\xff\xfe"),
        #[cfg(target_arch = "wasm32")]
        "bad-level" => crate::raw::log_at_level(99),
        _ => return Err(unknown(name)),
    })
}

/// A function of its own in every build, so that the host's error names it.
#[inline(never)]
fn give_up(secret: &str) -> ! {
    panic!("the key is {secret}")
}
