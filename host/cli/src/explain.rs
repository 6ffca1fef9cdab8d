//! `plinth explain`: what each column had to do with a model's predictions, against a reference set.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use clap::Args;
use plinth_core::codes;
use plinth_ext::{Batch, Field, Kind, Schema};
use plinth_score::{Explained, Explainer, Sampling, Scorer, Trees};
use plinth_tracking::{FileRole, ModelVersion};
use serde_json::json;

use crate::{
    config::Settings,
    host::Host,
    models::resolve,
    output::{Failure, Output, io_failure},
    predict::{for_each_batch, partial, read_all, version_options},
    rows::Sink,
    scorer,
    stages::thousands,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth explain models:/churn@champion --data new.csv\n  \
    plinth explain churn --data new.csv --output why.parquet\n  \
    plinth explain churn --data new.csv --reference normal.csv --json\n\n\
    One line comes out for each row and score: its base (the mean over the reference rows), its value, and each\n\
    column's part; base and parts add up to the value. Trees are explained exactly, and where a model makes\n\
    probabilities of what its trees add up to, the log-odds are what is explained; with --kernel it is always\n\
    the prediction itself.")]
pub(crate) struct ExplainArgs {
    /// models:/NAME@ALIAS or models:/NAME/VERSION
    #[arg(value_name = "REF")]
    model: String,
    /// Rows to explain: .csv, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
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
    let shape = schema(&scorer)?;
    let partial_path = args.output.as_deref().map(partial);
    let mut sink = Sink::open(partial_path.as_deref(), &shape, output.json)?;
    let mut rows = 0;
    let written = for_each_batch(&host.components, &args.data, &version_options(&version, &args.data)?, |batch| {
        let raw = scorer.signature().coerce(batch)?;
        let explained = explainer.explain(&scorer, &raw, args.kernel)?;
        let names: Vec<&str> = explainer.scores(&scorer).collect();
        sink.write(&table(&shape, &names, &explained, rows)?)?;
        rows += raw.num_rows();
        Ok(())
    })
    .and_then(|_| sink.finish());
    if let (Some(partial), Some(path)) = (&partial_path, &args.output) {
        if let Err(failure) = written {
            // What is left of it is of no use; the failure is what matters.
            let _ = std::fs::remove_file(partial);
            return Err(failure);
        }
        std::fs::rename(partial, path).map_err(|error| io_failure(&path.display().to_string(), &error))?;
    } else {
        written?;
    }
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

/// One line for each row and score.
fn schema(scorer: &Scorer) -> Result<Schema, Failure> {
    let mut fields = vec![
        Field::new("row", Kind::Int64, false),
        Field::new("score", Kind::Utf8, false),
        Field::new("method", Kind::Utf8, false),
        Field::new("exact", Kind::Boolean, false),
        Field::new("scale", Kind::Utf8, false),
        Field::new("base", Kind::Float64, false),
        Field::new("value", Kind::Float64, false),
    ];
    let columns = scorer.model_signature().columns().fields().iter();
    // With a word before it, so that no column of the model's is mistaken for one of these.
    fields.extend(columns.map(|field| Field::new(format!("part_{}", field.name), Kind::Float64, false)));
    Ok(Schema::new(fields)?)
}

fn table(schema: &Schema, scores: &[&str], explained: &[Explained], first: usize) -> Result<Batch, Failure> {
    // Each line: its row from 0, its score's place, and what is said of both.
    let lines: Vec<_> = explained
        .iter()
        .enumerate()
        .flat_map(|(row, one)| one.scores.iter().enumerate().map(move |(score, said)| (first + row, score, one, said)))
        .collect();
    let number = |of: &dyn Fn(usize) -> f64| -> ArrayRef {
        Arc::new((0..lines.len()).map(|line| Some(of(line))).collect::<Float64Array>())
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(lines.iter().map(|(row, ..)| Some(*row as i64)).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(lines.iter().map(|(_, score, ..)| scores[*score]))),
        Arc::new(StringArray::from_iter_values(lines.iter().map(|(_, _, one, _)| one.method.name()))),
        Arc::new(lines.iter().map(|(_, _, one, _)| Some(one.exact)).collect::<BooleanArray>()),
        Arc::new(StringArray::from_iter_values(lines.iter().map(|(_, _, one, _)| one.scale.name()))),
        number(&|line| lines[line].3.base),
        number(&|line| lines[line].3.value),
    ];
    let parts = schema.len() - columns.len();
    columns.extend((0..parts).map(|part| number(&|line| lines[line].3.parts[part])));
    Ok(Batch::new(schema.clone(), columns, lines.len())?)
}
