//! What a command line says, as clap reads it; nothing here looks anything up.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use plinth_core::Micros;
use plinth_monitor::DropMax;

use crate::{
    serve::ServeArgs,
    tracked::args::{ArtifactCommand, ExperimentCommand, MetricsCommand, ModelCommand, RunVerb, TraceCommand},
};

/// Trains, gates, registers, serves and watches models on one machine.
#[derive(Debug, Parser)]
#[command(
    name = "plinth",
    version,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "Examples:\n  \
        plinth run examples/churn/plinth.yaml              run a pipeline; only what changed is run again\n  \
        plinth run -p trainer=random-forest                the same with another parameter\n  \
        plinth serve models:/churn@champion                answer predictions on http://127.0.0.1:8080\n  \
        plinth monitor check churn --current new.csv       compare new data with what the model was trained on\n\n\
        Exit codes: 0 done, 2 usage, 3 gate failed, 4 drift found, 5 bad input, 6 not found, 7 conflict, 8 denied,\n\
        9 plugin, 10 limit, 11 busy, 12 unavailable, 13 corrupt, 130 stopped; `plinth errors` lists every code."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where runs, models and blobs are kept [default: .plinth in the project] [env: PLINTH_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where rows are kept: a database, `postgres://USER@HOST/DATABASE` [default: SQLite in the state directory]
    /// [env: PLINTH_CATALOG, which other users of this machine do not see]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global")]
    pub(crate) catalog: Option<String>,
    /// The configuration file [default: plinth.toml in the project]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global")]
    pub(crate) config: Option<PathBuf>,
    /// Write data as JSON to stdout and errors as JSON to stderr
    #[arg(long, global = true, help_heading = "Global")]
    pub(crate) json: bool,
    /// How log lines look
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Global")]
    pub(crate) log_format: Option<LogFormat>,
    /// Say more: -v for what happens, -vv for why, -vvv for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    pub(crate) verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN", help_heading = "Global")]
    pub(crate) color: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline: only what changed since the last time; or look at recorded runs
    Run(RunArgs),
    /// Run the tracking server and model registry that MLflow's clients talk to
    Up(UpArgs),
    /// Serve a model over HTTP
    ///
    /// Spans of requests go to the collector at serve.otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT, if one is set.
    Serve(ServeArgs),
    /// Endpoints: what is served under which names, and how requests are shared out
    #[command(subcommand)]
    Endpoint(crate::endpoint::EndpointCommand),
    /// Watch a running server: requests, latency, queue and batches of each deployment
    Top(crate::top::TopArgs),
    /// Score a file with a model
    Predict(PredictArgs),
    /// Say what each column had to do with a model's predictions
    Explain(crate::explain::ExplainArgs),
    /// Ask captured requests again of another version, and tell in what its answers differ
    Replay(crate::replay::ReplayArgs),
    /// Ask files questions in SQL, with transforms and models as functions
    Sql(Box<crate::sql::SqlArgs>),
    /// Watch a model's data
    #[command(subcommand)]
    Monitor(MonitorCommand),
    /// Registered models, their versions and aliases
    #[command(subcommand)]
    Model(ModelCommand),
    /// The same as `plinth run list`, `plinth run show` and so on
    #[command(subcommand, hide = true)]
    Runs(RunVerb),
    /// Experiments: named groups of runs
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Metrics over steps and time
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Files of runs and models
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// What applications did, step by step
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Users of the tracking server, and what they may do
    #[command(subcommand)]
    User(UserCommand),
    /// Tokens by which clients of the tracking server say who they are
    #[command(subcommand)]
    Token(TokenCommand),
    /// Receivers that the tracking server tells of events in its registry
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Who did what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// WebAssembly plugins
    #[command(subcommand)]
    Plugin(crate::plugin::PluginCommand),
    /// Take over what another store has
    #[command(subcommand)]
    Import(ImportCommand),
    /// Hand on everything to another store
    #[command(subcommand)]
    Export(ExportCommand),
    /// Give back the room of what was deleted long ago
    Gc(GcArgs),
    /// Check the machine and the state directory
    Doctor(DoctorArgs),
    /// List every error code
    Errors,
    /// Configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  \
    plinth run                                         the plinth.yaml of this folder\n  \
    plinth run examples/churn/plinth.yaml              another one\n  \
    plinth run -p trainer=random-forest                set a parameter of the file\n  \
    plinth run --set split.fraction=0.3                set a key of a stage\n  \
    plinth run --stage train                           only what `train` needs, and `train`\n\n  \
    plinth run list --experiment churn                 recorded runs; `plinth run list --help` and so on\n  \
    plinth run search \"metrics.f1 > 0.8\" --order-by \"metrics.f1 DESC\"\n  \
    plinth run compare 0c4f 91aa                       side by side, by the starts of their ids\n\n\
    A file that is called like a verb is written ./list.",
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Recorded runs"
)]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<RunVerb>,
    /// The pipeline file
    #[arg(default_value = "plinth.yaml")]
    pub(crate) file: PathBuf,
    /// Set a parameter of the pipeline
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) param: Vec<String>,
    /// Set a key of a stage
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Only this stage and what it needs
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Run stages although their results are known
    #[arg(long)]
    pub(crate) force: bool,
    /// Where models are scored: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth up                                          on http://127.0.0.1:5000, state in .plinth\n  \
    plinth up --data-dir /srv/plinth --port 8000       elsewhere\n  \
    plinth up --catalog postgres://plinth@db/plinth    rows on a PostgreSQL server, artifacts in .plinth\n  \
    plinth up --artifact-store s3://bucket/plinth      artifacts in a bucket, keys from AWS_ACCESS_KEY_ID and so on\n  \
    plinth up --host 0.0.0.0 --auth --allowed-hosts plinth.example.org \\\n      \
    --tls-cert chain.pem --tls-key key.pem           for others, who sign in\n  \
    plinth up --mlflow-ui none                         without MLflow's web interface\n\n\
    Then, in Python:\n  \
    mlflow.set_tracking_uri(\"http://127.0.0.1:5000\")")]
pub(crate) struct UpArgs {
    /// Where runs, models and artifacts are kept [default: the state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where artifacts are kept, on another device, say; named once, every command finds it [default: the data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts_dir: Option<PathBuf>,
    /// Where artifacts are kept, in a bucket, such as s3://BUCKET/PREFIX; keys and endpoint are those of AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL; named once, every command finds it
    /// [env: PLINTH_ARTIFACT_STORE]
    #[arg(long, value_name = "URL", conflicts_with = "artifacts_dir")]
    pub(crate) artifact_store: Option<String>,
    /// A folder of a bucket whose files the server may list and read for clients that put them there themselves, such as
    /// s3://BUCKET/PREFIX; whoever may make experiments can read all of it
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) artifact_allow: Vec<plinth_store::BucketUrl>,
    /// Tell clients to download artifacts from the bucket itself, by URLs that the server signs: they must reach it
    #[arg(long)]
    pub(crate) direct_downloads: bool,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 5000)]
    pub(crate) port: u16,
    /// Let in only users and tokens of `plinth user` and `plinth token`; other addresses than loopback need it
    #[arg(long)]
    pub(crate) auth: bool,
    /// Listen on other addresses than loopback although anyone may do anything there
    #[arg(long, conflicts_with = "auth")]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// A name that clients may call the server by, beside those of this machine; * for any
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,
    /// A site whose pages may call the server, such as `https://example.org`; * for any
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// The folder of MLflow's web interface, or none [default: the one of the mlflow package in the active Python]
    #[arg(long, value_name = "DIR")]
    pub(crate) mlflow_ui: Option<PathBuf>,
    /// A receiver that webhooks may lead to although its address is not public: HOST or HOST:PORT; * for any
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) webhook_allow: Vec<plinth_api::AllowedHost>,
}

/// How a server is reached over TLS.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// Offer TLS with this certificate and those that signed it, in PEM; read again when it changes and on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth predict models:/churn@champion --input new.csv                 CSV to stdout\n  \
    plinth predict models:/churn/3 --input new.csv --output out.parquet   a Parquet file")]
pub(crate) struct PredictArgs {
    /// models:/NAME@ALIAS or models:/NAME/VERSION
    #[arg(value_name = "REF")]
    pub(crate) model: String,
    /// Rows to score: .csv, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Where predictions go: .csv, .jsonl or .parquet [default: CSV to stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where the model runs: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MonitorCommand {
    /// Compare current data with the profile stored with a model version; exit code 4 means drift
    Check(MonitorCheckArgs),
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("source").required(true).args(["current", "captured"]),
    after_help = "Examples:\n  \
    plinth monitor check churn --current new.csv --report drift.html\n  \
    plinth monitor check churn --captured                                 what the server was asked\n  \
    plinth monitor check churn --captured --since 2h                      what it was asked lately\n  \
    plinth monitor check churn --captured --since 7days --max-drop 5%     whether it answers worse, by the truth told since\n  \
    plinth monitor check churn --current new.csv --retrain --approve      on drift, train, gate and promote"
)]
pub(crate) struct MonitorCheckArgs {
    /// A model's name, or models:/NAME@ALIAS, or models:/NAME/VERSION
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// Current rows: .csv, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) current: Option<PathBuf>,
    /// Use the requests that the server captured
    #[arg(long)]
    pub(crate) captured: bool,
    /// Only requests captured since: a duration back from now, such as 2h or 7days, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", conflicts_with = "current", value_parser = Since::parse)]
    pub(crate) since: Option<Since>,
    /// How much worse the answers may be than when the model was evaluated, where the truth was told (POST …/feedback):
    /// 0.05, or 5% of what it was; exit code 4 if they are
    #[arg(long, value_name = "DROP", conflicts_with = "current")]
    pub(crate) max_drop: Option<DropMax>,
    /// The metric by which that is decided [default: accuracy, or rmse]
    #[arg(long, value_name = "METRIC", requires = "max_drop")]
    pub(crate) metric: Option<String>,
    /// What it was, if the version does not say
    #[arg(long, value_name = "NUMBER", requires = "max_drop")]
    pub(crate) expected: Option<f64>,
    /// The field of what was told that says what was true [default: the label, or the only field]
    #[arg(long, value_name = "FIELD", conflicts_with = "current")]
    pub(crate) truth: Option<String>,
    /// On drift, run the model's pipeline on the current rows, which must have labels
    #[arg(long, conflicts_with = "captured")]
    pub(crate) retrain: bool,
    /// Let the new version take over the alias if its gate passes
    #[arg(long, requires = "retrain")]
    pub(crate) approve: bool,
    /// Set a parameter of the pipeline for the retraining
    #[arg(short, long = "param", value_name = "NAME=VALUE", requires = "retrain")]
    pub(crate) param: Vec<String>,
    /// Write an HTML report
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Where models are scored: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
}

/// A moment, as a command line tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Since {
    /// As it was written.
    pub(crate) text: String,
    moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// So long before now.
    Ago(Duration),
    At(Micros),
}

impl Since {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let moment = match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => Moment::At(time.timestamp_micros()),
            Err(_) => Moment::Ago(humantime::parse_duration(text).map_err(|error| {
                format!("neither a duration such as 2h nor a time such as 2026-01-31T08:00:00Z: {error}")
            })?),
        };
        Ok(Self { text: text.to_owned(), moment })
    }

    /// The moment on the catalog's clock.
    pub(crate) fn micros(&self, now: Micros) -> Micros {
        match self.moment {
            Moment::Ago(ago) => now.saturating_sub(Micros::try_from(ago.as_micros()).unwrap_or(Micros::MAX)),
            Moment::At(at) => at,
        }
    }
}

/// What someone may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Only what is granted for single experiments and models
    None,
    /// See everything
    Reader,
    /// Log runs and register versions
    Editor,
    /// Move aliases and stages
    Approver,
    /// Manage users
    Admin,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth user add ann --role admin --password-file ann.txt\n  \
    plinth user grant bob editor --experiment churn\n  \
    plinth up --auth --host 0.0.0.0")]
pub(crate) enum UserCommand {
    /// Add a user; the password comes from stdin or a file
    Add {
        /// Letters, digits, `.`, `_`, `-` and `@`
        name: String,
        /// What they may do everywhere
        #[arg(long, value_enum, default_value = "reader")]
        role: RoleArg,
        /// Where the password is written
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Give a user another password
    Passwd {
        /// The user
        name: String,
        /// Where the password is written
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Give a user another role
    Role {
        /// The user
        name: String,
        /// What they may do everywhere
        #[arg(value_enum)]
        role: RoleArg,
    },
    /// Allow a user something with one experiment or one model
    #[command(group = clap::ArgGroup::new("thing").required(true).args(["experiment", "model"]))]
    Grant {
        /// The user
        name: String,
        /// What they may do with it
        #[arg(value_enum)]
        role: RoleArg,
        /// An experiment, by name or id
        #[arg(long, value_name = "NAME")]
        experiment: Option<String>,
        /// A registered model
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
    },
    /// Take back what was granted
    #[command(group = clap::ArgGroup::new("thing").required(true).args(["experiment", "model"]))]
    Revoke {
        /// The user
        name: String,
        /// An experiment, by name or id
        #[arg(long, value_name = "NAME")]
        experiment: Option<String>,
        /// A registered model
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
    },
    /// Remove a user, with tokens and grants
    Remove {
        /// The user
        name: String,
    },
    /// List users
    List,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  export MLFLOW_TRACKING_TOKEN=$(plinth token create ci --days 90)")]
pub(crate) enum TokenCommand {
    /// Make a token; it is shown once
    Create {
        /// Whose it is
        user: String,
        /// What for
        #[arg(long, default_value = "")]
        note: String,
        /// How long it is good for [default: for ever]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
    },
    /// List tokens, without their secrets
    List {
        /// Only those of a user
        #[arg(long)]
        user: Option<String>,
    },
    /// Make a token useless
    Revoke {
        /// Its id, from `plinth token list`
        token: String,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth webhook create ci https://ci.example.org/hook --event model_version_alias.created --secret-file key\n  \
    plinth webhook test ID\n  \
    plinth webhook deliveries ID                       what was sent, and what came of it")]
pub(crate) enum WebhookCommand {
    /// List webhooks
    List,
    /// Tell a receiver of events from now on
    Create {
        /// For people: letters, digits, `.`, `_` and `-`
        name: String,
        /// Where events are sent: http:// or https://
        url: String,
        /// An event, such as `model_version.created`; may be given more than once
        #[arg(long = "event", value_name = "ENTITY.ACTION", required = true, value_delimiter = ',')]
        events: Vec<String>,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
        /// Where the key is written that requests are signed with
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Remove a webhook, with its log and what was still to be sent
    Delete {
        /// Its id, from `plinth webhook list`
        webhook: String,
    },
    /// Send an example, from this machine, and show the answer
    Test {
        /// Its id, from `plinth webhook list`
        webhook: String,
        /// Another event than the first of the webhook's
        #[arg(long, value_name = "ENTITY.ACTION")]
        event: Option<String>,
    },
    /// Show the delivery log of a webhook, newest first
    Deliveries {
        /// Its id, from `plinth webhook list`
        webhook: String,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the latest records
    Log {
        /// Only what one principal did
        #[arg(long, value_name = "NAME")]
        principal: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Prove that no record was changed or removed
    Verify,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth gc --older-than 30d --dry-run               what would go\n  \
    plinth gc --older-than 30d                         remove it; may be interrupted, and run beside `plinth up`")]
pub(crate) struct GcArgs {
    /// Remove what was deleted before: a duration back from now, such as 30d, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
    pub(crate) older_than: Since,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only things of these experiments, with commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) experiment_ids: Vec<String>,
    /// Leave blobs alone that are younger, because somebody may be about to name them
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
    /// The state directory of `plinth up`
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Repair what can be repaired without losing anything
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting
    Show {
        /// Also where each comes from
        #[arg(long)]
        origin: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_moment_is_a_duration_back_or_a_time() {
        let at = |text: &str| Since::parse(text).map(|since| since.micros(10_000_000_000));
        assert_eq!(at("2h").unwrap(), 2_800_000_000);
        assert_eq!(at("1h 30m").unwrap(), 4_600_000_000);
        assert_eq!(at("1970-01-01T01:00:00+01:00").unwrap(), 0);
        // Longer ago than there was time.
        assert!(at("100years").unwrap() < 0);
        let error = at("yesterday").unwrap_err();
        assert!(error.starts_with("neither a duration such as 2h nor a time such as"), "{error}");
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Take over a store of MLflow's: a database, or a folder `mlruns`
    Mlflow(ImportArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth import mlflow sqlite:///mlflow.db --artifacts mlartifacts --dry-run     what is there\n  \
    plinth import mlflow sqlite:///mlflow.db --artifacts mlartifacts               take it over\n  \
    plinth import mlflow mlruns                                                    the same of a folder\n\n\
    A second import adds what is new since. The store is only read, and may be in use.")]
pub(crate) struct ImportArgs {
    /// sqlite:///FILE, or a folder `mlruns`
    #[arg(value_name = "STORE")]
    pub(crate) store: String,
    /// The folder with its artifacts; nothing outside of it is read [default: the folder `mlruns` itself]
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    /// Where it goes [default: the state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Only say what is there
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Write a database that MLflow 3.17 opens, and the artifacts beside it
    Mlflow(ExportArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth export mlflow sqlite:///new.db --artifacts artifacts\n  \
    plinth export mlflow sqlite:///new.db --artifacts artifacts --proxied\n  \
    mlflow server --backend-store-uri sqlite:///new.db --artifacts-destination artifacts")]
pub(crate) struct ExportArgs {
    /// sqlite:///FILE, which must not be there yet
    #[arg(value_name = "STORE")]
    pub(crate) store: String,
    /// The folder that artifacts are written to
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: PathBuf,
    /// Let the store name artifacts by `mlflow-artifacts:`, for a server of MLflow's that serves the folder
    #[arg(long)]
    pub(crate) proxied: bool,
    /// What is handed on [default: the state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}
