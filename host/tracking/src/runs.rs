//! Runs: started, named, ended, deleted, restored, read.

use std::collections::{BTreeMap, HashMap};

use plinth_core::{ContentHash, Micros};
use plinth_store::{Row, Tx, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Batch, Lifecycle, Tracking, TrackingError, experiments,
    inputs::{DatasetInput, Direction, ModelLink, read_datasets, read_models},
    log::write_batch,
    names::cut,
};

/// The tag that carries a run's name, for clients that read it there.
pub(crate) const NAME_TAG: &str = "mlflow.runName";

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It goes on, or its process was killed before it could say otherwise.
    Running,
    /// It waits to be run.
    Scheduled,
    /// It ended well.
    Finished,
    /// It ended with an error.
    Failed,
    /// Its user stopped it.
    Killed,
}

impl Status {
    /// In the order of MLflow's numbers, from 1.
    pub const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Finished, Self::Failed, Self::Killed];

    /// As MLflow writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    /// The status that is written so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What a run starts with.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// For a person; made up if it is empty.
    pub name: String,
    /// What runs: a pipeline file, a command.
    pub source: String,
    /// Who runs it.
    pub user: String,
    /// When it started; now, if nobody says.
    pub start: Option<Micros>,
    /// Anything else. Order is kept; the last value of a key counts.
    pub tags: Vec<(String, String)>,
}

/// A change of a run's head.
#[derive(Debug, Clone, Default)]
pub struct RunUpdate {
    /// How it stands now.
    pub status: Option<Status>,
    /// When it ended.
    pub end: Option<Micros>,
    /// Another name; an empty one changes nothing.
    pub name: Option<String>,
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
    /// Whether it is active or deleted.
    pub lifecycle: Lifecycle,
    /// Where its artifacts are; empty for `EXPERIMENT/RUN/artifacts` in the server's own store.
    pub artifact_location: String,
}

/// The latest value of a metric: the last by step, then by time, then by value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latest {
    /// Such as `f1`.
    pub key: String,
    /// May be NaN or infinite.
    pub value: f64,
    /// When.
    pub time: Micros,
    /// Step of training, or 0.
    pub step: i64,
}

/// A run with everything it logged, but for its artifacts and the history of its metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// At a glance.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Parameters by key.
    pub params: BTreeMap<String, String>,
    /// The latest value of each metric, by key.
    pub metrics: Vec<Latest>,
    /// Tags by key.
    pub tags: BTreeMap<String, String>,
    /// Data sets read.
    pub datasets: Vec<DatasetInput>,
    /// Logged models read.
    pub models_in: Vec<ModelLink>,
    /// Logged models made.
    pub models_out: Vec<ModelLink>,
}

impl Run {
    /// A run that logged nothing.
    fn new(summary: RunSummary) -> Self {
        Self {
            summary,
            params: BTreeMap::new(),
            metrics: Vec::new(),
            tags: BTreeMap::new(),
            datasets: Vec::new(),
            models_in: Vec::new(),
            models_out: Vec::new(),
        }
    }

    /// The latest value of a metric.
    pub fn metric(&self, key: &str) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.key == key).map(|metric| metric.value)
    }
}

/// A run's name in the audit log.
pub(crate) fn subject(run_id: &str) -> String {
    format!("runs:/{run_id}")
}

/// What [`summary`] reads, from `runs r JOIN experiments e`.
pub(crate) const RUN_COLUMNS: &str = "r.run_id, r.experiment_id, r.name, r.status, r.source, r.user_name, r.start_us, \
                                      r.end_us, r.lifecycle, e.artifact_location, r.rid";
pub(crate) const RUN_FROM: &str = "runs r JOIN experiments e ON e.experiment_id = r.experiment_id";

impl Tracking {
    /// Starts a run; returns its id.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`], and what [`Tracking::log`] can refuse of
    /// its tags.
    pub fn start_run(&self, experiment_id: &str, new: &NewRun) -> Result<String, TrackingError> {
        let id = self.ids.next();
        let tagged = new.tags.iter().rev().find(|(key, _)| key == NAME_TAG).map(|(_, value)| value.as_str());
        let name = match (new.name.as_str(), tagged.filter(|tag| !tag.is_empty())) {
            ("", None) => made_up_name(&id),
            ("", Some(tag)) => tag.to_owned(),
            (name, Some(tag)) if name != tag => {
                return Err(TrackingError::Invalid(format!(
                    "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
                     (run_name='{}', mlflow.runName='{}').",
                    cut(name),
                    cut(tag)
                )));
            }
            (name, _) => name.to_owned(),
        };
        let mut batch = Batch { tags: new.tags.clone(), ..Batch::default() };
        if tagged.is_none() {
            batch.tags.push((NAME_TAG.to_owned(), name.clone()));
        }
        self.check_tags(&batch.tags)?;
        let batch = self.fitted(&batch);
        self.store.catalog().write(|tx| {
            experiments::must_be_active(&experiments::find(tx, experiment_id)?)?;
            let row = tx.query_one(
                "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name, start_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING rid",
                &[
                    Value::from(&id),
                    experiment_id.into(),
                    Value::from(&name),
                    Status::Running.name().into(),
                    Value::from(&new.source),
                    Value::from(&new.user),
                    Value::Int(new.start.unwrap_or_else(|| self.clock.now())),
                ],
            )?;
            let rid = row.map(|row| row.int(0)).transpose()?.unwrap_or_default();
            self.note(tx, "run.create", &subject(&id), &json!({"experiment_id": experiment_id}))?;
            write_batch(tx, rid, &id, &batch)
        })?;
        self.loggers.add(&self.who, &id);
        Ok(id)
    }

    /// Changes a run's head.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`], [`TrackingError::NotActive`].
    pub fn update_run(&self, run_id: &str, update: &RunUpdate) -> Result<RunSummary, TrackingError> {
        self.store.catalog().write(|tx| {
            let rid = active(tx, run_id)?;
            tx.run_changed(rid);
            let name = update.name.as_deref().filter(|name| !name.is_empty());
            tx.execute(
                "UPDATE runs SET status = COALESCE($2, status), end_us = COALESCE($3, end_us), name = COALESCE($4, name)
                 WHERE rid = $1",
                &[
                    Value::Int(rid),
                    update.status.map(Status::name).into(),
                    update.end.map_or(Value::Null, Value::Int),
                    name.into(),
                ],
            )?;
            if let Some(name) = name {
                let tags = vec![(NAME_TAG.to_owned(), name.to_owned())];
                write_batch(tx, rid, run_id, &Batch { tags, ..Batch::default() })?;
            }
            let detail = json!({"status": update.status.map(Status::name), "name": name});
            self.note(tx, "run.update", &subject(run_id), &detail)?;
            Ok(find(tx, run_id)?.1)
        })
    }

    /// Ends a run.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`], [`TrackingError::NotActive`].
    pub fn end_run(&self, run_id: &str, status: Status) -> Result<(), TrackingError> {
        let end = Some(self.clock.now());
        self.update_run(run_id, &RunUpdate { status: Some(status), end, name: None }).map(drop)
    }

    /// Deletes a run; it can be restored until it is collected.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn delete_run(&self, run_id: &str) -> Result<(), TrackingError> {
        self.set_lifecycle(run_id, Lifecycle::Deleted)
    }

    /// Brings a deleted run back.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn restore_run(&self, run_id: &str) -> Result<(), TrackingError> {
        self.set_lifecycle(run_id, Lifecycle::Active)
    }

    fn set_lifecycle(&self, run_id: &str, to: Lifecycle) -> Result<(), TrackingError> {
        let deleted = if to == Lifecycle::Deleted { Value::Int(self.clock.now()) } else { Value::Null };
        self.store.catalog().write(|tx| {
            let sql = "UPDATE runs SET lifecycle = $2, deleted_us = $3 WHERE run_id = $1 RETURNING rid";
            let row = tx.query_one(sql, &[run_id.into(), to.name().into(), deleted])?;
            let rid = row.ok_or_else(|| TrackingError::RunNotFound(cut(run_id)))?.int(0)?;
            tx.run_changed(rid);
            let action = if to == Lifecycle::Deleted { "run.delete" } else { "run.restore" };
            self.note(tx, action, &subject(run_id), &json!({}))
        })
    }

    /// A run with everything it logged.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn run(&self, run_id: &str) -> Result<Run, TrackingError> {
        self.store.catalog().read(|tx| {
            let (rid, summary) = find(tx, run_id)?;
            let mut runs = fill(tx, vec![(rid, summary)], &[Value::Int(rid)], "($1)")?;
            runs.pop().ok_or_else(|| TrackingError::RunNotFound(cut(run_id)))
        })
    }

    /// The newest active runs, of one experiment or of all.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn runs(&self, experiment_id: Option<&str>, most: u32) -> Result<Vec<RunSummary>, TrackingError> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM {RUN_FROM} WHERE r.lifecycle = 'active' AND ($1 IS NULL OR r.experiment_id = $1)
             ORDER BY r.start_us DESC, r.run_id DESC LIMIT $2"
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
        let sql = "SELECT runs.run_id FROM runs JOIN run_tags ON run_tags.rid = runs.rid
                   WHERE runs.status = $1 AND run_tags.key = $2";
        let parameters = [Status::Running.name().into(), key.into()];
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &parameters)?))?;
        rows.iter().map(|row| Ok(row.text(0)?)).collect()
    }
}

impl Tracking {
    /// The experiment of a run.
    ///
    /// # Errors
    /// [`TrackingError::RunNotFound`].
    pub fn experiment_of_run(&self, run_id: &str) -> Result<String, TrackingError> {
        let sql = "SELECT experiment_id FROM runs WHERE run_id = $1";
        let row = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query_one(sql, &[run_id.into()])?))?;
        Ok(row.ok_or_else(|| TrackingError::RunNotFound(cut(run_id)))?.text(0)?)
    }
}

/// The number and the head of a run, also of a deleted one.
pub(crate) fn find(tx: &mut dyn Tx, run_id: &str) -> Result<(i64, RunSummary), TrackingError> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM {RUN_FROM} WHERE r.run_id = $1");
    let row = tx.query_one(&sql, &[run_id.into()])?.ok_or_else(|| TrackingError::RunNotFound(cut(run_id)))?;
    Ok((row.int(10)?, summary(&row)?))
}

/// The number of a run that may be written to.
pub(crate) fn active(tx: &mut dyn Tx, run_id: &str) -> Result<i64, TrackingError> {
    let row = tx.query_one("SELECT rid, lifecycle FROM runs WHERE run_id = $1", &[run_id.into()])?;
    let row = row.ok_or_else(|| TrackingError::RunNotFound(cut(run_id)))?;
    if row.text(1)? != Lifecycle::Active.name() {
        return Err(TrackingError::NotActive { what: "run", id: cut(run_id) });
    }
    Ok(row.int(0)?)
}

/// A run's head from its row of [`RUN_COLUMNS`].
pub(crate) fn summary(row: &Row) -> Result<RunSummary, TrackingError> {
    let (run_id, experiment_id) = (row.text(0)?, row.text(1)?);
    let location = row.text(9)?;
    let artifact_location =
        if location.is_empty() { location } else { format!("{}/{run_id}/artifacts", location.trim_end_matches('/')) };
    Ok(RunSummary {
        run_id,
        experiment_id,
        name: row.text(2)?,
        status: Status::from_name(&row.text(3)?).unwrap_or(Status::Failed),
        source: row.text(4)?,
        user: row.text(5)?,
        start: row.opt_int(6)?.unwrap_or(0),
        end: row.opt_int(7)?,
        lifecycle: Lifecycle::from_name(&row.text(8)?),
        artifact_location,
    })
}

/// Runs whose details are read by one query of each kind.
const LOAD_AT_ONCE: usize = 500;

/// Shows runs one by one, in the order of their numbers' list, with what they logged: a handful of queries for many.
pub(crate) fn load(tx: &mut dyn Tx, rids: &[i64], visit: &mut dyn FnMut(Run)) -> Result<(), TrackingError> {
    for part in rids.chunks(LOAD_AT_ONCE) {
        let rows = padded(part);
        let among = among(rows.len());
        let sql = format!("SELECT {RUN_COLUMNS} FROM {RUN_FROM} WHERE r.rid IN {among}");
        let mut heads: HashMap<i64, RunSummary> = HashMap::with_capacity(part.len());
        for row in tx.query(&sql, &rows)? {
            heads.insert(row.int(10)?, summary(&row)?);
        }
        let heads = part.iter().filter_map(|rid| Some((*rid, heads.remove(rid)?))).collect();
        fill(tx, heads, &rows, &among)?.into_iter().for_each(&mut *visit);
    }
    Ok(())
}

/// Adds to runs what they logged; their order is kept.
fn fill(
    tx: &mut dyn Tx,
    heads: Vec<(i64, RunSummary)>,
    rids: &[Value],
    among: &str,
) -> Result<Vec<Run>, TrackingError> {
    let mut places = Places::of(heads.iter().map(|(rid, _)| *rid));
    let mut runs: Vec<Run> = heads.into_iter().map(|(_, summary)| Run::new(summary)).collect();
    tx.each(&format!("SELECT rid, key, value FROM params WHERE rid IN {among} ORDER BY rid, key"), rids, &mut |row| {
        if let Some(at) = places.find(row.int_at(0)?) {
            runs[at].params.insert(row.text_at(1)?.to_owned(), row.text_at(2)?.to_owned());
        }
        Ok(())
    })?;
    let sql = format!("SELECT rid, key, value FROM run_tags WHERE rid IN {among} ORDER BY rid, key");
    tx.each(&sql, rids, &mut |row| {
        if let Some(at) = places.find(row.int_at(0)?) {
            runs[at].tags.insert(row.text_at(1)?.to_owned(), row.text_at(2)?.to_owned());
        }
        Ok(())
    })?;
    let sql = format!(
        "SELECT rid, key, value, is_nan, time_us, step FROM latest_metrics WHERE rid IN {among} ORDER BY rid, key"
    );
    tx.each(&sql, rids, &mut |row| {
        if let Some(at) = places.find(row.int_at(0)?) {
            let value = if row.int_at(3)? == 1 { f64::NAN } else { row.real_at(2)? };
            let key = row.text_at(1)?.to_owned();
            runs[at].metrics.push(Latest { key, value, time: row.int_at(4)?, step: row.int_at(5)? });
        }
        Ok(())
    })?;
    for (rid, dataset) in read_datasets(tx, rids)? {
        if let Some(at) = places.find(rid) {
            runs[at].datasets.push(dataset);
        }
    }
    for (rid, direction, link) in read_models(tx, rids)? {
        let Some(at) = places.find(rid) else { continue };
        match direction {
            Direction::Input => runs[at].models_in.push(link),
            Direction::Output => runs[at].models_out.push(link),
        }
    }
    Ok(runs)
}

/// Where in a list each run stands. Rows come by run: the last one found is most often asked for again.
struct Places {
    by_rid: HashMap<i64, usize>,
    last: Option<(i64, usize)>,
}

impl Places {
    fn of(rids: impl Iterator<Item = i64>) -> Self {
        Self { by_rid: rids.enumerate().map(|(at, rid)| (rid, at)).collect(), last: None }
    }

    fn find(&mut self, rid: i64) -> Option<usize> {
        match self.last {
            Some((last, at)) if last == rid => Some(at),
            _ => {
                let at = *self.by_rid.get(&rid)?;
                self.last = Some((rid, at));
                Some(at)
            }
        }
    }
}

/// `($1, $2, …)`.
pub(crate) fn among(count: usize) -> String {
    let list: Vec<String> = (1..=count).map(|n| format!("${n}")).collect();
    format!("({})", list.join(", "))
}

/// Numbers for a list in a query, the last one repeated so that few lengths occur: prepared statements are kept by their
/// text.
pub(crate) fn padded(rids: &[i64]) -> Vec<Value> {
    let length = [1, 16, 110, LOAD_AT_ONCE / 2, LOAD_AT_ONCE]
        .into_iter()
        .find(|length| *length >= rids.len())
        .unwrap_or(rids.len());
    let last = rids.last().copied().unwrap_or_default();
    rids.iter().copied().chain(std::iter::repeat(last)).take(length.max(1)).map(Value::Int).collect()
}

/// A name for a run that was given none: two words and a number that follow from its id.
pub(crate) fn made_up_name(id: &str) -> String {
    const HOW: [&str; 32] = [
        "able", "amber", "bold", "brisk", "calm", "clever", "crisp", "deft", "eager", "fair", "fleet", "gentle",
        "glad", "hardy", "jolly", "keen", "lively", "lucid", "merry", "mild", "neat", "nimble", "plucky", "proud",
        "quick", "quiet", "sharp", "sleek", "smart", "spry", "stout", "swift",
    ];
    const WHO: [&str; 32] = [
        "auk", "badger", "bear", "crane", "crow", "deer", "dove", "eel", "elk", "finch", "fox", "gull", "hare", "hawk",
        "heron", "ibis", "jay", "kite", "lark", "lynx", "mink", "mole", "newt", "otter", "owl", "pike", "quail",
        "raven", "seal", "stoat", "tern", "wren",
    ];
    let hash = ContentHash::of(id.as_bytes());
    let bytes = hash.as_bytes();
    let number = u16::from_le_bytes([bytes[2], bytes[3]]) % 1000;
    format!("{}-{}-{number}", HOW[usize::from(bytes[0]) % HOW.len()], WHO[usize::from(bytes[1]) % WHO.len()])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;
    use crate::Metric;

    fn tracking() -> (tempfile::TempDir, Tracking) {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        (dir, Tracking::new(store, Arc::new(FixedClock::at(7)), Arc::new(UuidIds), TrackingLimits::default()))
    }

    fn metric(key: &str, value: f64, step: i64) -> Metric {
        Metric { key: key.into(), value, time: 1, step, model: None }
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
        assert!(run.metric("f1").unwrap().is_nan() && run.metric("loss").unwrap().is_infinite());
        assert_eq!(tracking.run_artifacts(&id).unwrap()[0].blob, blob);
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
        assert!(matches!(tracking.log(&id, &changed), Err(TrackingError::ParamsChanged { .. })));
        assert!(!tracking.run(&id).unwrap().params.contains_key("c"));
        let long = Batch { params: vec![("d".into(), "4".into()), ("k".repeat(251), "x".into())], ..Batch::default() };
        assert!(matches!(tracking.log(&id, &long), Err(TrackingError::TooLong { limit: 250, .. })));
        assert!(!tracking.run(&id).unwrap().params.contains_key("d"));
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
