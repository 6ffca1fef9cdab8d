//! `plinth plugin run`: a plugin tried on a file, with nothing recorded anywhere.

use std::{path::Path, process::ExitCode, sync::Arc};

use plinth_core::codes;
use plinth_ext::{
    Batch, Check, CheckOutcome, DriftTest, Evidence, ExtError, Gate, Kind, LentTable, Loader, Models, Step, Tables,
    Transform, Verdict,
};
use plinth_plugin::ExtensionPoint;
use serde_json::{Map, Value, json};

use super::args::PluginRunArgs;
use crate::{
    components::Components,
    outfile::OutFile,
    output::{Failure, Output, io_failure, read_failure, table},
    plugins::{PluginRef, pick},
    predict::read_all,
    rows::Sink,
};

/// Rows asked of a reader, and given to a transform, at once.
const ROWS_AT_ONCE: u32 = 8_192;
/// Passes over the rows that a fit may ask for.
const PASSES_MAX: u32 = 64;

/// `plinth plugin run`
pub(super) fn run(args: &PluginRunArgs, components: &Components, output: Output) -> Result<ExitCode, Failure> {
    let plugin = PluginRef::named(&super::component_of(&args.plugin)?);
    let options = options(args)?;
    match components.point(&plugin, args.item.as_deref())? {
        ExtensionPoint::Loader => {
            let source = args.input.canonicalize().map_err(|error| read_failure(&args.input, &error))?;
            let (loader, item) = told(components.loader(&plugin, args.item.as_deref(), &source))?;
            load(&*loader, &item, &source, &options, args, output)
        }
        ExtensionPoint::Transform => {
            let (transform, item, _) = told(components.transform(&plugin, args.item.as_deref()))?;
            let rows = read_all(components, &args.input, "{}")?;
            transform_rows(&*transform, &item, &rows, &options, args, output)
        }
        ExtensionPoint::DriftTest => {
            let current = args.current.as_deref().ok_or_else(|| {
                Failure::new(codes::USAGE, "a drift test compares two files").hint("add --current FILE")
            })?;
            let tests = told(components.drift_tests(&plugin))?;
            let item = pick(&args.plugin, tests.items().iter().map(|test| &test.item), args.item.as_deref());
            let item = item.map_err(|error| Failure::of(&error))?;
            let (reference, current) = (read_all(components, &args.input, "{}")?, read_all(components, current, "{}")?);
            compare(&*tests, &item, &reference, &current, &options, output)
        }
        ExtensionPoint::Predict => {
            let (models, item, _) = told(components.models(&plugin, args.item.as_deref()))?;
            let rows = read_all(components, &args.input, "{}")?;
            predict(&*models, &item, &rows, &options, args, output)
        }
        ExtensionPoint::Gate => {
            let (gate, item) = told(components.gate(&plugin, args.item.as_deref()))?;
            judge(&*gate, &item, &options, args, components, output)
        }
    }
}

pub(super) fn told<T>(result: Result<T, plinth_pipeline::StageFailure>) -> Result<T, Failure> {
    result.map_err(|failure| Failure::of(&*failure.error))
}

/// What `--options` and `--option` say together, as JSON.
fn options(args: &PluginRunArgs) -> Result<String, Failure> {
    let mut all: Map<String, Value> = serde_json::from_str(&args.options).map_err(|error| {
        Failure::new(codes::BAD_OPTIONS, format!("--options is no JSON object: {error}"))
            .hint(r#"write it as '{"name": value}', or each option as --option NAME=VALUE"#)
    })?;
    for option in &args.option {
        let (name, value) = option.split_once('=').ok_or_else(|| {
            Failure::new(codes::USAGE, format!("`{option}` is no option")).hint("write --option NAME=VALUE")
        })?;
        // A number, a list, true: whatever reads as JSON; everything else is text.
        all.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())));
    }
    Ok(Value::Object(all).to_string())
}

fn out_file(args: &PluginRunArgs, output: Output) -> Option<OutFile> {
    args.output.as_deref().map(|path| OutFile::begin(path, output))
}

/// At most so many rows.
fn head(batch: &Batch, left: &mut u64) -> Batch {
    let rows = (*left).min(batch.num_rows() as u64);
    *left -= rows;
    batch.slice(0, rows as usize)
}

fn load(
    loader: &dyn Loader,
    item: &str,
    source: &Path,
    options: &str,
    args: &PluginRunArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let source = source.display().to_string();
    let plan = loader.plan(item, &source, options)?;
    let file = out_file(args, output);
    let mut sink = Sink::open(file.as_ref().map(OutFile::beside), &plan.schema, output.json)?;
    let mut left = args.rows;
    for partition in &plan.partitions {
        let mut reader = loader.open(item, &source, options, &plan.schema, &partition.token)?;
        while left > 0
            && let Some(batch) = reader.next(ROWS_AT_ONCE)?
        {
            sink.write(&head(&batch, &mut left))?;
        }
    }
    sink.finish()?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!(
        "{} rows of {} columns; partitions: {}",
        args.rows - left,
        plan.schema.len(),
        plan.partitions.len()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Loads a model for these rows and predicts them.
fn predict(
    models: &dyn Models,
    item: &str,
    rows: &Batch,
    options: &str,
    args: &PluginRunArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let artifact = match &args.artifact {
        Some(path) => std::fs::read(path).map_err(|error| read_failure(path, &error))?,
        None => Vec::new(),
    };
    let model = models.load(item, &artifact, rows.schema(), options)?;
    let file = out_file(args, output);
    let mut sink = Sink::open(file.as_ref().map(OutFile::beside), model.output(), output.json)?;
    let shown = head(rows, &mut { args.rows });
    for from in (0..shown.num_rows()).step_by(ROWS_AT_ONCE as usize) {
        let len = (shown.num_rows() - from).min(ROWS_AT_ONCE as usize);
        sink.write(&model.predict(&shown.slice(from, len))?)?;
    }
    sink.finish()?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!(
        "{} rows predicted as {} columns, from an artifact of {} bytes",
        shown.num_rows(),
        model.output().len(),
        artifact.len()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Fits on the rows and applies to the same.
fn transform_rows(
    transform: &dyn Transform,
    item: &str,
    rows: &Batch,
    options: &str,
    args: &PluginRunArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let parts = || {
        (0..rows.num_rows())
            .step_by(ROWS_AT_ONCE as usize)
            .map(|from| rows.slice(from, (rows.num_rows() - from).min(ROWS_AT_ONCE as usize)))
    };
    let mut fitting = transform.start(item, rows.schema(), options)?;
    let mut passes = 0;
    let state = loop {
        for (nth, part) in parts().enumerate() {
            fitting.update(&part).map_err(|error| of_part(error, nth))?;
        }
        passes += 1;
        match fitting.end_pass()? {
            Step::Done(state) => break state,
            Step::AnotherPass if passes < PASSES_MAX => {}
            Step::AnotherPass => {
                let message = format!("`{item}` wants more than {PASSES_MAX} passes over the rows");
                return Err(Failure::new(codes::LIMIT_EXCEEDED, message));
            }
        }
    };
    let fitted = transform.load(item, &state, rows.schema())?;
    let file = out_file(args, output);
    let mut sink = Sink::open(file.as_ref().map(OutFile::beside), fitted.output(), output.json)?;
    let mut left = args.rows;
    for (nth, part) in parts().enumerate() {
        if left == 0 {
            break;
        }
        sink.write(&fitted.apply(&head(&part, &mut left)).map_err(|error| of_part(error, nth))?)?;
    }
    sink.finish()?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!(
        "{} rows of {} columns; fitted in {passes} {}, a state of {} bytes",
        args.rows - left,
        fitted.output().len(),
        if passes == 1 { "pass" } else { "passes" },
        state.len()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A transform counts rows from the start of what it was handed; whoever reads the error, from the start of the file.
fn of_part(mut error: ExtError, nth: usize) -> ExtError {
    if let ExtError::Problem { problem, .. } = &mut error {
        problem.row = problem.row.map(|row| row + nth as u64 * u64::from(ROWS_AT_ONCE));
    }
    error
}

/// Compares each column that both files have and that the test can compare; a multivariate test gets them at once.
fn compare(
    tests: &dyn DriftTest,
    item: &str,
    reference: &Batch,
    current: &Batch,
    options: &str,
    output: Output,
) -> Result<ExitCode, Failure> {
    let test = tests.items().iter().find(|test| test.item.name == item);
    let (kinds, multivariate): (&[Kind], bool) = test.map_or((&[], false), |test| (&test.kinds, test.multivariate));
    let shared: Vec<(usize, usize)> = reference
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter_map(|(at, field)| {
            let there = current.schema().index_of(&field.name)?;
            let alike = current.schema().fields()[there].kind == field.kind;
            (alike && kinds.contains(&field.kind)).then_some((at, there))
        })
        .collect();
    if shared.is_empty() {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let message = format!("the files share no column that `{item}` compares ({})", kinds.join(", "));
        return Err(Failure::new(codes::SCHEMA_MISMATCH, message));
    }
    let groups: Vec<Vec<(usize, usize)>> =
        if multivariate { vec![shared] } else { shared.into_iter().map(|pair| vec![pair]).collect() };
    let mut outcomes = Vec::new();
    for group in groups {
        let (ours, theirs): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let (ours, theirs) = (reference.project(&ours), current.project(&theirs));
        let columns: Vec<String> = ours.schema().fields().iter().map(|field| field.name.clone()).collect();
        // A column may hold nulls in one file only: both sides have to allow what either has.
        let (ours, theirs) = alike(&ours, &theirs)?;
        outcomes.push((columns.join(", "), tests.test(item, &ours, &theirs, options)?));
    }
    let drifted = outcomes.iter().any(|(_, outcome)| outcome.verdict == Verdict::Drift);
    let list: Vec<Value> =
        outcomes.iter().map(|(columns, outcome)| json!({"columns": columns, "outcome": outcome})).collect();
    output
        .data(&json!({"test": item, "outcomes": list}), || {
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
            let rows = outcomes.iter().map(|(columns, outcome)| {
                let verdict = serde_json::to_value(outcome.verdict).unwrap_or_default();
                vec![
                    columns.clone(),
                    number(Some(outcome.statistic)),
                    number(outcome.p_value),
                    number(Some(outcome.threshold)),
                    verdict.as_str().unwrap_or_default().to_owned(),
                    outcome.note.clone().unwrap_or_default(),
                ]
            });
            table(["columns", "statistic", "p-value", "threshold", "verdict", "note"], rows)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(if drifted { ExitCode::from(codes::DRIFT_FOUND.class().exit_code()) } else { ExitCode::SUCCESS })
}

/// Two samples under one schema.
fn alike(ours: &Batch, theirs: &Batch) -> Result<(Batch, Batch), Failure> {
    let fields = ours.schema().fields().iter().zip(theirs.schema().fields());
    let fields = fields.map(|(a, b)| plinth_ext::Field::new(&a.name, a.kind, a.nullable || b.nullable)).collect();
    let schema = plinth_ext::Schema::new(fields)?;
    let under = |batch: &Batch| Batch::new(schema.clone(), batch.arrow().columns().to_vec(), batch.num_rows());
    Ok((under(ours)?, under(theirs)?))
}

/// The file of a gate's call, lent under the name that gates know it by.
struct Data(Batch);

impl Tables for Data {
    fn names(&self) -> Vec<String> {
        vec!["data".to_owned()]
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, plinth_ext::ExtError> {
        Ok((name == "data").then(|| {
            let rows = self.0.clone();
            (rows.schema().clone(), Box::new(std::iter::once(Ok(rows))) as Box<_>)
        }))
    }
}

/// What a gate is asked about: the evidence as JSON, or rows that it looks at as `data`.
pub(super) fn evidence(input: &Path, components: &Components) -> Result<(Evidence, Arc<dyn Tables>), Failure> {
    if input.extension().is_none_or(|end| end != "json") {
        return Ok((Evidence::default(), Arc::new(Data(read_all(components, input, "{}")?))));
    }
    let text = std::fs::read(input).map_err(|error| read_failure(input, &error))?;
    let evidence = serde_json::from_slice(&text).map_err(|error| {
        Failure::new(codes::BAD_OPTIONS, format!("`{}` is no evidence: {error}", input.display())).hint(
            r#"write {"candidate": {"reference": "mine", "metrics": [{"name": "f1", "value": 0.9}]}, "baseline": null}"#,
        )
    })?;
    Ok((evidence, Arc::new(plinth_ext::NoTables)))
}

fn judge(
    gate: &dyn Gate,
    item: &str,
    options: &str,
    args: &PluginRunArgs,
    components: &Components,
    output: Output,
) -> Result<ExitCode, Failure> {
    let (evidence, tables) = evidence(&args.input, components)?;
    let checks: Vec<Check> = gate.evaluate(item, &evidence, options, tables)?;
    let failed = checks.iter().any(|check| check.outcome == CheckOutcome::Fail);
    output
        .data(&json!({"gate": item, "pass": !failed, "checks": checks}), || {
            let rows = checks.iter().map(|check| {
                let outcome = serde_json::to_value(check.outcome).unwrap_or_default();
                vec![
                    outcome.as_str().unwrap_or_default().to_owned(),
                    check.name.clone(),
                    check.observed.clone(),
                    check.expected.clone(),
                    check.reason.clone(),
                ]
            });
            table(["outcome", "check", "observed", "expected", "reason"], rows)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(if failed { ExitCode::from(codes::GATE_FAILED.class().exit_code()) } else { ExitCode::SUCCESS })
}
