//! The plugin at work, natively.

use plinth_sdk::{Block, BlockBuilder, Field, Kind, Problem, Schema, Step, Transforms};
use standard_scale_rust::ExportedTransforms as Plugin;

fn schema() -> Schema {
    Schema::new([Field::new("name", Kind::Utf8, false), Field::new("x", Kind::Float64, true)])
}

fn rows(values: &[f64], valid: u8) -> Result<Block, Problem> {
    let schema = schema();
    let mut builder = BlockBuilder::new(&schema, values.len());
    builder.texts(values.iter().map(|_| ""), None)?.f64s(values.to_vec(), Some(&[valid]))?;
    builder.finish()
}

#[test]
fn values_are_scaled_the_same_however_rows_were_spread_over_fits() {
    let mut first = Plugin::start("standard-scale", schema(), "{}").unwrap();
    let mut second = Plugin::start("standard-scale", schema(), r#"{"columns": ["x"]}"#).unwrap();
    first.update(rows(&[1.0, 2.0, 99.0], 0b011).unwrap()).unwrap();
    second.update(rows(&[3.0, f64::NAN, 4.0], 0b111).unwrap()).unwrap();
    first.merge(second.partial().unwrap()).unwrap();
    let Step::Done(state) = first.end_pass().unwrap() else { panic!("one pass is enough") };
    assert_eq!(state.len(), 20);
    let fitted = Plugin::load("standard-scale", state, schema()).unwrap();
    let scaled = fitted.apply(rows(&[2.5, 99.0, 4.0], 0b101).unwrap()).unwrap();
    let deviation = 1.25_f64.sqrt();
    assert_eq!(scaled.f64s, [0.0, 0.0, 1.5 / deviation]);
    assert_eq!(fitted.output(), schema());
}

#[test]
fn partials_and_states_are_the_same_bytes_in_every_language() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut first = Plugin::start("standard-scale", schema(), "{}").unwrap();
    let mut second = Plugin::start("standard-scale", schema(), "{}").unwrap();
    first.update(rows(&[0.1, 0.2, 99.0, f64::NAN, 0.3, 1e10], 0b11_1011).unwrap()).unwrap();
    second.update(rows(&[0.7, -5e-324, 1e-3], 0b111).unwrap()).unwrap();
    first.merge(second.partial().unwrap()).unwrap();
    assert_eq!(hex(second.partial().unwrap()), "00000000000008404ed4bf11cae8cd3f1c12d1c278e0d43f");
    assert_eq!(hex(first.partial().unwrap()), "0000000000001c405e7730499149d5411e4be14219961244");
    let Step::Done(state) = first.end_pass().unwrap() else { panic!("one pass is enough") };
    assert_eq!(hex(state), "010000005e7730499149d541d85fa1725412ea41");
}

#[test]
fn a_column_without_values_or_without_spread_is_only_centred() {
    for (values, expected) in [(&[5.0, 5.0][..], vec![0.0, 0.0]), (&[f64::NAN][..], vec![f64::NAN])] {
        let mut fit = Plugin::start("standard-scale", schema(), "{}").unwrap();
        fit.update(rows(values, 0b11).unwrap()).unwrap();
        let Step::Done(state) = fit.end_pass().unwrap() else { panic!("one pass is enough") };
        let scaled = Plugin::load("standard-scale", state, schema()).unwrap().apply(rows(values, 0b11).unwrap());
        assert_eq!(format!("{:?}", scaled.unwrap().f64s), format!("{expected:?}"));
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    let start = |options| Plugin::start("standard-scale", schema(), options).map(|_| ()).unwrap_err();
    let told = |problem: Problem| (problem.code, problem.column);
    assert_eq!(told(start(r#"{"columns": ["name"]}"#)), ("wrong-kind".into(), Some("name".into())));
    assert_eq!(told(start(r#"{"columns": ["y"]}"#)), ("unknown-column".into(), Some("y".into())));
    assert_eq!(told(start(r#"{"columns": ["x", "x"]}"#)), ("bad-options".into(), None));
    let load = |len, column| {
        let mut state = vec![0; len];
        state[0] = column;
        Plugin::load("standard-scale", state, schema()).map(|_| ()).unwrap_err().code
    };
    assert_eq!([load(19, 1), load(20, 0), load(40, 2)], ["bad-state"; 3]);
    let mut fit = Plugin::start("standard-scale", schema(), "{}").unwrap();
    assert_eq!(fit.merge(vec![0; 23]).unwrap_err().code, "bad-partial");
}
