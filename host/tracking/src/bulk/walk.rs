//! Walks a whole store.

use plinth_store::{Row, Tx, Value};

use super::{Record, WholeTrace};
use crate::{
    Lifecycle, Place, Run, Tracking, TrackingError, View,
    experiments::{self, EXPERIMENT_COLUMNS},
    logged_models::{self, LOGGED_MODEL_COLUMNS},
    registry, runs,
    traces::{self, TRACE_COLUMNS},
};

/// Things that are read at once.
const AT_ONCE: u64 = 200;
/// Points of metrics that are read at once.
const POINTS_AT_ONCE: u64 = 20_000;

/// How much of each thing there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Experiments.
    pub experiments: u64,
    /// Runs.
    pub runs: u64,
    /// Points of metrics.
    pub points: u64,
    /// Logged models.
    pub logged_models: u64,
    /// Versions of registered models.
    pub versions: u64,
    /// Traces.
    pub traces: u64,
    /// Files.
    pub files: u64,
}

impl Tracking {
    /// How much there is, for those who want to see how far they are.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn extent(&self) -> Result<Extent, TrackingError> {
        self.store.catalog().read(|tx| {
            let mut count = |table: &str| -> Result<u64, TrackingError> {
                let row = tx.query_one(&format!("SELECT COUNT(*) FROM {table}"), &[])?;
                Ok(row.map_or(Ok(0), |row| row.int(0))? as u64)
            };
            Ok(Extent {
                experiments: count("experiments")?,
                runs: count("runs")?,
                points: count("metric_points")?,
                logged_models: count("logged_models")?,
                versions: count("versions")?,
                traces: count("traces")?,
                files: count("files")?,
            })
        })
    }

    /// Hands on everything, some records at a time: a thing comes after what it belongs to. Places of files are as they
    /// are stored, empty for the usual one.
    ///
    /// # Errors
    /// What `take` returns, or [`TrackingError::Store`].
    pub fn walk<E: From<TrackingError>>(&self, mut take: impl FnMut(Vec<Record>) -> Result<(), E>) -> Result<(), E> {
        self.walk_experiments(&mut take)?;
        self.walk_runs(&mut take)?;
        self.walk_logged_models(&mut take)?;
        self.walk_registry(&mut take)?;
        self.walk_traces(&mut take)?;
        self.walk_evaluation(&mut take)?;
        self.walk_files(&mut take)
    }

    fn walk_experiments<E: From<TrackingError>>(
        &self,
        take: &mut impl FnMut(Vec<Record>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!(
            "SELECT {EXPERIMENT_COLUMNS} FROM experiments WHERE {} ORDER BY CAST(experiment_id AS BIGINT)",
            View::All.condition("lifecycle")
        );
        let records: Vec<Record> = self.store.catalog().read(|tx| {
            let rows = tx.query(&sql, &[])?;
            rows.iter()
                .map(|row| Ok(Record::Experiment(experiments::read(tx, row)?)))
                .collect::<Result<_, TrackingError>>()
        })?;
        take(records)
    }

    fn walk_runs<E: From<TrackingError>>(&self, take: &mut impl FnMut(Vec<Record>) -> Result<(), E>) -> Result<(), E> {
        let sql = "SELECT rid, deleted_us FROM runs WHERE rid > $1 ORDER BY rid LIMIT $2";
        let mut after = 0;
        loop {
            let (page, last) = self.store.catalog().read::<_, TrackingError>(|tx| {
                let rows = tx.query(sql, &[Value::Int(after), AT_ONCE.into()])?;
                let last = rows.last().map(|row| row.int(0)).transpose()?;
                let rids = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
                let mut filled = Vec::with_capacity(rids.len());
                runs::load(tx, &rids, &mut |run| filled.push(run))?;
                let deleted = rows.iter().map(|row| row.opt_int(1)).collect::<Result<Vec<_>, _>>()?;
                Ok((filled.into_iter().zip(deleted).collect::<Vec<_>>(), last))
            })?;
            let Some(last) = last else { return Ok(()) };
            after = last;
            let keys: Vec<(String, Vec<String>)> = page.iter().map(|(run, _)| keys_of(run)).collect();
            take(page.into_iter().map(|(run, deleted)| Record::Run(Box::new(run), deleted)).collect())?;
            let mut records = Vec::new();
            let mut held = 0;
            for (run_id, keys) in keys {
                for key in keys {
                    let mut skip = Some(0);
                    while let Some(from) = skip {
                        let history = self.metric_page(&run_id, &key, from, Some(POINTS_AT_ONCE))?;
                        skip = history.next;
                        held += history.points.len() as u64;
                        records.push(Record::Points(run_id.clone(), history.points));
                        if held >= POINTS_AT_ONCE {
                            take(std::mem::take(&mut records))?;
                            held = 0;
                        }
                    }
                }
            }
            take(records)?;
        }
    }

    fn walk_logged_models<E: From<TrackingError>>(
        &self,
        take: &mut impl FnMut(Vec<Record>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!(
            "SELECT {LOGGED_MODEL_COLUMNS}, l.lifecycle FROM logged_models l WHERE l.model_id > $1
             ORDER BY l.model_id LIMIT $2"
        );
        self.pages(&sql, 0, take, |tx, row| {
            let model = logged_models::read(tx, row)?;
            Ok(Record::LoggedModel(Box::new(model), Lifecycle::from_name(&row.text(10)?)))
        })
    }

    fn walk_registry<E: From<TrackingError>>(
        &self,
        take: &mut impl FnMut(Vec<Record>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut names = Vec::new();
        let sql = "SELECT name FROM models WHERE name > $1 ORDER BY name LIMIT $2";
        self.pages(
            sql,
            0,
            &mut |records: Vec<Record>| {
                for record in &records {
                    if let Record::Model(model) = record {
                        names.push(model.name.clone());
                    }
                }
                take(records)
            },
            |tx, row| Ok(Record::Model(registry::read_model(tx, &row.text(0)?)?)),
        )?;
        for name in names {
            let records = self.store.catalog().read::<_, TrackingError>(|tx| {
                let sql = "SELECT version, storage_location FROM versions WHERE model = $1 ORDER BY version";
                let mut records = Vec::new();
                for row in tx.query(sql, &[Value::from(&name)])? {
                    let version = registry::read_record(tx, &name, row.int(0)? as u64)?;
                    records.push(Record::Version(Box::new(version), row.text(1)?));
                }
                for alias in registry::read_model(tx, &name)?.aliases {
                    records.push(Record::Alias { model: name.clone(), alias: alias.alias, version: alias.version });
                }
                Ok(records)
            })?;
            take(records)?;
        }
        Ok(())
    }

    fn walk_traces<E: From<TrackingError>>(
        &self,
        take: &mut impl FnMut(Vec<Record>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!("SELECT {TRACE_COLUMNS} FROM traces t WHERE t.trace_id > $1 ORDER BY t.trace_id LIMIT $2");
        let mut with_spans = |records: Vec<Record>| {
            let mut whole = Vec::with_capacity(records.len());
            for record in records {
                if let Record::Trace(mut trace) = record {
                    trace.spans = self.spans(&trace.info.trace_id)?;
                    whole.push(Record::Trace(trace));
                }
            }
            take(whole)
        };
        self.pages(&sql, 0, &mut with_spans, |tx, row| {
            let info = traces::read(tx, row)?;
            let id = [Value::from(&info.trace_id)];
            let mut list = |sql: &str| -> Result<Vec<String>, TrackingError> {
                tx.query(sql, &id)?.iter().map(|row| Ok(row.text(0)?)).collect()
            };
            let runs = list("SELECT run_id FROM trace_runs WHERE trace_id = $1 ORDER BY run_id")?;
            let prompts = list("SELECT prompt FROM trace_prompts WHERE trace_id = $1 ORDER BY prompt")?;
            Ok(Record::Trace(Box::new(WholeTrace { info, spans: Vec::new(), runs, prompts })))
        })
    }

    fn walk_evaluation<E: From<TrackingError>>(
        &self,
        take: &mut impl FnMut(Vec<Record>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut ids = Vec::new();
        let sql = format!(
            "SELECT {}, d.dataset_id FROM evaluation_datasets d WHERE d.dataset_id > $1 ORDER BY d.dataset_id LIMIT $2",
            crate::evaluation::DATASET_COLUMNS
        );
        self.pages(
            &sql,
            0,
            &mut |records: Vec<Record>| {
                for record in &records {
                    if let Record::EvaluationDataset(dataset, _) = record {
                        ids.push(dataset.dataset_id.clone());
                    }
                }
                take(records)
            },
            |tx, row| {
                let dataset = crate::evaluation::read(tx, row)?;
                let sql = "SELECT experiment_id FROM evaluation_dataset_experiments WHERE dataset_id = $1
                           ORDER BY created_us, experiment_id";
                let rows = tx.query(sql, &[Value::from(&dataset.dataset_id)])?;
                let used = rows.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
                Ok(Record::EvaluationDataset(dataset, used))
            },
        )?;
        for id in ids {
            let mut after: Option<(i64, String)> = None;
            loop {
                let from = after.as_ref().map(|(time, id)| (*time, id.as_str()));
                let records = self.evaluation_records(&id, from, AT_ONCE)?;
                let Some(last) = records.last() else { break };
                after = Some((last.created, last.record_id.clone()));
                take(records.into_iter().map(|record| Record::EvaluationRecord(Box::new(record))).collect())?;
            }
        }
        Ok(())
    }

    fn walk_files<E: From<TrackingError>>(&self, take: &mut impl FnMut(Vec<Record>) -> Result<(), E>) -> Result<(), E> {
        let sql = "SELECT path, blob, bytes, updated_us FROM files WHERE path > $1 ORDER BY path LIMIT $2";
        self.pages(sql, 0, take, |_, row| {
            let (path, blob) = (row.text(0)?, row.hash(1)?);
            Ok(Record::File { path, blob, bytes: row.int(2)? as u64, updated: row.int(3)? })
        })
    }

    /// Pages of a query that goes by a text in some column.
    fn pages<E: From<TrackingError>>(
        &self,
        sql: &str,
        key: usize,
        take: &mut impl FnMut(Vec<Record>) -> Result<(), E>,
        read: impl Fn(&mut dyn Tx, &Row) -> Result<Record, TrackingError>,
    ) -> Result<(), E> {
        let mut after = String::new();
        loop {
            let (records, last) = self.store.catalog().read::<_, TrackingError>(|tx| {
                let rows = tx.query(sql, &[Value::from(&after), AT_ONCE.into()])?;
                let last = rows.last().map(|row| row.text(key)).transpose()?;
                Ok((rows.iter().map(|row| read(tx, row)).collect::<Result<Vec<_>, _>>()?, last))
            })?;
            let Some(last) = last else { return Ok(()) };
            after = last;
            take(records)?;
        }
    }
}

fn keys_of(run: &Run) -> (String, Vec<String>) {
    (run.summary.run_id.clone(), run.metrics.iter().map(|latest| latest.key.clone()).collect())
}

impl Place {
    /// A place by its location as it is stored; an empty one means `usual`.
    pub fn of_location(location: &str, usual: impl FnOnce() -> String) -> Self {
        Self::of(location, usual)
    }
}
