//! What the command line of `plinth sql` says.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth sql \"select state, count(*) from 'rows.csv' group by state order by 2 desc\"\n  \
    plinth sql --table t=rows.parquet \"select avg(x) from t\" --format csv\n  \
    plinth sql \"select * from 'day/*.parquet' where x > 1\" --output kept.parquet\n  \
    plinth sql -f report.sql                             statements of a file; from stdin with -f -\n\n\
    Transforms are functions, and whole batches of rows go through them:\n  \
    plinth sql --function scale=tabular:standard-scale \\\n      \
    --fit scale=\"select x from 'train.parquet'\" \"select scale(x) from 'new.parquet'\"\n  \
    plinth sql --function features=models:/churn@champion \\\n      \
    \"select features(*).* from 'new.csv'\"              the very features that the model sees\n  \
    plinth sql --model churn=models:/churn@champion \\\n      \
    \"select customer_id, churn(*).prediction from 'new.csv'\"\n  \
    plinth sql \"select clip(x, min => 0, max => 9) from 'rows.csv'\"   an installed plugin")]
pub(crate) struct SqlArgs {
    /// Statements; from stdin if there are none and no file
    #[arg(value_name = "STATEMENT")]
    pub(crate) statements: Vec<String>,
    /// Read statements from a file; - is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "statements")]
    pub(crate) file: Option<PathBuf>,
    /// Name a file: .parquet (or a pattern of them), .csv, .csv.gz or .jsonl
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) table: Vec<String>,
    /// Name a transform: PLUGIN, PLUGIN:ITEM, a component's path, or models:/NAME@ALIAS for the one of a model version
    #[arg(long, value_name = "NAME=REF", help_heading = "Functions")]
    pub(crate) function: Vec<String>,
    /// Fit a function on the rows of a query
    #[arg(long, value_name = "NAME=QUERY", help_heading = "Functions")]
    pub(crate) fit: Vec<String>,
    /// Give a function a fitted state: a file, or the content hash of a stored one
    #[arg(long, value_name = "NAME=FILE_OR_HASH", help_heading = "Functions")]
    pub(crate) state: Vec<String>,
    /// Name the columns that a state was fitted on, in the order of the arguments [default: their names in the call]
    #[arg(long, value_name = "NAME=COLUMN,…", help_heading = "Functions")]
    pub(crate) columns: Vec<String>,
    /// Set an option of a function
    #[arg(long, value_name = "NAME.KEY=VALUE", help_heading = "Functions")]
    pub(crate) option: Vec<String>,
    /// Name a model version whose predictions are a function of its raw columns
    #[arg(long, value_name = "NAME=REF", help_heading = "Functions")]
    pub(crate) model: Vec<String>,
    /// How rows are written [default: a table, or what the name of the output ends with]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Rows")]
    pub(crate) format: Option<RowFormat>,
    /// Where the rows go; .csv, .json, .jsonl or .parquet
    #[arg(short, long, value_name = "FILE", help_heading = "Rows")]
    pub(crate) output: Option<PathBuf>,
    /// Rows of a table that a terminal shows; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 40, help_heading = "Rows")]
    pub(crate) max_rows: usize,
    /// Threads; with more than one, rows come in any order unless the statement says which
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// For people.
    Table,
    /// A header and a line for each row.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line; also with --json.
    Jsonl,
    /// A Parquet file.
    Parquet,
}
