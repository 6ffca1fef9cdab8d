//! Every trainer on real data: is it any good, and does ONNX Runtime say what the trainer says?
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    slice::from_ref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::DataType;
use plinth_core::{Coded, codes};
use plinth_tensor::{Device, OnnxModel, Runtime, RuntimeConfig, SessionOptions};
use plinth_train::{
    Answers, Evaluation, EvaluationSpec, Label, Task, TrainError, TrainSpec, Trained, Watch, agreement, evaluate, train,
};
use serde_json::{Value, json};

fn read(path: &Path) -> RecordBatch {
    let format = || arrow_csv::reader::Format::default().with_header(true);
    let (schema, _) = format().infer_schema(File::open(path).unwrap(), None).unwrap();
    let builder = arrow_csv::ReaderBuilder::new(Arc::new(schema)).with_format(format()).with_batch_size(1 << 20);
    builder.build(File::open(path).unwrap()).unwrap().next().unwrap().unwrap()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn iris() -> RecordBatch {
    read(&here("tests/data/iris.csv"))
}

fn diabetes() -> RecordBatch {
    read(&here("tests/data/diabetes.csv"))
}

/// The churn table with its text columns one-hot encoded, as the example's features stage does it.
fn churn() -> RecordBatch {
    let raw = read(&here("../../examples/churn/data/mlc_churn_events.csv"));
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, column) in raw.schema_ref().fields().iter().zip(raw.columns()) {
        let name = field.name();
        match (name.as_str(), field.data_type()) {
            ("customer_id", _) | (_, DataType::Timestamp(..)) => {}
            ("churn", _) => columns.push((name.clone(), column.clone())),
            (_, DataType::Utf8) => {
                let texts = column.as_string::<i32>();
                let values: BTreeSet<&str> = texts.iter().flatten().collect();
                for value in values {
                    let is: BooleanArray = texts.iter().map(|text| text.map(|text| text == value)).collect();
                    columns.push((format!("{name}={value}"), Arc::new(is)));
                }
            }
            _ => columns.push((name.clone(), column.clone())),
        }
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The first four of every five rows to learn from, in two batches; the fifth to measure on.
fn split(table: &RecordBatch) -> (Vec<RecordBatch>, RecordBatch) {
    split_by(table, &|row| row % 5 == 4)
}

/// The latest fifth of the customers to measure on, as the example holds it out.
fn split_by_time(table: &RecordBatch) -> (Vec<RecordBatch>, RecordBatch) {
    let raw = read(&here("../../examples/churn/data/mlc_churn_events.csv"));
    // Whatever the unit of the timestamps, they are integers beneath.
    let times = raw.column_by_name("event_timestamp").unwrap().to_data().buffers()[0].typed_data::<i64>().to_vec();
    let mut sorted = times.clone();
    sorted.sort_unstable();
    let from = sorted[sorted.len() * 4 / 5];
    split_by(table, &|row| times[row] >= from)
}

fn split_by(table: &RecordBatch, held_out: &dyn Fn(usize) -> bool) -> (Vec<RecordBatch>, RecordBatch) {
    let take = |wanted: &dyn Fn(usize) -> bool| {
        let rows: BooleanArray = (0..table.num_rows()).map(|row| Some(wanted(row))).collect();
        arrow_select::filter::filter_record_batch(table, &rows).unwrap()
    };
    let learn = take(&|row| !held_out(row));
    let half = learn.num_rows() / 2;
    (vec![learn.slice(0, half), learn.slice(half, learn.num_rows() - half)], take(held_out))
}

fn spec(task: Task, trainer: &str, options: &Value) -> TrainSpec {
    TrainSpec::check(task, trainer, options, 7).unwrap()
}

fn fit(task: Task, trainer: &str, options: &Value, batches: &[RecordBatch], label: Option<&str>) -> Trained {
    train(&spec(task, trainer, options), batches, label, &Watch::nobody()).unwrap()
}

/// What the exported model says through ONNX Runtime, after it was found to agree with the trainer.
fn checked(trained: &Trained, rows: &RecordBatch) -> Answers {
    let runtime = Runtime::start(&RuntimeConfig::default()).unwrap();
    let options = SessionOptions { device: Device::Cpu, ..SessionOptions::default() };
    let model = OnnxModel::load(&runtime, &trained.onnx, &options).unwrap();
    assert_eq!(model.task(), Some(trained.task.name()));
    let features: Vec<usize> = trained.features.iter().map(|name| rows.schema_ref().index_of(name).unwrap()).collect();
    let scored = model.score(&rows.project(&features).unwrap()).unwrap();
    let exported = Answers::from_columns(trained.task, trained.classes.as_ref(), from_ref(scored.arrow())).unwrap();
    let native = trained.native.answers(&trained.features_of(from_ref(rows)).unwrap());
    let worst = agreement(&native, &exported).unwrap();
    println!("{} {}: largest difference {worst:.2e}, {:?}", trained.task, trained.trainer, trained.report.facts);
    exported
}

fn measured(trained: &Trained, rows: &RecordBatch, label: &str) -> Evaluation {
    let truth = Label::to_measure(from_ref(rows), label, trained.classes.as_ref()).unwrap();
    let evaluation = evaluate(&EvaluationSpec::default(), &truth, &checked(trained, rows), &[]).unwrap();
    let show: Vec<String> = evaluation.metrics.iter().map(|m| format!("{} {:.4}", m.name, m.value)).collect();
    println!("{} {}: {}", trained.task, trained.trainer, show.join(", "));
    evaluation
}

fn on_churn(trainer: &str, options: &Value) -> Evaluation {
    let (learn, hold) = split(&churn());
    on_split(trainer, options, &learn, &hold)
}

fn on_split(trainer: &str, options: &Value, learn: &[RecordBatch], hold: &RecordBatch) -> Evaluation {
    let begun = std::time::Instant::now();
    let trained = fit(Task::Classification, trainer, options, learn, Some("churn"));
    println!("{trainer} learned {} rows in {:?}", trained.report.rows, begun.elapsed());
    measured(&trained, hold, "churn")
}

#[test]
fn boosting_finds_the_churners() {
    let table = churn();
    for (learn, hold) in [split(&table), split_by_time(&table)] {
        let evaluation = on_split("gradient-boosting", &Value::Null, &learn, &hold);
        assert!(evaluation.metric("f1").unwrap() > 0.80, "{evaluation:?}");
        assert!(evaluation.metric("accuracy").unwrap() > 0.94);
    }
}

#[test]
fn a_forest_misses_many_churners_and_ranks_them_well() {
    let evaluation = on_churn("random-forest", &json!({"trees": 100, "max-depth": 10}));
    let f1 = evaluation.metric("f1").unwrap();
    assert!((0.50..0.80).contains(&f1), "{f1}");
    assert!(evaluation.metric("roc_auc").unwrap() > 0.88);
    assert!(evaluation.metric("accuracy").unwrap() > 0.90);
}

#[test]
fn logistic_regression_ranks_churners_above_others() {
    let evaluation = on_churn("logistic-regression", &Value::Null);
    assert!(evaluation.metric("roc_auc").unwrap() > 0.78, "{evaluation:?}");
    assert_eq!(evaluation.positive.as_deref(), Some("yes"));
}

#[test]
fn three_classes_are_told_apart_by_every_classifier() {
    let (learn, hold) = split(&iris());
    for trainer in ["logistic-regression", "random-forest", "gradient-boosting"] {
        let trained = fit(Task::Classification, trainer, &Value::Null, &learn, Some("target"));
        assert_eq!(trained.classes.as_ref().unwrap().names(), ["0", "1", "2"]);
        let evaluation = measured(&trained, &hold, "target");
        assert!(evaluation.metric("accuracy").unwrap() >= 0.9, "{trainer}: {evaluation:?}");
    }
}

#[test]
fn numbers_are_predicted_better_than_by_their_mean() {
    let (learn, hold) = split(&diabetes());
    for (trainer, options) in [
        ("elastic-net", json!({"penalty": 0.5})),
        ("random-forest", json!({"min-rows-leaf": 3})),
        ("gradient-boosting", Value::Null),
        ("gradient-boosting", json!({"trees": 60, "row-share": 0.7, "feature-share": 0.6, "l1": 1.0})),
    ] {
        let trained = fit(Task::Regression, trainer, &options, &learn, Some("target"));
        let evaluation = measured(&trained, &hold, "target");
        let r2 = evaluation.metric("r2").unwrap();
        assert!((0.25..0.7).contains(&r2), "{trainer}: {evaluation:?}");
    }
}

#[test]
fn flowers_are_grouped_much_as_botanists_do() {
    let table = iris();
    let features = table.project(&[0, 1, 2, 3]).unwrap();
    let trained = fit(Task::Clustering, "k-means", &json!({"clusters": 3}), from_ref(&features), None);
    let Answers::Clusters { clusters, .. } = checked(&trained, &features) else { panic!() };
    let species = table.column(4).as_primitive::<arrow_array::types::Int64Type>();
    let mut counts = [[0; 3]; 3];
    clusters.iter().zip(species.values()).for_each(|(cluster, s)| counts[*cluster as usize][*s as usize] += 1);
    let kept: i32 = counts.iter().map(|row| row.iter().max().unwrap()).sum();
    assert!(kept >= 130, "{counts:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let (learn, _) = split(&churn());
    let learn = [learn[0].slice(0, 600)];
    for trainer in ["random-forest", "gradient-boosting", "logistic-regression"] {
        let model = |seed| {
            let options = if trainer == "random-forest" { json!({"trees": 10}) } else { Value::Null };
            let spec = TrainSpec::check(Task::Classification, trainer, &options, seed).unwrap();
            train(&spec, &learn, Some("churn"), &Watch::nobody()).unwrap().onnx
        };
        assert!(model(1) == model(1), "{trainer}");
        assert_eq!(model(1) == model(2), trainer != "random-forest", "{trainer}");
    }
}

#[test]
fn missing_values_take_the_same_branch_in_the_export() {
    let (learn, hold) = split(&diabetes());
    let with_holes = |batch: &RecordBatch| {
        let columns =
            batch.schema_ref().fields().iter().zip(batch.columns()).enumerate().map(|(at, (field, column))| {
                let values = column.as_primitive::<arrow_array::types::Float64Type>();
                let holes: Float64Array =
                    values.iter().enumerate().map(|(row, v)| v.filter(|_| at > 8 || (row + at) % 4 != 0)).collect();
                (field.name().clone(), Arc::new(holes) as ArrayRef, true)
            });
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    let learn: Vec<RecordBatch> = learn.iter().map(with_holes).collect();
    let trained = fit(Task::Regression, "gradient-boosting", &Value::Null, &learn, Some("target"));
    assert!(trained.missing_allowed);
    let evaluation = measured(&trained, &with_holes(&hold), "target");
    assert!(evaluation.metric("r2").unwrap() > 0.2, "{evaluation:?}");
    let spec = spec(Task::Regression, "random-forest", &Value::Null);
    let error = train(&spec, &learn, Some("target"), &Watch::nobody()).unwrap_err();
    assert_eq!(error.to_string(), "row 0, column `age`: null where a finite number is needed");
}

#[test]
fn features_of_wild_scales_and_labels_far_from_zero_still_agree() {
    let rows = 400;
    let wild = |row: usize, scale: f64, offset: f64| offset + scale * ((row * 7919 % 1000) as f64 / 1000.0 - 0.5);
    let table = RecordBatch::try_from_iter(vec![
        ("time", Arc::new(Float64Array::from_iter_values((0..rows).map(|r| wild(r, 3e7, 1.7e9)))) as ArrayRef),
        ("tiny", Arc::new(Float64Array::from_iter_values((0..rows).map(|r| wild(r * 3, 1e-6, 0.0))))),
        ("steady", Arc::new(Int64Array::from_iter_values((0..rows).map(|_| 5)))),
        ("flag", Arc::new(BooleanArray::from_iter((0..rows).map(|r| Some(r % 3 == 0))))),
        (
            "amount",
            Arc::new(Float64Array::from_iter_values((0..rows).map(|r| 1e7 + wild(r, 500.0, 0.0) + (r % 3) as f64))),
        ),
    ])
    .unwrap();
    for trainer in ["elastic-net", "random-forest", "gradient-boosting"] {
        let trained = fit(Task::Regression, trainer, &Value::Null, from_ref(&table), Some("amount"));
        assert_eq!(trained.report.constant_features, ["steady"]);
        checked(&trained, &table);
    }
}

#[test]
fn a_label_that_no_split_explains_still_exports() {
    let noise = RecordBatch::try_from_iter(vec![
        ("x", Arc::new(Int64Array::from_iter_values((0..40).map(|r| r / 20))) as ArrayRef),
        ("y", Arc::new(StringArray::from_iter_values((0..40).map(|r| if r % 2 == 0 { "a" } else { "b" })))),
    ])
    .unwrap();
    for trainer in ["gradient-boosting", "random-forest", "logistic-regression"] {
        let trained = fit(Task::Classification, trainer, &Value::Null, from_ref(&noise), Some("y"));
        let Answers::Classes { probabilities, .. } = checked(&trained, &noise) else { panic!() };
        assert!(probabilities.iter().all(|p| (p - 0.5).abs() < 0.2), "{trainer}: {probabilities:?}");
    }
}

#[test]
fn data_that_cannot_be_learned_from_is_refused() {
    let table = iris();
    let nobody = Watch::nobody();
    let forest = spec(Task::Classification, "random-forest", &Value::Null);
    let of = |spec: &TrainSpec, batches: &[RecordBatch], label: Option<&str>| {
        let error = train(spec, batches, label, &nobody).unwrap_err();
        (error.code(), error.to_string())
    };
    assert_eq!(of(&forest, &[], Some("target")).0, codes::EMPTY_INPUT);
    assert_eq!(of(&forest, &[table.slice(0, 0)], Some("target")).0, codes::EMPTY_INPUT);
    assert_eq!(of(&forest, from_ref(&table), Some("tarpet")).0, codes::UNKNOWN_COLUMN);
    assert_eq!(of(&forest, from_ref(&table), None).0, codes::BAD_LABEL);
    let single = of(&forest, &[table.slice(0, 20)], Some("target"));
    assert_eq!(single, (codes::BAD_LABEL, "label `target` has the single value `0`".into()));
    let alone = of(&forest, &[table.project(&[4]).unwrap()], Some("target"));
    assert_eq!(alone, (codes::SCHEMA_MISMATCH, "there is no feature column beside the label".into()));
    let constant: ArrayRef = Arc::new(Int64Array::from(vec![3; 150]));
    let steady = RecordBatch::try_from_iter(vec![("x", constant), ("target", table.column(4).clone())]).unwrap();
    assert_eq!(of(&forest, &[steady], Some("target")).0, codes::TRAINING_FAILED);
    let clusters = spec(Task::Clustering, "k-means", &json!({"clusters": 20}));
    let few = of(&clusters, &[table.slice(0, 10)], None);
    assert_eq!(few, (codes::TRAINING_FAILED, "k-means could not learn from this data: 10 rows for 20 clusters".into()));
    let net = spec(Task::Regression, "elastic-net", &Value::Null);
    assert_eq!(of(&net, &[diabetes().slice(0, 5)], Some("target")).0, codes::TRAINING_FAILED);
    let mut small = forest;
    small.limits.rows_in_memory_max = 100;
    let error = train(&small, &[table], Some("target"), &nobody).unwrap_err();
    assert_eq!(error.to_string(), "there are 150 rows, more than 100");
    assert_eq!(error.hint().unwrap(), "raise limits.table.rows-in-memory-max in plinth.toml");
}

#[test]
fn a_training_tells_its_progress_and_stops_when_asked() {
    let (learn, _) = split(&churn());
    let seen = Mutex::new(Vec::new());
    let cancel = AtomicBool::new(false);
    let progress = |progress: plinth_train::Progress| seen.lock().unwrap().push(progress);
    let forest = spec(Task::Classification, "random-forest", &json!({"trees": 8, "max-depth": 4}));
    train(&forest, &learn, Some("churn"), &Watch { progress: &progress, cancel: &cancel }).unwrap();
    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!((last.done, last.total, last.unit), (8, 8, "trees"));

    let stop = |_: plinth_train::Progress| cancel.store(true, Ordering::Relaxed);
    for trainer in ["random-forest", "gradient-boosting", "logistic-regression"] {
        cancel.store(false, Ordering::Relaxed);
        let spec = spec(Task::Classification, trainer, &Value::Null);
        let error = train(&spec, &learn, Some("churn"), &Watch { progress: &stop, cancel: &cancel }).unwrap_err();
        assert!(matches!(error, TrainError::Cancelled), "{trainer}: {error}");
        assert_eq!(error.code(), codes::INTERRUPTED);
    }
}
