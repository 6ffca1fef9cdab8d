//! Looking runs up the way people name them: by the start of an id, or by a name.

use plinth_store::Value;

use crate::{
    Metric, RunSummary, Tracking, TrackingError,
    runs::{RUN_COLUMNS, RUN_FROM, find, summary},
};

impl Tracking {
    /// Runs whose id starts with `start`, also deleted ones, by id; at most `most`.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn runs_starting_with(&self, start: &str, most: u32) -> Result<Vec<RunSummary>, TrackingError> {
        // Ids are hexadecimal: `g` comes after every digit, so that this is one stretch of the index.
        let end = format!("{start}g");
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM {RUN_FROM} WHERE r.run_id >= $1 AND r.run_id < $2 ORDER BY r.run_id LIMIT $3"
        );
        self.summaries(&sql, &[start.into(), end.into(), most.into()])
    }

    /// Runs of that name, also deleted ones, newest first; at most `most`.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn runs_named(&self, name: &str, most: u32) -> Result<Vec<RunSummary>, TrackingError> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM {RUN_FROM} WHERE r.name = $1 ORDER BY r.start_us DESC, r.run_id DESC LIMIT $2"
        );
        self.summaries(&sql, &[name.into(), most.into()])
    }

    /// Values of a metric that come after a point of it by time, then step, then value; all of them after nothing. At
    /// most `most`.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn metric_points_after(
        &self,
        run_id: &str,
        key: &str,
        after: Option<&Metric>,
        most: u32,
    ) -> Result<Vec<Metric>, TrackingError> {
        let sql = "SELECT value, is_nan, time_us, step FROM metric_points
                   WHERE rid = $1 AND key = $2 AND (time_us, step, value, is_nan) > ($3, $4, $5, $6)
                   ORDER BY time_us, step, value, is_nan LIMIT $7";
        let (time, step) = after.map_or((i64::MIN, i64::MIN), |point| (point.time, point.step));
        // A NaN is kept as a zero with a mark.
        let (value, nan) = match after.map(|point| point.value) {
            Some(value) if value.is_nan() => (0.0, 1),
            value => (value.unwrap_or(f64::MIN), 0),
        };
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| {
            let (rid, _) = find(tx, run_id)?;
            let bounds = [Value::Int(time), Value::Int(step), Value::Real(value), Value::Int(nan)];
            let parameters: Vec<Value> =
                [Value::Int(rid), key.into()].into_iter().chain(bounds).chain([most.into()]).collect();
            Ok(tx.query(sql, &parameters)?)
        })?;
        rows.iter()
            .map(|row| {
                let value = if row.int(1)? == 1 { f64::NAN } else { row.real(0)? };
                Ok(Metric { key: key.to_owned(), value, time: row.int(2)?, step: row.int(3)?, model: None })
            })
            .collect()
    }

    fn summaries(&self, sql: &str, parameters: &[Value]) -> Result<Vec<RunSummary>, TrackingError> {
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, parameters)?))?;
        rows.iter().map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;
    use crate::{Batch, NewRun};

    #[test]
    fn points_go_on_where_they_were_left() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
        let tracking = Tracking::new(store, Arc::new(FixedClock::at(1)), Arc::new(UuidIds), TrackingLimits::default());
        let run = tracking.start_run("0", &NewRun::default()).unwrap();
        let point = |time, step, value| Metric { key: "m".into(), value, time, step, model: None };
        let all = [point(1, 0, -1.0), point(1, 1, 0.0), point(1, 1, f64::NAN), point(1, 1, 0.5), point(2, 0, 0.0)];
        tracking.log(&run, &Batch { metrics: all.to_vec(), ..Batch::default() }).unwrap();
        let after = |last: Option<&Metric>| {
            let points = tracking.metric_points_after(&run, "m", last, 9).unwrap();
            points.iter().map(|p| (p.time, p.step, p.value.to_bits())).collect::<Vec<_>>()
        };
        let expected: Vec<_> = all.iter().map(|p| (p.time, p.step, p.value.to_bits())).collect();
        assert_eq!(after(None), expected);
        for (at, last) in all.iter().enumerate() {
            assert_eq!(after(Some(last)), expected[at + 1..], "after {last:?}");
        }
        assert_eq!(tracking.metric_points_after(&run, "m", None, 2).unwrap().len(), 2);
    }

    #[test]
    fn a_run_is_found_by_the_start_of_its_id_and_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
        let tracking = Tracking::new(store, Arc::new(FixedClock::at(1)), Arc::new(UuidIds), TrackingLimits::default());
        let start = |name: &str| tracking.start_run("0", &NewRun { name: name.into(), ..NewRun::default() }).unwrap();
        let (one, two) = (start("same"), start("same"));
        tracking.delete_run(&two).unwrap();
        let ids = |runs: Vec<RunSummary>| runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>();
        assert_eq!(ids(tracking.runs_starting_with(&one, 9).unwrap()), std::slice::from_ref(&one));
        assert_eq!(
            ids(tracking.runs_starting_with(&one[..31], 9).unwrap()).len(),
            usize::from(one[..31] == two[..31]) + 1
        );
        assert_eq!(tracking.runs_starting_with("", 1).unwrap().len(), 1);
        assert!(tracking.runs_starting_with("%", 9).unwrap().is_empty());
        assert_eq!(tracking.runs_named("same", 9).unwrap().len(), 2);
        assert!(tracking.runs_named("other", 9).unwrap().is_empty());
    }
}
