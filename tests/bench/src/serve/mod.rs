//! What a served prediction costs: against the least that a server could do, against servers of models in Python, near
//! saturation, at the start, and in memory.
//!
//! What counts is the CPU time of a server's process tree per request, so that it does not matter how many cores a
//! server keeps busy. Every server has the same half of the processors for it.

mod grpc;
mod halves;
mod models;
mod page;
mod peers;
mod strain;

pub(crate) use self::halves::{SPIN, spin};

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use plinth_ext::Model as _;
use plinth_tensor::{OnnxModel, Runtime, RuntimeConfig, SessionOptions};
use serde_json::{Value, json};

use self::{
    halves::Halves,
    models::{
        Folder, INFER, PREDICT, bare, check_answer, floor, forest_file, infer_body, plain_body, row, small_model,
    },
};
use crate::{
    Place,
    figures::{Figures, Target},
    load::{self, Cost},
    paced,
    server::Server,
};

/// Connections of the loads.
const LEVELS: [usize; 2] = [16, 64];
/// A load is put on the servers of a group in turns, so often and for so many seconds.
const ROUNDS: usize = 3;
const ROUND_SECONDS: f64 = 1.5;
const WARM_SECONDS: f64 = 0.5;
/// Where raw rows go.
const INVOCATIONS: &str = "/invocations";
/// Rows of the requests with many.
const BATCH: usize = 32;
const SMALL_MODELS: usize = 100;
const STARTS: usize = 11;

/// What a server cost under one load.
struct Level {
    connections: usize,
    cost: Cost,
}

/// What a server cost under each load.
struct Served {
    name: String,
    levels: Vec<Level>,
}

/// A server that is measured, and what it is asked.
struct Asked<'a> {
    name: &'a str,
    server: &'a Server,
    what: What<'a>,
}

/// A request.
enum What<'a> {
    /// A body posted to a path.
    Http(&'a str, &'a str),
    /// A row of the model of that name.
    Grpc(&'a str, &'a [f32]),
}

/// Plinth, and a bare server.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    alone(place, &Halves::split()?, figures).map(drop)
}

/// The same, and servers in Python; then writes the page.
pub(crate) fn measure_peers(place: &Place, figures: &mut Figures) -> Result<()> {
    let (mut own, halves) = (Figures::default(), Halves::split()?);
    let (mut all, right) = alone(place, &halves, &mut own)?;
    let folder = Folder::with_forest(place)?;
    let ours = folder.serve(folder.plinth_on(&halves), &["models:/forest/1".to_owned()])?;
    let theirs = peers::measure(place, &halves, &ours, right, &mut own)?;
    drop(ours);
    all.extend(theirs);
    if !place.quick {
        page::write(place, &own, &all)?;
    }
    figures.extend(own);
    Ok(())
}

/// Only what happens near saturation and beyond it.
pub(crate) fn measure_strain(place: &Place, figures: &mut Figures) -> Result<()> {
    let runtime = Runtime::start(&RuntimeConfig::default())?;
    strain::measure(place, &Halves::split()?, &Folder::with_forest(place)?, runtime.library(), figures)
}

/// What the bare server and Plinth cost in each way, in this order; and the right answer.
fn alone(place: &Place, halves: &Halves, figures: &mut Figures) -> Result<(Vec<Served>, f64)> {
    let runtime = Runtime::start(&RuntimeConfig::default())?;
    let folder = Folder::with_forest(place)?;
    let (mut all, right) = forest(place, halves, &folder, runtime.library(), figures)?;
    all.extend(raw_rows(place, halves, &runtime, figures)?);
    strain::measure(place, halves, &folder, runtime.library(), figures)?;
    small_models(place, figures)?;
    Ok((all, right))
}

/// One row of a forest, and many; the right answer beside.
fn forest(
    place: &Place,
    halves: &Halves,
    folder: &Folder,
    library: &Path,
    figures: &mut Figures,
) -> Result<(Vec<Served>, f64)> {
    let (plain, infer) = (plain_body(), infer_body(1));
    let bare = bare(halves, &forest_file(place), library)?;
    let floor = floor(halves, &forest_file(place), library)?;
    let ours = folder.serve(folder.plinth_on(halves), &["models:/forest/1".to_owned()])?;
    let answer: Value = serde_json::from_slice(&load::once(bare.port, "POST", PREDICT, &plain)?)?;
    let right = answer["probabilities"][1].as_f64().unwrap_or(f64::NAN);
    check_answer(ours.port, INFER, &infer, right)?;
    let wide: Vec<f32> = row().iter().map(|value| *value as f32).collect();
    let many = infer_body(BATCH);
    let mut all = one_row(
        place,
        halves,
        &[
            Asked { name: "bare axum + ort", server: &bare, what: What::Http(PREDICT, &plain) },
            Asked { name: "Plinth", server: &ours, what: What::Http(INFER, &infer) },
            Asked { name: "Plinth, gRPC", server: &ours, what: What::Grpc("forest", &wide) },
            Asked { name: "the system's part and the model", server: &floor, what: What::Http(PREDICT, &plain) },
            Asked { name: "Plinth, many rows", server: &ours, what: What::Http(INFER, &many) },
        ],
    )?;
    against(&all[0], &all[1], "one row over HTTP / bare, CPU per request", 1.8, 1.7, figures);
    against(&all[1], &all[2], "gRPC / HTTP, CPU per request", 1.3, 1.2, figures);

    let many = all.pop().context("the last of those that were asked")?;
    let rows = many.levels[0].cost.rate() * BATCH as f64;
    figures.add(format!("rows per second, {BATCH} a request"), rows, "1/s", Target::None);
    let times = rows / all[1].levels[0].cost.rate();
    figures.add_expected(
        format!("rows per second, {BATCH} a request / 1 a request"),
        times,
        "x",
        Target::AtLeast(8.0),
        12.0,
    );
    Ok((all, right))
}

/// A raw row through one transform, against a bare server around the same forest that gets the transformed row.
fn raw_rows(place: &Place, halves: &Halves, runtime: &Runtime, figures: &mut Figures) -> Result<Vec<Served>> {
    let folder = Folder::with_churn(place)?;
    let file = folder.trained_file()?;
    let width = OnnxModel::load(runtime, &std::fs::read(&file)?, &SessionOptions::default())?.input().len();
    let vector: Vec<f64> = (0..width).map(|i| i as f64 / 100.0).collect();
    let (plain, raw) = (json!({ "inputs": [vector] }).to_string(), folder.customer()?);
    let model = ["models:/churn@champion".to_owned()];
    start_up(&folder, &model, &raw, figures)?;
    let bare = bare(halves, &file, runtime.library())?;
    let ours = folder.serve(folder.plinth_on(halves), &model)?;
    let all = one_row(
        place,
        halves,
        &[
            Asked { name: "bare axum + ort, trained forest", server: &bare, what: What::Http(PREDICT, &plain) },
            Asked { name: "Plinth, raw row, one transform", server: &ours, what: What::Http(INVOCATIONS, &raw) },
        ],
    )?;
    against(&all[0], &all[1], "raw row through one transform / bare, CPU per request", 3.0, 2.3, figures);
    drop((bare, ours));

    // With all processors, each of which has a thread that scores with a session of its own.
    let ours = folder.serve(folder.plinth(), &model)?;
    for connections in LEVELS {
        load::run_for(
            ours.pid(),
            ours.port,
            &load::request(ours.port, "POST", INVOCATIONS, &raw),
            connections,
            place.lasting(4.0),
        )?;
    }
    let memory = load::resident_mib(ours.pid())? * 1.048_576;
    figures.add_expected("resident memory, one forest + transform", memory, "MB", Target::AtMost(100.0), 95.0);
    Ok(all)
}

/// From the start of the process to its first prediction; what the transform's component was compiled to is there.
fn start_up(folder: &Folder, model: &[String], body: &str, figures: &mut Figures) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..=STARTS {
        let start = Instant::now();
        let server = folder.serve(folder.plinth(), model)?;
        load::once(server.port, "POST", INVOCATIONS, body)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    // The first may have had to compile.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let median = times[STARTS / 2];
    figures.add_expected("start to first prediction", median, "ms", Target::AtMost(300.0), 150.0);
    Ok(())
}

/// The memory of a server of many small models, each asked once.
fn small_models(place: &Place, figures: &mut Figures) -> Result<()> {
    let count = if place.quick { SMALL_MODELS / 10 } else { SMALL_MODELS };
    let folder = Folder::with_small_models(place, count)?;
    let models: Vec<String> = (0..count).map(|number| format!("models:/{}/1", small_model(number))).collect();
    let server = folder.serve(folder.plinth(), &models)?;
    let inputs = small_inputs(server.port, &small_model(0))?;
    for number in 0..count {
        load::once(server.port, "POST", &format!("/v2/models/{}/infer", small_model(number)), &inputs)?;
    }
    let memory = load::resident_mib(server.pid())? * 1.048_576;
    let what = format!("resident memory, {count} small models");
    figures.add_expected(what, memory, "MB", Target::AtMost(600.0), 250.0);
    Ok(())
}

/// A request of zeros, as the model says of itself what it takes.
fn small_inputs(port: u16, model: &str) -> Result<String> {
    let told: Value = serde_json::from_slice(&load::once(port, "GET", &format!("/v2/models/{model}"), "")?)?;
    let inputs = told["inputs"].as_array().cloned().unwrap_or_default();
    ensure!(!inputs.is_empty(), "the small model says no inputs: {told}");
    let inputs = inputs.iter().map(|input| {
        let sizes = input["shape"].as_array().into_iter().flatten();
        let shape: Vec<i64> = sizes.map(|size| size.as_i64().unwrap_or(1).max(1)).collect();
        let zeros = vec![0; shape.iter().product::<i64>() as usize];
        json!({"name": input["name"], "datatype": input["datatype"], "shape": shape, "data": zeros})
    });
    Ok(json!({"inputs": inputs.collect::<Vec<_>>()}).to_string())
}

/// Puts each load on each server in turns.
fn one_row(place: &Place, halves: &Halves, asked: &[Asked<'_>]) -> Result<Vec<Served>> {
    let mut all: Vec<Served> =
        asked.iter().map(|one| Served { name: one.name.to_owned(), levels: Vec::new() }).collect();
    for connections in LEVELS {
        let run = |one: &Asked<'_>, seconds: f64| {
            let (pid, port, lasting) = (one.server.pid(), one.server.port, place.lasting(seconds));
            halves.load(|| match one.what {
                What::Http(path, body) => {
                    let before = load::cpu_time(pid)?;
                    let request = load::request(port, "POST", path, body);
                    let done = paced::saturate(port, &request, connections, lasting)?;
                    ensure!(done.refused.is_empty(), "{} requests were refused by {}", done.refused.len(), one.name);
                    Ok(Cost::of(done.answered, load::cpu_time(pid)? - before, lasting))
                }
                What::Grpc(model, row) => grpc::run_for(pid, port, model, row, connections, lasting),
            })
        };
        for one in asked {
            run(one, WARM_SECONDS)?;
        }
        let mut costs: Vec<Option<Cost>> = asked.iter().map(|_| None).collect();
        for _ in 0..ROUNDS {
            for (one, cost) in asked.iter().zip(&mut costs) {
                let more = run(one, ROUND_SECONDS)?;
                *cost = Some(match cost.take() {
                    Some(before) => before.and(more),
                    None => more,
                });
            }
        }
        for (served, cost) in all.iter_mut().zip(costs.into_iter().flatten()) {
            let (name, cpu) = (&served.name, cost.cpu_us_per_request());
            eprintln!("  {name}, {connections} connections: {cpu:.1} us CPU a request, {:.0} a second", cost.rate());
            served.levels.push(Level { connections, cost });
        }
    }
    Ok(all)
}

/// What `ours` costs of what `least` does, under each load.
fn against(least: &Served, ours: &Served, what: &str, bound: f64, expected: f64, figures: &mut Figures) {
    for (least, ours) in least.levels.iter().zip(&ours.levels) {
        let ratio = ours.cost.cpu_us_per_request() / least.cost.cpu_us_per_request();
        let what = format!("{what}, {} connections", ours.connections);
        figures.add_expected(what, ratio, "x", Target::AtMost(bound), expected);
    }
}
