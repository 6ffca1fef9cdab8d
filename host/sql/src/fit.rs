//! Where a fitted transform comes from: the rows of a query, a state that is there already, or nothing at all.

use std::sync::Arc;

use plinth_core::codes;
use plinth_ext::{ExtError, Fitted, Fitting, Schema, Step};

use serde_json::{Map, Value};

use crate::{SqlError, Unfitted};

/// A fit in progress.
pub(crate) struct Fit<'a> {
    shown: &'a str,
    unfitted: &'a Unfitted,
    input: Schema,
    fitting: Box<dyn Fitting>,
    passes: u32,
    passes_max: u32,
}

impl<'a> Fit<'a> {
    /// Starts one.
    pub(crate) fn start(
        shown: &'a str,
        unfitted: &'a Unfitted,
        input: &Schema,
        passes_max: u32,
    ) -> Result<Self, SqlError> {
        let options = serde_json::Value::Object(options(unfitted, input)).to_string();
        let fitting =
            unfitted.transform.start(&unfitted.item, input, &options).map_err(|error| failed(shown, error))?;
        Ok(Self { shown, unfitted, input: input.clone(), fitting, passes: 0, passes_max })
    }

    /// The columns to feed it.
    pub(crate) const fn input(&self) -> &Schema {
        &self.input
    }

    /// Takes the next rows, which start at `first`.
    pub(crate) fn update(&mut self, rows: &plinth_ext::Batch, first: u64) -> Result<(), SqlError> {
        self.fitting.update(rows).map_err(|error| SqlError::Function {
            function: self.shown.to_owned(),
            rows: format!("fit, rows {first} to {}", (first + rows.num_rows() as u64).saturating_sub(1)),
            first,
            error,
        })
    }

    /// Ends a pass over the rows; nothing if it wants another.
    pub(crate) fn end_pass(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        self.passes += 1;
        match self.fitting.end_pass().map_err(|error| failed(self.shown, error))? {
            Step::Done(state) => Ok(Some(state)),
            Step::AnotherPass if self.passes < self.passes_max => Ok(None),
            Step::AnotherPass => {
                let message = format!("`{}` wants more than {} passes over its rows", self.shown, self.passes_max);
                Err(SqlError::new(codes::LIMIT_EXCEEDED, message)
                    .with_hint("raise limits.plugin.fit-passes-max in plinth.toml"))
            }
        }
    }

    /// The transform with that state.
    pub(crate) fn load(&self, state: &[u8]) -> Result<Arc<dyn Fitted>, SqlError> {
        load(self.shown, self.unfitted, state, &self.input)
    }
}

/// A transform for the columns of a call: by its state, or, if it has none, by a fit that no row takes part in. What has
/// something to learn fails at that, and is told how to be fitted.
pub(crate) fn without_rows(
    shown: &str,
    unfitted: &Unfitted,
    input: &Schema,
    passes_max: u32,
) -> Result<Arc<dyn Fitted>, SqlError> {
    if let Some(state) = &unfitted.state {
        return load(shown, unfitted, state, input);
    }
    let mut fit = Fit::start(shown, unfitted, input, passes_max)?;
    loop {
        match fit.end_pass() {
            Ok(Some(state)) => return fit.load(&state),
            Ok(None) => {}
            Err(SqlError::Binding { function, error, .. }) => {
                let hint = format!("it has to be fitted first: --fit {function}=\"select … from 'train.parquet'\"");
                return Err(SqlError::Binding { function, error, hint: Some(hint) });
            }
            Err(other) => return Err(other),
        }
    }
}

/// The options; where an item can be told its columns and is not, they are those that it is given: left to itself it would
/// pass over those of another kind without a word.
fn options(unfitted: &Unfitted, input: &Schema) -> Map<String, Value> {
    let mut options = unfitted.options.clone();
    let item = unfitted.transform.items().iter().find(|item| item.name == unfitted.item);
    let schema: Value = item.and_then(|item| serde_json::from_str(&item.options_schema).ok()).unwrap_or_default();
    let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == "columns"));
    let listed = schema["properties"]["columns"]["type"] == "array";
    if (required || listed) && !options.contains_key("columns") {
        let names = input.fields().iter().map(|field| Value::String(field.name.clone()));
        options.insert("columns".to_owned(), names.collect());
    }
    options
}

fn load(shown: &str, unfitted: &Unfitted, state: &[u8], input: &Schema) -> Result<Arc<dyn Fitted>, SqlError> {
    unfitted.transform.load(&unfitted.item, state, input).map_err(|error| failed(shown, error))
}

fn failed(shown: &str, error: ExtError) -> SqlError {
    SqlError::Binding { function: shown.to_owned(), error, hint: None }
}
