//! Arguments of `plinth endpoint`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::{args::Since, tracked::args::YesArg};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth endpoint create churn models:/churn@champion\n  \
    plinth endpoint deploy churn models:/churn/7 --name canary --weight 10\n  \
    plinth endpoint deploy churn models:/churn/7 --name canary --canary 1,10,50,100 --bake 5m \\\n      \
    --max-error-rate 1% --max-p99-ms 50 --max-score-drift 0.2 --require-approval\n  \
    plinth endpoint route churn champion=50 canary=50 --sticky column:customer_id\n  \
    plinth endpoint deploy churn models:/churn/7 --name champion --lookup customers.parquet --entity customer_id\n  \
    plinth endpoint deploy churn models:/churn/7 --name champion --concurrency 1 --queue 50 --timeout-ms 200\n  \
    plinth endpoint promote churn canary --alias champion\n  \
    plinth endpoint rollback churn                     what was there before the last change\n\n\
    `plinth serve` serves them; a server that runs follows every change within a moment.")]
pub(crate) enum EndpointCommand {
    /// List endpoints
    List,
    /// Make an endpoint that one model answers for
    Create {
        /// The name that callers ask
        endpoint: String,
        #[command(flatten)]
        what: DeploymentArgs,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Add a deployment, put another model in the place of one, or roll one out step by step
    Deploy(Box<DeployArgs>),
    /// Say which deployment answers which part of the requests
    Route(RouteArgs),
    /// Let one deployment answer everything, and take the others out of service
    Promote {
        /// The endpoint
        endpoint: String,
        /// The deployment
        deployment: String,
        /// An alias of the model that names its version from now on
        #[arg(long)]
        alias: Option<String>,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Keep a rollout in its step
    Pause {
        /// The endpoint
        endpoint: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a paused rollout go on
    Resume {
        /// The endpoint
        endpoint: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Approve a rollout that came through: its deployment becomes the champion
    Approve {
        /// The endpoint
        endpoint: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take back what is being rolled out, else go back to an earlier revision
    Rollback {
        /// The endpoint
        endpoint: String,
        /// The revision [default: the one before the last change]
        #[arg(long, value_name = "REVISION")]
        to: Option<u64>,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a deployment out of service
    Remove {
        /// The endpoint
        endpoint: String,
        /// The deployment
        deployment: String,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Show an endpoint, what its deployments have earned, and with --url how it does on a server
    Status {
        /// The endpoint
        endpoint: String,
        /// A server that serves it, such as http://127.0.0.1:8080; PLINTH_TOKEN holds a token where it wants one
        #[arg(long)]
        url: Option<String>,
    },
    /// Show what became of an endpoint, newest first
    Logs {
        /// The endpoint
        endpoint: String,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// Write what was told of requests: request_id, at, deployment, version, reward and value, as CSV or into a file
    Feedback {
        /// The endpoint
        endpoint: String,
        /// Only what was told since: a duration back from now, such as 2h or 7days, or an RFC 3339 time
        #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
        since: Option<Since>,
        /// Where it goes: .csv, .jsonl or .parquet [default: CSV to stdout]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take an endpoint out of service
    Delete {
        /// The endpoint
        endpoint: String,
        #[command(flatten)]
        yes: YesArg,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// A model that answers for an endpoint.
#[derive(Debug, Args)]
pub(crate) struct DeploymentArgs {
    /// models:/NAME@ALIAS or models:/NAME/VERSION
    #[arg(value_name = "REF")]
    pub(crate) model: String,
    /// Name of the deployment [default: the alias, or v and the version]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where the model runs: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// A table of what is known of entities, one row each: .csv, .jsonl or .parquet. Its columns are looked up, and
    /// callers send the entity in their place [default: what the one in its place had, or the first of the others has]
    #[arg(long, value_name = "FILE", requires = "entity")]
    pub(crate) lookup: Option<PathBuf>,
    /// The column of that table that names the entity
    #[arg(long, value_name = "COLUMN", requires = "lookup")]
    pub(crate) entity: Option<String>,
    /// Also if this machine has no such device, or no such gate: the one that serves has it
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
}

/// Percentages are kept to a hundredth, which is what servers tell apart.
pub(super) fn rounded(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

/// A part of all, in percent.
fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim().parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=100.0).contains(number)).ok_or("write a percentage from 0 to 100")?;
    let rounded = rounded(number);
    match rounded == 0.0 && number > 0.0 {
        true => Err("a hundredth of a percent is the least that servers tell from nothing".into()),
        false => Ok(rounded),
    }
}

/// How much of a server a deployment may take; what is not said stays as it was, or is up to the server.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Capacity")]
pub(crate) struct CapacityArgs {
    /// Most rows of a batch that several requests make up; 1 scores each request by itself [default: 256]
    #[arg(long, value_name = "ROWS")]
    pub(crate) batch_rows: Option<u32>,
    /// How long the first request of a batch may wait for others although a thread is free, in microseconds
    /// [default: 0]
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) batch_wait_us: Option<u32>,
    /// Batches that are scored at the same time [default: one for each thread that scores]
    #[arg(long, value_name = "BATCHES")]
    pub(crate) concurrency: Option<u32>,
    /// Requests that wait to be scored; further ones are refused with 503 [default: 128 with --concurrency]
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) queue: Option<u32>,
    /// Milliseconds from a request's head to its answer [default: limits.serve.request-ms-max]
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The endpoint
    pub(crate) endpoint: String,
    #[command(flatten)]
    pub(crate) what: DeploymentArgs,
    /// Percent of the requests that it answers; the others give it up in proportion
    /// [default: none, or what the one in its place had]
    #[arg(long, value_name = "PERCENT", conflicts_with = "canary", value_parser = percentage)]
    pub(crate) weight: Option<f64>,
    /// Percent of all requests of which it gets a copy; its answers are compared and discarded
    /// [default: none, or what the one in its place had]
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    pub(crate) shadow: Option<f64>,
    /// Look nothing up any more: callers send all columns [default: what the one in its place had]
    #[arg(long, conflicts_with = "lookup")]
    pub(crate) no_lookup: bool,
    /// Roll it out: percent of the requests that it answers in each step; the server takes the next when the last went
    /// well, and takes it back at once when it does not
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',')]
    pub(crate) canary: Vec<String>,
    /// Shortest time of a step, such as 30s, 5m or 1h
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "canary")]
    pub(crate) bake: String,
    /// Fewest requests of the canary in a step
    #[arg(long, value_name = "REQUESTS", default_value_t = 100, requires = "canary")]
    pub(crate) min_requests: u64,
    /// Largest part of its requests that may fail
    #[arg(long, value_name = "PERCENT%", requires = "canary")]
    pub(crate) max_error_rate: Option<String>,
    /// Milliseconds within which 99 of 100 requests must be answered
    #[arg(long, value_name = "MS", requires = "canary")]
    pub(crate) max_p99_ms: Option<f64>,
    /// Largest population stability index of its answers against the champion's; 0.2 is commonly called a shift
    #[arg(long, value_name = "PSI", requires = "canary")]
    pub(crate) max_score_drift: Option<f64>,
    /// A gate plugin that is asked at the end of each step
    #[arg(long, value_name = "PLUGIN", requires = "canary")]
    pub(crate) gate: Option<String>,
    /// Which of its gates, if it has several
    #[arg(long, value_name = "NAME", requires = "gate")]
    pub(crate) gate_item: Option<String>,
    /// What it takes, as JSON
    #[arg(long, value_name = "JSON", requires = "gate")]
    pub(crate) gate_options: Option<String>,
    /// After the last step, wait until somebody approves it
    #[arg(long, requires = "canary")]
    pub(crate) require_approval: bool,
    /// An alias of the model that names its version once it is the champion
    #[arg(long, requires = "canary")]
    pub(crate) alias: Option<String>,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The endpoint
    pub(crate) endpoint: String,
    /// Percent of the requests that a deployment answers, together 100; those that are not named get none
    #[arg(value_name = "NAME=PERCENT")]
    pub(crate) weights: Vec<String>,
    /// Percent of all requests of which a deployment gets a copy; may be given several times
    #[arg(long, value_name = "NAME=PERCENT")]
    pub(crate) shadow: Vec<String>,
    /// What makes requests those of one caller, who stays with one deployment: header:NAME, json:/POINTER, column:NAME;
    /// or none
    #[arg(long, value_name = "WHERE")]
    pub(crate) sticky: Option<String>,
    /// Requests with this header go to this deployment, whatever the weights say; may be given several times
    #[arg(long = "rule", value_name = "HEADER[=VALUE]:DEPLOYMENT")]
    pub(crate) rules: Vec<String>,
    /// Forget the rules there are
    #[arg(long)]
    pub(crate) no_rules: bool,
    /// What shares out the requests: weights, or thompson, which sends them to those deployments that earn the highest
    /// rewards, of those with a weight
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<PolicyArg>,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// What shares out the requests of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// The weights
    Weights,
    /// The rewards
    Thompson,
}
