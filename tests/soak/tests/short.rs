//! The soak, for as long as fits an ordinary run of the tests.

use std::{path::Path, process::Command};

#[test]
fn a_short_soak_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let plinth = Path::new(env!("CARGO_BIN_EXE_plinth-soak")).with_file_name("plinth");
    assert!(plinth.exists(), "{} is missing: run `cargo build --workspace --bin plinth`", plinth.display());
    let soak = Command::new(env!("CARGO_BIN_EXE_plinth-soak"))
        .args(["--seconds", "20"])
        .arg("--plinth")
        .arg(plinth)
        .arg("--plugins")
        .arg(root.join("target/plugins"))
        .arg("--example")
        .arg(root.join("examples/churn"))
        .output()
        .expect("the soak starts");
    let said = format!("{}{}", String::from_utf8_lossy(&soak.stdout), String::from_utf8_lossy(&soak.stderr));
    assert!(soak.status.success() && said.ends_with("sound\n"), "{said}");
}
