//! `plinth top`: a running server, watched live. It reads what Prometheus reads, so it needs no place on the server's
//! machine.

mod sample;
mod view;

use std::{
    io::IsTerminal,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use plinth_core::codes;
use serde_json::json;

use self::sample::{Rates, Sample};
use crate::output::{Failure, Output, io_failure, table};

/// How long a server may take to say what it did.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 20;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth top                                     the server on this machine\n  \
    plinth top https://scoring.example.org --interval 5s\n  \
    plinth top --once --json                       one look, for programs\n\n\
Keys: q or ctrl-C ends it, s sorts by the next column, p holds the picture.")]
pub(crate) struct TopArgs {
    /// Where the server is
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Time between two looks
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Print one picture, of the time between two looks, and end
    #[arg(long)]
    once: bool,
}

/// `plinth top`
pub(crate) fn top(args: &TopArgs, output: Output) -> Result<ExitCode, Failure> {
    if args.interval < Duration::from_millis(100) || args.interval > Duration::from_secs(3600) {
        let message = format!("an interval of {} is not possible", humantime::format_duration(args.interval));
        return Err(Failure::new(codes::USAGE, message).hint("give one between 100ms and 1h"));
    }
    if !args.once && !output.json && !std::io::stdout().is_terminal() {
        return Err(Failure::new(codes::USAGE, "the picture needs a terminal, and stdout is none")
            .hint("add --once for one look as text, or --json"));
    }
    let scraper = Scraper::new(&args.url)?;
    let first = scraper.look()?;
    if !args.once && !output.json {
        return view::show(&scraper, first, args.interval);
    }
    std::thread::sleep(args.interval.saturating_sub(first.at.elapsed()));
    let rates = Rates::between(&first, &scraper.look()?);
    output.data(&json!(rates), || as_text(&rates)).map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

fn as_text(rates: &Rates) -> String {
    let rows = rates.deployments.iter().map(|deployment| view::cells(deployment).to_vec());
    format!("{}\n\n{}", view::summary(rates), table(view::COLUMNS, rows))
}

/// Asks one server for its figures.
struct Scraper {
    url: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Scraper {
    fn new(url: &str) -> Result<Self, Failure> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let plain = with_scheme.trim_end_matches('/').trim_end_matches("/metrics").to_owned();
        let bad = |why: String| {
            Failure::new(codes::USAGE, format!("`{url}` is no address of a server: {why}"))
                .hint("write it as http://HOST:PORT")
        };
        let parsed = reqwest::Url::parse(&plain).map_err(|error| bad(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            return Err(bad("it has to begin with http:// or https://".into()));
        }
        plinth_api::install_crypto();
        let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| bad(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| io_failure("the runtime", &error))?;
        Ok(Self { url: plain, client, runtime })
    }

    /// What the server has done since it started.
    fn look(&self) -> Result<Sample, Failure> {
        let failed = |why: String| {
            Failure::new(codes::SERVER_UNREACHABLE, format!("{}/metrics: {why}", self.url))
                .hint("is `plinth serve` running there? `plinth top URL` looks at another place")
        };
        let text = self.runtime.block_on(async {
            let mut answer = self.client.get(format!("{}/metrics", self.url)).send().await.map_err(|e| said(&e))?;
            if !answer.status().is_success() {
                return Err(format!("the server answers {}", answer.status()));
            }
            let mut body = Vec::new();
            while let Some(part) = answer.chunk().await.map_err(|error| said(&error))? {
                if body.len() + part.len() > ANSWER_MAX {
                    return Err(format!("the answer has more than {ANSWER_MAX} bytes"));
                }
                body.extend_from_slice(&part);
            }
            String::from_utf8(body).map_err(|_| "the answer is no text".to_owned())
        });
        let text = text.map_err(failed)?;
        Sample::read(&text, Instant::now()).map_err(failed)
    }
}

/// The innermost cause says what happened; what is around it repeats the address.
fn said(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
