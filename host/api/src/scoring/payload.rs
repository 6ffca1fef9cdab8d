//! The JSON bodies of `/invocations`: exactly one of `dataframe_split`, `dataframe_records`, `instances`, `inputs`.

use std::fmt;

use plinth_ext::Batch;
use plinth_score::{ScoreError, Signature};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{
    cells::{Accept, Cell, Key, Reading, RowList},
    error::ApiError,
};

const FORMS: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];

/// The rows of a body, in the signature's columns.
pub(crate) fn read(signature: &Signature, body: &[u8], rows_max: usize) -> Result<Batch, ApiError> {
    let mut reading = Reading::new(signature, rows_max);
    let mut json = serde_json::Deserializer::from_slice(body);
    let outcome = Body { reading: &mut reading }.deserialize(&mut json).and_then(|()| json.end());
    if let Err(error) = outcome {
        return Err(reading.fault.told(&error));
    }
    Ok(reading.rows.finish()?)
}

/// The whole body.
struct Body<'a, 's> {
    reading: &'a mut Reading<'s>,
}

impl<'de> DeserializeSeed<'de> for Body<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with one of {}", FORMS.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let reading = self.reading;
        let in_order: Vec<Option<usize>> = (0..reading.signature.columns().len()).map(Some).collect();
        let mut form: Option<&str> = None;
        while let Some(key) = entries.next_key::<String>()? {
            let Some(found) = FORMS.into_iter().find(|form| *form == key) else {
                // Parameters of the model and the name of a signature, which TensorFlow's form has, mean nothing here.
                if !matches!(key.as_str(), "params" | "signature_name") {
                    let hint = plinth_core::did_you_mean(&key, FORMS);
                    return Err(reading.fault.set(ApiError::bad(format!("unknown field `{key}`; {hint}"))));
                }
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Some(first) = form.replace(found) {
                let message = format!("the body has both `{first}` and `{found}`; send exactly one");
                return Err(reading.fault.set(ApiError::bad(message)));
            }
            match found {
                "dataframe_split" => entries.next_value_seed(Split { reading })?,
                "dataframe_records" => {
                    entries.next_value_seed(RowList { reading, order: &in_order, accept: Accept::Objects })?;
                }
                "instances" => entries.next_value_seed(RowList { reading, order: &in_order, accept: Accept::Both })?,
                _ => entries.next_value_seed(Inputs { reading, order: &in_order })?,
            }
        }
        if form.is_none() {
            let message = format!("the body has none of {}", FORMS.join(", "));
            return Err(reading.fault.set(ApiError::bad(message)));
        }
        Ok(())
    }
}

/// `{"columns": […], "data": [[…], …]}`; an `index` is ignored.
struct Split<'a, 's> {
    reading: &'a mut Reading<'s>,
}

impl<'de> DeserializeSeed<'de> for Split<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Split<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `columns` and `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let reading = self.reading;
        let mut order: Option<Vec<Option<usize>>> = None;
        let mut early: Option<serde_json::Value> = None;
        let mut done = false;
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "columns" | "data" if (key == "columns" && order.is_some()) || (key == "data" && done) => {
                    return Err(reading.fault.set(ApiError::bad(format!("dataframe_split has `{key}` twice"))));
                }
                "columns" => {
                    let mut found = Order::new(reading.signature);
                    entries.next_value_seed(ColumnNames { reading, order: &mut found })?;
                    let found = found.finish(reading.signature);
                    order = Some(reading.fault.check(found)?);
                }
                "data" => {
                    done = true;
                    match &order {
                        Some(order) => {
                            entries.next_value_seed(RowList { reading, order, accept: Accept::Lists })?;
                        }
                        // Legal, though no writer is known to put the data before its columns.
                        None => early = Some(entries.next_value()?),
                    }
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Some(order) = order else {
            return Err(reading.fault.set(ApiError::bad("dataframe_split has no `columns`")));
        };
        if !done {
            return Err(reading.fault.set(ApiError::bad("dataframe_split has no `data`")));
        }
        if let Some(data) = early {
            let rows = RowList { reading: &mut *reading, order: &order, accept: Accept::Lists };
            if let Err(error) = rows.deserialize(data) {
                return Err(reading.fault.set(ApiError::bad(format!("dataframe_split: {error}"))));
            }
        }
        Ok(())
    }
}

/// The list of column names.
struct ColumnNames<'a, 's> {
    reading: &'a mut Reading<'s>,
    order: &'a mut Order,
}

impl<'de> DeserializeSeed<'de> for ColumnNames<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ColumnNames<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of column names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<(), A::Error> {
        let Self { reading, order } = self;
        loop {
            let (guess, unknown) = (order.columns.len(), &mut order.unknown);
            let Some(index) = names.next_element_seed(Key { names: &reading.names, guess, unknown })? else {
                return Ok(());
            };
            let added = order.add(reading.signature, index);
            reading.fault.check(added)?;
        }
    }
}

/// Where each column that was sent stands in the signature.
pub(super) struct Order {
    pub(super) columns: Vec<Option<usize>>,
    pub(super) unknown: Vec<String>,
    seen: Vec<bool>,
}

impl Order {
    pub(super) fn new(signature: &Signature) -> Self {
        let width = signature.columns().len();
        Self { columns: Vec::with_capacity(width), unknown: Vec::new(), seen: vec![false; width] }
    }

    pub(super) fn add(&mut self, signature: &Signature, index: Option<usize>) -> Result<(), ApiError> {
        self.columns.push(index);
        match index {
            Some(index) if std::mem::replace(&mut self.seen[index], true) => {
                Err(ApiError::bad(format!("column `{}` is named twice", signature.columns().fields()[index].name)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self, signature: &Signature) -> Result<Vec<Option<usize>>, ApiError> {
        match self.seen.iter().position(|seen| !seen) {
            Some(missing) => {
                let name = &signature.columns().fields()[missing].name;
                Err(signature.missing(name, self.unknown.iter().map(String::as_str)).into())
            }
            None => Ok(self.columns),
        }
    }
}

/// `{"column": [values], …}`, or a list of rows.
struct Inputs<'a, 's> {
    reading: &'a mut Reading<'s>,
    order: &'a [Option<usize>],
}

impl<'de> DeserializeSeed<'de> for Inputs<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns, or a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, rows: A) -> Result<(), A::Error> {
        RowList { reading: self.reading, order: self.order, accept: Accept::Both }.visit_seq(rows)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let reading = self.reading;
        let (mut guess, mut unknown) = (0, Vec::new());
        let mut seen = vec![false; reading.signature.columns().len()];
        while let Some(found) = entries.next_key_seed(Key { names: &reading.names, guess, unknown: &mut unknown })? {
            let Some(index) = found else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut reading.rows.columns()[index];
            if std::mem::replace(&mut seen[index], true) {
                let column = column.name().to_owned();
                return Err(reading.fault.set(ScoreError::Twice { row: 0, column }));
            }
            let (rows_max, fault) = (reading.rows_max, &mut reading.fault);
            entries.next_value_seed(Cell { column, fault, flatten: true, rows_max, declared: None })?;
            guess = index + 1;
        }
        if let Some(missing) = seen.iter().position(|seen| !seen) {
            let name = &reading.signature.columns().fields()[missing].name;
            let error = reading.signature.missing(name, unknown.iter().map(String::as_str));
            return Err(reading.fault.set(error));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use plinth_ext::{Field, Kind, Schema};
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    type Record = (Option<bool>, i64, Option<f64>, Option<String>);

    fn signature() -> Signature {
        Signature::new(
            Schema::new(vec![
                Field::new("flag", Kind::Boolean, true),
                Field::new("count", Kind::Int64, false),
                Field::new("size", Kind::Float64, true),
                Field::new("na\"me", Kind::Utf8, true),
            ])
            .unwrap(),
        )
    }

    fn batch(records: &[Record]) -> Batch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(records.iter().map(|r| r.0).collect::<BooleanArray>()),
            Arc::new(records.iter().map(|r| Some(r.1)).collect::<Int64Array>()),
            Arc::new(records.iter().map(|r| r.2).collect::<Float64Array>()),
            Arc::new(records.iter().map(|r| r.3.as_deref()).collect::<StringArray>()),
        ];
        Batch::new(signature().columns().clone(), columns, records.len()).unwrap()
    }

    fn cells(record: &Record) -> [(&'static str, Value); 4] {
        [("flag", json!(record.0)), ("count", json!(record.1)), ("size", json!(record.2)), ("na\"me", json!(record.3))]
    }

    /// The same rows in every form there is.
    fn bodies(records: &[Record]) -> Vec<Value> {
        let objects = || records.iter().map(|r| cells(r).into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        let backwards: Vec<Map<String, Value>> = records
            .iter()
            .map(|r| cells(r).into_iter().rev().map(|(k, v)| (k.to_owned(), v)).chain([extra()]).collect())
            .collect();
        let lists: Vec<Vec<Value>> = records.iter().map(|r| cells(r).map(|(_, v)| v).to_vec()).collect();
        let mut columns = Map::new();
        let mut tall = Map::new();
        for (index, name) in ["flag", "count", "size", "na\"me"].into_iter().enumerate() {
            columns.insert(name.into(), lists.iter().map(|row| row[index].clone()).collect());
            tall.insert(name.into(), lists.iter().map(|row| json!([row[index]])).collect());
        }
        let names = json!(["flag", "count", "size", "na\"me"]);
        vec![
            json!({"dataframe_records": objects().collect::<Vec<Map<String, Value>>>()}),
            json!({"dataframe_records": backwards}),
            json!({"dataframe_split": {"columns": names, "index": [7], "data": lists}}),
            json!({"dataframe_split": {"data": lists, "columns": names}, "params": {"x": [1]}}),
            json!({"instances": objects().collect::<Vec<Map<String, Value>>>()}),
            json!({"signature_name": "s", "instances": lists}),
            json!({"inputs": columns}),
            json!({"inputs": tall}),
            json!({"inputs": lists}),
        ]
    }

    fn extra() -> (String, Value) {
        ("not ours".into(), json!({"deep": [1, {"er": null}]}))
    }

    proptest! {
        #[test]
        fn rows_written_in_any_form_come_back_as_they_were(
            records in prop::collection::vec(
                (any::<Option<bool>>(), any::<i64>(), prop::option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO),
                 any::<Option<String>>()), 0..12)
        ) {
            for body in bodies(&records) {
                let read = read(&signature(), body.to_string().as_bytes(), 100).unwrap();
                prop_assert_eq!(read, batch(&records), "{}", body);
            }
        }

        #[test]
        fn no_body_is_too_strange_to_be_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&signature(), &body, 10);
            let _ = super::super::csv::read(&signature(), &body, 10);
        }

        #[test]
        fn no_damage_to_a_good_body_is_too_strange(form in 0_usize..9, at in 0_usize..400, with in any::<u8>()) {
            let records = [(Some(true), 5, None, Some("x".to_owned())), (None, -1, Some(0.5), None)];
            let mut body = bodies(&records)[form].to_string().into_bytes();
            let at = at % body.len();
            body[at] = with;
            let _ = read(&signature(), &body, 10);
            body.truncate(at);
            prop_assert!(read(&signature(), &body, 10).is_err());
        }
    }
}
