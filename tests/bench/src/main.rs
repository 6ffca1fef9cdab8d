//! Measures the hot paths as ratios against a peer or a physical limit, in one run on one machine.
//!
//! `cargo xtask bench` builds everything in release and runs this; `cargo xtask bench transform` runs one part. The
//! exit code says only whether everything ran: a figure that misses its target is printed as missed, because a
//! loaded machine must not turn a measurement into a failed build.

mod csv;
mod figures;
mod load;
mod many;
mod memory;
mod paced;
mod peer;
mod search;
mod serve;
mod server;
mod sql;
mod start;
mod tracking;
mod transform;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};

use crate::figures::Figures;

/// Where the product is.
pub(crate) struct Place {
    /// The `plinth` binary, built in release.
    plinth: PathBuf,
    /// The folder of built components.
    plugins: PathBuf,
    /// The root of the checkout.
    root: PathBuf,
    /// Whether only to see that everything runs, with figures that mean nothing.
    quick: bool,
}

impl Place {
    /// How long a load lasts that is meant to last so many seconds.
    pub(crate) fn lasting(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { seconds / 5.0 } else { seconds })
    }

    /// Starts the process that compiles components.
    pub(crate) fn compiler(&self) -> plinth_plugin::CompilerCommand {
        let plinth = self.plinth.clone();
        std::sync::Arc::new(move || {
            let mut command = std::process::Command::new(&plinth);
            command.args(["plugin", "compile-worker"]);
            command
        })
    }
}

type Measure = fn(&Place, &mut Figures) -> Result<()>;

const PARTS: &[(&str, Measure)] = &[
    ("transform", transform::measure),
    ("csv", csv::measure),
    ("plugins", many::measure),
    ("start", start::measure),
    ("serve", serve::measure),
    ("sql", sql::measure),
    ("memory", memory::measure),
    ("search", search::measure),
    ("tracking", tracking::measure),
];

/// Parts only for who asks for them by name: what takes minutes and gigabytes, and what is in another part already.
const LONG: &[(&str, Measure)] = &[("search-million", search::measure_million), ("strain", serve::measure_strain)];

/// Parts that other products are measured in as well, in the same run.
const WITH_PEERS: &[(&str, Measure)] = &[("serve", serve::measure_peers), ("tracking", tracking::measure_peers)];

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "peer-server") {
        let [_, model, library] = &arguments[..] else { bail!("peer-server needs a model file and a library") };
        return peer::serve(model, library);
    }
    if arguments.first().is_some_and(|a| a == "floor-server") {
        let [_, model, library, row] = &arguments[..] else {
            bail!("floor-server needs a model file, a library, a row")
        };
        return peer::answer_anything(model, library, &serde_json::from_str::<Vec<f32>>(row)?);
    }
    if arguments.first().is_some_and(|a| a == "file-server") {
        let [_, folder] = &arguments[..] else { bail!("file-server needs a folder") };
        return tracking::serve_files(folder.as_ref());
    }
    if arguments.first().is_some_and(|a| a == serve::SPIN) {
        let [_, parent] = &arguments[..] else { bail!("{} needs the number of a process", serve::SPIN) };
        serve::spin(parent.parse()?);
        return Ok(());
    }
    let json = arguments.iter().any(|a| a == "--json");
    arguments.retain(|a| a != "--json");
    let quick = arguments.iter().any(|a| a == "--quick");
    arguments.retain(|a| a != "--quick");
    let peers = arguments.iter().any(|a| a == "--peers");
    arguments.retain(|a| a != "--peers");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let here = std::env::current_exe()?;
    let place = Place { plinth: here.with_file_name("plinth"), plugins: root.join("target/plugins"), root, quick };
    for needed in [&place.plinth, &place.plugins] {
        if !needed.exists() {
            bail!("{} is missing: run `cargo xtask bench`, which builds it", needed.display());
        }
    }
    if arguments.first().is_some_and(|a| a == "many-plugins") {
        return many::load(&place, &arguments[1..]);
    }
    let parts: &[(&str, Measure)] = if peers { WITH_PEERS } else { PARTS };
    let long = if peers { &[][..] } else { LONG };
    for argument in &arguments {
        if !parts.iter().chain(long).any(|(name, _)| name == argument) {
            let known: Vec<_> = parts.iter().chain(long).map(|(name, _)| *name).collect();
            bail!("unknown part `{argument}`; known: {}", known.join(", "));
        }
    }
    let mut figures = Figures::default();
    for (at, (name, measure)) in parts.iter().chain(long).enumerate() {
        if (arguments.is_empty() && at < parts.len()) || arguments.iter().any(|a| a == name) {
            eprintln!("measuring {name} …");
            measure(&place, &mut figures).with_context(|| format!("measuring {name}"))?;
        }
    }
    figures.print(json)
}
