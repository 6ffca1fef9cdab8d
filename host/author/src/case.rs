//! Cases: what goes into a plugin, and what is to come out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use plinth_core::{Code, Coded, codes};
use plinth_ext::{
    Batch, DriftOutcome, DriftTest, Evidence, ExtError, Gate, LentTable, Loader, Models, Step, Tables, Transform,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    suite::same,
    table::{self, hex, unhex},
};

/// Passes over the rows that a fit may ask for.
const PASSES_MAX: u32 = 64;
/// Rows that a loader is asked for at once, unless the case says otherwise.
const ROWS_AT_ONCE: u32 = 8_192;

/// A case cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// It is no JSON, or lacks something.
    #[error("{path}: {what}", path = path.display())]
    Form {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A table in it is none.
    #[error("the table is none: {what}")]
    Table {
        /// What is wrong.
        what: String,
    },
}

impl Coded for CaseError {
    fn code(&self) -> Code {
        codes::BAD_TABLE
    }
}

/// One case, as its file has it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its file's name without the ending.
    pub name: String,
    /// The item that it is for.
    pub item: String,
    /// JSON object.
    pub options: String,
    /// What goes in.
    pub body: Body,
    /// What is to come out; nothing yet for a case that was never blessed.
    pub expected: Option<Value>,
    pub(crate) file: Map<String, Value>,
}

/// What goes in.
#[derive(Debug, Clone)]
pub enum Body {
    /// Rows that a transform is fitted on, in several fits if there are several tables, and the rows it is applied to.
    Transform {
        /// The rows of each fit; the partial results of all but the first are merged into the first.
        fit: Vec<Batch>,
        /// What it is applied to.
        apply: Batch,
    },
    /// What a loader reads.
    Loader {
        /// The bytes.
        source: Source,
        /// Rows asked for at once.
        rows_max: u32,
    },
    /// What a gate judges by.
    Gate {
        /// The measurements.
        evidence: Evidence,
        /// Tables lent to it.
        tables: Vec<(String, Batch)>,
    },
    /// What a drift test compares.
    Drift {
        /// How it was.
        reference: Batch,
        /// How it is.
        current: Batch,
    },
    /// What a model predicts.
    Predict {
        /// What it is loaded from; no bytes where the component is all there is.
        artifact: Source,
        /// The rows.
        rows: Batch,
    },
}

/// What a loader reads, or what a model is loaded from.
#[derive(Debug, Clone)]
pub enum Source {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file beside the case.
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    #[expect(dead_code, reason = "for whoever reads the case")]
    about: Option<String>,
    item: String,
    #[serde(default)]
    options: Map<String, Value>,
    fit: Option<Value>,
    apply: Option<Value>,
    source: Option<Value>,
    rows_at_once: Option<u32>,
    evidence: Option<Value>,
    #[serde(default)]
    tables: Map<String, Value>,
    reference: Option<Value>,
    current: Option<Value>,
    predict: Option<Value>,
    artifact: Option<Value>,
    expected: Option<Value>,
}

/// Bytes as a case gives them: a file's name, a text, or hexadecimal digits.
fn source_of(key: &str, value: &Value, folder: &Path) -> Result<Source, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match (value, text("text"), text("hex")) {
        (Value::String(name), ..) => Ok(Source::File(folder.join(name))),
        (_, Some(text), None) => Ok(Source::Bytes(text.as_bytes().to_vec())),
        (_, None, Some(digits)) => {
            Ok(Source::Bytes(unhex(digits).ok_or_else(|| format!("`{digits}` is not hexadecimal"))?))
        }
        _ => Err(format!("`{key}` is neither a file's name nor {{\"text\": …}} nor {{\"hex\": …}}")),
    }
}

impl Case {
    /// Reads a case from its text. `rows` reads tables that the case names by file, relative to the case.
    ///
    /// # Errors
    /// [`CaseError`] says what is missing or misspelt; `rows`' own errors.
    pub fn read<E: From<CaseError>>(
        path: &Path,
        text: &str,
        rows: &dyn Fn(&Path) -> Result<Batch, E>,
    ) -> Result<Self, E> {
        let form = |what: String| CaseError::Form { path: path.to_owned(), what };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let file = Map::deserialize(&mut deserializer).map_err(|error| form(error.to_string()))?;
        deserializer.end().map_err(|error| form(error.to_string()))?;
        let parts: File =
            serde_json::from_value(Value::Object(file.clone())).map_err(|error| form(error.to_string()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let table = |value: &Value| match value {
            Value::String(name) => rows(&folder.join(name)),
            value => table::from_json(value).map_err(|error| form(error.to_string()).into()),
        };
        let body = match (&parts.fit, &parts.source, &parts.evidence, &parts.reference, &parts.predict) {
            (Some(fit), None, None, None, None) => {
                let fits = match fit {
                    Value::Array(list) => list.iter().map(table).collect::<Result<Vec<_>, E>>()?,
                    one => vec![table(one)?],
                };
                let first = fits.first().cloned().ok_or_else(|| form("`fit` has no table".into()))?;
                Body::Transform { fit: fits, apply: parts.apply.as_ref().map_or(Ok(first), table)? }
            }
            (None, Some(source), None, None, None) => {
                let source = source_of("source", source, folder).map_err(form)?;
                Body::Loader { source, rows_max: parts.rows_at_once.unwrap_or(ROWS_AT_ONCE).max(1) }
            }
            (None, None, Some(evidence), None, None) => {
                let evidence = evidence_of(evidence).ok_or_else(|| {
                    form(r#"`evidence` is not {"candidate": {"reference": …, "metrics": […]}, "baseline": …}"#.into())
                })?;
                let lent = parts.tables.iter().map(|(name, value)| Ok((name.clone(), table(value)?)));
                Body::Gate { evidence, tables: lent.collect::<Result<_, E>>()? }
            }
            (None, None, None, None, Some(rows)) => {
                let none = || Ok(Source::Bytes(Vec::new()));
                let artifact = parts.artifact.as_ref().map_or_else(none, |value| match value.get("json") {
                    Some(json) => Ok(Source::Bytes(json.to_string().into_bytes())),
                    None => source_of("artifact", value, folder).map_err(form),
                });
                Body::Predict { artifact: artifact?, rows: table(rows)? }
            }
            (None, None, None, Some(reference), None) => {
                let current = parts.current.as_ref();
                let current = current.ok_or_else(|| form("`reference` without `current`".into()))?;
                Body::Drift { reference: table(reference)?, current: table(current)? }
            }
            _ => {
                let what = "it needs exactly one of `fit` (a transform), `source` (a loader), `evidence` (a gate), \
                            `reference` with `current` (a drift test) and `predict` (a model)";
                return Err(form(what.into()).into());
            }
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let options = Value::Object(parts.options).to_string();
        Ok(Self { name, item: parts.item, options, body, expected: parts.expected, file })
    }

    /// Its file's text with what came out as what is to come out.
    pub fn blessed(&self, outcome: &Value) -> String {
        let mut file = self.file.clone();
        file.insert("expected".into(), outcome.clone());
        table::pretty(&Value::Object(file))
    }

    /// How what came out differs from what is to come out; nothing if it does not.
    pub fn difference(&self, outcome: &Value) -> Option<String> {
        let expected = self.expected.as_ref()?;
        first_difference("", &exact(expected), &exact(outcome))
    }
}

/// Numbers as they are to be compared: what is written `5` in a column of floats is the float.
fn exact(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("columns") => {
            table::from_json(value).map_or_else(|_| value.clone(), |rows| table::to_json(&rows))
        }
        Value::Object(map) => {
            let float = |key: &str| ["statistic", "p-value", "effect-size", "threshold"].contains(&key);
            let each = map.iter().map(|(key, value)| {
                let value = if float(key) && value.is_number() { table::double(value).into() } else { exact(value) };
                (key.clone(), value)
            });
            Value::Object(each.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(exact).collect()),
        other => other.clone(),
    }
}

/// Where two values differ first, and how.
fn first_difference(at: &str, expected: &Value, found: &Value) -> Option<String> {
    let there = if at.is_empty() { "it" } else { at };
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            if let Some(key) = a.keys().find(|key| !b.contains_key(*key)) {
                return Some(format!("{there} has no `{key}`, and is {}", short(found)));
            }
            if let Some(key) = b.keys().find(|key| !a.contains_key(*key)) {
                return Some(format!("{there} has `{key}` {}, which is not expected", short(&b[key])));
            }
            a.iter().find_map(|(key, value)| {
                let inner = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                first_difference(&inner, value, &b[key])
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            let each = a.iter().zip(b).enumerate();
            let differs = each.into_iter().find_map(|(index, (a, b))| {
                let name = a.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                first_difference(&format!("{at}[{name}]"), a, b)
            });
            differs
                .or_else(|| (a.len() != b.len()).then(|| format!("{there} has {} entries, not {}", b.len(), a.len())))
        }
        _ => (!same(expected, found)).then(|| format!("{there} is {}, not {}", short(found), short(expected))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 200 { text } else { format!("{}…", text.chars().take(200).collect::<String>()) }
}

/// Evidence whose numbers may be `"NaN"` and the like.
fn evidence_of(value: &Value) -> Option<Evidence> {
    let mut value = value.clone();
    let mut odd = Vec::new();
    for side in ["candidate", "baseline"] {
        let metrics = value.get_mut(side).and_then(|side| side.get_mut("metrics")).and_then(Value::as_array_mut);
        for (index, metric) in metrics.into_iter().flatten().enumerate() {
            if let Some(number) = metric.get_mut("value").filter(|number| number.is_string()) {
                odd.push((side, index, table::double(number)?));
                *number = 0.0.into();
            }
        }
    }
    let mut evidence: Evidence = serde_json::from_value(value).ok()?;
    for (side, index, number) in odd {
        let subject = if side == "candidate" { Some(&mut evidence.candidate) } else { evidence.baseline.as_mut() };
        subject?.metrics.get_mut(index)?.value = number;
    }
    Some(evidence)
}

/// What came out if a call failed. Compared are a problem's code, row and column; words may change.
///
/// # Errors
/// The plugin did something that no case may expect, such as a trap.
fn failed(error: ExtError) -> Result<Value, ExtError> {
    match error {
        ExtError::Problem { problem, .. } => {
            Ok(json!({"problem": {"code": problem.code, "row": problem.row, "column": problem.column}}))
        }
        // The host looks at options before the plugin does.
        error if error.code() == codes::BAD_OPTIONS => {
            Ok(json!({"problem": {"code": "bad-options", "row": null, "column": null}}))
        }
        error => Err(error),
    }
}

/// Fits a transform on the rows of several fits, and binds it to the schema of what it is applied to.
fn transformed(
    transform: &dyn Transform,
    item: &str,
    options: &str,
    fit: &[Batch],
    apply: &Batch,
) -> Result<Value, ExtError> {
    let mut partials = Vec::new();
    let mut fits =
        fit.iter().map(|rows| transform.start(item, rows.schema(), options)).collect::<Result<Vec<_>, _>>()?;
    let mut passes = 0;
    let state = loop {
        for (fitting, rows) in fits.iter_mut().zip(fit) {
            fitting.update(rows)?;
        }
        let (first, rest) = fits.split_first_mut().ok_or_else(|| ExtError::fault(item, codes::INTERNAL, "no fit"))?;
        for other in rest {
            let partial = other.partial()?;
            first.merge(&partial)?;
            partials.push(hex(&partial));
        }
        passes += 1;
        match first.end_pass()? {
            Step::Done(state) => break state,
            Step::AnotherPass if passes < PASSES_MAX && fit.len() == 1 => {}
            Step::AnotherPass => {
                let message = match fit.len() {
                    1 => format!("`{item}` wants more than {PASSES_MAX} passes over the rows"),
                    _ => "several passes over rows of several fits are not for a case: give it one table".to_owned(),
                };
                return Err(ExtError::fault(item, codes::LIMIT_EXCEEDED, message));
            }
        }
    };
    let output = transform.load(item, &state, apply.schema())?.apply(apply)?;
    let mut outcome = json!({"state": hex(&state), "output": table::to_json(&output)});
    if !partials.is_empty() {
        outcome["partials"] = json!(partials);
    }
    Ok(outcome)
}

/// What a transform makes of a case.
///
/// # Errors
/// A trap, or a breach of the contract.
pub(crate) fn transform(
    plugin: &dyn Transform,
    item: &str,
    options: &str,
    fit: &[Batch],
    apply: &Batch,
) -> Result<Value, ExtError> {
    transformed(plugin, item, options, fit, apply).or_else(failed)
}

fn loaded(loader: &dyn Loader, item: &str, options: &str, source: &str, rows_max: u32) -> Result<Value, ExtError> {
    let plan = loader.plan(item, source, options)?;
    let mut partitions = Vec::new();
    let mut columns: Vec<Vec<Value>> = vec![Vec::new(); plan.schema.len()];
    for partition in &plan.partitions {
        partitions.push(json!({
            "token": hex(&partition.token), "rows": partition.rows_hint, "bytes": partition.bytes_hint,
        }));
        let mut reader = loader.open(item, source, options, &plan.schema, &partition.token)?;
        while let Some(rows) = reader.next(rows_max)? {
            let part = table::to_json(&rows);
            for (index, all) in columns.iter_mut().enumerate() {
                all.extend(part["columns"][index]["values"].as_array().into_iter().flatten().cloned());
            }
        }
    }
    let fields = plan.schema.fields().iter().zip(columns).map(|(field, values)| {
        json!({"name": field.name, "kind": field.kind.name(), "nullable": field.nullable, "values": values})
    });
    Ok(json!({"partitions": partitions, "rows": {"columns": fields.collect::<Vec<_>>()}}))
}

/// What a model makes of rows.
///
/// # Errors
/// A trap, or a breach of the contract.
pub(crate) fn predict(
    plugin: &dyn Models,
    item: &str,
    artifact: &[u8],
    options: &str,
    rows: &Batch,
) -> Result<Value, ExtError> {
    let predicted = plugin.load(item, artifact, rows.schema(), options).and_then(|model| model.predict(rows));
    predicted.map(|rows| json!({"predictions": table::to_json(&rows)})).or_else(failed)
}

/// Tables that a case lends.
struct Lent(Vec<(String, Batch)>);

impl Tables for Lent {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError> {
        let found = self.0.iter().find(|(known, _)| known == name);
        Ok(found.map(|(_, rows)| (rows.schema().clone(), Box::new(std::iter::once(Ok(rows.clone()))) as Box<_>)))
    }
}

fn outcome_json(outcome: &DriftOutcome) -> Value {
    let number = |value: Option<f64>| value.map(table::number);
    json!({
        "statistic": table::number(outcome.statistic),
        "p-value": number(outcome.p_value),
        "effect-size": number(outcome.effect_size),
        "threshold": table::number(outcome.threshold),
        "verdict": outcome.verdict,
        "n-reference": outcome.n_reference,
        "n-current": outcome.n_current,
        "note": outcome.note,
    })
}

impl Case {
    /// What a transform makes of it.
    ///
    /// # Errors
    /// A trap, or a breach of the contract.
    pub fn transform(&self, plugin: &dyn Transform) -> Result<Value, ExtError> {
        let Body::Transform { fit, apply } = &self.body else { return Err(self.misplaced("transform")) };
        transform(plugin, &self.item, &self.options, fit, apply)
    }

    /// What a loader makes of its source, which lies at `source`.
    ///
    /// # Errors
    /// A trap, or a breach of the contract.
    pub fn load(&self, plugin: &dyn Loader, source: &str) -> Result<Value, ExtError> {
        let Body::Loader { rows_max, .. } = &self.body else { return Err(self.misplaced("loader")) };
        loaded(plugin, &self.item, &self.options, source, *rows_max).or_else(failed)
    }

    /// What a gate makes of it.
    ///
    /// # Errors
    /// A trap, or a breach of the contract.
    pub fn judge(&self, plugin: &dyn Gate) -> Result<Value, ExtError> {
        let Body::Gate { evidence, tables } = &self.body else { return Err(self.misplaced("gate")) };
        let checks = plugin.evaluate(&self.item, evidence, &self.options, Arc::new(Lent(tables.clone())));
        checks.map(|checks| json!({"checks": checks})).or_else(failed)
    }

    /// What a drift test makes of it.
    ///
    /// # Errors
    /// A trap, or a breach of the contract.
    pub fn compare(&self, plugin: &dyn DriftTest) -> Result<Value, ExtError> {
        let Body::Drift { reference, current } = &self.body else { return Err(self.misplaced("drift")) };
        let outcome = plugin.test(&self.item, reference, current, &self.options);
        outcome.map(|outcome| json!({"outcome": outcome_json(&outcome)})).or_else(failed)
    }

    /// What a model makes of it, loaded from `artifact`.
    ///
    /// # Errors
    /// A trap, or a breach of the contract.
    pub fn predict(&self, plugin: &dyn Models, artifact: &[u8]) -> Result<Value, ExtError> {
        let Body::Predict { rows, .. } = &self.body else { return Err(self.misplaced("model")) };
        predict(plugin, &self.item, artifact, &self.options, rows)
    }

    fn misplaced(&self, wanted: &str) -> ExtError {
        ExtError::fault(&self.name, codes::INTERNAL, format!("the case is not one of a {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Case, CaseError> {
        Case::read(Path::new("cases/one.json"), text, &|path| {
            Err(CaseError::Form { path: path.to_owned(), what: "asked for".into() })
        })
    }

    const ROWS: &str = r#"{"columns": [{"name": "x", "kind": "float64", "values": [1, null, "NaN"]}]}"#;

    #[test]
    fn a_case_says_by_its_parts_what_it_is_for() {
        let case = read(&format!(r#"{{"item": "a", "fit": [{ROWS}, {ROWS}], "options": {{"b": 1}}}}"#)).unwrap();
        assert!(matches!(&case.body, Body::Transform { fit, .. } if fit.len() == 2));
        assert_eq!((case.name.as_str(), case.item.as_str(), case.options.as_str()), ("one", "a", r#"{"b":1}"#));
        let case = read(r#"{"item": "a", "source": {"hex": "00ff"}}"#).unwrap();
        assert!(matches!(&case.body, Body::Loader { source: Source::Bytes(bytes), .. } if bytes == &[0, 255]));
        let text = r#"{"item": "a", "evidence": {"candidate": {"reference": "m", "metrics": [{"name": "f", "value": "NaN"}]},
            "baseline": null}}"#;
        let case = read(text).unwrap();
        assert!(matches!(&case.body, Body::Gate { evidence, .. } if evidence.candidate.metrics[0].value.is_nan()));
        let case = read(&format!(r#"{{"item": "a", "reference": {ROWS}, "current": {ROWS}}}"#)).unwrap();
        assert!(matches!(&case.body, Body::Drift { .. }));
        let case = read(&format!(r#"{{"item": "a", "artifact": {{"json": {{"b": 1}}}}, "predict": {ROWS}}}"#)).unwrap();
        let Body::Predict { artifact: Source::Bytes(artifact), rows } = &case.body else { panic!("{case:?}") };
        assert_eq!((&artifact[..], rows.num_rows()), (&br#"{"b":1}"#[..], 3));
    }

    #[test]
    fn what_is_wrong_with_a_case_is_said() {
        for (text, said) in [
            ("{", "EOF"),
            ("{} {}", "trailing"),
            (r#"{"fit": {}}"#, "item"),
            (r#"{"item": "a"}"#, "exactly one of `fit`"),
            (r#"{"item": "a", "fit": {"columns": []}, "source": "x"}"#, "exactly one of `fit`"),
            (r#"{"item": "a", "fti": {}}"#, "fti"),
            (r#"{"item": "a", "fit": "rows.csv"}"#, "cases/rows.csv: asked for"),
            (r#"{"item": "a", "fit": []}"#, "no table"),
            (r#"{"item": "a", "source": {}}"#, "neither"),
            (r#"{"item": "a", "artifact": {}, "predict": {"columns": []}}"#, "`artifact` is neither"),
            (r#"{"item": "a", "source": {"hex": "0"}}"#, "not hexadecimal"),
            (r#"{"item": "a", "evidence": {}}"#, "evidence"),
            (r#"{"item": "a", "reference": {"columns": []}}"#, "without `current`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn differences_are_told_exactly() {
        let with = |expected: Value| {
            let mut case = read(&format!(r#"{{"item": "a", "fit": {ROWS}}}"#)).unwrap();
            case.expected = Some(expected);
            case
        };
        let rows = |values: Value| json!({"output": {"columns": [{"name": "x", "kind": "float64", "nullable": true, "values": values}]}});
        // The float that is written as an integer is the same; a negative zero is not.
        assert_eq!(with(rows(json!([1, 0]))).difference(&rows(json!([1.0, 0.0]))), None);
        let said = with(rows(json!([1, 0.0]))).difference(&rows(json!([1.0, -0.0]))).unwrap();
        assert_eq!(said, "output.columns[x].values[1] is -0.0, not 0.0");
        let said = with(rows(json!([1]))).difference(&json!({"problem": {}})).unwrap();
        assert!(said.starts_with("it has no `output`"), "{said}");
        let said = with(json!({"checks": [1, 2]})).difference(&json!({"checks": [1]})).unwrap();
        assert_eq!(said, "checks has 1 entries, not 2");
        // A blessed case reads back as it was, with what came out.
        let blessed = with(Value::Null).blessed(&rows(json!([1.5])));
        assert_eq!(read(&blessed).unwrap().difference(&rows(json!([1.5]))), None);
    }
}
