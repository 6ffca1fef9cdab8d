//! What the command line says of experiments, runs, metrics, artifacts, models and traces, as clap reads it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

/// Most rows that one call shows.
const LIMIT_MAX: i64 = 50_000;

/// Which of active and deleted things are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ViewArg {
    /// What is there
    Active,
    /// What is deleted and can be restored
    Deleted,
    /// Both
    All,
}

/// A stretch of a long answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct PageArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
    pub(crate) limit: u32,
    /// Go on where a call before ended: its `next_page_token`
    #[arg(long, value_name = "TOKEN")]
    pub(crate) page_token: Option<String>,
}

/// What is looked for, and in which order.
#[derive(Debug, Clone, Args)]
pub(crate) struct SearchArgs {
    /// In MLflow's grammar, such as "metrics.loss < 0.1 AND params.model LIKE 'tree%'"; everything without one
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// Sort by a field, such as "metrics.loss DESC"; may be given several times
    #[arg(long, value_name = "FIELD")]
    pub(crate) order_by: Vec<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Tags to set and to remove.
#[derive(Debug, Clone, Args)]
pub(crate) struct TagArgs {
    /// Tags to set
    #[arg(value_name = "KEY=VALUE", required_unless_present = "remove", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// A tag to remove; may be given several times
    #[arg(long, value_name = "KEY")]
    pub(crate) remove: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".into()),
    }
}

/// Leave to do what cannot be undone, or not easily.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct YesArg {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth experiment list\n  \
    plinth experiment search \"name LIKE 'churn%' AND tags.team = 'growth'\"\n  \
    plinth experiment create churn --tag team=growth\n  \
    plinth experiment tag churn owner=ann --remove team\n  \
    plinth experiment delete churn --yes               its runs go with it; `restore` brings all of them back\n\n\
    EXPERIMENT is a name or an id.")]
pub(crate) enum ExperimentCommand {
    /// List experiments, newest first
    List {
        /// Which
        #[arg(long, value_enum, default_value = "active", value_name = "WHICH")]
        view: ViewArg,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: u32,
    },
    /// Find experiments by name, time and tags
    Search {
        #[command(flatten)]
        search: SearchArgs,
        /// Which
        #[arg(long, value_enum, default_value = "active", value_name = "WHICH")]
        view: ViewArg,
    },
    /// Show an experiment and its latest runs
    Show {
        /// Its name or id
        experiment: String,
        /// How many runs
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: u32,
    },
    /// Make an experiment; its id goes to stdout
    Create {
        /// A name that no other has, not even a deleted one
        name: String,
        /// Where artifacts of its runs go [default: the state directory]
        #[arg(long, value_name = "URI", default_value = "", hide_default_value = true)]
        artifact_location: String,
        /// A tag; may be given several times
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        tag: Vec<(String, String)>,
    },
    /// Give an experiment another name
    Rename {
        /// Its name or id
        experiment: String,
        /// The new name
        name: String,
    },
    /// Delete an experiment with its runs; both can be restored until `plinth gc` takes them
    Delete {
        /// Its name or id
        experiment: String,
        #[command(flatten)]
        yes: YesArg,
    },
    /// Bring a deleted experiment back, with its runs
    Restore {
        /// Its name or id
        experiment: String,
    },
    /// Set or remove tags
    Tag {
        /// Its name or id
        experiment: String,
        #[command(flatten)]
        tags: TagArgs,
    },
}

/// Where runs are looked for, and what is shown of them.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunsArgs {
    /// Only runs of this experiment, by name or id; may be given several times
    #[arg(short, long, value_name = "EXPERIMENT")]
    pub(crate) experiment: Vec<String>,
    /// Which
    #[arg(long, value_enum, default_value = "active", value_name = "WHICH")]
    pub(crate) view: ViewArg,
    /// Columns of the table: run, name, experiment, status, start, end, took, user, source, lifecycle, metrics.KEY,
    /// params.KEY, tags.KEY
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunVerb {
    /// List the latest runs
    #[command(after_help = "Examples:\n  \
        plinth run list --experiment churn\n  \
        plinth run list --columns run,name,metrics.f1,params.trainer")]
    List {
        #[command(flatten)]
        runs: RunsArgs,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: u32,
    },
    /// Find runs by metrics, parameters, tags, data sets and attributes
    #[command(after_help = "Examples:\n  \
        plinth run search \"metrics.f1 > 0.8 AND params.trainer = 'linear'\" --order-by \"metrics.f1 DESC\"\n  \
        plinth run search \"status = 'FAILED'\" --experiment churn --limit 100\n  \
        plinth run search \"tags.`team name` IS NOT NULL\" --json\n\n\
        More than --limit: the token for the next page is said on stderr, and is `next_page_token` with --json.")]
    Search {
        #[command(flatten)]
        search: SearchArgs,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Show a run: parameters, metrics, tags, data sets and artifacts
    Show {
        /// Its id, the start of it, or its name
        run: String,
    },
    /// Show runs side by side, with what differs marked
    #[command(after_help = "Examples:\n  \
        plinth run compare 0c4f brave-fox-12\n  \
        plinth run compare A B C --differences             only what is not the same everywhere")]
    Compare {
        /// Their ids, the starts of these, or their names
        #[arg(required = true, num_args = 2..=20, value_name = "RUN")]
        runs: Vec<String>,
        /// Only what differs
        #[arg(short, long)]
        differences: bool,
    },
    /// Follow a run: metrics, parameters and its end as they arrive; --json writes one object a line
    #[command(after_help = "Examples:\n  \
        plinth run watch brave-fox-12\n  \
        plinth run watch 0c4f --metric loss --exit-status && plinth model promote churn 7\n\n\
        Ends with the run; ctrl-C ends only the watching.")]
    Watch {
        /// Its id, the start of it, or its name
        run: String,
        /// Only this metric; may be given several times
        #[arg(long, value_name = "KEY")]
        metric: Vec<String>,
        /// How often to look
        #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = humantime::parse_duration)]
        interval: Duration,
        /// Fail if the run fails
        #[arg(long)]
        exit_status: bool,
    },
    /// Delete runs; they can be restored until `plinth gc` takes them
    Delete {
        /// Their ids, the starts of these, or their names
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
        #[command(flatten)]
        yes: YesArg,
    },
    /// Bring deleted runs back
    Restore {
        /// Their ids, the starts of these, or their names
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
    },
    /// Set or remove tags
    #[command(after_help = "Example:\n  plinth run tag brave-fox-12 reviewed=yes --remove draft")]
    Tag {
        /// Its id, the start of it, or its name
        run: String,
        #[command(flatten)]
        tags: TagArgs,
    },
}

/// The words after `plinth run` that are no file.
pub(crate) const RUN_VERBS: [&str; 8] = ["list", "search", "show", "compare", "watch", "delete", "restore", "tag"];

/// What the points of a plot stand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AxisArg {
    /// Steps; seconds where every point has the same step
    Auto,
    /// Steps
    Step,
    /// Seconds since the run started
    Time,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth metrics plot 0c4f loss val_loss             two charts of one run\n  \
    plinth metrics plot 0c4f 91aa loss --x time        one chart of two runs\n  \
    plinth metrics history 0c4f loss --json")]
pub(crate) enum MetricsCommand {
    /// Every value of a metric
    History {
        /// The run's id, the start of it, or its name
        run: String,
        /// The metric
        key: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Draw metrics in the terminal: runs first, then metrics
    Plot {
        /// Runs (ids, starts of ids, or names), then metrics
        #[arg(required = true, value_name = "RUN|METRIC")]
        words: Vec<String>,
        /// A metric, where its name could be a run's too; may be given several times
        #[arg(short, long, value_name = "KEY")]
        key: Vec<String>,
        /// What the points stand over
        #[arg(long, value_enum, default_value = "auto", value_name = "AXIS")]
        x: AxisArg,
        /// Columns of a chart [default: those of the terminal]
        #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(30..=1000))]
        width: Option<u16>,
        /// Lines of a chart
        #[arg(long, value_name = "LINES", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=500))]
        height: u16,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth artifact list 0c4f\n  \
    plinth artifact get 0c4f model --output ./model    a folder; what is there already is not fetched again\n  \
    plinth artifact get models:/churn@champion         the files of a version\n  \
    plinth artifact get 0c4f metrics.json --output -   one file to stdout\n  \
    plinth artifact put 0c4f report.html --to reports\n\n\
    OWNER is a run (id, start of an id, name, or runs:/ID), a version (models:/NAME/VERSION, models:/NAME@ALIAS) or a \
    logged model (m-...).")]
pub(crate) enum ArtifactCommand {
    /// List files with their sizes and content hashes
    List {
        /// A run, a model version or a logged model
        owner: String,
        /// Only below this folder
        #[arg(default_value = "", hide_default_value = true)]
        path: String,
    },
    /// Fetch files: each is checked, and stands under its name only when it is whole
    Get {
        /// A run, a model version or a logged model
        owner: String,
        /// A file or a folder [default: everything]
        #[arg(default_value = "", hide_default_value = true)]
        path: String,
        /// The folder to write to, or `-` for one file to stdout
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        output: PathBuf,
        /// Replace files that are there and differ
        #[arg(long)]
        force: bool,
    },
    /// Store files or folders with a run
    Put {
        /// A run or a logged model
        owner: String,
        /// Files and folders
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The folder among the artifacts to put them in
        #[arg(long, value_name = "FOLDER", default_value = "", hide_default_value = true)]
        to: String,
    },
    /// Remove a file, or a folder with all that is in it
    Rm {
        /// A run or a logged model
        owner: String,
        /// The file or folder
        path: String,
        #[command(flatten)]
        yes: YesArg,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth model list\n  \
    plinth model search \"name LIKE 'churn%'\"\n  \
    plinth model version show churn 7\n  \
    plinth model promote churn 7 --alias champion\n  \
    plinth model register price --component linear.wasm --artifact coefficients.json --rows houses.csv\n  \
    plinth model alias delete churn challenger\n  \
    plinth model tag models:/churn/7 reviewed=yes\n  \
    plinth model stage churn 7 Production --archive    for old clients of MLflow\n  \
    plinth model delete models:/churn/3 --yes")]
pub(crate) enum ModelCommand {
    /// List registered models
    List {
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: u32,
    },
    /// Find registered models by name and tags
    Search {
        #[command(flatten)]
        search: SearchArgs,
    },
    /// Show a model and its versions
    Show {
        /// A model's name, or models:/NAME@ALIAS, or models:/NAME/VERSION
        model: String,
        /// How many versions, the newest
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: u32,
    },
    /// Versions of models
    #[command(subcommand)]
    Version(VersionCommand),
    /// Register a component as a new version of a model
    Register(RegisterArgs),
    /// Let an alias name a version
    #[command(after_help = "Example:\n  plinth model promote churn 7 --alias champion")]
    Promote {
        /// The model's name
        name: String,
        /// The version
        version: u64,
        /// The alias
        #[arg(long, default_value = "champion")]
        alias: String,
    },
    /// Set or delete aliases
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Set or remove tags of a model or a version
    Tag {
        /// A model's name, or models:/NAME@ALIAS, or models:/NAME/VERSION
        model: String,
        #[command(flatten)]
        tags: TagArgs,
    },
    /// Move a version to a stage, which clients of MLflow before aliases look at
    Stage {
        /// The model's name
        name: String,
        /// The version
        version: u64,
        /// None, Staging, Production or Archived
        stage: String,
        /// Move what is in the stage to Archived
        #[arg(long)]
        archive: bool,
    },
    /// Delete a model with all its versions, or one version, for good
    Delete {
        /// A model's name, or models:/NAME@ALIAS, or models:/NAME/VERSION
        model: String,
        /// Also if it answers for endpoints, which serve it only until their servers end
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        yes: YesArg,
    },
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("signature").args(["rows", "column", "transform_of"]),
    group = clap::ArgGroup::new("model").required(true).args(["component", "onnx"]),
    after_help = "Examples:\n  \
        plinth model register price --component linear.wasm --artifact coefficients.json --rows houses.csv\n  \
        plinth model register price --component linear.wasm --column area=float64 --column rooms=int64?\n  \
        plinth model register churn --component rules.wasm --transform-of models:/churn/7 --alias challenger\n  \
        plinth model register digits --onnx cnn.onnx                     asked with its own tensors\n  \
        plinth model register risk --onnx forest.onnx --rows loans.csv --without defaulted\n\n\
        The component and its artifact are stored by content, and the model has to load before it is registered. \
        `plinth serve`\nand `plinth predict` run exactly these bytes."
)]
pub(crate) struct RegisterArgs {
    /// Name of the registered model
    pub(crate) name: String,
    /// The component: a plugin's name or file
    #[arg(long, value_name = "PLUGIN")]
    pub(crate) component: Option<String>,
    /// An ONNX model, in place of a component; with --rows or --column it is asked by these columns
    #[arg(long, value_name = "FILE", conflicts_with_all = ["item", "artifact", "transform_of"])]
    pub(crate) onnx: Option<PathBuf>,
    /// Which of its kinds of model, if it has several
    #[arg(long)]
    pub(crate) item: Option<String>,
    /// What it is loaded from [default: nothing, the component is all there is]
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: Option<PathBuf>,
    /// Options, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) options: String,
    /// Rows such as callers send: their columns are the signature, they are tried, and drift is told by them
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: Option<PathBuf>,
    /// A column of --rows that callers do not send, such as the label; may be given several times
    #[arg(long, value_name = "COLUMN", requires = "rows")]
    pub(crate) without: Vec<String>,
    /// A column that callers send, such as area=float64, or area=float64? if it may be null; may be given several times
    #[arg(long, value_name = "NAME=KIND", value_parser = column)]
    pub(crate) column: Vec<plinth_ext::Field>,
    /// A version whose fitted transform, with its signature, is put before the component
    #[arg(long, value_name = "REF")]
    pub(crate) transform_of: Option<String>,
    /// An alias that names the new version from now on
    #[arg(long)]
    pub(crate) alias: Option<String>,
}

/// `area=float64?`
fn column(text: &str) -> Result<plinth_ext::Field, String> {
    let (name, kind) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=KIND")?;
    let (kind, nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
    let known = serde_json::from_value(serde_json::Value::from(kind));
    let kind = known.map_err(|_| {
        format!("`{kind}` is no kind; there are boolean, int64, timestamp-us, float32, float64, utf8 and binary")
    })?;
    Ok(plinth_ext::Field::new(name, kind, nullable))
}

#[derive(Debug, Subcommand)]
pub(crate) enum VersionCommand {
    /// Show a version and its files
    Show {
        /// A model's name, or models:/NAME@ALIAS, or models:/NAME/VERSION
        model: String,
        /// The version, after a name [default: the champion, else the newest]
        version: Option<u64>,
    },
    /// Find versions by model, number, run, source and tags
    #[command(after_help = "Examples:\n  \
        plinth model version search \"name = 'churn'\" --order-by \"version_number DESC\"\n  \
        plinth model version search \"run_id = '0c4f…'\"")]
    Search {
        #[command(flatten)]
        search: SearchArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// Let an alias name a version
    #[command(after_help = "Example:\n  plinth model alias set churn champion 7")]
    Set {
        /// The model's name
        name: String,
        /// The alias
        alias: String,
        /// The version that it names
        version: u64,
    },
    /// Remove an alias
    Delete {
        /// The model's name
        name: String,
        /// The alias
        alias: String,
    },
    /// NAME ALIAS VERSION, which means `set`
    #[command(external_subcommand)]
    Words(Vec<String>),
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth trace list --experiment support-bot\n  \
    plinth trace search \"status = 'ERROR' AND execution_time_ms > 1000\"\n  \
    plinth trace show tr-5f0c…")]
pub(crate) enum TraceCommand {
    /// List the latest traces
    List {
        /// Only those of this experiment, by name or id; may be given several times
        #[arg(short, long, value_name = "EXPERIMENT")]
        experiment: Vec<String>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: u32,
    },
    /// Find traces by status, time, tags, metadata and spans
    Search {
        #[command(flatten)]
        search: SearchArgs,
        /// Only those of this experiment, by name or id; may be given several times
        #[arg(short, long, value_name = "EXPERIMENT")]
        experiment: Vec<String>,
    },
    /// Show a trace and its spans
    Show {
        /// Its id
        trace: String,
    },
}
