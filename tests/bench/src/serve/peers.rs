//! Servers of models in Python, each in the quickest of its ordinary ways (`tests/bench/peers`).

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use super::{
    Asked, Served, What,
    halves::Halves,
    models::{INFER, PREDICT, check_answer, forest_file, infer_body, plain_body},
    one_row,
};
use crate::{
    Place,
    figures::{Figures, Target},
    server::Server,
};

/// A peer: its folder and environment, what people call it, what it is asked, and how many times our CPU it should take.
struct Peer {
    name: &'static str,
    called: &'static str,
    path: &'static str,
    least: f64,
    expected: f64,
}

const PEERS: [Peer; 5] = [
    Peer { name: "fastapi", called: "FastAPI", path: PREDICT, least: 10.0, expected: 4.0 },
    Peer { name: "mlserver", called: "MLServer", path: INFER, least: 25.0, expected: 17.0 },
    Peer { name: "kserve", called: "KServe", path: INFER, least: 25.0, expected: 11.0 },
    Peer { name: "bentoml", called: "BentoML", path: PREDICT, least: 25.0, expected: 22.0 },
    Peer { name: "litserve", called: "LitServe", path: PREDICT, least: 25.0, expected: 18.0 },
];

/// Measures each peer, after it gave the `right` answer, in turns with our own server: what the machine does to one of them
/// it does to the other. What ours keeps of its last requests it writes in the peer's turn, and nobody counts that: 10 ms
/// after 2 s of requests of one row.
pub(super) fn measure(
    place: &Place,
    halves: &Halves,
    ours: &Server,
    right: f64,
    figures: &mut Figures,
) -> Result<Vec<Served>> {
    let mut all = Vec::new();
    for peer in PEERS {
        let [theirs, ours] =
            pair(place, halves, &peer, ours, right).with_context(|| format!("measuring {}", peer.called))?;
        for (theirs, ours) in theirs.levels.iter().zip(&ours.levels) {
            let times = theirs.cost.cpu_us_per_request() / ours.cost.cpu_us_per_request();
            let what = format!("{} / Plinth, CPU per request, {} connections", peer.called, ours.connections);
            figures.add_expected(what, times, "x", Target::AtLeast(peer.least), peer.expected);
        }
        all.push(theirs);
    }
    Ok(all)
}

/// What a peer costs, and we beside it.
fn pair(place: &Place, halves: &Halves, peer: &Peer, ours: &Server, right: f64) -> Result<[Served; 2]> {
    let variable = format!("PLINTH_BENCH_{}", peer.name.to_uppercase());
    let bin = std::env::var_os(&variable)
        .with_context(|| format!("{variable} is not set: run `cargo xtask bench --peers serve`"))?;
    let bin = PathBuf::from(bin);
    let script = place.root.join("tests/bench/peers").join(peer.name).join("serve.py");
    let body = if peer.path == INFER { infer_body(1) } else { plain_body() };
    let server = Server::start_on(
        |port, _| {
            let mut command = halves.serving(bin.join("python"));
            command.arg(&script).arg(forest_file(place)).arg(port.to_string());
            command
        },
        |port| check_answer(port, peer.path, &body, right),
    )?;
    let version = version(place, peer.name)?;
    let name = format!("{} {version}", peer.called);
    let infer = infer_body(1);
    let asked = [
        Asked { name: &name, server: &server, what: What::Http(peer.path, &body) },
        Asked { name: "Plinth", server: ours, what: What::Http(INFER, &infer) },
    ];
    one_row(place, halves, &asked)?.try_into().map_err(|_| anyhow!("each of two is measured once"))
}

/// The version that is pinned.
fn version(place: &Place, name: &str) -> Result<String> {
    let pins = std::fs::read_to_string(place.root.join("tests/bench/peers").join(name).join("requirements.txt"))?;
    let version = pins.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("=="));
    version.map(str::to_owned).with_context(|| format!("{name} is not pinned"))
}
