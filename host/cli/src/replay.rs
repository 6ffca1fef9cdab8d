//! `plinth replay`: requests that were captured, asked again of another version, and in what its answers differ.

use std::{ops::Range, path::PathBuf, process::ExitCode};

use arrow_array::{BooleanArray, new_null_array};
use clap::Args;
use plinth_core::{Clock, SystemClock, codes};
use plinth_ext::{Batch, Field, Schema};
use plinth_score::{ScoreError, Scorer};
use plinth_serve::{Captured, OutputDifference, differences};
use plinth_tracking::ModelVersion;
use serde_json::{Value, json};

use crate::{
    args::Since,
    config::Settings,
    host::Host,
    models::resolve,
    outfile::OutFile,
    output::{Failure, Output, io_failure, table},
    rows::Sink,
    scorer,
    stages::thousands,
};

/// Rows that are asked at once.
const ROWS_PER_RUN: usize = 8_192;
/// Errors that are told.
const ERRORS_MAX: usize = 5;
/// What the name of every output column starts with that the other version answered.
const REPLAYED: &str = "replayed.";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plinth replay churn models:/churn/7                                  what version 7 would have answered\n  \
    plinth replay churn models:/churn/7 --since 24h --max-differing 1%   exit code 4 if more rows differ\n  \
    plinth replay churn models:/churn/7 --output differ.csv              the rows that differ, with both answers")]
pub(crate) struct ReplayArgs {
    /// Whose captured requests: a model's name, models:/NAME@ALIAS or models:/NAME/VERSION
    #[arg(value_name = "CAPTURED")]
    from: String,
    /// Who is asked: a model's name, models:/NAME@ALIAS or models:/NAME/VERSION
    #[arg(value_name = "ASKED")]
    to: String,
    /// Only requests captured since: a duration back from now, such as 2h or 7days, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
    since: Option<Since>,
    /// Most rows that are asked again, the newest of them
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000)]
    rows: u64,
    /// How far numbers may be apart and still be the same
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, value_parser = distance)]
    tolerance: f64,
    /// Largest part of the rows that may be answered otherwise; exit code 4 if more are
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    max_differing: Option<f64>,
    /// Where rows that are answered otherwise go, with both answers: .csv, .jsonl or .parquet
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the model runs: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
}

fn distance(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "write a number of 0 or more, such as 1e-6".into())
}

fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').parse::<f64>().ok();
    number.filter(|number| (0.0..=100.0).contains(number)).ok_or_else(|| "write a percentage, such as 1%".into())
}

/// What a replay found.
#[derive(Debug, Default)]
struct Found {
    rows: u64,
    /// Rows of which any output differs, and those that failed.
    differing: u64,
    /// Rows that the other version could not score.
    failed: u64,
    outputs: Vec<OutputDifference>,
    /// Some of why those failed.
    errors: Vec<String>,
}

/// `plinth replay`
pub(crate) fn replay(args: &ReplayArgs, mut settings: Settings, output: Output) -> Result<ExitCode, Failure> {
    // Every row gets its own answer or its own error: no plugin is kept from the rows behind those on which it fails.
    settings.config.limits.plugin.breaker_faults_max = u32::MAX;
    let host = Host::open(settings, args.device.as_deref(), None)?;
    let (from, to) = (resolve(&host, &args.from)?, resolve(&host, &args.to)?);
    let files = captured(&host, &from, args)?;
    let scorer = scorer::of_version(&host, &to, &host.sessions(1), scorer::Use::Batch)?;
    let (mut found, mut differing) = (Found::default(), Differing::new(args.output.clone(), output));
    for (file, skip) in files {
        let rows = host.table_of(&file).and_then(|table| Ok(table.read_all()?));
        let rows = rows.map_err(|failure| Failure::of(&*failure.error))?;
        // A file may have begun before the moment, and of the oldest only the last rows count.
        let rows = Captured::since(&rows, args.since.as_ref().map_or(0, |since| since.micros(SystemClock.now())));
        let skip = skip.min(rows.num_rows());
        for from in (skip..rows.num_rows()).step_by(ROWS_PER_RUN) {
            let rows = rows.slice(from, ROWS_PER_RUN.min(rows.num_rows() - from));
            ask(&scorer, &rows, args.tolerance, &mut found, &mut differing)?;
        }
    }
    differing.finish()?;
    if found.rows == 0 {
        return Err(nothing(&from, args));
    }
    let share = found.differing as f64 / found.rows as f64;
    let value = json!({
        "captured": from.reference(), "asked": to.reference(), "rows": found.rows, "differing": found.differing,
        "differing_share": share, "failed": found.failed, "errors": found.errors,
        "outputs": found.outputs.iter().map(|output| json!({
            "name": output.name, "rows": output.rows, "differing_share": output.share(),
            "mean_difference": output.mean(), "max_difference": output.mean().map(|_| output.max),
        })).collect::<Vec<Value>>(),
    });
    output.data(&value, || show(&found, &from, &to)).map_err(|error| io_failure("stdout", &error))?;
    match args.max_differing {
        Some(limit) if 100.0 * share > limit => {
            let message = format!("{:.2} % of the rows are answered otherwise; {limit} % may be", 100.0 * share);
            let hint = match &args.output {
                None => "--output FILE shows which".into(),
                Some(file) => format!("{} shows which", file.display()),
            };
            Err(Failure::new(codes::ANSWERS_DIFFER, message).hint(hint))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The newest files of a version's captured requests, oldest first, and how many rows of each are too many.
fn captured(
    host: &Host,
    from: &ModelVersion,
    args: &ReplayArgs,
) -> Result<Vec<(plinth_core::ContentHash, usize)>, Failure> {
    let since = args.since.as_ref().map_or(0, |since| since.micros(SystemClock.now()));
    let mut left = args.rows;
    let mut files = Vec::new();
    for capture in host.tracking().captures(&from.model, from.version, since)?.into_iter().rev() {
        if left == 0 {
            break;
        }
        let skip = capture.rows.saturating_sub(left);
        left -= capture.rows - skip;
        files.push((capture.blob, usize::try_from(skip).unwrap_or(usize::MAX)));
    }
    files.reverse();
    if files.is_empty() { Err(nothing(from, args)) } else { Ok(files) }
}

fn nothing(from: &ModelVersion, args: &ReplayArgs) -> Failure {
    let when = args.since.as_ref().map(|since| format!(" since {}", since.text)).unwrap_or_default();
    Failure::new(codes::EMPTY_INPUT, format!("no request to {} was captured{when}", from.reference()))
        .hint("serve it with `plinth serve` for a while")
}

/// Asks rows of a captured table again, and compares.
fn ask(
    scorer: &Scorer,
    rows: &Batch,
    tolerance: f64,
    found: &mut Found,
    differing: &mut Differing,
) -> Result<(), Failure> {
    let (inputs, given) = (Captured::part(rows, Captured::INPUT), Captured::part(rows, Captured::OUTPUT));
    let held = || inputs.schema().fields().iter().map(|field| field.name.as_str());
    let wanted = scorer.signature().columns().fields();
    if let Some(missing) = wanted.iter().find(|field| held().all(|held| held != field.name)) {
        return Err(Failure::of(&scorer.signature().missing(&missing.name, held()))
            .hint("the requests were captured without that column: they cannot be asked again of this version"));
    }
    found.rows += rows.num_rows() as u64;
    let mut scored = Vec::new();
    each(scorer, &inputs, 0..rows.num_rows(), &mut scored);
    for (part, answers) in scored {
        let (rows, given) = (rows.slice(part.start, part.len()), given.slice(part.start, part.len()));
        let (unlike, answers) = match answers {
            Ok(answers) => (differences(&given, &answers, tolerance, &mut found.outputs), answers),
            Err(error) => {
                found.failed += part.len() as u64;
                if found.errors.len() < ERRORS_MAX {
                    found.errors.push(error.to_string());
                }
                (vec![true; part.len()], no_answers(scorer, part.len())?)
            }
        };
        found.differing += unlike.iter().filter(|unlike| **unlike).count() as u64;
        differing.write(&rows, &answers, &BooleanArray::from(unlike))?;
    }
    Ok(())
}

/// Scores rows together; where that fails, in halves of them, so that only those that are to blame fail.
fn each(
    scorer: &Scorer,
    inputs: &Batch,
    rows: Range<usize>,
    scored: &mut Vec<(Range<usize>, Result<Batch, ScoreError>)>,
) {
    let score = |rows: &Range<usize>| {
        let part = inputs.slice(rows.start, rows.len());
        scorer.signature().coerce(&part).and_then(|part| scorer.score(&part))
    };
    match score(&rows) {
        Err(_) if rows.len() > 1 => {
            let middle = rows.start + rows.len() / 2;
            each(scorer, inputs, rows.start..middle, scored);
            each(scorer, inputs, middle..rows.end, scored);
        }
        answers => scored.push((rows, answers)),
    }
}

/// Nothing, in the columns of an answer.
fn no_answers(scorer: &Scorer, rows: usize) -> Result<Batch, Failure> {
    let fields = scorer.output().fields().iter().map(|field| Field { nullable: true, ..field.clone() });
    let columns = scorer.output().arrow().fields().iter().map(|field| new_null_array(field.data_type(), rows));
    Ok(Batch::new(Schema::new(fields.collect())?, columns.collect(), rows)?)
}

/// The rows that differ, on their way to a file; it is put in its place when it is whole.
struct Differing {
    path: Option<PathBuf>,
    output: Output,
    begun: Option<(OutFile, Sink)>,
}

impl Differing {
    fn new(path: Option<PathBuf>, output: Output) -> Self {
        Self { path, output, begun: None }
    }

    fn write(&mut self, rows: &Batch, answers: &Batch, unlike: &BooleanArray) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut fields: Vec<Field> = Vec::new();
        let mut columns = Vec::new();
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            if field.name != Captured::SHADOW {
                fields.push(field.clone());
                columns.push(column.clone());
            }
        }
        for (field, column) in answers.schema().fields().iter().zip(answers.columns()) {
            fields.push(Field { name: format!("{REPLAYED}{}", field.name), nullable: true, ..field.clone() });
            columns.push(column.clone());
        }
        let all = Batch::new(Schema::new(fields)?, columns, rows.num_rows())?;
        let all = plinth_table::filter(&all, unlike)?;
        let (_, sink) = match &mut self.begun {
            Some(begun) => begun,
            none => {
                let file = OutFile::begin(path, self.output);
                let sink = Sink::open(Some(file.beside()), all.schema(), self.output.json)?;
                none.insert((file, sink))
            }
        };
        sink.write(&all)
    }

    fn finish(self) -> Result<(), Failure> {
        let Some((file, sink)) = self.begun else { return Ok(()) };
        sink.finish()?;
        file.keep()
    }
}

fn show(found: &Found, from: &ModelVersion, to: &ModelVersion) -> String {
    let mut text = format!(
        "{} rows asked of {} again, of {}: {} answered otherwise ({:.2} %), {} failed\n",
        thousands(found.rows),
        from.reference(),
        to.reference(),
        thousands(found.differing),
        100.0 * found.differing as f64 / found.rows.max(1) as f64,
        thousands(found.failed)
    );
    let rows = found.outputs.iter().map(|output| {
        let number = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.6}"));
        vec![
            output.name.clone(),
            format!("{:.2} %", 100.0 * output.share()),
            number(output.mean()),
            number(output.mean().map(|_| output.max)),
        ]
    });
    text += &format!("\n{}", table(["output", "differ", "by on average", "by at most"], rows));
    for error in &found.errors {
        text += &format!("\nfailed: {error}\n");
    }
    text
}
