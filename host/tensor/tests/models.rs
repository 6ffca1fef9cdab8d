//! Models through the real ONNX Runtime library, which `cargo xtask setup` has put where it is looked for.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray,
    types::Float32Type,
};
use plinth_core::{Coded, codes};
use plinth_ext::{Batch, Kind, Model, Numbers};
use plinth_tensor::{
    DType, Data, Device, OnnxModel, Runtime, RuntimeConfig, Session, SessionOptions, Tensor, TensorError,
};

const LINEAR: &[u8] = include_bytes!("data/linear.onnx");
const CLASSES: &[u8] = include_bytes!("data/classes.onnx");
const ZIPMAP: &[u8] = include_bytes!("data/zipmap.onnx");
const TYPES: &[u8] = include_bytes!("data/types.onnx");

fn runtime() -> Runtime {
    Runtime::start(&RuntimeConfig::default()).unwrap()
}

fn cpu() -> SessionOptions {
    SessionOptions { device: Device::Cpu, ..SessionOptions::default() }
}

fn session(model: &[u8]) -> Session {
    Session::load(&runtime(), model, &cpu()).unwrap()
}

fn linear() -> OnnxModel {
    OnnxModel::load(&runtime(), LINEAR, &cpu()).unwrap()
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn loading_early_and_starting_twice_give_one_library() {
    Runtime::start_early(RuntimeConfig::default());
    let (one, two) = (runtime(), runtime());
    assert_eq!(one.library(), two.library());
    let version = one.version().unwrap();
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    assert!(minor >= 24, "{version}");
}

#[test]
fn every_element_type_passes_through() {
    let session = session(TYPES);
    let inputs = vec![
        Tensor::new(vec![2], Data::F32(vec![1.5, -2.0])).unwrap(),
        Tensor::new(vec![2], Data::F64(vec![1e300, -2.0])).unwrap(),
        Tensor::new(vec![1], Data::I32(vec![i32::MIN])).unwrap(),
        Tensor::new(vec![1], Data::I64(vec![i64::MAX])).unwrap(),
        Tensor::new(vec![3], Data::Bool(vec![true, false, true])).unwrap(),
        Tensor::new(vec![2], Data::Text(vec!["é".into(), String::new()])).unwrap(),
    ];
    assert_eq!(session.run(&inputs).unwrap(), inputs);
    assert_eq!(session.inputs()[5].dtype, Some(DType::Text));
    assert_eq!(session.outputs()[0].shape_text(), "[?]");
}

#[test]
fn wrong_inputs_are_told_apart() {
    let session = session(LINEAR);
    let tensor = |shape: Vec<usize>, data| [Tensor::new(shape, data).unwrap()];
    let error = session.run(&[]).unwrap_err();
    assert_eq!(error.to_string(), "the model takes 1 inputs and got 0");
    let error = session.run(&tensor(vec![1, 2], Data::F64(vec![0.0; 2]))).unwrap_err();
    assert_eq!(error.to_string(), "input `features` is float32 and got float64");
    let error = session.run(&tensor(vec![1, 3], Data::F32(vec![0.0; 3]))).unwrap_err();
    assert_eq!(error.to_string(), "input `features` has the shape [?, 2] and got [1, 3]");
    assert_eq!(error.code(), codes::SCHEMA_MISMATCH);
    assert!(session.run(&tensor(vec![1, 2], Data::F32(vec![0.0; 2]))).is_ok(), "still usable");
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let mut cut = LINEAR.to_vec();
    cut.truncate(60);
    let not: [&[u8]; 4] = [b"", b"not a model", &[0xff; 64], &cut];
    for bytes in not {
        let error = Session::load(&runtime(), bytes, &cpu()).unwrap_err();
        assert_eq!(error.code(), codes::BAD_MODEL, "{error}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_when_asked_for_and_no_matter_otherwise() {
    let cuda = SessionOptions { device: Device::Cuda(99), ..cpu() };
    let error = Session::load(&runtime(), LINEAR, &cuda).unwrap_err();
    assert_eq!(error.code(), codes::DEVICE_NOT_FOUND, "{error}");
    assert!(error.to_string().starts_with("the device cuda:99 is not there: "), "{error}");
    assert!(error.hint().unwrap().contains("--device cpu"));
    let auto = Session::load(&runtime(), LINEAR, &SessionOptions::default()).unwrap();
    assert_ne!(auto.device(), Device::Auto);
}

#[test]
fn numeric_columns_of_any_kind_are_scored() {
    let model = linear();
    assert_eq!(model.task(), Some("regression"));
    assert_eq!(model.input().fields()[1].name, "b");
    let batch = rows(vec![
        ("a", Arc::new(Float64Array::from(vec![1.0, 2.0, -0.25]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true]))),
    ]);
    let out = model.score(&batch).unwrap();
    assert_eq!(out.schema().fields()[0].name, "prediction");
    assert_eq!(out.column(0).as_primitive::<Float32Type>().values(), &[1.5, 4.5, -1.0]);
    let batch = rows(vec![("a", Arc::new(Int64Array::from(vec![3]))), ("b", Arc::new(Float32Array::from(vec![0.5])))]);
    let out = model.predict(&Batch::from_arrow(&batch).unwrap()).unwrap();
    assert_eq!(out.column(0).as_primitive::<Float32Type>().values(), &[6.0]);
    assert_eq!(model.score(&batch.slice(0, 0)).unwrap().num_rows(), 0);
}

#[test]
fn numbers_in_one_piece_are_scored_as_their_columns_are() {
    let model = linear();
    let columns: Vec<f32> = vec![1.0, 2.0, -0.25, 0.5, -3.0, 8.0];
    let numbers = |values: &[f32], rows| {
        Batch::of_numbers(model.input().clone(), Numbers::F32(values.to_vec().into()), rows).unwrap()
    };
    let array = |values: &[f32]| -> ArrayRef { Arc::new(Float32Array::from(values.to_vec())) };
    let expected = model.score(&rows(vec![("a", array(&columns[..3])), ("b", array(&columns[3..]))])).unwrap();
    assert_eq!(model.predict(&numbers(&columns, 3)).unwrap(), expected);
    let one = model.predict(&numbers(&[2.0, -3.0], 1)).unwrap();
    assert_eq!(one, expected.slice(1, 1));
    assert_eq!(model.predict(&numbers(&[], 0)).unwrap().num_rows(), 0);
    let error = model.predict(&numbers(&[1.0, 2.0, 3.0, f32::NAN], 2)).unwrap_err();
    assert!(error.to_string().contains("row 1, feature `b`: NaN where the model needs a finite number"), "{error}");
}

#[test]
fn a_column_that_is_not_the_feature_is_named() {
    let model = linear();
    let number = |name| (name, Arc::new(Float64Array::from(vec![1.0])) as ArrayRef);
    let text = |name| (name, Arc::new(StringArray::from(vec!["x"])) as ArrayRef);
    for (columns, message) in [
        (vec![number("b"), number("a")], "feature 0 of the model is `a`, found `b`"),
        (vec![number("a")], "feature 1 of the model is `b`, found no column"),
        (vec![number("a"), number("b"), number("c")], "feature 2 of the model is no column, found `c`"),
        (vec![number("a"), text("b")], "feature 1 of the model is `b`, a number, found Utf8"),
    ] {
        let error = model.score(&rows(columns)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.code(), codes::SCHEMA_MISMATCH);
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_with_its_row() {
    let model = linear();
    let cases: [(Vec<Option<f64>>, &str); 4] = [
        (vec![Some(1.0), None], "row 1, feature `a`: null where the model needs a finite number"),
        (vec![Some(f64::NAN), None], "row 0, feature `a`: NaN where the model needs a finite number"),
        (vec![Some(0.0), Some(f64::INFINITY)], "row 1, feature `a`: inf where the model needs a finite number"),
        (vec![Some(1e300), Some(0.0)], "row 0, feature `a`: inf where the model needs a finite number"),
    ];
    for (values, message) in cases {
        let batch = rows(vec![
            ("a", Arc::new(Float64Array::from(values))),
            ("b", Arc::new(Float64Array::from(vec![0.0, 0.0]))),
        ]);
        let error = model.score(&batch).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code()), (message, codes::NOT_FINITE));
    }
}

#[test]
fn a_model_from_elsewhere_gets_names_and_may_take_missing_values() {
    let model = OnnxModel::load(&runtime(), CLASSES, &cpu()).unwrap();
    let names: Vec<&str> = model.output().fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["label", "probabilities_0", "probabilities_1"]);
    assert_eq!(model.output().fields()[0].kind, Kind::Utf8);
    let batch = rows(vec![
        ("feature_0", Arc::new(Float64Array::from(vec![Some(2.0), Some(-2.0), None]))),
        ("feature_1", Arc::new(Float64Array::from(vec![0.0, 0.0, 0.0]))),
    ]);
    let out = model.score(&batch).unwrap();
    let labels: Vec<&str> = out.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(labels[..2], ["no", "yes"]);
    let no = out.column(1).as_primitive::<Float32Type>();
    let yes = out.column(2).as_primitive::<Float32Type>();
    assert!((no.value(0) + yes.value(0) - 1.0).abs() < 1e-6 && no.value(0) > 0.9);
    let named = OnnxModel::new(session(CLASSES), Some(&["x".into(), "y".into()])).unwrap();
    assert_eq!(named.input().fields()[1].name, "y");
    let error = OnnxModel::new(session(CLASSES), Some(&["x".into()])).unwrap_err();
    assert!(matches!(error, TensorError::NotTabular(_)), "{error}");
}

#[test]
fn a_model_that_returns_maps_is_refused_with_the_fix() {
    let error = OnnxModel::load(&runtime(), ZIPMAP, &cpu()).unwrap_err();
    assert_eq!(error.code(), codes::BAD_MODEL, "{error}");
    assert!(error.hint().unwrap().contains("zipmap=False"));
    let error = OnnxModel::load(&runtime(), TYPES, &cpu()).unwrap_err();
    assert!(error.to_string().contains("6 inputs"), "{error}");
}

#[test]
fn many_threads_run_one_session_at_once_and_each_gets_what_one_alone_gets() {
    let forest = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bench/peers/rf.onnx")).unwrap();
    let models = [session(&forest), session(LINEAR), session(CLASSES)];
    let widths: Vec<usize> = models.iter().map(|model| model.inputs()[0].shape[1].unwrap()).collect();
    let input = |width: usize, rows: usize, seed: usize| {
        let values = (0..rows * width).map(|i| ((i * 7919 + seed * 104_729) % 1_000) as f32 / 10.0 - 50.0).collect();
        vec![Tensor::new(vec![rows, width], Data::F32(values)).unwrap()]
    };
    // Of each model's answers to requests of many sizes, so that what threads share has to change all the time.
    let sizes = [1, 2, 3, 7, 32, 100, 257];
    let asked: Vec<Vec<Vec<Tensor>>> = widths
        .iter()
        .map(|width| sizes.iter().enumerate().map(|(seed, rows)| input(*width, *rows, seed)).collect())
        .collect();
    let alone = |model: &Session, asked: &[Vec<Tensor>]| -> Vec<Vec<Tensor>> {
        asked.iter().map(|inputs| model.run(inputs).unwrap()).collect()
    };
    let right: Vec<_> = models.iter().zip(&asked).map(|(model, asked)| alone(model, asked)).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (models, asked, right) = (&models, &asked, &right);
            scope.spawn(move || {
                for step in 0..400 {
                    let (model, size) = ((step + thread) % models.len(), (step * 5 + thread) % sizes.len());
                    assert_eq!(models[model].run(&asked[model][size]).unwrap(), right[model][size], "{model}, {size}");
                }
            });
        }
    });
}
