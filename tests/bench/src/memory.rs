//! Peak memory of loading and transforming a CSV file that is larger than the memory allowed.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    Place,
    figures::{Figures, Target},
};

const FILE_BYTES: u64 = 1 << 30;

/// Loads 1 GiB of CSV, fits and applies a transform, and reads the process's peak resident memory.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir_in(place.root.join("target"))?;
    write_csv(&folder.path().join("big.csv"), FILE_BYTES)?;
    std::fs::write(folder.path().join("plinth.yaml"), PIPELINE)?;
    let mut child = Command::new(&place.plinth)
        .args(["run", "plinth.yaml", "--state-dir", "state"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()?;
    let mut peak_kib = 0_u64;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Ok(text) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak_kib = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(peak_kib);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    ensure!(status.success(), "plinth run of the large file failed");
    figures.add(
        "peak memory, 1 GiB CSV loaded and transformed",
        peak_kib as f64 / 1024.0,
        "MiB",
        Target::AtMost(300.0),
    );
    Ok(())
}

const PIPELINE: &str = "\
name: big
stages:
  load: {kind: load, plugin: load-csv, source: big.csv}
  features:
    kind: features
    data: load
    plugin: tabular
    item: chain
    options:
      steps:
        - standard-scale: {columns: numeric}
";

/// Writes numbers of a fixed pattern: ten columns of floats, two of integers and one of text.
pub(crate) fn write_csv(path: &Path, bytes: u64) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).context("the scratch file")?);
    let mut written = 0_u64;
    let header = "a,b,c,d,e,f,g,h,i,j,k,l,label\n";
    out.write_all(header.as_bytes())?;
    written += header.len() as u64;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut line = String::new();
    while written < bytes {
        use std::fmt::Write as _;
        line.clear();
        for _ in 0..10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write!(line, "{:.4},", (state >> 40) as f64 / 1024.0)?;
        }
        writeln!(line, "{},{},{}", state >> 50, state >> 58, ["red", "green", "blue"][(state >> 62) as usize % 3])?;
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    out.flush()?;
    Ok(())
}
