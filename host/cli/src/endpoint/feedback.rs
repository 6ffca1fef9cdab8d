//! What was told of the requests of an endpoint, as rows to be joined with what was captured.

use std::{path::Path, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use plinth_core::Micros;
use plinth_ext::{Batch, Field, Kind, Schema};
use plinth_tracking::{Feedback, Tracking};

use crate::{
    outfile::OutFile,
    output::{Failure, Output},
    rows::Sink,
    stages::thousands,
};

/// Writes what was told since a moment.
pub(super) fn write(
    tracking: &Tracking,
    endpoint: &str,
    since: Micros,
    path: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    // One that is not there is an error, not an empty table.
    tracking.endpoint(endpoint)?;
    let rows = table(&tracking.feedback(endpoint, since)?)?;
    let file = path.map(|path| OutFile::begin(path, output));
    let mut sink = Sink::open(file.as_ref().map(OutFile::beside), rows.schema(), output.json)?;
    sink.write(&rows)?;
    sink.finish()?;
    file.map_or(Ok(()), OutFile::keep)?;
    output.say(format!("{} requests of endpoint {endpoint} were told of", thousands(rows.num_rows() as u64)));
    Ok(())
}

fn table(told: &[(Feedback, Micros)]) -> Result<Batch, Failure> {
    let text = |of: fn(&Feedback) -> &str| -> ArrayRef {
        Arc::new(told.iter().map(|(feedback, _)| Some(of(feedback))).collect::<StringArray>())
    };
    let at: Vec<Micros> = told.iter().map(|(_, at)| *at).collect();
    // A value that is text is that text; anything else is its JSON.
    let value = |feedback: &Feedback| match &feedback.value {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        other => other.as_ref().map(ToString::to_string),
    };
    let columns: Vec<ArrayRef> = vec![
        text(|feedback| &feedback.request_id),
        Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")),
        text(|feedback| &feedback.deployment),
        text(|feedback| &feedback.version),
        Arc::new(told.iter().map(|(feedback, _)| feedback.reward).collect::<Float64Array>()),
        Arc::new(told.iter().map(|(feedback, _)| value(feedback)).collect::<StringArray>()),
    ];
    let schema = Schema::new(vec![
        Field::new("request_id", Kind::Utf8, false),
        Field::new("at", Kind::TimestampUs, false),
        Field::new("deployment", Kind::Utf8, false),
        Field::new("version", Kind::Utf8, false),
        Field::new("reward", Kind::Float64, true),
        Field::new("value", Kind::Utf8, true),
    ])?;
    Ok(Batch::new(schema, columns, told.len())?)
}
