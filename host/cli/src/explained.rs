//! Attributions that a scoring server kept of a part of its requests, read again.

use std::sync::Arc;

use arrow_array::new_null_array;
use plinth_core::{Clock, SystemClock, codes};
use plinth_ext::{Batch, Field, Schema};
use plinth_serve::Captured;
use plinth_table::Table;
use plinth_tracking::{Capture, CaptureKind, ModelVersion};

use crate::{
    args::Since,
    host::Host,
    outfile::OutFile,
    output::{Failure, Output},
    rows::Sink,
};

/// Files of attributions of a version, oldest first.
///
/// # Errors
/// [`codes::EMPTY_INPUT`] if there are none.
pub(crate) fn files(host: &Host, version: &ModelVersion, since: Option<&Since>) -> Result<Vec<Capture>, Failure> {
    let from = since.map_or(0, |since| since.micros(SystemClock.now()));
    let files = host.tracking().captures_of(CaptureKind::Attributions, &version.model, version.version, from)?;
    if files.is_empty() {
        let when = since.map(|since| format!(" since {}", since.text)).unwrap_or_default();
        let message = format!("no request to {} was explained{when}", version.reference());
        return Err(Failure::new(codes::EMPTY_INPUT, message)
            .hint("`plinth serve` explains a part of the requests if `explain-part` of [serve] says how many"));
    }
    Ok(files)
}

/// Writes all of them; returns how many lines.
///
/// # Errors
/// [`files`], those of the stored files and of writing.
pub(crate) fn write(
    host: &Host,
    version: &ModelVersion,
    since: Option<&Since>,
    file: Option<&OutFile>,
    output: Output,
) -> Result<u64, Failure> {
    let told = |failure: plinth_pipeline::StageFailure| Failure::of(&*failure.error);
    let files = files(host, version, since)?.into_iter();
    let tables = files.map(|file| host.table_of(&file.blob).map_err(told)).collect::<Result<Vec<Table>, _>>()?;
    let from = since.map_or(0, |since| since.micros(SystemClock.now()));
    let schema = together(&tables)?;
    let mut sink = Sink::open(file.map(OutFile::beside), &schema, output.json)?;
    let mut lines = 0;
    for table in &tables {
        for batch in table.batches()? {
            // A file may have begun before the moment.
            let batch = under(&schema, &Captured::since(&batch?, from))?;
            lines += batch.num_rows() as u64;
            sink.write(&batch)?;
        }
    }
    sink.finish()?;
    Ok(lines)
}

/// The columns of all of them: what is redacted may have changed between two files.
fn together(tables: &[Table]) -> Result<Schema, Failure> {
    let mut fields: Vec<Field> = Vec::new();
    for table in tables {
        for field in table.schema().fields() {
            if fields.iter().all(|known| known.name != field.name) {
                fields.push(field.clone());
            }
        }
    }
    for field in &mut fields {
        field.nullable |= tables.iter().any(|table| table.schema().index_of(&field.name).is_none());
    }
    Ok(Schema::new(fields)?)
}

/// Rows with these columns; nothing in those that they lack.
fn under(schema: &Schema, rows: &Batch) -> Result<Batch, Failure> {
    let columns = schema.fields().iter().zip(schema.arrow().fields()).map(|(field, kind)| {
        match rows.schema().index_of(&field.name) {
            Some(index) => Arc::clone(rows.column(index)),
            None => new_null_array(kind.data_type(), rows.num_rows()),
        }
    });
    Ok(Batch::new(schema.clone(), columns.collect(), rows.num_rows())?)
}
