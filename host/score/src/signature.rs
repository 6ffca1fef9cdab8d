//! What a caller sends: the raw columns that the training table had, less the label and what only training needs.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use plinth_core::did_you_mean;
use plinth_ext::{Batch, Kind, Schema, SchemaError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Column, Rows, ScoreError};

/// The raw columns of a model version, stored with it. Every column must be sent; extra columns are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    columns: Schema,
    /// A row of the training table, for warming up and for showing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    example: Option<Map<String, Value>>,
}

impl Signature {
    /// A signature of these columns.
    pub const fn new(columns: Schema) -> Self {
        Self { columns, example: None }
    }

    /// The columns of a training table less those that a caller does not know, such as the label.
    ///
    /// # Errors
    /// [`SchemaError::UnknownColumn`] if one to leave out does not exist.
    pub fn without<S: AsRef<str>>(table: &Schema, leave_out: &[S]) -> Result<Self, SchemaError> {
        let gone = leave_out.iter().map(|name| table.require(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let kept: Vec<usize> = (0..table.len()).filter(|index| !gone.contains(index)).collect();
        Ok(Self::new(table.project(&kept)))
    }

    /// The same with the first row of `rows` as its example.
    ///
    /// # Errors
    /// [`ScoreError`] if the row does not fit.
    pub fn with_example(mut self, rows: &Batch) -> Result<Self, ScoreError> {
        let row = self.coerce(&rows.slice(0, rows.num_rows().min(1)))?;
        self.example = (row.num_rows() == 1).then(|| {
            let cells = self.columns.fields().iter().zip(row.columns());
            cells.map(|(field, column)| (field.name.clone(), show(column, field.kind))).collect()
        });
        Ok(self)
    }

    /// The same with this row as its example.
    pub(crate) fn with_example_of(self, example: Map<String, Value>) -> Self {
        Self { example: Some(example), ..self }
    }

    /// The columns to send.
    pub const fn columns(&self) -> &Schema {
        &self.columns
    }

    /// A row that can be sent, as JSON, if one was recorded.
    pub const fn example(&self) -> Option<&Map<String, Value>> {
        self.example.as_ref()
    }

    /// One row to try a scorer with: the example, else nulls and zeros.
    ///
    /// # Errors
    /// [`ScoreError`] if the recorded example does not fit its own signature.
    pub fn trial_row(&self) -> Result<Batch, ScoreError> {
        let mut rows = Rows::new(&self.columns, 1);
        for column in rows.columns() {
            match self.example.as_ref().and_then(|example| example.get(column.name())) {
                Some(value) => add_json(column, value)?,
                None if column.nullable() => column.null()?,
                None => match column.kind() {
                    Kind::Utf8 | Kind::Binary => column.text("")?,
                    _ => column.integer(0)?,
                },
            }
        }
        rows.finish()
    }

    /// Picks the signature's columns out of `rows`, turning values into the columns' kinds by the rules of
    /// [`Column`].
    ///
    /// # Errors
    /// [`ScoreError`] names the column that is missing, or the row, column and value that do not fit.
    pub fn coerce(&self, rows: &Batch) -> Result<Batch, ScoreError> {
        if self.columns.fields() == rows.schema().fields() {
            return Ok(rows.clone());
        }
        let columns =
            self.columns
                .fields()
                .iter()
                .enumerate()
                .map(|(index, field)| {
                    let found = rows.schema().index_of(&field.name).ok_or_else(|| {
                        self.missing(&field.name, rows.schema().fields().iter().map(|f| f.name.as_str()))
                    })?;
                    self.coerce_column(index, rows.schema().fields()[found].kind, rows.column(found))
                })
                .collect::<Result<Vec<_>, _>>()?;
        Ok(Batch::new(self.columns.clone(), columns, rows.num_rows())?)
    }

    /// The error for a column that was not sent, with what was sent instead, perhaps.
    pub fn missing<'a>(&self, column: &str, sent: impl IntoIterator<Item = &'a str>) -> ScoreError {
        let extra: Vec<&str> = sent.into_iter().filter(|name| self.columns.index_of(name).is_none()).collect();
        let hint = match plinth_core::closest(column, extra.iter().copied()) {
            Some(near) => format!("`{near}` was sent, which the model does not know; did you mean `{column}`?"),
            None => {
                let all: Vec<&str> = self.columns.fields().iter().map(|field| field.name.as_str()).collect();
                format!("send all of: {}", all.join(", "))
            }
        };
        ScoreError::MissingColumn { column: column.to_owned(), hint }
    }

    /// The error for a column that was sent under a name that the signature lacks, where extra columns are errors.
    pub fn unknown(&self, column: &str) -> SchemaError {
        let hint = did_you_mean(column, self.columns.fields().iter().map(|field| field.name.as_str()));
        SchemaError::UnknownColumn { name: column.to_owned(), hint }
    }

    fn coerce_column(&self, index: usize, kind: Kind, values: &ArrayRef) -> Result<ArrayRef, ScoreError> {
        let field = &self.columns.fields()[index];
        if kind == field.kind && (field.nullable || values.null_count() == 0) {
            return Ok(Arc::clone(values));
        }
        let mut rows = Rows::new(&self.columns.project(&[index]), values.len());
        let column = &mut rows.columns()[0];
        for row in 0..values.len() {
            if values.is_null(row) {
                column.null()?;
                continue;
            }
            match kind {
                Kind::Boolean => column.boolean(values.as_boolean().value(row)),
                Kind::Int64 => column.integer(values.as_primitive::<Int64Type>().value(row)),
                Kind::TimestampUs => column.integer(values.as_primitive::<TimestampMicrosecondType>().value(row)),
                Kind::Float32 => column.float(f64::from(values.as_primitive::<Float32Type>().value(row))),
                Kind::Float64 => column.float(values.as_primitive::<Float64Type>().value(row)),
                Kind::Utf8 => column.text(values.as_string::<i32>().value(row)),
                Kind::Binary => match std::str::from_utf8(values.as_binary::<i32>().value(row)) {
                    Ok(text) => column.text(text),
                    Err(_) => Err(column.bad("a run of bytes that is not UTF-8")),
                },
            }?;
        }
        Ok(Arc::clone(rows.finish()?.column(0)))
    }
}

fn add_json(column: &mut Column, value: &Value) -> Result<(), ScoreError> {
    match value {
        Value::Null => column.null(),
        Value::Bool(value) => column.boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => column.integer(value),
            None => column.float(number.as_f64().unwrap_or(f64::INFINITY)),
        },
        Value::String(value) => column.text(value),
        other => Err(column.bad(other)),
    }
}

fn show(column: &dyn Array, kind: Kind) -> Value {
    if column.is_null(0) {
        return Value::Null;
    }
    match kind {
        Kind::Boolean => column.as_boolean().value(0).into(),
        Kind::Int64 => column.as_primitive::<Int64Type>().value(0).into(),
        Kind::TimestampUs => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(0);
            match chrono::DateTime::from_timestamp_micros(micros) {
                Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into(),
                None => micros.into(),
            }
        }
        Kind::Float32 => column.as_primitive::<Float32Type>().value(0).into(),
        Kind::Float64 => column.as_primitive::<Float64Type>().value(0).into(),
        Kind::Utf8 => column.as_string::<i32>().value(0).into(),
        Kind::Binary => String::from_utf8_lossy(column.as_binary::<i32>().value(0)).into(),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array, StringArray};
    use plinth_core::Coded;
    use plinth_ext::Field;

    use super::*;

    fn table() -> Batch {
        let schema = Schema::new(vec![
            Field::new("id", Kind::Int64, false),
            Field::new("minutes", Kind::Float64, true),
            Field::new("plan", Kind::Utf8, false),
            Field::new("churn", Kind::Utf8, false),
        ])
        .unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Float64Array::from(vec![Some(1.5), None])),
            Arc::new(StringArray::from(vec!["gold", "tin"])),
            Arc::new(StringArray::from(vec!["no", "yes"])),
        ];
        Batch::new(schema, columns, 2).unwrap()
    }

    fn signature() -> Signature {
        Signature::without(table().schema(), &["id", "churn"]).unwrap()
    }

    #[test]
    fn columns_are_picked_by_name_and_extra_ones_ignored() {
        assert_eq!(signature().coerce(&table()).unwrap(), table().project(&[1, 2]));
        assert_eq!(signature().coerce(&table().project(&[3, 2, 1])).unwrap(), table().project(&[1, 2]));
    }

    #[test]
    fn a_missing_column_is_named_with_the_slip_that_was_sent() {
        let schema =
            Schema::new(vec![Field::new("minuts", Kind::Float64, true), Field::new("plan", Kind::Utf8, true)]).unwrap();
        let error = signature().coerce(&Batch::empty(schema)).unwrap_err();
        assert_eq!(error.to_string(), "column `minutes` is missing");
        assert_eq!(error.hint().unwrap(), "`minuts` was sent, which the model does not know; did you mean `minutes`?");
        assert!(Signature::without(table().schema(), &["churned"]).is_err());
    }

    #[test]
    fn other_kinds_are_turned_and_what_cannot_be_is_named() {
        let schema =
            Schema::new(vec![Field::new("minutes", Kind::Int64, true), Field::new("plan", Kind::Utf8, true)]).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![Some(2), None])), Arc::new(StringArray::from(vec![Some("a"), None]))];
        let rows = Batch::new(schema, columns, 2).unwrap();
        let error = signature().coerce(&rows).unwrap_err();
        assert_eq!(error.to_string(), "row 1, column `plan`: null is not allowed");
        let good = signature().coerce(&rows.slice(0, 1)).unwrap();
        assert_eq!(good.column(0).as_primitive::<Float64Type>().value(0), 2.0);
    }

    #[test]
    fn the_example_survives_storage_and_is_the_trial_row() {
        let signature = signature().with_example(&table()).unwrap();
        let text = serde_json::to_string(&signature).unwrap();
        assert!(text.ends_with(r#""example":{"minutes":1.5,"plan":"gold"}}"#), "{text}");
        let back: Signature = serde_json::from_str(&text).unwrap();
        assert_eq!(back, signature);
        assert_eq!(back.trial_row().unwrap(), table().project(&[1, 2]).slice(0, 1));
    }

    #[test]
    fn without_an_example_the_trial_row_is_nulls_and_zeros() {
        let row = signature().trial_row().unwrap();
        assert!(row.column(0).is_null(0));
        assert_eq!(row.column(1).as_string::<i32>().value(0), "");
    }
}
