//! Experiments and runs.

use std::collections::BTreeMap;

use plinth_core::{ContentHash, Micros, refs::path_problem};
use plinth_store::{Row, Tx, Value};
use serde::{Deserialize, Serialize};

use crate::{Tracking, TrackingError};

/// A named group of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Experiment {
    /// A number as text; `0` is `Default`.
    pub experiment_id: String,
    /// Unique.
    pub name: String,
    /// When it was made.
    pub created: Micros,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It goes on, or its process was killed before it could say otherwise.
    Running,
    /// It ended well.
    Finished,
    /// It ended with an error.
    Failed,
    /// Its user stopped it.
    Killed,
}

impl Status {
    const ALL: [Self; 4] = [Self::Running, Self::Finished, Self::Failed, Self::Killed];

    /// As MLflow writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.name() == name).unwrap_or(Self::Failed)
    }
}

/// What a run starts with.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// For a person.
    pub name: String,
    /// What runs: a pipeline file, a command.
    pub source: String,
    /// Who runs it.
    pub user: String,
    /// Anything else.
    pub tags: BTreeMap<String, String>,
}

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

/// A file among a run's artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Below the run's artifacts.
    pub path: String,
    /// Its content.
    pub blob: ContentHash,
    /// Its size.
    pub bytes: u64,
}

/// A data set that a run read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Such as `events`.
    pub name: String,
    /// Identity of its content.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// What for, such as `training`.
    pub context: String,
}

/// A run at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// 32 hexadecimal digits.
    pub run_id: String,
    /// Its experiment.
    pub experiment_id: String,
    /// For a person.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// What ran.
    pub source: String,
    /// Who ran it.
    pub user: String,
    /// When it started.
    pub start: Micros,
    /// When it ended.
    pub end: Option<Micros>,
}

/// A run with everything it logged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// At a glance.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// The last value of each metric: by step, then by time.
    pub metrics: BTreeMap<String, f64>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Artifacts by path.
    pub artifacts: Vec<Artifact>,
    /// Data sets read.
    pub inputs: Vec<Input>,
}

const RUN_COLUMNS: &str = "run_id, experiment_id, name, status, source, user_name, start_us, end_us";

impl Tracking {
    /// The experiment of that name; makes it if there is none.
    ///
    /// # Errors
    /// [`TrackingError`]: the name is empty or too long.
    pub fn experiment(&self, name: &str) -> Result<Experiment, TrackingError> {
        self.check_key(name, "the name of an experiment")?;
        let find = |tx: &mut dyn Tx| -> Result<Option<Experiment>, TrackingError> {
            let sql = "SELECT experiment_id, name, created_us FROM experiments WHERE name = $1";
            let row = tx.query_one(sql, &[name.into()])?;
            row.map(|row| Ok(Experiment { experiment_id: row.text(0)?, name: row.text(1)?, created: row.int(2)? }))
                .transpose()
        };
        if let Some(found) = self.store.catalog().read(|tx| find(tx))? {
            return Ok(found);
        }
        self.store.catalog().write(|tx| {
            if let Some(found) = find(tx)? {
                return Ok(found);
            }
            let next = tx.query_one("SELECT MAX(CAST(experiment_id AS BIGINT)) + 1 FROM experiments", &[])?;
            let id = next.map(|row| row.int(0)).transpose()?.unwrap_or(1).to_string();
            let now = self.clock.now();
            tx.execute(
                "INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ($1, $2, $3, $3)",
                &[Value::from(&id), name.into(), Value::Int(now)],
            )?;
            Ok(Experiment { experiment_id: id, name: name.to_owned(), created: now })
        })
    }

    /// Every experiment, by number.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn experiments(&self) -> Result<Vec<Experiment>, TrackingError> {
        let sql = "SELECT experiment_id, name, created_us FROM experiments ORDER BY CAST(experiment_id AS BIGINT)";
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &[])?))?;
        rows.iter()
            .map(|row| Ok(Experiment { experiment_id: row.text(0)?, name: row.text(1)?, created: row.int(2)? }))
            .collect()
    }

    /// Starts a run; returns its id.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`] and what [`Tracking::log`] can refuse of its tags.
    pub fn start_run(&self, experiment_id: &str, new: &NewRun) -> Result<String, TrackingError> {
        let id = self.ids.next();
        let batch = Batch { tags: new.tags.clone().into_iter().collect(), ..Batch::default() };
        self.check_batch(&batch)?;
        self.store.catalog().write(|tx| {
            let known = tx.query_one("SELECT 1 FROM experiments WHERE experiment_id = $1", &[experiment_id.into()])?;
            if known.is_none() {
                return Err(TrackingError::ExperimentNotFound(experiment_id.to_owned()));
            }
            tx.execute(
                "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name, start_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    Value::from(&id),
                    experiment_id.into(),
                    Value::from(&new.name),
                    Status::Running.name().into(),
                    Value::from(&new.source),
                    Value::from(&new.user),
                    Value::Int(self.clock.now()),
                ],
            )?;
            write_batch(tx, &id, &batch)
        })?;
        Ok(id)
    }

    /// Logs parameters, metrics and tags, all or none.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`], [`TrackingError::ParamChanged`], [`TrackingError::TooMuch`],
    /// [`TrackingError::BadName`].
    pub fn log(&self, run_id: &str, batch: &Batch) -> Result<(), TrackingError> {
        self.check_batch(batch)?;
        self.store.catalog().write(|tx| {
            must_exist(tx, run_id)?;
            write_batch(tx, run_id, batch)
        })
    }

    /// Names a stored blob as one of a run's artifacts; a path that is taken gets the new content.
    ///
    /// # Errors
    /// [`TrackingError::BadName`], [`TrackingError::RunNotFound`].
    pub fn log_artifact(&self, run_id: &str, path: &str, blob: ContentHash, bytes: u64) -> Result<(), TrackingError> {
        if let Some(reason) = path_problem(path).or(path.is_empty().then_some("it is empty")) {
            return Err(TrackingError::BadName { value: cut(path), what: "an artifact's path", reason: reason.into() });
        }
        self.store.catalog().write(|tx| {
            must_exist(tx, run_id)?;
            tx.execute(
                "INSERT INTO artifacts (run_id, path, blob, bytes) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (run_id, path) DO UPDATE SET blob = excluded.blob, bytes = excluded.bytes",
                &[run_id.into(), path.into(), blob.into(), bytes.into()],
            )?;
            Ok(())
        })
    }

    /// Records a data set that a run read.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn log_input(&self, run_id: &str, input: &Input) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            must_exist(tx, run_id)?;
            tx.execute(
                "INSERT INTO inputs (run_id, name, digest, source, context) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (run_id, name, digest) DO NOTHING",
                &[
                    run_id.into(),
                    Value::from(&input.name),
                    Value::from(&input.digest),
                    Value::from(&input.source),
                    Value::from(&input.context),
                ],
            )?;
            Ok(())
        })
    }

    /// Ends a run.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn end_run(&self, run_id: &str, status: Status) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let changed = tx.execute(
                "UPDATE runs SET status = $2, end_us = $3 WHERE run_id = $1",
                &[run_id.into(), status.name().into(), Value::Int(self.clock.now())],
            )?;
            if changed == 0 { Err(TrackingError::RunNotFound(cut(run_id))) } else { Ok(()) }
        })
    }

    /// A run with everything it logged.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn run(&self, run_id: &str) -> Result<Run, TrackingError> {
        self.store.catalog().read(|tx| {
            let id = [Value::from(run_id)];
            let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE run_id = $1");
            let row = tx.query_one(&sql, &id)?.ok_or_else(|| TrackingError::RunNotFound(cut(run_id)))?;
            let mut pairs = |sql: &str| -> Result<BTreeMap<String, String>, TrackingError> {
                tx.query(sql, &id)?.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
            };
            let params = pairs("SELECT key, value FROM params WHERE run_id = $1")?;
            let tags = pairs("SELECT key, value FROM run_tags WHERE run_id = $1")?;
            let metrics = tx
                .query("SELECT key, value, is_nan FROM metrics WHERE run_id = $1 ORDER BY key, step, time_us, id", &id)?
                .iter()
                .map(|row| Ok((row.text(0)?, if row.int(2)? == 1 { f64::NAN } else { row.real(1)? })))
                .collect::<Result<_, TrackingError>>()?;
            let artifacts = tx
                .query("SELECT path, blob, bytes FROM artifacts WHERE run_id = $1 ORDER BY path", &id)?
                .iter()
                .map(|row| Ok(Artifact { path: row.text(0)?, blob: row.hash(1)?, bytes: row.int(2)? as u64 }))
                .collect::<Result<_, TrackingError>>()?;
            let inputs = tx
                .query("SELECT name, digest, source, context FROM inputs WHERE run_id = $1 ORDER BY name", &id)?
                .iter()
                .map(|row| {
                    Ok(Input { name: row.text(0)?, digest: row.text(1)?, source: row.text(2)?, context: row.text(3)? })
                })
                .collect::<Result<_, TrackingError>>()?;
            Ok(Run { summary: summary(&row)?, params, metrics, tags, artifacts, inputs })
        })
    }

    /// The newest runs, of one experiment or of all.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn runs(&self, experiment_id: Option<&str>, most: u32) -> Result<Vec<RunSummary>, TrackingError> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE lifecycle = 'active' AND ($1 IS NULL OR experiment_id = $1)
             ORDER BY start_us DESC, run_id DESC LIMIT $2"
        );
        let parameters = [experiment_id.into(), Value::from(most)];
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(&sql, &parameters)?))?;
        rows.iter().map(summary).collect()
    }

    /// Runs that have not ended and carry a tag, whatever its value.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn running_with_tag(&self, key: &str) -> Result<Vec<String>, TrackingError> {
        let sql = "SELECT runs.run_id FROM runs JOIN run_tags ON run_tags.run_id = runs.run_id
                   WHERE runs.status = $1 AND run_tags.key = $2";
        let parameters = [Status::Running.name().into(), key.into()];
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &parameters)?))?;
        rows.iter().map(|row| Ok(row.text(0)?)).collect()
    }

    /// Every value of a metric, by step and time.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn metric_history(&self, run_id: &str, key: &str) -> Result<Vec<Metric>, TrackingError> {
        let sql = "SELECT value, is_nan, time_us, step FROM metrics WHERE run_id = $1 AND key = $2 ORDER BY step, time_us, id";
        let rows =
            self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &[run_id.into(), key.into()])?))?;
        rows.iter()
            .map(|row| {
                let value = if row.int(1)? == 1 { f64::NAN } else { row.real(0)? };
                Ok(Metric { key: key.to_owned(), value, time: row.int(2)?, step: row.int(3)? })
            })
            .collect()
    }

    fn check_batch(&self, batch: &Batch) -> Result<(), TrackingError> {
        let limits = &self.limits;
        let bound = |what: &str, found: usize, limit: u32| {
            if found > limit as usize {
                Err(TrackingError::TooMuch { what: what.to_owned(), found, limit })
            } else {
                Ok(())
            }
        };
        bound("the number of metrics in a batch", batch.metrics.len(), limits.batch_metrics_max)?;
        bound("the number of parameters in a batch", batch.params.len(), limits.batch_params_max)?;
        bound("the number of tags in a batch", batch.tags.len(), limits.batch_params_max)?;
        for metric in &batch.metrics {
            self.check_key(&metric.key, "the key of a metric")?;
        }
        for (key, value) in &batch.params {
            self.check_key(key, "the key of a parameter")?;
            bound(
                &format!("the length of parameter `{}`", cut(key)),
                value.chars().count(),
                limits.param_value_chars_max,
            )?;
        }
        for (key, value) in &batch.tags {
            self.check_key(key, "the key of a tag")?;
            bound(&format!("the length of tag `{}`", cut(key)), value.chars().count(), limits.tag_value_chars_max)?;
        }
        Ok(())
    }

    fn check_key(&self, key: &str, what: &'static str) -> Result<(), TrackingError> {
        let reason = if key.is_empty() {
            "it is empty".to_owned()
        } else if key.chars().count() > self.limits.key_chars_max as usize {
            format!("it is longer than {} characters", self.limits.key_chars_max)
        } else if key.chars().any(char::is_control) {
            "it has control characters".to_owned()
        } else {
            return Ok(());
        };
        Err(TrackingError::BadName { value: cut(key), what, reason })
    }
}

fn write_batch(tx: &mut dyn Tx, run_id: &str, batch: &Batch) -> Result<(), TrackingError> {
    for (key, value) in &batch.params {
        let sql = "SELECT value FROM params WHERE run_id = $1 AND key = $2";
        let old = tx.query_one(sql, &[run_id.into(), key.into()])?.map(|row| row.text(0)).transpose()?;
        match old {
            Some(old) if old != *value => {
                let (run, key) = (run_id.to_owned(), key.clone());
                return Err(TrackingError::ParamChanged { run, key, old: cut(&old), new: cut(value) });
            }
            Some(_) => {}
            None => {
                let row = [run_id.into(), key.into(), value.into()];
                tx.execute("INSERT INTO params (run_id, key, value) VALUES ($1, $2, $3)", &row)?;
            }
        }
    }
    for metric in &batch.metrics {
        let nan = metric.value.is_nan();
        tx.execute(
            "INSERT INTO metrics (run_id, key, value, is_nan, step, time_us) VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                run_id.into(),
                Value::from(&metric.key),
                Value::Real(if nan { 0.0 } else { metric.value }),
                nan.into(),
                Value::Int(metric.step),
                Value::Int(metric.time),
            ],
        )?;
    }
    for (key, value) in &batch.tags {
        tx.execute(
            "INSERT INTO run_tags (run_id, key, value) VALUES ($1, $2, $3)
             ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value",
            &[run_id.into(), key.into(), value.into()],
        )?;
    }
    Ok(())
}

fn must_exist(tx: &mut dyn Tx, run_id: &str) -> Result<(), TrackingError> {
    match tx.query_one("SELECT 1 FROM runs WHERE run_id = $1", &[run_id.into()])? {
        Some(_) => Ok(()),
        None => Err(TrackingError::RunNotFound(cut(run_id))),
    }
}

fn summary(row: &Row) -> Result<RunSummary, TrackingError> {
    Ok(RunSummary {
        run_id: row.text(0)?,
        experiment_id: row.text(1)?,
        name: row.text(2)?,
        status: Status::from_name(&row.text(3)?),
        source: row.text(4)?,
        user: row.text(5)?,
        start: row.int(6)?,
        end: row.opt_int(7)?,
    })
}

/// A text from outside, short enough for a message.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;

    fn tracking() -> (tempfile::TempDir, Tracking) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
        (dir, Tracking::new(store, Arc::new(FixedClock::at(7)), Arc::new(UuidIds), TrackingLimits::default()))
    }

    fn metric(key: &str, value: f64, step: i64) -> Metric {
        Metric { key: key.into(), value, time: 1, step }
    }

    #[test]
    fn everything_logged_comes_back() {
        let (_dir, tracking) = tracking();
        let experiment = tracking.experiment("churn").unwrap();
        assert_eq!(
            (experiment.experiment_id.as_str(), tracking.experiment("churn").unwrap()),
            ("1", experiment.clone())
        );
        let id = tracking.start_run("1", &NewRun { name: "first".into(), ..NewRun::default() }).unwrap();
        let batch = Batch {
            params: vec![("depth".into(), "10".into())],
            metrics: vec![metric("f1", 0.5, 0), metric("f1", f64::NAN, 2), metric("loss", f64::INFINITY, 0)],
            tags: vec![("who".into(), "ann".into())],
        };
        tracking.log(&id, &batch).unwrap();
        let blob = tracking.store().blobs().put(b"x").unwrap();
        tracking.log_artifact(&id, "model/model.onnx", blob, 1).unwrap();
        tracking.end_run(&id, Status::Finished).unwrap();
        let run = tracking.run(&id).unwrap();
        assert_eq!((run.summary.status, run.summary.end), (Status::Finished, Some(7)));
        assert!(run.metrics["f1"].is_nan() && run.metrics["loss"].is_infinite());
        assert_eq!(run.artifacts[0].blob, blob);
        assert_eq!(tracking.metric_history(&id, "f1").unwrap().len(), 2);
        assert_eq!(tracking.runs(Some("1"), 10).unwrap().len(), 1);
        assert!(tracking.runs(Some("0"), 10).unwrap().is_empty());
    }

    #[test]
    fn a_batch_with_one_bad_entry_leaves_nothing() {
        let (_dir, tracking) = tracking();
        let id = tracking.start_run("0", &NewRun::default()).unwrap();
        let params = |value: &str| Batch {
            params: vec![("a".into(), "1".into()), ("b".into(), value.into())],
            ..Batch::default()
        };
        tracking.log(&id, &params("1")).unwrap();
        tracking.log(&id, &params("1")).unwrap();
        let mut changed = params("2");
        changed.params.insert(0, ("c".into(), "3".into()));
        assert!(matches!(tracking.log(&id, &changed), Err(TrackingError::ParamChanged { .. })));
        assert!(!tracking.run(&id).unwrap().params.contains_key("c"));
        let long = Batch { params: vec![("k".into(), "x".repeat(6001))], ..Batch::default() };
        assert!(matches!(tracking.log(&id, &long), Err(TrackingError::TooMuch { found: 6001, limit: 6000, .. })));
    }

    #[test]
    fn hostile_paths_and_unknown_runs_are_refused() {
        let (_dir, tracking) = tracking();
        let id = tracking.start_run("0", &NewRun::default()).unwrap();
        let blob = tracking.store().blobs().put(b"x").unwrap();
        for path in ["", "../x", "/etc/passwd", "a/../../b", "a\\b"] {
            assert!(tracking.log_artifact(&id, path, blob, 1).is_err(), "{path}");
        }
        assert!(matches!(tracking.run("nope"), Err(TrackingError::RunNotFound(_))));
        assert!(matches!(tracking.start_run("9", &NewRun::default()), Err(TrackingError::ExperimentNotFound(_))));
    }
}
