//! Parquet bodies of `/invocations`: columns by name, their values by the rules of all other forms.

use arrow_array::{
    Array,
    cast::AsArray,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use bytes::Bytes;
use plinth_ext::{Batch, Kind};
use plinth_score::{Column, Rows, ScoreError, Signature};
use plinth_table::{Bounds, Sent, TableError};

use super::payload::Order;
use crate::{
    cells::{Names, too_many_rows},
    error::ApiError,
};

/// The rows of a body, in the signature's columns; texts and pages may be as large, once they are unpacked, as a body.
pub(crate) fn read(signature: &Signature, body: &Bytes, rows_max: usize, bytes_max: u64) -> Result<Batch, ApiError> {
    let bounds = Bounds { rows_max: rows_max as u64, bytes_max };
    let sent = Sent::open(body.clone(), bounds).map_err(|error| told(&error, rows_max))?;
    let names = Names::of(signature.columns());
    let mut order = Order::new(signature);
    for (position, name) in sent.names().enumerate() {
        let index = names.find(name, position);
        if index.is_none() && order.unknown.len() < 64 {
            order.unknown.push(name.to_owned());
        }
        order.add(signature, index)?;
    }
    let order = order.finish(signature)?;
    // Where our columns stand in the file, and which of ours each is.
    let (wanted, ours): (Vec<usize>, Vec<usize>) =
        order.iter().enumerate().filter_map(|(position, index)| index.map(|index| (position, index))).unzip();
    let mut rows = Rows::new(signature.columns(), 1);
    let read = sent.read(&wanted, |batch| {
        let columns = rows.columns();
        ours.iter().enumerate().try_for_each(|(position, index)| fill(&mut columns[*index], batch, position))?;
        Ok::<_, Wrong>(())
    });
    read.map_err(|error| match error {
        Wrong::Table(error) => told(&error, rows_max),
        Wrong::Value(error) => error.into(),
    })?;
    Ok(rows.finish()?)
}

enum Wrong {
    Table(TableError),
    Value(ScoreError),
}

impl From<TableError> for Wrong {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<ScoreError> for Wrong {
    fn from(error: ScoreError) -> Self {
        Self::Value(error)
    }
}

fn told(error: &TableError, rows_max: usize) -> ApiError {
    match error {
        TableError::TooMuch { unit: "rows", .. } => too_many_rows(rows_max),
        TableError::TooMuch { .. } => {
            ApiError::too_large(format!("{error}; send fewer rows at a time, or raise limits.serve.body-bytes-max"))
        }
        error => ApiError::coded(error),
    }
}

/// The values of one column of the file into one of ours.
fn fill(to: &mut Column, batch: &Batch, from: usize) -> Result<(), ScoreError> {
    let (column, kind) = (batch.column(from), batch.schema().fields()[from].kind);
    macro_rules! each {
        ($array:expr, |$value:ident| $add:expr) => {{
            let array = $array;
            (0..array.len()).try_for_each(|row| {
                if array.is_null(row) {
                    return to.null();
                }
                let $value = array.value(row);
                $add
            })
        }};
    }
    match kind {
        Kind::Boolean => each!(column.as_boolean(), |value| to.boolean(value)),
        Kind::Int64 => each!(column.as_primitive::<Int64Type>(), |value| to.integer(value)),
        // Nothing but a time is made of a time.
        Kind::TimestampUs if to.kind() != Kind::TimestampUs => {
            each!(column.as_primitive::<TimestampMicrosecondType>(), |value| Err(
                to.bad(format_args!("a time, {value} µs since 1970,"))
            ))
        }
        Kind::TimestampUs => each!(column.as_primitive::<TimestampMicrosecondType>(), |value| to.integer(value)),
        Kind::Float32 | Kind::Float64 => each!(column.as_primitive::<Float64Type>(), |value| to.float(value)),
        Kind::Utf8 => each!(column.as_string::<i32>(), |value| to.text(value)),
        Kind::Binary => each!(column.as_binary::<i32>(), |value| to.bytes(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use plinth_core::codes;
    use plinth_ext::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn signature() -> Signature {
        Signature::new(
            Schema::new(vec![
                Field::new("flag", Kind::Boolean, true),
                Field::new("count", Kind::Int64, false),
                Field::new("size", Kind::Float32, true),
                Field::new("name", Kind::Utf8, true),
                Field::new("when", Kind::TimestampUs, true),
            ])
            .unwrap(),
        )
    }

    fn file(columns: Vec<(&str, ArrayRef)>) -> Bytes {
        let rows = columns[0].1.len();
        let field =
            |(name, column): &(&str, ArrayRef)| Field::new(*name, Kind::from_arrow(column.data_type()).unwrap(), true);
        let schema = Schema::new(columns.iter().map(field).collect()).unwrap();
        let batch = Batch::new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect(), rows).unwrap();
        plinth_table::to_bytes(&schema, [&batch]).unwrap().into()
    }

    fn sent() -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("when", Arc::new(TimestampMicrosecondArray::from(vec![Some(5), None]).with_timezone("UTC"))),
            ("not ours", Arc::new(Int64Array::from(vec![1, 2]))),
            ("size", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN)]))),
            ("count", Arc::new(Float64Array::from(vec![3.0, -4.0]))),
            ("name", Arc::new(BinaryArray::from_iter_values([b"ab", &b"\xc3\xa9"[..]]))),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ]
    }

    fn read(body: &Bytes) -> Result<Batch, ApiError> {
        super::read(&signature(), body, 100, 1 << 16)
    }

    #[test]
    fn values_are_taken_as_in_every_other_form() {
        let json = r#"{"dataframe_split": {"columns": ["flag", "count", "size", "name", "when"],
            "data": [[true, 3, 0.5, "ab", 5], [null, -4.0, null, "é", null]]}}"#;
        let wanted = super::super::payload::read(&signature(), json.as_bytes(), 100).unwrap();
        assert_eq!(read(&file(sent())).unwrap(), wanted);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_row() {
        let with = |name: &str, column: ArrayRef| {
            let mut columns = sent();
            columns.iter_mut().find(|(known, _)| *known == name).unwrap().1 = column;
            let error = read(&file(columns)).unwrap_err();
            (error.code(), error.message().to_owned())
        };
        let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        for (name, column, words) in [
            ("count", floats(&[1.0, 1.5]), "row 1, column `count`: 1.5 is not int64"),
            ("count", Arc::new(Int64Array::from(vec![Some(1), None])), "row 1, column `count`: null is not allowed"),
            ("size", floats(&[f64::INFINITY, 0.0]), "row 0, column `size`: inf is not float32"),
            ("size", Arc::new(StringArray::from(vec!["x", "1"])), "row 0, column `size`: \"x\" is not float32"),
            ("when", floats(&[0.5, 0.0]), "row 0, column `when`: 0.5 is not timestamp-us"),
            ("name", Arc::new(BinaryArray::from_iter_values([b"ok", b"\xff\xff"])), "row 1, column `name`"),
            (
                "count",
                Arc::new(TimestampMicrosecondArray::from(vec![7, 8]).with_timezone("UTC")),
                "row 0, column `count`: a time, 7 µs since 1970, is not int64",
            ),
        ] {
            let (code, message) = with(name, column);
            assert_eq!(code, codes::BAD_VALUE, "{message}");
            assert!(message.contains(words), "{message}");
        }
        let error = read(&file(sent().into_iter().filter(|(name, _)| *name != "count").collect())).unwrap_err();
        assert_eq!(error.code(), codes::UNKNOWN_COLUMN);
        let mut many = sent();
        many.iter_mut().for_each(|(_, column)| *column = column.slice(0, 1));
        let error = super::read(&signature(), &file(sent()), 1, 1 << 16).unwrap_err();
        assert_eq!(error.status().as_u16(), 413, "{error:?}");
        assert!(super::read(&signature(), &file(many), 1, 1 << 16).is_ok());
    }

    proptest! {
        #[test]
        fn no_damage_is_too_strange(at in 0_usize..4_000, with in any::<u8>(), cut in any::<bool>()) {
            let mut body = file(sent()).to_vec();
            let at = at % body.len();
            if cut {
                body.truncate(at);
            } else {
                body[at] = with;
            }
            let status = read(&body.into()).map_or_else(|error| error.status().as_u16(), |_| 200);
            prop_assert!(matches!(status, 200 | 400 | 413), "{status}");
        }
    }
}
