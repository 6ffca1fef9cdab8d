//! The page of figures: `host/docs/serving-speed.md`.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::{Served, strain};
use crate::{Place, figures::Figures};

const PAGE: &str = "host/docs/serving-speed.md";

/// Writes it.
pub(super) fn write(place: &Place, figures: &Figures, all: &[Served]) -> Result<()> {
    let processors = std::thread::available_parallelism()?;
    let release = place.plinth.parent().is_some_and(|folder| folder.ends_with("release"));
    let build = if release { "a release build" } else { "a development build, which is slower than a release" };
    let mut page = format!(
        "# What serving costs\n\n\
         Written by `cargo xtask bench --peers serve`: every figure of this page was measured in one run of {build}, \
         on a shared machine with {processors} cores, which ran the load as well: the server on half of them and the \
         load on the other half; only starts and memory are of servers on all of them. Ratios count; absolute figures \
         are that machine's. What was expected stands in the program and was written down before the first run of the \
         benchmark; of the peers, after a rough trial.\n\n\
         The model is a random forest of 100 trees, 10 deep at most, over 17 columns (`tests/bench/peers/rf.onnx`), \
         the request one row in JSON over connections that are kept. Plinth checks it against the model's signature, \
         captures it and counts it; the bare server is axum around one session of ONNX Runtime and does nothing else. \
         CPU is the time, user and system, of the server's whole process tree.\n\n"
    );
    page.push_str(&figures.table());
    page.push_str(
        "\n## One row, server by server\n\n\
         | server | connections | CPU a request | requests/s | p50 | p99 |\n|---|---|---|---|---|---|\n",
    );
    for served in all {
        for level in &served.levels {
            let cost = &level.cost;
            writeln!(
                page,
                "| {} | {} | {:.0} µs | {:.0} | {:.2} ms | {:.2} ms |",
                served.name,
                level.connections,
                cost.cpu_us_per_request(),
                cost.rate(),
                cost.quantile_ms(0.5),
                cost.quantile_ms(0.99),
            )?;
        }
    }
    page.push_str(
        "\nThe peers are the releases named, from PyPI, with the same version of ONNX Runtime as Plinth and one thread \
         in a call, each in the quickest of its ordinary ways with one process that predicts \
         (`tests/bench/peers/*/serve.py`); a peer is measured in turns with Plinth, after it gave the same answer as \
         the others. \
         The trained forest is the one of `examples/churn` with `trainer=random-forest`: its transform imputes, \
         encodes and scales a row of 18 raw columns, and the bare server beside it gets the transformed row.\n\n",
    );
    page.push_str("## Near saturation and beyond it\n\n");
    page.push_str(strain::HOW);
    page.push_str(&format!("\n{}", figures.record()));
    let path = place.root.join(PAGE);
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {PAGE}");
    Ok(())
}
