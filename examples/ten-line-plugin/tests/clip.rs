//! The plugin at work, natively: what a component does, an ordinary test can see.

use clip::ExportedTransforms as Clip;
use plinth_sdk::{Block, Field, Kind, Problem, Schema, Step, Transforms};

fn clip(options: &str, values: Vec<f64>) -> Result<Vec<f64>, Problem> {
    let schema = Schema::new([Field::new("minutes", Kind::Float64, false)]);
    let mut fit = Clip::start("clip", schema.clone(), options)?;
    let Step::Done(state) = fit.end_pass()? else { panic!("there is nothing to learn") };
    let rows = Block { rows: values.len() as u32, f64s: values, ..Block::default() };
    Ok(Clip::load("clip", state, schema)?.apply(rows)?.f64s)
}

#[test]
fn values_outside_the_range_move_to_its_ends() {
    let clipped = clip(r#"{"min": 0, "max": 300}"#, vec![-5.0, 12.5, 1e9]);
    assert_eq!(clipped, Ok(vec![0.0, 12.5, 300.0]));
}

#[test]
fn options_are_checked_by_the_signature() {
    let message = |options| clip(options, vec![]).map(|_| ()).map_err(|problem| problem.message);
    assert_eq!(message(r#"{"min": 0}"#), Err("option `max`: it is missing".into()));
    assert_eq!(
        message(r#"{"min": 0, "max": 1, "colums": []}"#),
        Err("unknown option `colums`, did you mean `columns`?".into())
    );
}
