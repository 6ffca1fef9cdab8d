//! CSV bodies of `/invocations`: a header line, then rows. Cells are read as their column's kind; an empty one is
//! null.

use plinth_ext::Batch;
use plinth_score::Signature;

use super::payload::Order;
use crate::{
    cells::{Reading, too_many_rows},
    error::ApiError,
};

/// The rows of a body, in the signature's columns.
pub(crate) fn read(signature: &Signature, body: &[u8], rows_max: usize) -> Result<Batch, ApiError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reading = Reading::new(signature, rows_max);
    let mut lines = ::csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let header = lines.headers().map_err(|error| malformed(&error))?.clone();
    if header.is_empty() {
        return Err(ApiError::bad("the body is empty; the first line of CSV names the columns"));
    }
    let mut order = Order::new(signature);
    for (position, name) in header.iter().enumerate() {
        let index = reading.names.find(name, position);
        if index.is_none() {
            order.unknown.push(name.to_owned());
        }
        order.add(signature, index)?;
    }
    let order = order.finish(signature)?;
    let mut record = ::csv::StringRecord::new();
    let mut row = 0;
    while lines.read_record(&mut record).map_err(|error| malformed(&error))? {
        let line = record.position().map_or(0, ::csv::Position::line);
        if row == rows_max {
            return Err(too_many_rows(rows_max));
        }
        if record.len() != order.len() {
            let (found, wanted) = (record.len(), order.len());
            return Err(ApiError::bad(format!("line {line} has {found} cells where the header has {wanted}")));
        }
        for (cell, column) in record.iter().zip(&order) {
            if let Some(index) = column {
                reading.rows.columns()[*index].parse(cell)?;
            }
        }
        row += 1;
    }
    Ok(reading.rows.finish()?)
}

fn malformed(error: &::csv::Error) -> ApiError {
    ApiError::bad(format!("the body is not CSV: {error}"))
}
