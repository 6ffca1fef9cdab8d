//! What every plugin of an extension point has to stand, whatever it does: the promises of `wit/`, tried.
//!
//! The author's cases give the suite rows and options that suit the item; the rest the suite makes up. A problem that
//! the plugin reports is an answer; a trap, a limit that was hit and a breach of the contract are not.

use std::path::Path;

use plinth_core::Coded;
use plinth_ext::{
    Batch, DriftOutcome, DriftTest, Evidence, ExtError, Field, Gate, Kind, Loader, Models, NoTables, Schema, Step,
    Transform, Verdict,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    case::{Body, Case, predict, transform},
    table,
};

/// One promise, and whether it was kept.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The promise.
    pub promise: &'static str,
    /// The item that was tried.
    pub item: String,
    /// How it was broken; nothing if it was kept.
    pub broken: Option<String>,
}

/// Promises tried so far.
struct Trial {
    item: String,
    findings: Vec<Finding>,
}

impl Trial {
    fn new(item: &str) -> Self {
        Self { item: item.to_owned(), findings: Vec::new() }
    }

    fn add(&mut self, promise: &'static str, broken: Option<String>) {
        self.findings.push(Finding { promise, item: self.item.clone(), broken });
    }

    /// An answer, be it a problem; nothing else is one.
    fn answers<T>(&mut self, promise: &'static str, tried: &str, answer: Result<T, ExtError>) {
        let broken = match answer {
            Ok(_) | Err(ExtError::Problem { .. }) => None,
            Err(error) if error.code() == plinth_core::codes::BAD_OPTIONS => None,
            Err(error) if tried.is_empty() => Some(error.to_string()),
            Err(error) => Some(format!("{tried}: {error}")),
        };
        // One finding for each promise: the first that broke it stands.
        match self.findings.iter_mut().find(|finding| finding.promise == promise) {
            Some(finding) => finding.broken = finding.broken.take().or(broken),
            None => self.add(promise, broken),
        }
    }
}

/// A column of each kind, with nulls, NaN, infinities, long and empty texts.
pub fn rows_of_every_kind() -> Batch {
    let columns = json!({"columns": [
        {"name": "number", "kind": "float64", "values": [1.5, null, "NaN", -0.0, "Infinity", 5e-324, -1e308]},
        {"name": "single", "kind": "float32", "values": [1.5, null, "NaN", -0.0, "-Infinity", 0.5, 16777216]},
        {"name": "count", "kind": "int64", "values": [0, null, i64::MIN, i64::MAX, -1, 1, 2]},
        {"name": "moment", "kind": "timestamp-us", "values": [0, null, -1, 1_700_000_000_000_000_i64, 1, 2, 3]},
        {"name": "flag", "kind": "boolean", "values": [true, null, false, true, true, false, false]},
        {"name": "text", "kind": "utf8", "values": ["", null, "é", "a,b", "\"quoted\"", "\u{0}", "𝄞"]},
        {"name": "bytes", "kind": "binary", "values": ["", null, "ff", "00", "fffe", "0a0d", "80"]},
    ]});
    table::from_json(&columns).unwrap_or_else(|_| Batch::empty(nothing()))
}

/// Numbers that nothing is wrong with.
fn tame_rows() -> Batch {
    let columns = json!({"columns": [
        {"name": "number", "kind": "float64", "nullable": false, "values": [1.5, -2.25, 0.5, 4.0, 3.75]},
        {"name": "other", "kind": "float64", "nullable": false, "values": [10, 30, 20, 50, 40]},
    ]});
    table::from_json(&columns).unwrap_or_else(|_| Batch::empty(nothing()))
}

fn nothing() -> Schema {
    Schema::new(Vec::new()).unwrap_or_else(|_| unreachable!("no two columns have the same name"))
}

/// Schemas that an item may well not be made for.
fn odd_schemas() -> Vec<Schema> {
    let of = |fields: Vec<Field>| Schema::new(fields).ok();
    let wide = (0..1_000).map(|index| Field::new(format!("column {index}"), Kind::Float64, index % 2 == 0)).collect();
    [
        of(Vec::new()),
        of(vec![Field::new("only text", Kind::Utf8, true)]),
        of(vec![Field::new("x", Kind::Binary, false)]),
        of(vec![Field::new("\"quoted\", é 𝄞", Kind::Int64, false)]),
        of(wide),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Bytes that are no state, no partial and no token of anybody.
fn garbage() -> Vec<Vec<u8>> {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let random: Vec<u8> = (0..997)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()[0]
        })
        .collect();
    vec![Vec::new(), vec![0], vec![0xff; 64], b"{\"a\": [1, 2]}".to_vec(), random]
}

/// Tries a transform's item, with the rows and options of its cases.
pub fn transforms(plugin: &dyn Transform, item: &str, cases: &[Case]) -> Vec<Finding> {
    let mut trial = Trial::new(item);
    let given: Vec<(String, &[Batch], &Batch)> = cases
        .iter()
        .filter_map(|case| match &case.body {
            Body::Transform { fit, apply } => Some((case.options.clone(), fit.as_slice(), apply)),
            _ => None,
        })
        .collect();
    let made_up = [[rows_of_every_kind()], [tame_rows()]];
    let of_ours = made_up.each_ref().map(|rows| ("{}".to_owned(), &rows[..], &rows[0]));
    let mut fitted_once = false;
    for (options, fit, apply) in given.iter().chain(&of_ours) {
        let run = || transform(plugin, item, options, fit, apply);
        let first = run();
        trial.answers("whatever the rows, there is an answer", "rows of every kind", first.clone());
        let Ok(first) = first else { continue };
        let Some(state) = first.get("state").and_then(Value::as_str).and_then(table::unhex) else { continue };
        fitted_once = true;
        match run() {
            Ok(second) if same(&second, &first) => trial.answers::<()>(TWICE, "", Ok(())),
            Ok(second) => {
                trial.answers::<()>(TWICE, "", Err(breach(item, &format!("first {first}, then {second}"))));
            }
            Err(error) => trial.answers::<()>(TWICE, "the second time", Err(error)),
        }
        trial.answers(SPLIT, "", in_parts(plugin, item, &state, apply));
        trial.answers(MERGE, "", merged_with_nothing(plugin, item, options, &fit[0]));
        for bytes in garbage() {
            trial.answers(
                "a state that is none is refused",
                "a state of noise",
                plugin.load(item, &bytes, apply.schema()),
            );
            let partial = plugin.start(item, fit[0].schema(), options).and_then(|mut fit| fit.merge(&bytes));
            trial.answers("a partial that is none is refused", "a partial of noise", partial);
        }
        // A state of other columns.
        for schema in odd_schemas() {
            let answer =
                plugin.load(item, &state, &schema).and_then(|fitted| fitted.apply(&Batch::empty(schema.clone())));
            trial.answers("a state meets other columns without a trap", "other columns", answer);
        }
    }
    for schema in odd_schemas() {
        for options in given.iter().map(|(options, ..)| options.as_str()).chain(["{}"]) {
            let rows = Batch::empty(schema.clone());
            let answer = transform(plugin, item, options, std::slice::from_ref(&rows), &rows);
            trial.answers("columns that it is not made for are no trap", "odd columns", answer);
        }
    }
    if !fitted_once {
        let what = "no case fits it, and it does not fit rows of every kind without options: write a case".to_owned();
        trial.add("it can be fitted", Some(what));
    }
    trial.findings
}

const TWICE: &str = "the same again gives the same bytes";
const SPLIT: &str = "apply is pure, however rows are cut into blocks";
const MERGE: &str = "merging a fit without rows changes nothing";

/// Whether two values are the same as texts, which tell a negative zero from a zero.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    let (a, b) = (a.to_string(), b.to_string());
    a == b
}

fn breach(item: &str, message: &str) -> ExtError {
    ExtError::fault(item, plinth_core::codes::PLUGIN_OUTPUT, message)
}

/// Applies a state to rows at once, one by one, and not at all.
fn in_parts(plugin: &dyn Transform, item: &str, state: &[u8], rows: &Batch) -> Result<(), ExtError> {
    let fitted = plugin.load(item, state, rows.schema())?;
    row_by_row(item, rows, &|rows| fitted.apply(rows))
}

/// Rows become the same rows at once, one by one, and not at all.
fn row_by_row(item: &str, rows: &Batch, apply: &dyn Fn(&Batch) -> Result<Batch, ExtError>) -> Result<(), ExtError> {
    let whole = table::to_json(&apply(rows)?);
    let again = table::to_json(&apply(rows)?);
    if !same(&again, &whole) {
        return Err(breach(item, &format!("the same rows gave {whole}, then {again}")));
    }
    let few = rows.num_rows().min(100);
    for row in 0..few {
        let one = table::to_json(&apply(&rows.slice(row, 1))?);
        for (index, column) in one["columns"].as_array().into_iter().flatten().enumerate() {
            let (alone, among) = (&column["values"][0], &whole["columns"][index]["values"][row]);
            if !same(alone, among) {
                let name = &column["name"];
                return Err(breach(item, &format!("row {row} of {name} is {alone} alone, and {among} among others")));
            }
        }
    }
    let none = apply(&rows.slice(0, 0))?;
    if none.num_rows() != 0 {
        return Err(breach(item, &format!("no rows became {}", none.num_rows())));
    }
    Ok(())
}

/// Fits on rows and merges a fit that saw none.
fn merged_with_nothing(plugin: &dyn Transform, item: &str, options: &str, rows: &Batch) -> Result<(), ExtError> {
    let alone = {
        let mut fit = plugin.start(item, rows.schema(), options)?;
        fit.update(rows)?;
        fit.end_pass()?
    };
    let merged = {
        let mut fit = plugin.start(item, rows.schema(), options)?;
        fit.update(rows)?;
        let partial = plugin.start(item, rows.schema(), options)?.partial()?;
        fit.merge(&partial)?;
        fit.end_pass()?
    };
    match (alone, merged) {
        (Step::Done(alone), Step::Done(merged)) if alone != merged => {
            Err(breach(item, &format!("the state {} became {}", table::hex(&alone), table::hex(&merged))))
        }
        _ => Ok(()),
    }
}

/// Gives a loader that may read a source.
pub type Opener<'a, E> = dyn Fn(&Path) -> Result<std::sync::Arc<dyn Loader>, E> + 'a;

/// Tries a loader's item on the sources of its cases, whole and damaged. `place` puts bytes where the loader may read
/// them and gives their address.
///
/// # Errors
/// `place`'s own.
pub fn loaders<E>(
    plugin: &Opener<'_, E>,
    item: &str,
    cases: &[(&Case, Vec<u8>)],
    place: &dyn Fn(&[u8]) -> Result<std::path::PathBuf, E>,
) -> Result<Vec<Finding>, E> {
    let mut trial = Trial::new(item);
    let mut read_once = false;
    for (case, bytes) in cases {
        let path = place(bytes)?;
        let loader = plugin(&path)?;
        let source = path.display().to_string();
        let first = case.load(&*loader, &source);
        trial.answers("whatever the source, there is an answer", "the source of a case", first.clone());
        if let Ok(first) = &first
            && first.get("rows").is_some()
        {
            read_once = true;
            let again = case.load(&*loader, &source).and_then(|second| match same(&second, first) {
                true => Ok(()),
                false => Err(breach(item, &format!("first {first}, then {second}"))),
            });
            trial.answers(TWICE, "the second time", again);
            let slowly = Case { body: with_rows(&case.body, 1), ..(*case).clone() };
            let by_one = slowly.load(&*loader, &source).and_then(|by_one| match same(&by_one, first) {
                true => Ok(()),
                false => Err(breach(item, &format!("at once {first}, row by row {by_one}"))),
            });
            trial.answers("how many rows are asked for does not matter", "row by row", by_one);
            let plan = loader.plan(item, &source, &case.options);
            for token in garbage() {
                let answer = plan
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|plan| loader.open(item, &source, &case.options, &plan.schema, &token)?.next(10));
                trial.answers("a token that is none is refused", "a token of noise", answer);
            }
        }
        let mut damaged = garbage();
        damaged.push(bytes[..bytes.len().saturating_sub(1)].to_vec());
        damaged.push(bytes[..bytes.len() / 2].to_vec());
        damaged.push(bytes.iter().chain(b"\xff\x00\n").copied().collect());
        damaged.push(bytes.iter().map(|byte| byte ^ 0x55).collect());
        for bytes in damaged {
            let path = place(&bytes)?;
            let answer = case.load(&*plugin(&path)?, &path.display().to_string());
            trial.answers("a damaged source is no trap", "a damaged source", answer);
        }
    }
    if !read_once {
        trial.add("it can be read", Some("no case has a source that it reads: write one".to_owned()));
    }
    Ok(trial.findings)
}

fn with_rows(body: &Body, rows: u32) -> Body {
    match body {
        Body::Loader { source, .. } => Body::Loader { source: source.clone(), rows_max: rows },
        other => other.clone(),
    }
}

/// Tries a kind of model, with the artifacts, rows and options of its cases.
pub fn models(plugin: &dyn Models, item: &str, cases: &[(&Case, Vec<u8>)]) -> Vec<Finding> {
    let mut trial = Trial::new(item);
    let made_up = [rows_of_every_kind(), tame_rows()];
    let given = cases.iter().filter_map(|(case, artifact)| match &case.body {
        Body::Predict { rows, .. } => Some((case.options.as_str(), &artifact[..], rows)),
        _ => None,
    });
    let given: Vec<(&str, &[u8], &Batch)> = given.collect();
    let mut predicted_once = false;
    for (options, artifact, rows) in given.iter().copied().chain(made_up.iter().map(|rows| ("{}", &[][..], rows))) {
        let run = || predict(plugin, item, artifact, options, rows);
        let first = run();
        trial.answers("whatever the rows, there is an answer", "rows of every kind", first.clone());
        let Ok(first) = first else { continue };
        if first.get("predictions").is_none() {
            continue;
        }
        predicted_once = true;
        let again = run().and_then(|second| match same(&second, &first) {
            true => Ok(()),
            false => Err(breach(item, &format!("first {first}, then {second}"))),
        });
        trial.answers(TWICE, "the second time", again);
        let in_parts = plugin
            .load(item, artifact, rows.schema(), options)
            .and_then(|model| row_by_row(item, rows, &|rows| model.predict(rows)));
        trial.answers("a row is predicted the same, however rows are cut into blocks", "", in_parts);
        for noise in garbage() {
            // What the component is all there is of takes any artifact, so an answer is all that can be asked.
            let loaded = plugin.load(item, &noise, rows.schema(), options).and_then(|model| model.predict(rows));
            let refused =
                if artifact.is_empty() || noise.is_empty() { loaded.map(drop) } else { refusal(item, loaded) };
            trial.answers("an artifact that is none is refused", "an artifact of noise", refused);
        }
        for schema in odd_schemas() {
            let empty = Batch::empty(schema.clone());
            let answer = plugin.load(item, artifact, &schema, options).and_then(|model| model.predict(&empty));
            trial.answers("columns that it is not made for are no trap", "odd columns", answer);
        }
    }
    for schema in odd_schemas() {
        let answer = predict(plugin, item, &[], "{}", &Batch::empty(schema));
        trial.answers("columns that it is not made for are no trap", "odd columns, without an artifact", answer);
    }
    if !predicted_once {
        let what = "no case has an artifact and rows that it predicts: write one".to_owned();
        trial.add("it can predict", Some(what));
    }
    trial.findings
}

/// A problem, which is what was to come.
fn refusal<T>(item: &str, answer: Result<T, ExtError>) -> Result<(), ExtError> {
    match answer {
        Ok(_) => Err(breach(item, "noise was taken for an artifact")),
        Err(ExtError::Problem { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tries a gate's item, with the evidence and options of its cases.
pub fn gates(plugin: &dyn Gate, item: &str, cases: &[Case]) -> Vec<Finding> {
    let mut trial = Trial::new(item);
    let mut judged_once = false;
    for case in cases {
        let Body::Gate { evidence, .. } = &case.body else { continue };
        let first = case.judge(plugin);
        trial.answers("whatever the evidence, there is an answer", "a case", first.clone());
        let Ok(first) = first else { continue };
        judged_once |= first.get("checks").is_some();
        let again = case.judge(plugin).and_then(|second| match same(&second, &first) {
            true => Ok(()),
            false => Err(breach(item, &format!("first {first}, then {second}"))),
        });
        trial.answers(TWICE, "the second time", again);
        let mut undefined = evidence.clone();
        let Evidence { candidate, baseline } = &mut undefined;
        for metric in candidate.metrics.iter_mut().chain(baseline.iter_mut().flat_map(|baseline| &mut baseline.metrics))
        {
            metric.value = f64::NAN;
        }
        for evidence in [Evidence::default(), undefined] {
            let answer = plugin.evaluate(item, &evidence, &case.options, std::sync::Arc::new(NoTables));
            trial.answers("no metrics, NaN and no tables are no trap", "odd evidence", answer);
        }
    }
    if !judged_once {
        trial.add("it can judge", Some("no case has evidence that it judges: write one".to_owned()));
    }
    trial.findings
}

/// Tries a drift test's item, with the rows and options of its cases.
pub fn drift_tests(plugin: &dyn DriftTest, item: &str, cases: &[Case]) -> Vec<Finding> {
    let mut trial = Trial::new(item);
    let Some(test) = plugin.items().iter().find(|test| test.item.name == item) else { return Vec::new() };
    let every = rows_of_every_kind();
    let suited: Vec<usize> =
        (0..every.schema().len()).filter(|&at| test.kinds.contains(&every.schema().fields()[at].kind)).collect();
    let groups: Vec<Vec<usize>> =
        if test.multivariate { vec![suited] } else { suited.into_iter().map(|index| vec![index]).collect() };
    let made_up: Vec<Batch> =
        groups.iter().filter(|group| !group.is_empty()).map(|group| every.project(group)).collect();
    let given = cases.iter().filter_map(|case| match &case.body {
        Body::Drift { reference, current } => Some((case.options.as_str(), reference, current)),
        _ => None,
    });
    let pairs: Vec<(&str, &Batch, &Batch)> = given.chain(made_up.iter().map(|rows| ("{}", rows, rows))).collect();
    for (options, reference, current) in pairs {
        let first = plugin.test(item, reference, current, options);
        trial.answers("whatever the rows, there is an answer", "rows", first.clone());
        let Ok(first) = first else { continue };
        let again = plugin.test(item, reference, current, options).and_then(|second| {
            // As texts, in which NaN is like itself.
            match format!("{second:?}") == format!("{first:?}") {
                true => Ok(()),
                false => Err(breach(item, &format!("first {first:?}, then {second:?}"))),
            }
        });
        trial.answers(TWICE, "the second time", again);
        trial.answers("no more rows count than there are", "", counted(item, &first, reference, current));
        let alike = plugin.test(item, reference, reference, options).and_then(|outcome| match outcome.verdict {
            Verdict::Drift => Err(breach(item, &format!("a sample has left itself: {outcome:?}"))),
            _ => Ok(()),
        });
        trial.answers("a sample does not drift from itself", "", alike);
        let empty = |rows: &Batch| rows.slice(0, 0);
        let outcomes = [
            plugin.test(item, &empty(reference), current, options),
            plugin.test(item, reference, &empty(current), options),
            plugin.test(item, &empty(reference), &empty(current), options),
        ];
        for outcome in outcomes {
            let judged = outcome.and_then(|outcome| match outcome.verdict {
                Verdict::Inconclusive => Ok(()),
                _ => Err(breach(item, &format!("without rows it concludes {:?}", outcome.verdict))),
            });
            trial.answers("without rows nothing is concluded", "", judged);
        }
    }
    trial.findings
}

fn counted(item: &str, outcome: &DriftOutcome, reference: &Batch, current: &Batch) -> Result<(), ExtError> {
    for (side, said, there) in
        [("reference", outcome.n_reference, reference.num_rows()), ("current", outcome.n_current, current.num_rows())]
    {
        if said > there as u64 {
            return Err(breach(item, &format!("{said} rows of the {side} sample counted, of {there}")));
        }
    }
    Ok(())
}
