//! Searches over many runs, long pages and long histories: how long they take, what they cost, and the memory that the
//! server needs for them.

mod data;
mod mix;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;

use self::mix::MIX;
use crate::{
    Place,
    figures::{Figures, Target},
    load,
    server::{Channel, Server},
};

const PATH: &str = "/api/2.0/mlflow/runs/search";
const CLIENTS: usize = 16;
/// Times that each search is asked for, by one client and by each of many.
const ALONE: usize = 15;
const TOGETHER: usize = 3;
const POINTS: u64 = 100_000;

/// A hundred thousand runs of ten metrics and ten parameters.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    over(place, figures, 100_000, "100k runs", 20.0)
}

/// A million of them.
pub(crate) fn measure_million(place: &Place, figures: &mut Figures) -> Result<()> {
    over(place, figures, 1_000_000, "1M runs", 200.0)
}

fn over(place: &Place, figures: &mut Figures, runs: u64, label: &str, most_ms: f64) -> Result<()> {
    let folder = tempfile::tempdir_in(place.root.join("target"))?;
    data::fill(folder.path(), runs, POINTS)?;
    let mut server = start(place, folder.path())?;
    let (pid, port) = (server.pid(), server.port);
    let bodies: Vec<String> = MIX.iter().map(|search| search.body(data::EXPERIMENT, 100)).collect();
    load::mixed(pid, port, PATH, &bodies, 1, bodies.len())?;
    let mut slowest = 0.0_f64;
    for (search, body) in MIX.iter().zip(&bodies) {
        let cost = load::run(pid, port, PATH, body, 1, ALONE)?;
        let what = format!("search, {label}, {}, p50", search.name);
        figures.add(what, cost.quantile_ms(0.5), "ms", Target::AtMost(most_ms));
        slowest = slowest.max(cost.quantile_ms(0.5));
    }
    figures.add(format!("search, {label}, slowest kind, p50"), slowest, "ms", Target::AtMost(most_ms));
    for clients in [1, CLIENTS] {
        let cost = load::mixed(pid, port, PATH, &bodies, clients, TOGETHER * bodies.len())?;
        let what = |figure: &str| format!("search, {label}, all kinds, {clients} at once, {figure}");
        figures.add(what("p50"), cost.quantile_ms(0.5), "ms", Target::AtMost(most_ms));
        figures.add(what("p99"), cost.quantile_ms(0.99), "ms", Target::None);
        figures.add(what("CPU per request"), cost.cpu_us_per_request() / 1e3, "ms", Target::None);
    }
    let (own, peak) = server.memory_mib()?;
    figures.add(format!("search, {label}, memory of the server's own"), own, "MiB", Target::None);
    figures.add(format!("search, {label}, memory at its peak"), peak, "MiB", Target::AtMost(300.0));

    let cost = load::run(pid, port, PATH, &MIX[0].body(data::EXPERIMENT, 5_000), 1, 5)?;
    figures.add(format!("a page of 5,000 runs of {label}, p50"), cost.quantile_ms(0.5), "ms", Target::None);
    figures.add(format!("a page of 5,000 runs of {label}, CPU"), cost.cpu_us_per_request() / 1e3, "ms", Target::None);
    let path =
        format!("/api/2.0/mlflow/metrics/get-history?run_id={}&metric_key={}", data::LONG_RUN, data::LONG_METRIC);
    let cost = load::get(pid, port, &path, 5)?;
    figures.add(format!("a history of {POINTS} points, p50"), cost.quantile_ms(0.5), "ms", Target::None);
    figures.add(format!("a history of {POINTS} points, CPU"), cost.cpu_us_per_request() / 1e3, "ms", Target::None);
    server.stop();
    Ok(())
}

fn start(place: &Place, dir: &Path) -> Result<Server> {
    let mut command = Command::new(&place.plinth);
    command.args(["up", "--port", "0", "--data-dir"]).arg(dir).stdin(Stdio::null());
    Server::start(&mut command, Channel::Stderr)
}
