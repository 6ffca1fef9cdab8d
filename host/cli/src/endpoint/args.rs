//! The command line of `plinth endpoint`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    plinth endpoint create churn models:/churn@champion\n  \
    plinth endpoint deploy churn models:/churn/7 --name canary --weight 10\n  \
    plinth endpoint route churn champion=50 canary=50 --sticky column:customer_id\n  \
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
    /// Add a deployment, or put another model in the place of one
    Deploy {
        /// The endpoint
        endpoint: String,
        #[command(flatten)]
        what: DeploymentArgs,
        /// Percent of the requests that it answers; the others give it up in proportion
        /// [default: none, or what the one in its place had]
        #[arg(long, value_name = "PERCENT")]
        weight: Option<f64>,
        /// Why, for the log
        #[arg(long, default_value = "")]
        reason: String,
    },
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
    /// Go back to an earlier revision
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
    /// Show an endpoint
    Status {
        /// The endpoint
        endpoint: String,
    },
    /// Show what became of an endpoint, newest first
    Logs {
        /// The endpoint
        endpoint: String,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u64,
    },
    /// Take an endpoint out of service
    Delete {
        /// The endpoint
        endpoint: String,
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
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// The endpoint
    pub(crate) endpoint: String,
    /// Percent of the requests that a deployment answers; those that are not named get none
    #[arg(value_name = "NAME=PERCENT")]
    pub(crate) weights: Vec<String>,
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
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}
