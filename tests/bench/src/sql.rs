//! A transform as a function in SQL, against the same arithmetic in SQL itself, which is native code of the engine.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::{
    Place,
    figures::{Figures, Target, median},
};

const ROWS: u32 = 5_000_000;
const TURNS: usize = 7;

/// Millions of rows a second through the whole command: reading Parquet, the function, one sum.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rows = format!("select cast(value % 1009 as double) as x from generate_series(1, {ROWS}) as t(value)");
    run(place, folder.path(), &[&rows, "--output", "rows.parquet"])?;
    let declared = [
        "--function",
        "scale=tabular:standard-scale",
        "--fit",
        "scale=select x from 'rows.parquet' limit 10000",
        "--format",
        "csv",
    ];
    let ask = |what: &str| -> Result<String> {
        let ask = format!("select {what} as total from 'rows.parquet'");
        run(place, folder.path(), &[&[ask.as_str()], &declared[..]].concat())
    };
    let (read, native, ours) = ("sum(x)", "sum((x - 503.5) * 0.00343)", "sum(scale(x))");
    // The fit's own share, which no row count changes, is in all three: `scale` is declared but fitted when it is called.
    let fit = "sum(scale(1.0))";
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    // Taken in turns, so that a change of the machine's pace hits all.
    for _ in 0..TURNS {
        for (times, what) in times.iter_mut().zip([read, native, ours, fit]) {
            let mut said = Ok(String::new());
            times.push(median(1, || said = ask(what)).as_secs_f64());
            ensure!(said?.lines().count() == 2, "one sum");
        }
    }
    let [read, native, ours, fit] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
    });
    let rate = |seconds: f64| f64::from(ROWS) / 1e6 / seconds;
    figures.add("sql: sum of 5M rows of Parquet", rate(read), "Mrow/s", Target::None);
    figures.add("sql: the same of scaled rows, native arithmetic", rate(native), "Mrow/s", Target::None);
    figures.add("sql: the same of scaled rows, component", rate(ours), "Mrow/s", Target::None);
    figures.add("sql: to start, and to fit and load a component", fit * 1e3, "ms", Target::None);
    figures.add("sql: component / native, the whole command", native / ours, "x", Target::AtLeast(0.4));
    Ok(())
}

fn run(place: &Place, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(&place.plinth);
    command.arg("sql").args(arguments).current_dir(folder).env("PLINTH_PLUGINS", &place.plugins).stdin(Stdio::null());
    let done = command.output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}
