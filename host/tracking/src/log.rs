//! What a run logs: parameters, metrics and tags, in batches that are written whole or not at all.

use std::collections::{HashMap, HashSet};

use plinth_core::Micros;
use plinth_store::{Tx, Value};
use serde::Serialize;
use serde_json::json;

use crate::{
    Tracking, TrackingError,
    logged_models::write_model_metrics,
    names::{check_key, check_length, cut, fitting},
    runs::{NAME_TAG, active, find, subject},
};

/// One value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Such as `f1`.
    pub key: String,
    /// May be NaN or infinite.
    pub value: f64,
    /// When.
    pub time: Micros,
    /// Step of training, or 0.
    pub step: i64,
    /// The logged model that it was measured on, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<MeasuredModel>,
}

/// What a metric was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredModel {
    /// A logged model.
    pub model_id: String,
    /// Name and digest of the data set, if they were told.
    pub dataset: Option<(String, String)>,
}

/// What is logged at once: all of it or, on an error, nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Parameters by key.
    pub params: Vec<(String, String)>,
    /// Metrics.
    pub metrics: Vec<Metric>,
    /// Tags by key; a tag may change.
    pub tags: Vec<(String, String)>,
}

/// A parameter that has another value already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedParam {
    /// Its key.
    pub key: String,
    /// Its value.
    pub old: String,
    /// The value refused.
    pub new: String,
}

/// Points of a metric's history, and where the next page starts.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// By time, then step, then value.
    pub points: Vec<Metric>,
    /// How many points come before the next page; nothing if this is the last.
    pub next: Option<u64>,
}

impl Tracking {
    /// Logs parameters, metrics and tags, all or none. Values of parameters and tags that are too long are cut, as
    /// MLflow's server cuts them.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`], [`TrackingError::NotActive`], [`TrackingError::ParamsChanged`],
    /// [`TrackingError::TooMuch`], [`TrackingError::BadName`], [`TrackingError::TooLong`].
    pub fn log(&self, run_id: &str, batch: &Batch) -> Result<(), TrackingError> {
        self.check_batch(batch)?;
        let fitted;
        let batch = if self.fits(batch) {
            batch
        } else {
            fitted = self.fitted(batch);
            &fitted
        };
        let new = self.loggers.is_new(&self.who, run_id);
        self.store.catalog().write(|tx| {
            let rid = active(tx, run_id)?;
            if new {
                self.note(tx, "run.log", &subject(run_id), &json!({}))?;
            }
            write_batch(tx, rid, run_id, batch)
        })?;
        if new {
            self.loggers.add(&self.who, run_id);
        }
        Ok(())
    }

    /// Removes a tag of a run.
    ///
    /// # Errors
    /// [`TrackingError::TagNotFound`], [`TrackingError::RunNotFound`], [`TrackingError::NotActive`].
    pub fn delete_tag(&self, run_id: &str, key: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let rid = active(tx, run_id)?;
            tx.run_changed(rid);
            match tx.execute("DELETE FROM run_tags WHERE rid = $1 AND key = $2", &[Value::Int(rid), key.into()])? {
                0 => Err(TrackingError::TagNotFound { key: cut(key), owner: format!("run with id {}", cut(run_id)) }),
                _ => self.note(tx, "run-tag.delete", &subject(run_id), &json!({"key": key})),
            }
        })
    }

    /// Notes a model that MLflow 2's clients saved among a run's artifacts, in the tag where they look for it.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`], [`TrackingError::NotActive`], [`TrackingError::TooLong`].
    pub fn note_model(&self, run_id: &str, model: serde_json::Value) -> Result<(), TrackingError> {
        const TAG: &str = "mlflow.log-model.history";
        self.store.catalog().write(|tx| {
            let rid = active(tx, run_id)?;
            let sql = "SELECT value FROM run_tags WHERE rid = $1 AND key = $2";
            let old = tx.query_one(sql, &[Value::Int(rid), TAG.into()])?.map(|row| row.text(0)).transpose()?;
            let mut models: Vec<serde_json::Value> =
                old.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            models.push(model);
            let value = serde_json::Value::Array(models).to_string();
            check_length(&value, self.limits.registry_tag_value_chars_max, || TAG.into())?;
            let tags = vec![(TAG.to_owned(), value)];
            self.note(tx, "run.log-model", &subject(run_id), &json!({}))?;
            write_batch(tx, rid, run_id, &Batch { tags, ..Batch::default() })
        })
    }

    /// Values of a metric by time, then step, then value: `most` of them after the first `skip`.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn metric_page(&self, run_id: &str, key: &str, skip: u64, most: Option<u64>) -> Result<History, TrackingError> {
        let mut points = Vec::new();
        let next = self.each_point(run_id, key, skip, most, &mut |point| points.push(point.clone()))?;
        Ok(History { points, next })
    }

    /// Shows such values one by one; returns how many come before the next page, if there is one.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn each_point(
        &self,
        run_id: &str,
        key: &str,
        skip: u64,
        most: Option<u64>,
        visit: &mut dyn FnMut(&Metric),
    ) -> Result<Option<u64>, TrackingError> {
        let sql = "SELECT value, is_nan, time_us, step FROM metric_points WHERE rid = $1 AND key = $2
                   ORDER BY time_us, step, value, is_nan LIMIT $3 OFFSET $4";
        let most = most.map_or(i64::MAX as u64, |most| most.min(i64::MAX as u64 - 1));
        let mut point = Metric { key: key.to_owned(), value: 0.0, time: 0, step: 0, model: None };
        let mut seen = 0_u64;
        self.store.catalog().read::<_, TrackingError>(|tx| {
            let (rid, _) = find(tx, run_id)?;
            let parameters = [Value::Int(rid), key.into(), (most.saturating_add(1)).into(), skip.into()];
            tx.each(sql, &parameters, &mut |row| {
                seen += 1;
                if seen <= most {
                    point.value = if row.int_at(1)? == 1 { f64::NAN } else { row.real_at(0)? };
                    (point.time, point.step) = (row.int_at(2)?, row.int_at(3)?);
                    visit(&point);
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok((seen > most).then(|| skip + most))
    }

    /// At most `most` values of a metric by step, evenly spread over all of them, or over those at the `steps` from
    /// one to another; the first and the last are among them.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn metric_sample(
        &self,
        run_id: &str,
        key: &str,
        steps: Option<(i64, i64)>,
        most: u32,
    ) -> Result<Vec<Metric>, TrackingError> {
        let (from, to) = steps.unwrap_or((i64::MIN, i64::MAX));
        let most = i64::from(most.max(1));
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| {
            let (rid, _) = find(tx, run_id)?;
            let mut values = vec![Value::Int(rid), key.into(), Value::Int(from), Value::Int(to)];
            let sql = "SELECT COUNT(*) FROM metric_points WHERE rid = $1 AND key = $2 AND step >= $3 AND step <= $4";
            let all = tx.query_one(sql, &values)?.map(|row| row.int(0)).transpose()?.unwrap_or(0);
            // As SQL's NTILE deals rows to buckets: the first `all % most` get one more. Of each the first row is kept.
            let (each, longer) = (all / most, all % most);
            let numbered = "SELECT value, is_nan, time_us, step,
                       ROW_NUMBER() OVER (ORDER BY step, time_us, value, is_nan) - 1 AS k
                FROM metric_points WHERE rid = $1 AND key = $2 AND step >= $3 AND step <= $4";
            let kept = if each == 0 {
                String::new()
            } else {
                values.extend([longer * (each + 1), each + 1, each, all - 1].map(Value::Int));
                "WHERE k < $5 AND k % $6 = 0 OR k >= $5 AND (k - $5) % $7 = 0 OR k = $8".to_owned()
            };
            let sql = format!("SELECT value, is_nan, time_us, step FROM ({numbered}) AS points {kept} ORDER BY k");
            Ok(tx.query(&sql, &values)?)
        })?;
        let mut points = rows.iter().map(|row| point(row, key)).collect::<Result<Vec<_>, TrackingError>>()?;
        if points.len() > most as usize {
            // The last of all took one place more than there are: it stands for the last bucket.
            points.remove(points.len() - 2);
        }
        Ok(points)
    }

    /// Every value of a metric, by time, then step, then value.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn metric_history(&self, run_id: &str, key: &str) -> Result<Vec<Metric>, TrackingError> {
        Ok(self.metric_page(run_id, key, 0, None)?.points)
    }

    fn check_batch(&self, batch: &Batch) -> Result<(), TrackingError> {
        let limits = &self.limits;
        let bound = |what: &'static str, found: usize, limit: u32| match found {
            found if found > limit as usize => Err(TrackingError::TooMuch { what, found, limit }),
            _ => Ok(()),
        };
        let (metrics, params, tags) = (batch.metrics.len(), batch.params.len(), batch.tags.len());
        bound("metrics", metrics, limits.batch_metrics_max)?;
        bound("params", params, limits.batch_params_max)?;
        bound("tags", tags, limits.batch_params_max)?;
        bound("metrics, params, and tags", metrics + params + tags, limits.batch_entities_max)?;
        for (at, metric) in batch.metrics.iter().enumerate() {
            check_key(&metric.key, || format!("metrics[{at}].name"))?;
            check_length(&metric.key, limits.key_chars_max, || "Metric name".into())?;
            if metric.time < 0 {
                return Err(TrackingError::Invalid(format!(
                    "Invalid value {} for parameter 'metrics[{at}].timestamp' supplied: metric '{}' (value={:?}). \
                     Timestamp must be a nonnegative long (64-bit integer) ",
                    metric.time / 1000,
                    cut(&metric.key),
                    metric.value
                )));
            }
        }
        for (at, (key, _)) in batch.params.iter().enumerate() {
            check_key(key, || format!("params[{at}].key"))?;
            check_length(key, limits.key_chars_max, || "Param key".into())?;
        }
        let mut keys = HashSet::new();
        let again: Vec<String> =
            batch.params.iter().filter(|(key, _)| !keys.insert(key)).map(|(key, _)| format!("'{key}'")).collect();
        if !again.is_empty() {
            return Err(TrackingError::Invalid(format!(
                "Duplicate parameter keys have been submitted: [{}]. Please ensure the request contains only one param \
                 value per param key.",
                again.join(", ")
            )));
        }
        self.check_tags(&batch.tags)
    }

    /// Whether no value of a batch is too long.
    fn fits(&self, batch: &Batch) -> bool {
        let fit =
            |pairs: &[(String, String)], limit: u32| pairs.iter().all(|(_, v)| fitting(v, limit).len() == v.len());
        fit(&batch.params, self.limits.param_value_chars_max) && fit(&batch.tags, self.limits.tag_value_chars_max)
    }

    /// A batch whose values are cut to the lengths allowed.
    pub(crate) fn fitted(&self, batch: &Batch) -> Batch {
        let cut = |pairs: &[(String, String)], limit: u32| {
            pairs.iter().map(|(key, value)| (key.clone(), fitting(value, limit).to_owned())).collect()
        };
        Batch {
            params: cut(&batch.params, self.limits.param_value_chars_max),
            metrics: batch.metrics.clone(),
            tags: cut(&batch.tags, self.limits.tag_value_chars_max),
        }
    }

    pub(crate) fn check_tags(&self, tags: &[(String, String)]) -> Result<(), TrackingError> {
        for (at, (key, _)) in tags.iter().enumerate() {
            check_key(key, || format!("tags[{at}].key"))?;
            check_length(key, self.limits.key_chars_max, || format!("tags[{at}].key"))?;
        }
        Ok(())
    }
}

/// A point as `value, is_nan, time_us, step`.
fn point(row: &plinth_store::Row, key: &str) -> Result<Metric, TrackingError> {
    let value = if row.int(1)? == 1 { f64::NAN } else { row.real(0)? };
    Ok(Metric { key: key.to_owned(), value, time: row.int(2)?, step: row.int(3)?, model: None })
}

/// Writes a batch that was checked to a run that is there.
pub(crate) fn write_batch(tx: &mut dyn Tx, rid: i64, run_id: &str, batch: &Batch) -> Result<(), TrackingError> {
    tx.run_changed(rid);
    write_params(tx, rid, run_id, &batch.params)?;
    write_metrics(tx, rid, &batch.metrics)?;
    if batch.metrics.iter().any(|metric| metric.model.is_some()) {
        write_model_metrics(tx, run_id, &batch.metrics)?;
    }
    tx.execute_all(
        "INSERT INTO run_tags (rid, key, value) VALUES ($1, $2, $3)
         ON CONFLICT (rid, key) DO UPDATE SET value = excluded.value",
        &mut batch.tags.iter().map(|(key, value)| vec![Value::Int(rid), key.into(), value.into()]),
    )?;
    if let Some((_, name)) = batch.tags.iter().rfind(|(key, value)| key == NAME_TAG && !value.is_empty()) {
        tx.execute("UPDATE runs SET name = $2 WHERE rid = $1", &[Value::Int(rid), name.into()])?;
    }
    Ok(())
}

/// A parameter keeps its first value: the same again is no change, another is refused.
fn write_params(tx: &mut dyn Tx, rid: i64, run_id: &str, params: &[(String, String)]) -> Result<(), TrackingError> {
    let mut changed = Vec::new();
    let added = tx.execute_all(
        "INSERT INTO params (rid, key, value) VALUES ($1, $2, $3) ON CONFLICT (rid, key) DO NOTHING",
        &mut params.iter().map(|(key, value)| vec![Value::Int(rid), key.into(), value.into()]),
    )?;
    for ((key, value), _) in params.iter().zip(added).filter(|(_, added)| *added == 0) {
        let sql = "SELECT value FROM params WHERE rid = $1 AND key = $2";
        let old = tx.query_one(sql, &[Value::Int(rid), key.into()])?.map(|row| row.text(0)).transpose()?;
        let old = old.unwrap_or_default();
        if old != *value {
            changed.push(ChangedParam { key: key.clone(), old, new: value.clone() });
        }
    }
    if changed.is_empty() { Ok(()) } else { Err(TrackingError::ParamsChanged { run: cut(run_id), changed }) }
}

/// Adds points of metrics that are not there yet; returns how many.
pub(crate) fn write_metrics(tx: &mut dyn Tx, rid: i64, metrics: &[Metric]) -> Result<u64, TrackingError> {
    // The last of each key by step, time and value; a number is later than a NaN.
    let order = |metric: &Metric| (metric.step, metric.time, !metric.value.is_nan());
    let mut latest: HashMap<&str, &Metric> = HashMap::new();
    let added = tx.execute_all(
        "INSERT INTO metric_points (rid, key, time_us, step, value, is_nan) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
        &mut metrics.iter().map(|metric| {
            let nan = metric.value.is_nan();
            let value = Value::Real(if nan { 0.0 } else { metric.value });
            vec![
                Value::Int(rid),
                Value::from(&metric.key),
                Value::Int(metric.time),
                Value::Int(metric.step),
                value,
                nan.into(),
            ]
        }),
    )?;
    for metric in metrics {
        let found = latest.entry(&metric.key).or_insert(metric);
        let later = order(metric).cmp(&order(found)).then(metric.value.total_cmp(&found.value));
        if later.is_gt() {
            *found = metric;
        }
    }
    tx.execute_all(
        "INSERT INTO latest_metrics (rid, key, value, is_nan, step, time_us) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (rid, key) DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan,
            step = excluded.step, time_us = excluded.time_us
         WHERE (excluded.step, excluded.time_us, 1 - excluded.is_nan, excluded.value)
            > (latest_metrics.step, latest_metrics.time_us, 1 - latest_metrics.is_nan, latest_metrics.value)",
        &mut latest.into_values().map(|metric| {
            let nan = metric.value.is_nan();
            let value = Value::Real(if nan { 0.0 } else { metric.value });
            vec![
                Value::Int(rid),
                Value::from(&metric.key),
                value,
                nan.into(),
                Value::Int(metric.step),
                Value::Int(metric.time),
            ]
        }),
    )?;
    Ok(added.iter().sum())
}
