//! The arguments of `plinth plugin …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use plinth_author::project::Language;

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Begin a plugin: a project that builds and passes at once
    New(PluginNewArgs),
    /// Build the component of a project
    Build(PluginBuildArgs),
    /// Make a component of a core module; what the SDKs' build scripts call
    #[command(hide = true)]
    Componentize(ComponentizeArgs),
    /// Compile one component for the program that starts this, which says what it wants on stdin
    #[command(hide = true)]
    CompileWorker,
    /// List the plugins that can be found
    #[command(after_help = "Examples:\n  \
        plinth plugin list\n  \
        plinth plugin list --json | jq -r '.[].name'")]
    List,
    /// Print the path of a tool that plugins are built with: python, node or go; installs it where it is missing
    #[command(hide = true)]
    Tool { name: String },
    /// Show what a plugin offers, asks for and is granted
    #[command(after_help = "Examples:\n  \
        plinth plugin inspect tabular\n  \
        plinth plugin inspect ./my-scale.wasm --json")]
    Inspect {
        /// A plugin's name or file
        plugin: String,
    },
    /// Check a component: extension points, manifest, capabilities, items
    #[command(after_help = "Examples:\n  \
        plinth plugin check my-scale        a project's folder\n  \
        plinth plugin check ./my-scale.wasm")]
    Check {
        /// A plugin's name or file
        plugin: String,
    },
    /// Try a plugin on a file and show what comes out; nothing is recorded
    Run(PluginRunArgs),
    /// Hold a plugin to its cases and to the promises of its extension point
    Test(PluginTestArgs),
    /// Build and test a project again whenever one of its files changes
    Dev(PluginDevArgs),
    /// Measure a plugin: its size, start, calls and throughput, beside the built-in's and native code's
    Bench(PluginBenchArgs),
    /// Allow a plugin what it asks for, in plinth.toml
    Grant(PluginGrantArgs),
    /// Sign a component
    Sign(PluginSignArgs),
    /// Check whose a component is, and that nobody changed it
    Verify(PluginVerifyArgs),
    /// Push a component to an OCI registry
    Push(PluginPushArgs),
    /// Pull a component from an OCI registry, or all that plinth.lock names
    Pull(PluginPullArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth plugin run tabular rows.csv --item standard-scale          fit on the rows, apply to them\n  \
    plinth plugin run load-csv rows.csv --option delimiter=';'        what a loader reads\n  \
    plinth plugin run drift-tests jan.csv --current feb.csv --item ks  each column compared\n  \
    plinth plugin run quality-gate evidence.json --item metrics        the checks of a gate\n  \
    plinth plugin run linear-model rows.csv --artifact model.json      what a model predicts")]
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
    /// What a model is loaded from [default: nothing, the component is all there is]
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: Option<PathBuf>,
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

#[derive(Debug, Args)]
#[command(
    after_help = r#"A case is a JSON file in the folder `cases` beside the component. It names an item, its options, what goes in and
what is expected:
  {"item": "clip", "options": {"most": 1}, "fit": TABLE, "apply": TABLE}         a transform
  {"item": "lines", "source": {"text": "a\nb\n"}}                                a loader; or a file's name
  {"item": "bounds", "evidence": {"candidate": {"reference": "m", "metrics": []}, "baseline": null}}   a gate
  {"item": "psi", "reference": TABLE, "current": TABLE}                          a drift test
  {"item": "linear", "artifact": {"json": {"a": 1}}, "predict": TABLE}           a model; or text, hex, a file's name
TABLE is {"columns": [{"name": "x", "kind": "float64", "values": [1.5, null, "NaN"]}]}, or the name of a file of rows.
What is expected is written by --bless, and compared bit for bit.

Examples:
  plinth plugin test                        in a project: the suite, and the cases in ./cases
  plinth plugin test ./clip.wasm            the suite, and the cases in ./cases
  plinth plugin test ./clip.wasm --bless    take over what comes out where nothing, or something else, is expected"#
)]
pub(crate) struct PluginTestArgs {
    /// A plugin's name, file or project
    #[arg(default_value = ".")]
    pub(crate) plugin: String,
    /// Only this item
    #[arg(long)]
    pub(crate) item: Option<String>,
    /// The folder of the cases [default: `cases` beside the component]
    #[arg(long, value_name = "DIR")]
    pub(crate) cases: Option<PathBuf>,
    /// Run the cases alone, without the suite of the extension point
    #[arg(long)]
    pub(crate) cases_only: bool,
    /// Write what comes out into the cases, as what is expected
    #[arg(long)]
    pub(crate) bless: bool,
}

/// An extension point, as `--kind` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PointArg {
    /// Turns files into rows
    Loader,
    /// Fitted on training data, applied everywhere
    Transform,
    /// Judges whether a candidate may go on
    Gate,
    /// Compares two samples
    Drift,
    /// A model that is a component
    Predict,
}

impl PointArg {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Transform => "transform",
            Self::Gate => "gate",
            Self::Drift => "drift",
            Self::Predict => "predict",
        }
    }
}

/// A language, as `--lang` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LanguageArg {
    Rust,
    Python,
    Js,
    Go,
    C,
}

impl LanguageArg {
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Rust => Language::Rust,
            Self::Python => Language::Python,
            Self::Js => Language::Js,
            Self::Go => Language::Go,
            Self::C => Language::C,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth plugin new my-scale --kind transform --lang python\n  \
    cd my-scale && plinth plugin build && plinth plugin test")]
pub(crate) struct PluginNewArgs {
    /// Its name, such as `my-scale`; also the folder that is made
    pub(crate) name: String,
    /// What it does
    #[arg(long, value_enum)]
    pub(crate) kind: PointArg,
    /// What it is written in
    #[arg(long, value_enum)]
    pub(crate) lang: LanguageArg,
    /// The folder to make instead
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "The language is told by the project's files. What it needs:\n  \
    rust     cargo, and `rustup target add wasm32-unknown-unknown`\n  \
    python   Python 3.10 or newer; componentize-py is installed where it is missing\n  \
    js       Node 20 or newer, else Python, by which it is installed; componentize-qjs is installed by npm\n  \
    go       Go 1.24 or newer, else Python, by which it is installed\n  \
    c        zig or wasi-sdk, else Python, by which zig is installed\n\
    What is installed lies in the user's cache, and nothing else of the machine is changed.\n\n\
    Examples:\n  \
    plinth plugin build                     the project in this folder, into NAME.wasm\n  \
    plinth plugin build my-scale -o out.wasm")]
pub(crate) struct PluginBuildArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// The component [default: NAME.wasm in the project]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth plugin dev               in a project, until Ctrl-C\n  \
    plinth plugin dev my-scale --once")]
pub(crate) struct PluginDevArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// Build and test once, and do not wait for changes
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ComponentizeArgs {
    /// The core module
    pub(crate) core: PathBuf,
    /// The component
    pub(crate) output: PathBuf,
    /// Its plugin.json
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: PathBuf,
    /// What turns WASI preview 1 into 0.2
    #[arg(long, value_name = "FILE")]
    pub(crate) adapt: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth plugin grant embed kv clock\n  \
    plinth plugin grant embed http --host api.example.com --method POST\n  \
    plinth plugin grant embed nn --model encoder=models/encoder.onnx\n  \
    plinth plugin grant embed secrets --secret api-key=env:ACME_KEY\n  \
    plinth plugin grant embed http --revoke")]
pub(crate) struct PluginGrantArgs {
    /// A plugin's name
    pub(crate) plugin: String,
    /// Capabilities
    #[arg(required = true)]
    pub(crate) capabilities: Vec<String>,
    /// Take back instead
    #[arg(long)]
    pub(crate) revoke: bool,
    /// For `http`: a host it may ask
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// For `http`: a host that may be at a private address
    #[arg(long, value_name = "HOST")]
    pub(crate) private: Vec<String>,
    /// For `http`: a method beside GET and HEAD
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Vec<String>,
    /// For `nn`: a model
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) model: Vec<String>,
    /// For `secrets`: a secret, from `env:NAME` or `file:PATH`
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) secret: Vec<String>,
    /// For `kv`: its quota
    #[arg(long, value_name = "BYTES")]
    pub(crate) kv_bytes: Option<u64>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The signature (Ed25519, over the component's bytes) is put beside the component, and goes with it when it is pushed.\n\n\
    Examples:\n  \
    plinth plugin sign my-scale --key ~/keys/plugins.pem --new-key    the first time\n  \
    plinth plugin sign my-scale --key ~/keys/plugins.pem"
)]
pub(crate) struct PluginSignArgs {
    /// A plugin's name, file or project
    pub(crate) plugin: String,
    /// The private key: Ed25519, PKCS#8, PEM
    #[arg(long, value_name = "FILE", env = "PLINTH_SIGNING_KEY")]
    pub(crate) key: PathBuf,
    /// Make the key first
    #[arg(long)]
    pub(crate) new_key: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth plugin verify my-scale                     by the keys of `[trust] keys`\n  \
    plinth plugin verify ./my-scale.wasm --key ed25519:…")]
pub(crate) struct PluginVerifyArgs {
    /// A plugin's name, file or project
    pub(crate) plugin: String,
    /// A trusted key, `ed25519:…` [default: those of `[trust] keys`]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Who you are comes from PLINTH_REGISTRY_USERNAME and PLINTH_REGISTRY_PASSWORD, else from `docker login`.\n\n\
    Examples:\n  \
    plinth plugin push my-scale registry.example/team/my-scale:1.2.0"
)]
pub(crate) struct PluginPushArgs {
    /// A plugin's name, file or project
    pub(crate) plugin: String,
    /// Where to, HOST/NAME:TAG
    pub(crate) reference: String,
    /// Without TLS, as to a registry on this machine
    #[arg(long)]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What was pulled is found by its name, and plinth.lock says by digest and content what it is.\n\n\
    Examples:\n  \
    plinth plugin pull registry.example/team/my-scale:1.2.0\n  \
    plinth plugin pull                                         all that plinth.lock names"
)]
pub(crate) struct PluginPullArgs {
    /// Where from, HOST/NAME:TAG or HOST/NAME@DIGEST [default: what plinth.lock names]
    pub(crate) reference: Option<String>,
    /// What to call it [default: the name that it gives itself]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Without TLS, as from a registry on this machine
    #[arg(long)]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Ratios count, measured in one run: absolute figures are this machine's, and a debug build's are of no use.\n\n  \
    first-use-ms             compiling it, where it is not in the cache yet, and the first instance\n  \
    load-from-cache-ms       the same once it is compiled\n  \
    instance-us              making a fresh instance\n  \
    load-us                  giving an instance a fitted state, or a model's artifact (median)\n  \
    one-row-us               one call with one row of --columns numbers (median)\n  \
    rows-per-second          all rows in one call (median); of drift tests, of both tables together; of loaders, the file\n  \
    test-of-100-us           one drift test of 100 values against 100 (median)\n  \
    evaluation-us            one question to a gate (median)\n  \
    plan-us                  a loader's plan of the file (median)\n  \
    memory-bytes             the most that one instance had\n\n\
    Examples:\n  \
    plinth plugin bench my-scale\n  \
    plinth plugin bench my-scale --rows 1000000 --columns 5 --json\n  \
    plinth plugin bench my-gate --options '{\"thresholds\": [{\"metric\": \"f1\", \"min\": 0.8}]}'\n  \
    plinth plugin bench my-loader --input rows.txt\n  \
    plinth plugin bench my-model --input rows.csv --artifact model.json"
)]
pub(crate) struct PluginBenchArgs {
    /// A plugin's name, file or project
    #[arg(default_value = ".")]
    pub(crate) plugin: String,
    /// Which of its items, if it has several
    #[arg(long)]
    pub(crate) item: Option<String>,
    /// Options, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) options: String,
    /// What it is measured with: rows, what a loader reads, or a gate's evidence (.json) [default: made up]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rows", "columns"])]
    pub(crate) input: Option<PathBuf>,
    /// What a model is loaded from [default: nothing, the component is all there is]
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: Option<PathBuf>,
    /// Rows that are made up, of numbers named x0, x1 and so on
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rows: u32,
    /// Columns of these rows
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) columns: u32,
}
