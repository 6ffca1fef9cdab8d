//! Removes for good what was deleted long ago: runs, logged models and experiments with everything in them, and
//! uploads that never became whole. Their blobs go when nothing refers to them any more.

use plinth_core::Micros;
use plinth_store::Value;
use serde::Serialize;

use crate::{Place, Tracking, TrackingError};

/// Things removed in one transaction, so that other writers get their turn.
const REMOVED_AT_ONCE: usize = 50;

/// What is removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Retired {
    /// Experiments, with everything in them.
    pub experiments: Vec<String>,
    /// Runs by themselves.
    pub runs: Vec<String>,
    /// Logged models by themselves.
    pub logged_models: Vec<String>,
    /// Uploads that nobody completed.
    pub uploads: u64,
    /// Runs and logged models that stay because a registered version names them.
    pub kept: Vec<String>,
    /// Where their files are.
    #[serde(skip)]
    pub folders: Vec<String>,
}

impl Tracking {
    /// What was deleted, or begun and left, before `before`; in some experiments or in all.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn retired(&self, before: Micros, experiments: Option<&[String]>) -> Result<Retired, TrackingError> {
        let asked = |id: &str| experiments.is_none_or(|ids| ids.iter().any(|asked| asked == id));
        let mut retired = Retired::default();
        self.store.catalog().read::<_, TrackingError>(|tx| {
            // The default experiment is always there.
            let sql = "SELECT experiment_id, artifact_location FROM experiments
                       WHERE lifecycle = 'deleted' AND updated_us < $1 AND experiment_id <> '0'
                       AND NOT EXISTS (SELECT 1 FROM runs r JOIN versions v ON v.run_id = r.run_id
                           WHERE r.experiment_id = experiments.experiment_id)
                       AND NOT EXISTS (SELECT 1 FROM logged_models m JOIN versions v ON v.model_id = m.model_id
                           WHERE m.experiment_id = experiments.experiment_id)";
            for row in tx.query(sql, &[Value::Int(before)])? {
                let id = row.text(0)?;
                if asked(&id) {
                    // Files of experiments that share a place of their own choice are found run by run.
                    retired.folders.push(id.clone());
                    retired.experiments.push(id);
                }
            }
            let sql = "SELECT r.run_id, r.experiment_id, e.artifact_location,
                           (SELECT COUNT(*) FROM versions v WHERE v.run_id = r.run_id)
                       FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
                       WHERE (r.lifecycle = 'deleted' AND r.deleted_us < $1)
                           OR (e.lifecycle = 'deleted' AND e.updated_us < $1)";
            for row in tx.query(sql, &[Value::Int(before)])? {
                let (id, experiment, location) = (row.text(0)?, row.text(1)?, row.text(2)?);
                if !asked(&experiment) {
                    continue;
                }
                if row.int(3)? != 0 {
                    retired.kept.push(id);
                    continue;
                }
                let of = |root: String| format!("{}/{id}/artifacts", root.trim_end_matches('/'));
                let location = if location.is_empty() { location } else { of(location) };
                if let Place::Here(folder) = Place::of(&location, || of(experiment.clone())) {
                    retired.folders.push(folder);
                }
                if !retired.experiments.contains(&experiment) {
                    retired.runs.push(id);
                }
            }
            let sql = "SELECT m.model_id, m.experiment_id, m.artifact_location,
                           (SELECT COUNT(*) FROM versions v WHERE v.model_id = m.model_id)
                       FROM logged_models m JOIN experiments e ON e.experiment_id = m.experiment_id
                       WHERE (m.lifecycle = 'deleted' AND m.updated_us < $1)
                           OR (e.lifecycle = 'deleted' AND e.updated_us < $1)";
            for row in tx.query(sql, &[Value::Int(before)])? {
                let (id, experiment) = (row.text(0)?, row.text(1)?);
                if !asked(&experiment) {
                    continue;
                }
                if row.int(3)? != 0 {
                    retired.kept.push(id);
                    continue;
                }
                let usual = || format!("{experiment}/models/{id}/artifacts");
                if let Place::Here(folder) = Place::of(&row.text(2)?, usual) {
                    retired.folders.push(folder);
                }
                if !retired.experiments.contains(&experiment) {
                    retired.logged_models.push(id);
                }
            }
            let sql = "SELECT COUNT(*) FROM uploads WHERE created_us < $1";
            retired.uploads = tx.query_one(sql, &[Value::Int(before)])?.map_or(Ok(0), |row| row.int(0))? as u64;
            Ok(())
        })?;
        Ok(retired)
    }

    /// Removes for good what [`Tracking::retired`] found. Restored meanwhile, it stays. Interrupted, it goes on the
    /// next time.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn remove_retired(&self, retired: &Retired, before: Micros) -> Result<(), TrackingError> {
        // Files first: without its row, nobody would know of them.
        let guards = [
            ("runs", "run_id", "lifecycle = 'deleted' AND deleted_us < $2", &retired.runs),
            ("logged_models", "model_id", "lifecycle = 'deleted' AND updated_us < $2", &retired.logged_models),
        ];
        for (table, key, guard, ids) in guards {
            for ids in ids.chunks(REMOVED_AT_ONCE) {
                self.store.catalog().write::<_, TrackingError>(|tx| {
                    if table == "runs" {
                        tx.all_runs_changed();
                    }
                    for id in ids {
                        let still = format!("SELECT 1 FROM {table} WHERE {key} = $1 AND {guard}");
                        let parameters = [Value::from(id), Value::Int(before)];
                        if tx.query_one(&still, &parameters)?.is_none() {
                            continue;
                        }
                        let end = format!("/{id}/artifacts");
                        for folder in retired.folders.iter().filter(|folder| folder.ends_with(&end)) {
                            forget_files(tx, folder)?;
                        }
                        tx.execute(&format!("DELETE FROM {table} WHERE {key} = $1"), &[id.into()])?;
                    }
                    Ok(())
                })?;
            }
        }
        for id in &retired.experiments {
            self.store.catalog().write::<_, TrackingError>(|tx| {
                let sql =
                    "SELECT 1 FROM experiments WHERE experiment_id = $1 AND lifecycle = 'deleted' AND updated_us < $2";
                if tx.query_one(sql, &[id.into(), Value::Int(before)])?.is_none() {
                    return Ok(());
                }
                for (sql, middle) in [
                    ("SELECT run_id FROM runs WHERE experiment_id = $1", ""),
                    ("SELECT model_id FROM logged_models WHERE experiment_id = $1", "models/"),
                ] {
                    for row in tx.query(sql, &[id.into()])? {
                        let end = format!("/{middle}{}/artifacts", row.text(0)?);
                        for folder in retired.folders.iter().filter(|folder| folder.ends_with(&end)) {
                            forget_files(tx, folder)?;
                        }
                    }
                }
                forget_files(tx, id)?;
                tx.all_runs_changed();
                tx.execute("DELETE FROM runs WHERE experiment_id = $1", &[id.into()])?;
                tx.execute("DELETE FROM experiments WHERE experiment_id = $1", &[id.into()])?;
                Ok(())
            })?;
        }
        self.store.catalog().write::<_, TrackingError>(|tx| {
            Ok(tx.execute("DELETE FROM uploads WHERE created_us < $1", &[Value::Int(before)])?)
        })?;
        Ok(())
    }
}

fn forget_files(tx: &mut dyn plinth_store::Tx, folder: &str) -> Result<(), TrackingError> {
    let (from, to) = (format!("{folder}/"), format!("{folder}0"));
    tx.execute("DELETE FROM files WHERE path >= $1 AND path < $2", &[from.into(), to.into()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;
    use crate::{NewExperiment, NewRun};

    #[test]
    fn what_was_deleted_long_ago_goes_with_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        let clock = Arc::new(FixedClock::at(1_000));
        let tracking = Tracking::new(store, clock.clone(), Arc::new(UuidIds), TrackingLimits::default());
        let blob = tracking.store().blobs().put(b"x").unwrap();
        let run = |experiment: &str| {
            let id = tracking.start_run(experiment, &NewRun::default()).unwrap();
            tracking.log_artifact(&id, "a", blob, 1).unwrap();
            id
        };
        let new = NewExperiment { name: "e".into(), artifact_location: "mlflow-artifacts:/x".into(), tags: Vec::new() };
        let experiment = tracking.create_experiment(&new).unwrap();
        let (gone, restored, alive, inner) = (run("0"), run("0"), run("0"), run(&experiment));
        for id in [&gone, &restored] {
            tracking.delete_run(id).unwrap();
        }
        tracking.delete_experiment(&experiment).unwrap();
        tracking.begin_upload("0/u", 1).unwrap();
        assert_eq!(tracking.retired(1_000, None).unwrap(), Retired::default());
        let retired = tracking.retired(1_001, None).unwrap();
        assert_eq!((retired.experiments.len(), retired.runs.len(), retired.uploads), (1, 2, 1));
        let only = tracking.retired(1_001, Some(&["0".to_owned()])).unwrap();
        assert!(only.experiments.is_empty() && only.runs.len() == 2);
        tracking.restore_run(&restored).unwrap();
        tracking.remove_retired(&retired, 1_001).unwrap();
        assert!(tracking.run(&gone).is_err() && tracking.run(&inner).is_err());
        assert!(tracking.run(&restored).is_ok() && tracking.run(&alive).is_ok());
        let paths = |folder: &str| tracking.list_files(folder).unwrap().len();
        assert_eq!((paths("0"), paths("x")), (2, 0));
        assert!(tracking.retired(1_001, None).unwrap().experiments.is_empty());
    }
}
