//! Every misdeed by itself: its exact words, what is left of it, and its neighbours.

use std::{path::Path, process::Command};

use plinth_e2e::{guests, plugins};

/// `PLINTH_WRITE_MISDEEDS=1` writes `misdeeds.txt` anew, for whoever meant to change what is told; its diff is to be read.
#[test]
fn every_misdeed_ends_in_its_words_and_leaves_nothing_behind() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut soak = Command::new(env!("CARGO_BIN_EXE_plinth-soak"));
    soak.arg("each").arg("--plugins").arg(plugins()).arg("--expected").arg(here.join("misdeeds.txt"));
    soak.arg("--cache").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins"));
    for language in ["c", "go", "js", "python"] {
        soak.arg("--guest").arg(guests::misdeeds(language));
    }
    for language in ["c", "go", "js", "python", "rust"] {
        soak.arg("--neighbour").arg(guests::example(language, "standard-scale"));
    }
    if std::env::var_os("PLINTH_WRITE_MISDEEDS").is_some() {
        soak.arg("--write");
    }
    // The allocator is to give back what is freed at once, so that what is left is what somebody has.
    for (name, value) in
        [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")]
    {
        soak.env(name, value);
    }
    let done = soak.output().expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.ends_with("sound\n"), "{said}");
    println!("{said}");
}
