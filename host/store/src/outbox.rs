//! Events, written in the transaction of the change that they tell of.

use plinth_core::Micros;

use crate::{StoreError, Tx, Value};

/// Puts an event into the outbox. `payload` is JSON.
///
/// # Errors
/// [`StoreError::Catalog`].
pub fn emit(tx: &mut dyn Tx, time: Micros, kind: &str, payload: &str) -> Result<(), StoreError> {
    let row = [Value::Int(time), Value::from(kind), Value::from(payload)];
    tx.execute("INSERT INTO outbox (time_us, kind, payload) VALUES ($1, $2, $3)", &row)?;
    Ok(())
}
