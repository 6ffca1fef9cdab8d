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
                    let names: Vec<String> = entries.next_value()?;
                    let found = column_order(reading, &names);
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

/// Where each column that was sent stands in the signature.
pub(super) fn column_order<S: AsRef<str>>(reading: &Reading<'_>, names: &[S]) -> Result<Vec<Option<usize>>, ApiError> {
    let columns = reading.signature.columns();
    let mut seen = vec![false; columns.len()];
    let order: Vec<Option<usize>> = names
        .iter()
        .enumerate()
        .map(|(position, name)| {
            let index = reading.names.find(name.as_ref(), position);
            if index.is_some_and(|index| std::mem::replace(&mut seen[index], true)) {
                return Err(ApiError::bad(format!("column `{}` is named twice", name.as_ref())));
            }
            Ok(index)
        })
        .collect::<Result<_, _>>()?;
    match seen.iter().position(|seen| !seen) {
        Some(missing) => {
            let sent = names.iter().map(AsRef::as_ref);
            Err(reading.signature.missing(&columns.fields()[missing].name, sent).into())
        }
        None => Ok(order),
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
            let rows_max = reading.rows_max;
            entries.next_value_seed(Cell { column, fault: &mut reading.fault, flatten: true, rows_max })?;
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
