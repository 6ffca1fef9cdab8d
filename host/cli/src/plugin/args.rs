//! The arguments of `plinth plugin …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins that can be found
    List,
    /// Show what a plugin offers, asks for and is granted
    Inspect {
        /// A plugin's name or file
        plugin: String,
    },
    /// Check a component: extension points, manifest, capabilities, items
    Check {
        /// A plugin's name or file
        plugin: String,
    },
    /// Try a plugin on a file and show what comes out; nothing is recorded
    Run(PluginRunArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth plugin run tabular rows.csv --item standard-scale          fit on the rows, apply to them\n  \
    plinth plugin run load-csv rows.csv --option delimiter=';'        what a loader reads\n  \
    plinth plugin run drift-tests jan.csv --current feb.csv --item ks  each column compared\n  \
    plinth plugin run quality-gate evidence.json --item metrics        the checks of a gate")]
pub(crate) struct PluginRunArgs {
    /// A plugin's name or file
    pub(crate) plugin: String,
    /// Rows (.csv, .jsonl, .parquet), what a loader reads, or a gate's evidence (.json)
    pub(crate) input: PathBuf,
    /// Which of its items, if it has several
    #[arg(long)]
    pub(crate) item: Option<String>,
    /// The rows that a drift test compares with the input
    #[arg(long, value_name = "FILE")]
    pub(crate) current: Option<PathBuf>,
    /// Options, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) options: String,
    /// One option; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) option: Vec<String>,
    /// Write all rows here instead of the first to stdout; the name decides the format
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Rows that are shown
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        default_value_if("output", clap::builder::ArgPredicate::IsPresent, "18446744073709551615")
    )]
    pub(crate) rows: u64,
}
