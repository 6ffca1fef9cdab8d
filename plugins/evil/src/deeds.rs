//! The misdeeds that every extension point has.

use std::hint::black_box;

use plinth_sdk::{Item, Problem, log};

/// The misdeeds of every point.
pub const EVERYWHERE: [&str; 8] =
    ["infinite-loop", "memory-bomb", "panic", "stack-overflow", "log-flood", "log-huge", "problem", "huge-problem"];

/// What a misdeed of every point does; nothing for any other name.
///
/// # Errors
/// Where answering a problem is the misdeed.
pub fn commit(name: &str) -> Result<(), Problem> {
    match name {
        "infinite-loop" => spin(),
        "memory-bomb" => allocate(),
        "panic" => give_up("evil panic on command"),
        "stack-overflow" => {
            black_box(recurse(black_box(0)));
        }
        "log-flood" => {
            let message = "flood ".repeat(171);
            (0..100_000).for_each(|_| log::info(&message));
        }
        "log-huge" => log::info("x".repeat(16 << 20)),
        "problem" => {
            return Err(Problem::bad_input("evil-problem", "a problem on command").at_row(7).in_column("evil"));
        }
        "huge-problem" => return Err(Problem::bad_input("evil-problem", "x".repeat(64 << 20))),
        _ => {}
    }
    Ok(())
}

/// How often a hoarder opens what it opens.
pub const HOARD: usize = 1_000;

/// List entries for the misdeeds of every point and `own`.
pub fn items(own: &[&str], options: &str) -> Vec<Item> {
    EVERYWHERE.iter().chain(own).map(|name| Item::new(*name, "Misbehaves on command", options)).collect()
}

/// The problem of a name that is no misdeed of this point.
///
/// # Errors
/// Always, unless the name is known.
pub fn check(name: &str, own: &[&str]) -> Result<(), Problem> {
    if EVERYWHERE.iter().chain(own).any(|known| *known == name) {
        return Ok(());
    }
    Err(Problem::bad_input("unknown-item", format!("there is no misdeed `{name}`")))
}

/// A function of its own in every build, so that the host's error names it.
///
/// # Panics
/// With the words.
#[inline(never)]
pub fn give_up(words: &str) -> ! {
    panic!("{words}")
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn allocate() {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
        black_box(&kept);
    }
}

#[expect(unconditional_recursion, reason = "that is the misdeed")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(black_box(depth + 1)) + frame[(depth % 64) as usize]
}
