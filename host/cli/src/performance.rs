//! How good the captured answers of a version were, by what was told of their requests later.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray};
use plinth_core::{Micros, codes, did_you_mean};
use plinth_ext::{Batch, Kind};
use plinth_monitor::{Measure, Performance};
use plinth_serve::Captured;
use plinth_tracking::ModelVersion;
use plinth_train::{Answers, Classes, EvaluationSpec, Label, Task};
use serde_json::Value;

use crate::{args::MonitorCheckArgs, host::Host, output::Failure, scorer::Spec};

/// The column of truths, as they are handed on.
const TRUTH: &str = "truth";

/// What a model answers, as far as it can be compared with the truth.
enum Answered {
    /// Classes with their probabilities.
    Classes(Classes),
    /// A number.
    Number,
}

/// Measures the captured answers of which the truth was told; nothing if none was.
///
/// # Errors
/// Where `--max-drop` asks for a verdict and none can be given, that is said.
pub(crate) fn measure(
    args: &MonitorCheckArgs,
    host: &Host,
    version: &ModelVersion,
    captured: &[Batch],
    since: Micros,
) -> Result<Option<Performance>, Failure> {
    let truths = told(host, since)?;
    let spec = Spec::of(version)?;
    if matches!(&spec, Spec::Trained(document) if document.model.output.is_some()) {
        // What was captured are the answers, and what is on record is how good the model itself is.
        return match args.max_drop {
            None => Ok(None),
            Some(_) => {
                let message = format!("an output transform makes the answers of {}", version.reference());
                Err(Failure::new(codes::BAD_MODEL, message)
                    .hint("what is on record is of the model itself: the two cannot be compared"))
            }
        };
    }
    let label = spec.transform().and_then(|transform| transform.label.clone());
    let field = args.truth.as_deref().or(label.as_deref());
    let mut joined = Joined::default();
    for batch in captured {
        joined.add(batch, &truths, field)?;
    }
    let performance = match joined.rows.is_empty() {
        true => None,
        false => Some(joined.measure(&spec, version, &recorded(args, host, &spec, version)?)?),
    };
    let Some(most) = args.max_drop else { return Ok(performance) };
    let Some(mut performance) = performance else {
        let message = format!("the truth was told of no captured request to {}", version.reference());
        return Err(Failure::new(codes::EMPTY_INPUT, message)
            .hint("post it by request ids: POST /endpoints/NAME/feedback {\"request_id\": …, \"value\": …}"));
    };
    let usual = ["accuracy", "rmse"].into_iter().find(|name| performance.metrics.iter().any(|m| m.name == *name));
    let metric = args.metric.as_deref().or(usual).unwrap_or("accuracy");
    if !performance.judge(metric, most, host.settings.config.monitor.rows_min) {
        let known = performance.metrics.iter().map(|measure| measure.name.as_str());
        return Err(match known.clone().any(|name| name == metric) {
            true => {
                Failure::new(codes::EMPTY_INPUT, format!("{} does not say what its {metric} was", version.reference()))
                    .hint(format!("add --expected NUMBER with the {metric} that it should have"))
            }
            false => {
                Failure::new(codes::USAGE, format!("`{metric}` was not measured")).hint(did_you_mean(metric, known))
            }
        });
    }
    Ok(Some(performance))
}

/// What was told of requests, by their ids.
fn told(host: &Host, since: Micros) -> Result<HashMap<String, Value>, Failure> {
    let mut truths = HashMap::new();
    for endpoint in host.tracking().endpoints()? {
        for (feedback, _) in host.tracking().feedback(&endpoint.name, since)? {
            if let Some(value) = feedback.value {
                truths.insert(feedback.request_id, value);
            }
        }
    }
    Ok(truths)
}

/// What the metrics were when the version was evaluated: by its own record, else by its run.
fn recorded(
    args: &MonitorCheckArgs,
    host: &Host,
    spec: &Spec,
    version: &ModelVersion,
) -> Result<BTreeMap<String, f64>, Failure> {
    let mut recorded = match (spec, &version.run_id) {
        (Spec::Trained(document), _) => document.metrics.clone(),
        (_, Some(run_id)) => {
            let run = host.tracking().run(run_id)?;
            run.metrics.into_iter().map(|metric| (metric.key, metric.value)).collect()
        }
        (_, None) => BTreeMap::new(),
    };
    if let Some(expected) = args.expected {
        let metric = args.metric.clone();
        for name in metric.map_or_else(|| vec!["accuracy".to_owned(), "rmse".to_owned()], |metric| vec![metric]) {
            recorded.insert(name, expected);
        }
    }
    Ok(recorded)
}

/// Answers, each with its truth.
#[derive(Default)]
struct Joined {
    rows: Vec<RecordBatch>,
    truths: Vec<Value>,
    /// Rows whose request was told of, but not for each of its rows.
    unread: u64,
}

impl Joined {
    /// Takes those rows of a captured table whose truth was told.
    fn add(&mut self, batch: &Batch, told: &HashMap<String, Value>, field: Option<&str>) -> Result<(), Failure> {
        let column = |name: &str| batch.schema().index_of(name).map(|index| batch.column(index));
        let Some(ids) = column("request_id") else { return Ok(()) };
        let ids = ids.as_string::<i32>();
        let known: Vec<Option<&Value>> = ids.iter().map(|id| told.get(id.unwrap_or_default())).collect();
        if known.iter().all(Option::is_none) {
            return Ok(());
        }
        let numbers = rows_of_requests(ids, column("row"));
        // How many rows each request has: the truth of several is told as a list.
        let mut sizes: HashMap<&str, i64> = HashMap::new();
        for (id, number) in ids.iter().zip(&numbers) {
            let size = sizes.entry(id.unwrap_or_default()).or_default();
            *size = (*size).max(*number + 1);
        }
        let mut taken = Vec::new();
        for (row, known) in known.iter().enumerate() {
            let Some(value) = known else { continue };
            match of_row(value, field, numbers[row], sizes[ids.value(row)]) {
                Some(truth) => {
                    taken.push(row as u32);
                    self.truths.push(truth.clone());
                }
                None => self.unread += 1,
            }
        }
        if !taken.is_empty() {
            let answers = Captured::part(batch, Captured::OUTPUT);
            let picks = arrow_array::UInt32Array::from(taken);
            let rows = arrow_select::take::take_record_batch(answers.arrow(), &picks);
            self.rows.push(rows.map_err(|error| Failure::new(codes::BAD_TABLE, error.to_string()))?);
        }
        Ok(())
    }

    fn measure(
        mut self,
        spec: &Spec,
        version: &ModelVersion,
        recorded: &BTreeMap<String, f64>,
    ) -> Result<Performance, Failure> {
        let (classes, positive) = match spec {
            Spec::Trained(document) => (document.model.classes.clone(), document.positive.clone()),
            _ => (None, None),
        };
        let answered = answered(&self.rows[0], classes, version)?;
        let (task, classes) = match answered {
            Answered::Classes(classes) => (Task::Classification, Some(classes)),
            Answered::Number => (Task::Regression, None),
        };
        let names = classes.as_ref().map(Classes::names);
        let read = |truth: &Value| match &names {
            Some(names) => Some(text(truth)).filter(|text| names.contains(text)).map(Read::Class),
            None => number(truth).map(Read::Number),
        };
        let read: Vec<Option<Read>> = self.truths.iter().map(read).collect();
        self.unread += read.iter().filter(|read| read.is_none()).count() as u64;
        let mut next = 0;
        for batch in &mut self.rows {
            let usable: arrow_array::BooleanArray =
                read[next..next + batch.num_rows()].iter().map(|read| Some(read.is_some())).collect();
            next += batch.num_rows();
            *batch = arrow_select::filter::filter_record_batch(batch, &usable)
                .map_err(|error| Failure::new(codes::BAD_TABLE, error.to_string()))?;
        }
        let read: Vec<Read> = read.into_iter().flatten().collect();
        if read.is_empty() {
            let wanted = names.map_or_else(|| "a number".to_owned(), |names| format!("one of {}", names.join(", ")));
            let message = format!("nothing of what was told of requests to {} says what was true", version.reference());
            return Err(Failure::new(codes::BAD_LABEL, message)
                .hint(format!("the truth is {wanted}; --truth FIELD names where it stands")));
        }
        let truths: ArrayRef = match names {
            Some(_) => Arc::new(read.iter().map(Read::class).collect::<StringArray>()),
            None => Arc::new(read.iter().map(Read::number).collect::<Float64Array>()),
        };
        let rows = read.len() as u64;
        let truths = RecordBatch::try_from_iter([(TRUTH, truths)]);
        let truths = truths.map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
        let truths = Label::to_measure(&[truths], TRUTH, classes.as_ref())?;
        let answers = Answers::from_columns(task, classes.as_ref(), &self.rows)?;
        let how = EvaluationSpec { positive, ..EvaluationSpec::default() };
        let measured = plinth_train::evaluate(&how, &truths, &answers, &self.rows)?;
        let metrics = measured.metrics.into_iter().map(|metric| Measure {
            recorded: recorded.get(&metric.name).copied(),
            name: metric.name,
            current: metric.value,
        });
        Ok(Performance { rows, unread: self.unread, metrics: metrics.collect(), judged: None })
    }
}

/// A truth that reads.
enum Read {
    Class(String),
    Number(f64),
}

impl Read {
    fn class(&self) -> Option<&str> {
        match self {
            Self::Class(name) => Some(name),
            Self::Number(_) => None,
        }
    }

    const fn number(&self) -> Option<f64> {
        match self {
            Self::Class(_) => None,
            Self::Number(number) => Some(*number),
        }
    }
}

/// What the captured columns are answers to.
fn answered(rows: &RecordBatch, classes: Option<Classes>, version: &ModelVersion) -> Result<Answered, Failure> {
    let schema = rows.schema();
    let has = |name: &str| schema.column_with_name(name).is_some();
    let named = schema.fields().iter().filter_map(|field| field.name().strip_prefix("probability_"));
    let named: Vec<String> = named.map(str::to_owned).collect();
    if has("label") && !named.is_empty() {
        return Ok(Answered::Classes(classes.unwrap_or(Classes::Text(named))));
    }
    let number = |name: &str| {
        let kind = schema.column_with_name(name).and_then(|(_, field)| Kind::from_arrow(field.data_type()));
        kind.is_some_and(|kind| matches!(kind, Kind::Float32 | Kind::Float64))
    };
    if number("prediction") {
        return Ok(Answered::Number);
    }
    let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let message =
        format!("the answers of {} ({}) cannot be compared with the truth", version.reference(), found.join(", "));
    Err(Failure::new(codes::BAD_MODEL, message)
        .hint("what can be is `label` with `probability_…`, or a number `prediction`; neither may be redacted"))
}

/// The number of each row within its request.
fn rows_of_requests(ids: &StringArray, numbered: Option<&ArrayRef>) -> Vec<i64> {
    if let Some(numbers) = numbered.and_then(|numbers| numbers.as_any().downcast_ref::<Int64Array>()) {
        return numbers.values().to_vec();
    }
    // Of files from before rows were numbered: the rows of a request follow each other.
    let mut numbers: Vec<i64> = Vec::with_capacity(ids.len());
    for row in 0..ids.len() {
        let follows = row > 0 && ids.value(row) == ids.value(row - 1);
        numbers.push(if follows { numbers[row - 1] + 1 } else { 0 });
    }
    numbers
}

/// The truth of one row of a request that has `size` of them.
fn of_row<'a>(value: &'a Value, field: Option<&str>, row: i64, size: i64) -> Option<&'a Value> {
    let value = match value {
        Value::Object(fields) => {
            let named = field.and_then(|field| fields.get(field));
            named.or_else(|| (fields.len() == 1).then(|| fields.values().next()).flatten())?
        }
        other => other,
    };
    match value {
        Value::Array(list) if list.len() as i64 == size => match list.get(usize::try_from(row).ok()?)? {
            one @ Value::Object(_) => of_row(one, field, 0, 1),
            one => Some(one),
        },
        Value::Array(_) | Value::Object(_) | Value::Null => None,
        one => (size == 1).then_some(one),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        other => other.as_f64(),
    };
    number.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_truth_of_a_row_is_found_in_what_was_told_of_its_request() {
        let of = |value: Value, field: Option<&str>, row: i64, size: i64| of_row(&value, field, row, size).cloned();
        assert_eq!(of(json!("yes"), None, 0, 1), Some(json!("yes")));
        assert_eq!(of(json!(true), None, 0, 1), Some(json!(true)));
        assert_eq!(of(json!({"churned": 1}), None, 0, 1), Some(json!(1)));
        assert_eq!(of(json!({"churned": 1, "why": "price"}), Some("churned"), 0, 1), Some(json!(1)));
        assert_eq!(of(json!({"churned": 1, "why": "price"}), None, 0, 1), None, "which of them?");
        assert_eq!(of(json!(["a", "b"]), None, 1, 2), Some(json!("b")));
        assert_eq!(of(json!({"class": ["a", "b"]}), Some("class"), 0, 2), Some(json!("a")));
        assert_eq!(of(json!([{"class": "a", "x": 1}, {"class": "b", "x": 2}]), Some("class"), 1, 2), Some(json!("b")));
        assert_eq!(of(json!("yes"), None, 0, 2), None, "whose of the two?");
        assert_eq!(of(json!(["a"]), None, 0, 2), None);
        assert_eq!(of(json!(null), None, 0, 1), None);
        assert_eq!((number(&json!("1.5")), number(&json!("x")), text(&json!(true))), (Some(1.5), None, "true".into()));
    }

    #[test]
    fn rows_are_numbered_within_their_request() {
        let ids = StringArray::from(vec!["a", "a", "b", "a"]);
        assert_eq!(rows_of_requests(&ids, None), [0, 1, 0, 0]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 0, 2]));
        assert_eq!(rows_of_requests(&ids, Some(&numbers)), [0, 1, 0, 2]);
    }
}
