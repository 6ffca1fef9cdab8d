//! `plinth explain`: what each column had to do with a model's predictions, against a reference set.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use plinth_core::codes;
use plinth_ext::Batch;
use plinth_score::{Explainer, Sampling, Scorer, Trees, attribution_schema, attribution_table};
use plinth_tracking::{FileRole, ModelVersion};
use serde_json::json;

use crate::{
    args::Since,
    config::Settings,
    explained,
    host::Host,
    models::resolve,
    outfile::OutFile,
    output::{Failure, Output, io_failure},
    predict::{for_each_batch, read_all, version_options},
    rows::Sink,
    scorer,
    stages::thousands,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth explain models:/churn@champion --data new.csv\n  \
    plinth explain churn --data new.csv --output why.parquet\n  \
    plinth explain churn --data new.csv --reference normal.csv --json\n  \
    plinth explain churn --captured --since 24h            what `plinth serve` explained of its requests\n\n\
    One line comes out for each row and score: its base (the mean over the reference rows), its value, and each\n\
    column's part; base and parts add up to the value. Trees are explained exactly, and where a model makes\n\
    probabilities of what its trees add up to, the log-odds are what is explained; with --kernel it is always\n\
    the prediction itself.\n\n\
    A server explains a part of what it answers if plinth.toml says [serve] explain-part = 0.01; request_id joins\n\
    those lines with what was captured, also in `plinth sql` ('captures:/churn', 'explanations:/churn').",
    group = clap::ArgGroup::new("source").required(true).args(["data", "captured"]))]
pub(crate) struct ExplainArgs {
    /// models:/NAME@ALIAS or models:/NAME/VERSION
    #[arg(value_name = "REF")]
    model: String,
    /// Rows to explain: .csv, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Write what was explained while it was served
    #[arg(long, conflicts_with_all = ["reference", "kernel", "seed", "device"])]
    captured: bool,
    /// Only requests answered since: a duration back from now, such as 2h or 7days, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", requires = "captured", value_parser = Since::parse)]
    since: Option<Since>,
    /// Rows to compare with [default: the sample of training rows that is stored with the version]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Ask every model with coalitions of columns, also one of trees
    #[arg(long)]
    kernel: bool,
    /// Seed of sampled coalitions
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Where attributions go: .csv, .jsonl or .parquet [default: CSV to stdout]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the model runs: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
}

/// `plinth explain`
pub(crate) fn explain(args: &ExplainArgs, settings: Settings, output: Output) -> Result<ExitCode, Failure> {
    let host = Host::open(settings, args.device.as_deref(), None)?;
    let version = resolve(&host, &args.model)?;
    let Some(data) = &args.data else { return captured(args, &host, &version, output) };
    if scorer::Spec::of(&version)?.is_onnx() {
        host.start_runtime_early();
    }
    let scorer = scorer::of_version(&host, &version, &host.sessions(1), scorer::Use::Batch)?;
    let reference = match &args.reference {
        Some(path) => Some(read_all(&host.components, path, &version_options(&version, path)?)?),
        None => None,
    };
    let explainer = explainer(&host, &version, &scorer, reference, args.seed)?;
    if let Some(why) = explainer.why_no_trees() {
        tracing::info!("the model's trees are not walked: {why}");
    }
    let shape = attribution_schema(&scorer);
    let file = args.output.as_deref().map(|path| OutFile::begin(path, output));
    let mut sink = Sink::open(file.as_ref().map(OutFile::beside), &shape, output.json)?;
    let mut rows = 0;
    for_each_batch(&host.components, data, &version_options(&version, data)?, |batch| {
        let raw = scorer.signature().coerce(batch)?;
        let explained = explainer.explain(&scorer, &raw, args.kernel)?;
        let names: Vec<&str> = explainer.scores(&scorer).collect();
        sink.write(&attribution_table(&shape, &names, &explained, rows))?;
        rows += raw.num_rows();
        Ok(())
    })?;
    sink.finish()?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!(
        "{} rows of {} explained against {} reference rows",
        thousands(rows as u64),
        version.reference(),
        explainer.reference_rows()
    ));
    if output.json && args.output.is_some() {
        output
            .data(&json!({"rows": rows, "model": version.reference(), "output": args.output}), String::new)
            .map_err(|error| io_failure("stdout", &error))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a server explained of its requests.
fn captured(args: &ExplainArgs, host: &Host, version: &ModelVersion, output: Output) -> Result<ExitCode, Failure> {
    let file = args.output.as_deref().map(|path| OutFile::begin(path, output));
    let lines = explained::write(host, version, args.since.as_ref(), file.as_ref(), output)?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!("{} lines of requests that {} answered", thousands(lines), version.reference()));
    if output.json && args.output.is_some() {
        output
            .data(&json!({"lines": lines, "model": version.reference(), "output": args.output}), String::new)
            .map_err(|error| io_failure("stdout", &error))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What explains a version's predictions: against `reference`, else against the rows that are stored with the version.
pub(crate) fn explainer(
    host: &Host,
    version: &ModelVersion,
    scorer: &Scorer,
    reference: Option<Batch>,
    seed: u64,
) -> Result<Explainer, Failure> {
    let reference = match reference {
        Some(reference) => reference,
        None => {
            let profile = version.file(FileRole::Profile).map_err(|_| {
                let message = format!("{} carries no rows to compare with", version.reference());
                Failure::new(codes::NO_PROFILE, message)
                    .hint("give some with --reference FILE; versions made by `plinth run`, or registered with --rows, carry them")
            })?;
            let table = host.table_of(&profile.hash).map_err(|failure| Failure::of(&*failure.error))?;
            table.read_all()?
        }
    };
    let reference = scorer.model_signature().coerce(&reference)?;
    let trees = match scorer::Spec::of(version)?.onnx() {
        Some(onnx) => match Trees::read(&host.store().blobs().get(&onnx)?) {
            Ok(trees) => Some(trees),
            Err(why) => {
                tracing::debug!("{}: {why}", version.reference());
                None
            }
        },
        None => None,
    };
    let limits = &host.limits().explain;
    let sampling = Sampling { coalitions: limits.coalitions_max as usize, seed };
    Ok(Explainer::new(scorer, &reference, limits.reference_rows_max as usize, trees, sampling)?)
}
