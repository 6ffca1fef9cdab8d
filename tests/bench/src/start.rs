//! How long a user waits for the binary itself.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{
    Place,
    figures::{Figures, Target, median},
};

/// `plinth --version`, and a `plinth run` that has nothing to do.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let version = median(21, || {
        let status = Command::new(&place.plinth).arg("--version").stdout(Stdio::null()).status();
        assert!(status.is_ok_and(|s| s.success()), "plinth --version failed");
    });
    figures.add("plinth --version", version.as_secs_f64() * 1e3, "ms", Target::AtMost(20.0));

    let state = tempfile::tempdir()?;
    let run = || {
        Command::new(&place.plinth)
            .args(["run", "plinth.yaml", "--state-dir"])
            .arg(state.path())
            .current_dir(place.root.join("examples/churn"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    ensure!(run().context("starting plinth run")?.success(), "plinth run of examples/churn failed");
    let nothing = median(21, || assert!(run().is_ok_and(|s| s.success()), "the second plinth run failed"));
    figures.add("plinth run with nothing to do", nothing.as_secs_f64() * 1e3, "ms", Target::AtMost(100.0));
    Ok(())
}
