//! Experiments: named groups of runs.

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};
use serde::Serialize;

use crate::{
    Tracking, TrackingError,
    names::{check_key, check_length, cut},
    sources::check_location,
};

/// A named group of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Experiment {
    /// A number as text; `0` is `Default`.
    pub experiment_id: String,
    /// Unique, also among deleted ones.
    pub name: String,
    /// Where artifacts of its runs go; empty for the server's own store.
    pub artifact_location: String,
    /// Whether it is active or deleted.
    pub lifecycle: Lifecycle,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
}

/// Whether something is there for all to see, or deleted but not yet gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// There.
    Active,
    /// Deleted; may be restored until it is collected.
    Deleted,
}

impl Lifecycle {
    /// As MLflow writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        if name == "deleted" { Self::Deleted } else { Self::Active }
    }
}

/// Which of active and deleted things a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// Only what is there.
    #[default]
    Active,
    /// Only what is deleted.
    Deleted,
    /// Both.
    All,
}

impl View {
    /// What it looks at.
    pub(crate) const fn states(self) -> &'static [Lifecycle] {
        match self {
            Self::Active => &[Lifecycle::Active],
            Self::Deleted => &[Lifecycle::Deleted],
            Self::All => &[Lifecycle::Active, Lifecycle::Deleted],
        }
    }

    /// A condition on a `lifecycle` column.
    pub(crate) fn condition(self, column: &str) -> String {
        match self {
            Self::Active => format!("{column} = 'active'"),
            Self::Deleted => format!("{column} = 'deleted'"),
            Self::All => "1 = 1".to_owned(),
        }
    }
}

/// An experiment to be.
#[derive(Debug, Clone, Default)]
pub struct NewExperiment {
    /// Unique.
    pub name: String,
    /// Where artifacts go; empty for the server's own store.
    pub artifact_location: String,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
}

pub(crate) const EXPERIMENT_COLUMNS: &str = "experiment_id, name, artifact_location, lifecycle, created_us, updated_us";

impl Tracking {
    /// The experiment of that name; makes it if there is none.
    ///
    /// # Errors
    /// [`TrackingError`]: the name is empty or too long.
    pub fn experiment(&self, name: &str) -> Result<Experiment, TrackingError> {
        if let Some(found) = self.experiment_by_name(name)? {
            return Ok(found);
        }
        match self.create_experiment(&NewExperiment { name: name.to_owned(), ..NewExperiment::default() }) {
            // Another process was quicker.
            Err(TrackingError::AlreadyExists(_)) => {}
            made => return self.get_experiment(&made?),
        }
        self.experiment_by_name(name)?.ok_or_else(|| TrackingError::ExperimentNotFound(cut(name)))
    }

    /// The experiment of that name, also a deleted one.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>, TrackingError> {
        self.store.catalog().read(|tx| {
            let sql = format!("SELECT {EXPERIMENT_COLUMNS} FROM experiments WHERE name = $1");
            tx.query_one(&sql, &[name.into()])?.map(|row| read(tx, &row)).transpose()
        })
    }

    /// An experiment, also a deleted one.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`].
    pub fn get_experiment(&self, experiment_id: &str) -> Result<Experiment, TrackingError> {
        self.store.catalog().read(|tx| find(tx, experiment_id))
    }

    /// Every active experiment, by number.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn experiments(&self) -> Result<Vec<Experiment>, TrackingError> {
        let sql = format!(
            "SELECT {EXPERIMENT_COLUMNS} FROM experiments WHERE lifecycle = 'active'
             ORDER BY CAST(experiment_id AS BIGINT)"
        );
        self.store.catalog().read(|tx| tx.query(&sql, &[])?.iter().map(|row| read(tx, row)).collect())
    }

    /// Makes an experiment under the next free number; returns its id.
    ///
    /// # Errors
    /// [`TrackingError::AlreadyExists`], and what names, tags and locations may not be.
    pub fn create_experiment(&self, new: &NewExperiment) -> Result<String, TrackingError> {
        self.check_experiment_name(&new.name)?;
        check_location(&new.artifact_location)?;
        let most = self.limits.artifact_location_chars_max;
        if new.artifact_location.chars().count() > most as usize {
            return Err(TrackingError::Invalid(format!(
                "Invalid artifact path length. The length of the artifact path cannot be greater than {most} characters."
            )));
        }
        for (at, (key, value)) in new.tags.iter().enumerate() {
            self.check_experiment_tag(key, value)?;
            if new.tags[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(TrackingError::AlreadyExists(format!("the tag '{}' of the new experiment", cut(key))));
            }
        }
        self.store.catalog().write(|tx| {
            let taken = tx.query_one("SELECT 1 FROM experiments WHERE name = $1", &[Value::from(&new.name)])?;
            if taken.is_some() {
                return Err(TrackingError::AlreadyExists(format!("Experiment(name={})", new.name)));
            }
            let next = tx.query_one("SELECT MAX(CAST(experiment_id AS BIGINT)) + 1 FROM experiments", &[])?;
            let id = next.map(|row| row.opt_int(0)).transpose()?.flatten().unwrap_or(1).to_string();
            let now = self.clock.now();
            tx.execute(
                "INSERT INTO experiments (experiment_id, name, artifact_location, created_us, updated_us)
                 VALUES ($1, $2, $3, $4, $4)",
                &[Value::from(&id), Value::from(&new.name), Value::from(&new.artifact_location), Value::Int(now)],
            )?;
            for (key, value) in &new.tags {
                set_tag(tx, &id, key, value)?;
            }
            let detail = serde_json::json!({"name": new.name});
            self.audit(tx, now, &self.who, "experiment.create", &format!("experiments:/{id}"), &detail)?;
            Ok(id)
        })
    }

    /// Gives an experiment another name.
    ///
    /// # Errors
    /// [`TrackingError::AlreadyExists`], [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`].
    pub fn rename_experiment(&self, experiment_id: &str, name: &str) -> Result<(), TrackingError> {
        self.check_experiment_name(name)?;
        self.change_experiment(experiment_id, View::All, "experiment.rename", |tx, experiment, now| {
            if experiment.lifecycle != Lifecycle::Active {
                return Err(TrackingError::State("Cannot rename a non-active experiment.".into()));
            }
            let sql = "SELECT 1 FROM experiments WHERE name = $1 AND experiment_id <> $2";
            if tx.query_one(sql, &[name.into(), experiment_id.into()])?.is_some() {
                return Err(TrackingError::AlreadyExists(format!("Experiment(name={name})")));
            }
            let sql = "UPDATE experiments SET name = $2, updated_us = $3 WHERE experiment_id = $1";
            tx.execute(sql, &[experiment_id.into(), name.into(), Value::Int(now)])?;
            Ok(())
        })
    }

    /// Deletes an experiment and its runs; both can be restored until they are collected.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], also for one that is deleted already.
    pub fn delete_experiment(&self, experiment_id: &str) -> Result<(), TrackingError> {
        self.change_experiment(experiment_id, View::Active, "experiment.delete", |tx, _, now| {
            let at = [experiment_id.into(), Value::Int(now)];
            tx.all_runs_changed();
            tx.execute("UPDATE experiments SET lifecycle = 'deleted', updated_us = $2 WHERE experiment_id = $1", &at)?;
            tx.execute(
                "UPDATE runs SET lifecycle = 'deleted', deleted_us = $2
                 WHERE experiment_id = $1 AND lifecycle = 'active'",
                &at,
            )?;
            Ok(())
        })
    }

    /// Brings a deleted experiment and its runs back.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], also for one that is active.
    pub fn restore_experiment(&self, experiment_id: &str) -> Result<(), TrackingError> {
        self.change_experiment(experiment_id, View::Deleted, "experiment.restore", |tx, _, now| {
            tx.all_runs_changed();
            tx.execute(
                "UPDATE experiments SET lifecycle = 'active', updated_us = $2 WHERE experiment_id = $1",
                &[experiment_id.into(), Value::Int(now)],
            )?;
            tx.execute(
                "UPDATE runs SET lifecycle = 'active', deleted_us = NULL WHERE experiment_id = $1",
                &[experiment_id.into()],
            )?;
            Ok(())
        })
    }

    /// Sets a tag of an active experiment.
    ///
    /// # Errors
    /// [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`], and what a tag may not be.
    pub fn set_experiment_tag(&self, experiment_id: &str, key: &str, value: &str) -> Result<(), TrackingError> {
        self.check_experiment_tag(key, value)?;
        self.change_experiment(experiment_id, View::All, "experiment.set-tag", |tx, experiment, _| {
            must_be_active(experiment)?;
            set_tag(tx, experiment_id, key, value)
        })
    }

    /// Removes a tag of an active experiment.
    ///
    /// # Errors
    /// [`TrackingError::TagNotFound`], [`TrackingError::ExperimentNotFound`], [`TrackingError::NotActive`].
    pub fn delete_experiment_tag(&self, experiment_id: &str, key: &str) -> Result<(), TrackingError> {
        self.change_experiment(experiment_id, View::All, "experiment.delete-tag", |tx, experiment, _| {
            must_be_active(experiment)?;
            let sql = "DELETE FROM experiment_tags WHERE experiment_id = $1 AND key = $2";
            if tx.execute(sql, &[experiment_id.into(), key.into()])? == 0 {
                let owner = format!("experiment with id {experiment_id}");
                return Err(TrackingError::TagNotFound { key: cut(key), owner });
            }
            Ok(())
        })
    }

    fn change_experiment(
        &self,
        experiment_id: &str,
        view: View,
        action: &str,
        change: impl FnOnce(&mut dyn Tx, &Experiment, Micros) -> Result<(), TrackingError>,
    ) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let experiment = find(tx, experiment_id)?;
            let seen = match view {
                View::Active => experiment.lifecycle == Lifecycle::Active,
                View::Deleted => experiment.lifecycle == Lifecycle::Deleted,
                View::All => true,
            };
            if !seen {
                return Err(TrackingError::ExperimentNotFound(cut(experiment_id)));
            }
            let now = self.clock.now();
            change(tx, &experiment, now)?;
            let subject = format!("experiments:/{experiment_id}");
            self.audit(tx, now, &self.who, action, &subject, &serde_json::json!({}))
        })
    }

    fn check_experiment_name(&self, name: &str) -> Result<(), TrackingError> {
        if name.is_empty() {
            return Err(TrackingError::Invalid("Invalid experiment name: ''".into()));
        }
        check_length(name, self.limits.experiment_name_chars_max, || "name".into())
    }

    fn check_experiment_tag(&self, key: &str, value: &str) -> Result<(), TrackingError> {
        check_key(key, || "key".into())?;
        check_length(key, self.limits.key_chars_max, || "key".into())?;
        check_length(value, self.limits.experiment_tag_value_chars_max, || "value".into())
    }
}

/// An experiment in a transaction, also a deleted one.
pub(crate) fn find(tx: &mut dyn Tx, experiment_id: &str) -> Result<Experiment, TrackingError> {
    let sql = format!("SELECT {EXPERIMENT_COLUMNS} FROM experiments WHERE experiment_id = $1");
    match tx.query_one(&sql, &[experiment_id.into()])? {
        Some(row) => read(tx, &row),
        None if experiment_id.parse::<i64>().is_err() => Err(TrackingError::Invalid(format!(
            "Invalid experiment ID '{}'. Experiment ID must be a valid integer.",
            cut(experiment_id)
        ))),
        None => Err(TrackingError::ExperimentNotFound(cut(experiment_id))),
    }
}

pub(crate) fn must_be_active(experiment: &Experiment) -> Result<(), TrackingError> {
    match experiment.lifecycle {
        Lifecycle::Active => Ok(()),
        Lifecycle::Deleted => {
            Err(TrackingError::NotActive { what: "experiment", id: experiment.experiment_id.clone() })
        }
    }
}

fn set_tag(tx: &mut dyn Tx, experiment_id: &str, key: &str, value: &str) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO experiment_tags (experiment_id, key, value) VALUES ($1, $2, $3)
         ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value",
        &[experiment_id.into(), key.into(), value.into()],
    )?;
    Ok(())
}

/// An experiment from its row of [`EXPERIMENT_COLUMNS`], with its tags.
pub(crate) fn read(tx: &mut dyn Tx, row: &Row) -> Result<Experiment, TrackingError> {
    let experiment_id = row.text(0)?;
    let tags = tx
        .query(
            "SELECT key, value FROM experiment_tags WHERE experiment_id = $1 ORDER BY key",
            &[Value::from(&experiment_id)],
        )?
        .iter()
        .map(|row| Ok((row.text(0)?, row.text(1)?)))
        .collect::<Result<_, TrackingError>>()?;
    Ok(Experiment {
        experiment_id,
        name: row.text(1)?,
        artifact_location: row.text(2)?,
        lifecycle: Lifecycle::from_name(&row.text(3)?),
        created: row.int(4)?,
        updated: row.int(5)?,
        tags,
    })
}
