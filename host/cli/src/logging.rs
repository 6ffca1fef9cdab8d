//! Events of every crate, to stderr.

use std::io;

use plinth_api::LogControl;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::{
    args::Cli,
    config::Settings,
    output::{Output, bars},
};

/// Sends events to stderr, as much as `-v` asks for; `PLINTH_LOG` takes a finer filter. Gives what changes that later.
pub(crate) fn start(cli: &Cli, settings: &Settings, output: Output) -> LogControl {
    let level = match cli.global.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::try_from_env("PLINTH_LOG").unwrap_or_else(|_| filter(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| AboveBars)
        .with_ansi(output.color)
        .with_target(cli.global.verbose > 1);
    // The two kinds of writer make two kinds of handle.
    let set: Box<dyn Fn(LevelFilter) + Send + Sync> = if settings.config.log_format == "json" {
        let builder = builder.json().with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Box::new(move |level| told(handle.reload(self::filter(level))))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Box::new(move |level| told(handle.reload(self::filter(level))))
    };
    LogControl { level, set }
}

/// Stderr, where bars are taken away for as long as a line of the log is written, and drawn again below it.
struct AboveBars;

impl io::Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(line))
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        bars().suspend(|| io::stderr().write_all(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Crates are named plinth_store, plinth_plugin, ...: a target that starts with `plinth` is one of ours.
fn filter(level: LevelFilter) -> EnvFilter {
    EnvFilter::new(match level {
        LevelFilter::OFF => "off",
        LevelFilter::ERROR => "error",
        LevelFilter::WARN => "warn",
        LevelFilter::INFO => "plinth=info,warn",
        LevelFilter::DEBUG => "plinth=debug,info",
        LevelFilter::TRACE => "trace",
    })
}

fn told(outcome: Result<(), tracing_subscriber::reload::Error>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the level of the log stays");
    }
}
