//! The tracking server: what a write and a search cost, alone and against its peers under the same load.
//!
//! Figures against peers are CPU time of the server's process tree per request, so that it does not matter how many
//! cores a server keeps busy. Every server is durable before it acknowledges; [`servers`] says how.

mod files;
mod rows;
mod servers;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::json;

pub(crate) use files::serve as serve_files;

use crate::{
    Place,
    figures::{Figures, Target},
    load::{self, Cost},
    server::Server,
};

/// Clients that write or search at once.
const CLIENTS: usize = 16;
/// Runs that are searched; peers get as many.
const RUNS: usize = 100_000;
/// Points of the history that is read.
const POINTS: usize = 100_000;

/// How many requests each client sends: peers are slower, and get fewer.
struct Pace {
    singles: usize,
    batches: usize,
    searches: usize,
    pages: usize,
}

const OURS: Pace = Pace { singles: 250, batches: 20, searches: 25, pages: 10 };
const FASTTRACKML: Pace = Pace { singles: 100, batches: 4, searches: 2, pages: 3 };
const MLFLOW: Pace = Pace { singles: 10, batches: 1, searches: 1, pages: 1 };

/// What one server cost.
struct Costs {
    single: Cost,
    batch: Cost,
    search: Cost,
    page: Cost,
    history: Cost,
    /// MiB when it had just started, and at the end.
    memory: (f64, f64),
}

/// Plinth alone.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    start_up(place, figures)?;
    let server = servers::plinth(&place.plinth)?;
    let costs = costs(&server, &OURS, |experiment| {
        rows::fill_runs(server.port, experiment, RUNS)?;
        rows::fill_history(server.port, experiment, POINTS)
    })?;
    alone(&costs, figures);
    drop(server);
    files::measure(place, figures)
}

/// Plinth and its peers in one run. The folders of the peers' programs are in the environment.
pub(crate) fn measure_peers(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = |name: &str| {
        let value =
            std::env::var_os(name).with_context(|| format!("{name} is not set: run `cargo xtask bench --peers`"))?;
        Ok::<_, anyhow::Error>(PathBuf::from(value))
    };
    let (mlflow, fasttrackml) = (folder("PLINTH_BENCH_MLFLOW")?, folder("PLINTH_BENCH_FASTTRACKML")?);
    let ours = {
        let server = servers::plinth(&place.plinth)?;
        costs(&server, &OURS, |experiment| {
            rows::fill_runs(server.port, experiment, RUNS)?;
            rows::fill_history(server.port, experiment, POINTS)
        })?
    };
    alone(&ours, figures);
    eprintln!("  fasttrackml");
    let theirs = {
        let server = servers::fasttrackml(&fasttrackml)?;
        costs(&server, &FASTTRACKML, |experiment| {
            rows::fill_runs(server.port, experiment, RUNS)?;
            rows::fill_history(server.port, experiment, POINTS)
        })?
    };
    against("fasttrackml", &ours, &theirs, [5.0, 8.0, 20.0, 5.0, 0.0], figures);
    eprintln!("  mlflow");
    let theirs = {
        let server = servers::mlflow(&mlflow)?;
        costs(&server, &MLFLOW, |experiment| {
            let filled = Command::new(mlflow.join("python"))
                .arg(place.root.join("tests/bench/src/tracking/fill.py"))
                .arg(servers::database(&server)?)
                .args([experiment, &RUNS.to_string(), &POINTS.to_string()])
                .output()?;
            ensure!(filled.status.success(), "fill.py: {}", String::from_utf8_lossy(&filled.stderr));
            Ok(String::from_utf8(filled.stdout)?.trim().to_owned())
        })?
    };
    against("mlflow", &ours, &theirs, [80.0, 60.0, 50.0, 0.0, 20.0], figures);
    Ok(())
}

/// Runs the whole load; `fill` writes the runs and the history into an experiment and gives the history's run.
fn costs(server: &Server, pace: &Pace, fill: impl FnOnce(&str) -> Result<String>) -> Result<Costs> {
    let (pid, port) = (server.pid(), server.port);
    let idle = load::resident_mib(pid)?;
    let written = rows::experiment(port, "written")?;
    let runs = (0..CLIENTS).map(|at| rows::run(port, &written, at)).collect::<Result<Vec<_>>>()?;
    let write = |key: &'static str, points: usize| {
        let runs = &runs;
        move |client: usize, turn: usize| {
            let body = rows::batch(&runs[client], key, turn * points, points);
            load::request(port, "POST", "/api/2.0/mlflow/runs/log-batch", &body)
        }
    };
    load::run_with(pid, port, CLIENTS, 1, &write("warm", 1))?;
    let single = load::run_with(pid, port, CLIENTS, pace.singles, &write("single", 1))?;
    let batch = load::run_with(pid, port, CLIENTS, pace.batches, &write("batch", 1_000))?;

    let searched = rows::experiment(port, "searched")?;
    let history = fill(&searched)?;
    let search = |client: usize, turn: usize| {
        let at = client + turn;
        let body = json!({
            "experiment_ids": [searched],
            "filter": format!("metrics.m{} > 0.5 AND params.p{} = 'v{}'", at % 10, (at + 3) % 10, at % 10),
            "order_by": [format!("metrics.m{} DESC", (at + 1) % 10)],
            "max_results": 100,
        });
        load::request(port, "POST", "/api/2.0/mlflow/runs/search", &body.to_string())
    };
    let search = load::run_with(pid, port, CLIENTS, pace.searches, &search)?;
    let body = json!({"experiment_ids": [searched], "max_results": 5_000}).to_string();
    let page = load::run(pid, port, "/api/2.0/mlflow/runs/search", &body, 1, pace.pages)?;
    let path = format!("/api/2.0/mlflow/metrics/get-history?run_id={history}&metric_key=loss");
    let request = load::request(port, "GET", &path, "");
    let history = load::run_with(pid, port, 1, pace.pages, &|_, _| request.clone())?;
    Ok(Costs { single, batch, search, page, history, memory: (idle, load::resident_mib(pid)?) })
}

impl Costs {
    fn named(&self) -> [(&'static str, &Cost); 5] {
        [
            ("log-batch of 1 metric, 16 clients", &self.single),
            ("log-batch of 1,000 metrics, 16 clients", &self.batch),
            ("search of 100,000 runs, 16 clients", &self.search),
            ("page of 5,000 runs", &self.page),
            ("history of 100,000 points", &self.history),
        ]
    }
}

fn alone(costs: &Costs, figures: &mut Figures) {
    for (what, cost) in costs.named() {
        figures.add(format!("plinth, {what}, CPU"), cost.cpu_us_per_request() / 1e3, "ms", Target::None);
    }
    let rate = costs.single.requests as f64 / costs.single.wall.as_secs_f64();
    figures.add("plinth, durable batches of 1 metric", rate, "1/s", Target::None);
    figures.add("plinth, search, median answer", costs.search.quantile_ms(0.5), "ms", Target::None);
    figures.add("plinth, memory when idle", costs.memory.0, "MiB", Target::AtMost(60.0));
    figures.add("plinth, memory after the load", costs.memory.1, "MiB", Target::AtMost(300.0));
}

/// `least` are the ratios wanted, in the order of the costs; 0 asks for none.
fn against(peer: &str, ours: &Costs, theirs: &Costs, least: [f64; 5], figures: &mut Figures) {
    for (((what, ours), (_, theirs)), least) in ours.named().into_iter().zip(theirs.named()).zip(least) {
        figures.add(format!("{peer}, {what}, CPU"), theirs.cpu_us_per_request() / 1e3, "ms", Target::None);
        let target = if least > 0.0 { Target::AtLeast(least) } else { Target::None };
        // The clock ticks a hundred times a second: less than a tick is no measurement.
        let floor = |cost: &Cost| cost.cpu_us_per_request().max(1e4 / cost.requests as f64);
        figures.add(format!("{peer} / plinth"), floor(theirs) / floor(ours), "x", target);
    }
    figures.add(format!("{peer}, memory after the load"), theirs.memory.1, "MiB", Target::None);
}

/// From the start of the process to its first answer.
fn start_up(place: &Place, figures: &mut Figures) -> Result<()> {
    let mut times = (0..11).map(|_| Ok(servers::plinth(&place.plinth)?.ready)).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    figures.add("plinth up, to the first answer", times[5].as_secs_f64() * 1e3, "ms", Target::AtMost(200.0));
    Ok(())
}
