//! Logged models: what a run makes before anything is registered.

use plinth_store::{Tx, Value};

use crate::{Metric, TrackingError};

/// Files metrics that were measured on logged models with those models.
pub(crate) fn write_model_metrics(tx: &mut dyn Tx, run_id: &str, metrics: &[Metric]) -> Result<(), TrackingError> {
    for metric in metrics {
        let Some(measured) = &metric.model else { continue };
        let known =
            tx.query_one("SELECT 1 FROM logged_models WHERE model_id = $1", &[Value::from(&measured.model_id)])?;
        if known.is_none() {
            return Err(TrackingError::LoggedModelNotFound(measured.model_id.clone()));
        }
        let nan = metric.value.is_nan();
        let (name, digest) = measured.dataset.clone().unwrap_or_default();
        tx.execute(
            "INSERT INTO logged_model_metrics
                (model_id, run_id, key, time_us, step, value, is_nan, dataset_name, dataset_digest)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &[
                Value::from(&measured.model_id),
                run_id.into(),
                Value::from(&metric.key),
                Value::Int(metric.time),
                Value::Int(metric.step),
                Value::Real(if nan { 0.0 } else { metric.value }),
                nan.into(),
                name.into(),
                digest.into(),
            ],
        )?;
    }
    Ok(())
}
