//! Attributions as a table: one line for each row and score.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use plinth_ext::{Batch, Field, Kind, Schema};

use crate::{Explained, Scorer};

/// What the name of each column starts with that holds the part of a raw column, so that no column of the model's is
/// mistaken for one of the others.
pub const PART: &str = "part_";

/// The columns: `row`, `score`, `method`, `exact`, `scale`, `base`, `value`, and `part_NAME` for each raw column.
pub fn attribution_schema(scorer: &Scorer) -> Schema {
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
    fields.extend(columns.map(|field| Field::new(format!("{PART}{}", field.name), Kind::Float64, false)));
    Schema::new(fields).expect("a prefix keeps unique names unique")
}

/// The lines for some rows, which count from `first`, of [`attribution_schema`]; `scores` are the names of
/// [`Explainer::scores`](crate::Explainer::scores).
pub fn attribution_table(schema: &Schema, scores: &[&str], explained: &[Explained], first: usize) -> Batch {
    // Each line: its row, its score's place, and what is said of both.
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
    Batch::new(schema.clone(), columns, lines.len()).expect("a value in each column for each line")
}
