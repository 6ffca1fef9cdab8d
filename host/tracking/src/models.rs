//! Registered models: versions that never change, aliases that move.

use plinth_core::{
    ContentHash, Micros, did_you_mean,
    refs::{ModelRef, name_problem},
};
use plinth_store::{AuditEntry, Row, Tx, Value, append_audit, emit};
use serde::{Deserialize, Serialize};

use crate::{
    Tracking, TrackingError,
    files::put,
    names::cut,
    registry::{FILES_ROOT, is_prompt, next_version},
    runs,
};

/// What a file of a model version is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRole {
    /// The model itself: ONNX, or a component.
    Model,
    /// A transform's WebAssembly component.
    Component,
    /// The fitted state of a transform.
    State,
    /// A sample of what the model was trained on, for drift tests.
    Profile,
    /// Hashes of the training rows.
    TrainingRows,
    /// Anything else.
    Other,
}

impl FileRole {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Model, "model"),
        (Self::Component, "component"),
        (Self::State, "state"),
        (Self::Profile, "profile"),
        (Self::TrainingRows, "training-rows"),
        (Self::Other, "other"),
    ];

    /// Its kebab-case name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(role, _)| *role == self).map_or("other", |(_, name)| name)
    }

    fn from_name(name: &str) -> Self {
        Self::ALL.iter().find(|(_, n)| *n == name).map_or(Self::Other, |(role, _)| *role)
    }
}

/// A file of a model version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFile {
    /// What it is for.
    pub role: FileRole,
    /// Its path within the version, such as `model.onnx`.
    pub path: String,
    /// Its content.
    pub hash: ContentHash,
    /// Its size.
    pub bytes: u64,
}

/// A model version to be.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The run that made it.
    pub run_id: Option<String>,
    /// How its files work together; JSON that its maker and its reader agree on.
    pub spec: serde_json::Value,
    /// Its files; stored before.
    pub files: Vec<VersionFile>,
}

/// A model version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelVersion {
    /// Registered model.
    pub model: String,
    /// From 1.
    pub version: u64,
    /// The run that made it.
    pub run_id: Option<String>,
    /// How its files work together.
    pub spec: serde_json::Value,
    /// Its files.
    pub files: Vec<VersionFile>,
    /// Aliases that point at it now.
    pub aliases: Vec<String>,
    /// When it was made.
    pub created: Micros,
}

impl ModelVersion {
    /// Its name: `models:/churn/7`.
    pub fn reference(&self) -> String {
        format!("models:/{}/{}", self.model, self.version)
    }

    /// Its first file of a role.
    ///
    /// # Errors
    /// [`TrackingError::ArtifactNotFound`].
    pub fn file(&self, role: FileRole) -> Result<&VersionFile, TrackingError> {
        self.files
            .iter()
            .find(|file| file.role == role)
            .ok_or_else(|| TrackingError::ArtifactNotFound { owner: self.reference(), path: role.name().to_owned() })
    }
}

/// A movable name of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    /// Such as `champion`.
    pub alias: String,
    /// The version it points at.
    pub version: u64,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Unique.
    pub name: String,
    /// For a person.
    pub description: String,
    /// Numbers of its versions, ascending.
    pub versions: Vec<u64>,
    /// Its aliases.
    pub aliases: Vec<Alias>,
    /// When it was made.
    pub created: Micros,
}

/// An alias about to move.
#[derive(Debug, Clone)]
pub struct AliasMove<'a> {
    /// Registered model.
    pub model: &'a str,
    /// Such as `champion`.
    pub alias: &'a str,
    /// Where to.
    pub version: u64,
    /// Who moves it.
    pub principal: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The evidence that the decision rests on, such as the hash of a gate's checks; recorded as an approval.
    pub evidence: Option<&'a str>,
}

impl Tracking {
    /// Registers a version under the next free number; makes the model if it is new.
    ///
    /// # Errors
    /// [`TrackingError::BadName`]; [`TrackingError::ArtifactNotFound`] if a file's blob is not stored.
    pub fn register(&self, model: &str, new: &NewVersion) -> Result<u64, TrackingError> {
        check_name(model, "the name of a model")?;
        for file in &new.files {
            if !self.store.blobs().contains(&file.hash)? {
                return Err(TrackingError::ArtifactNotFound {
                    owner: "the blob store".into(),
                    path: file.hash.to_hex(),
                });
            }
        }
        self.store.catalog().write(|tx| {
            let now = self.clock.now();
            if tx.query_one("SELECT 1 FROM models WHERE name = $1", &[model.into()])?.is_none() {
                let event = serde_json::json!({"name": model, "tags": {}, "description": ""});
                emit(tx, now, "registered_model.created", &event.to_string())?;
            }
            tx.execute(
                "INSERT INTO models (name, created_us, updated_us) VALUES ($1, $2, $2)
                 ON CONFLICT (name) DO UPDATE SET updated_us = excluded.updated_us",
                &[model.into(), Value::Int(now)],
            )?;
            let version = next_version(tx, model)?;
            // No name is part of it: a model may get another one, and another model its name.
            let root = format!("{FILES_ROOT}/{}", self.ids.next());
            tx.execute(
                "INSERT INTO versions (model, version, run_id, spec, created_us, updated_us, source, storage_location)
                 VALUES ($1, $2, $3, $4, $5, $5, $6, $6)",
                &[
                    model.into(),
                    version.into(),
                    new.run_id.clone().into(),
                    new.spec.to_string().into(),
                    Value::Int(now),
                    format!("mlflow-artifacts:/{root}").into(),
                ],
            )?;
            for file in &new.files {
                tx.execute(
                    "INSERT INTO version_files (model, version, role, path, blob, bytes) VALUES ($1, $2, $3, $4, $5, $6)",
                    &[model.into(), version.into(), file.role.name().into(), Value::from(&file.path), file.hash.into(), file.bytes.into()],
                )?;
                // The same files where MLflow's clients look for them.
                put(tx, &format!("{root}/{}", file.path), file.hash, file.bytes, now)?;
            }
            let event = serde_json::json!({
                "name": model, "version": version.to_string(), "source": format!("mlflow-artifacts:/{root}"),
                "run_id": new.run_id, "tags": {}, "description": null,
            });
            let payload = event.to_string();
            emit(tx, now, "model_version.created", &payload)?;
            let entry = AuditEntry {
                time: now,
                principal: "pipeline".into(),
                action: "model-version.create".into(),
                subject: format!("models:/{model}/{version}"),
                detail: payload,
            };
            append_audit(tx, &entry)?;
            Ok(version)
        })
    }

    /// Points an alias at a version. Alias, approval, audit record and event are one transaction.
    ///
    /// # Errors
    /// [`TrackingError::ModelNotFound`], [`TrackingError::BadName`].
    pub fn set_alias(&self, to: &AliasMove<'_>) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| self.move_alias(tx, to))
    }

    pub(crate) fn move_alias(&self, tx: &mut dyn Tx, to: &AliasMove<'_>) -> Result<(), TrackingError> {
        check_name(to.alias, "an alias")?;
        let now = self.clock.now();
        // The run of a version may be unknown here.
        let (model, version) = (Value::from(to.model), Value::from(to.version));
        let known = "SELECT 1 FROM versions WHERE model = $1 AND version = $2";
        if tx.query_one(known, &[model.clone(), version.clone()])?.is_none() {
            read_version(tx, to.model, to.version)?;
        }
        let sql = "SELECT version FROM aliases WHERE model = $1 AND alias = $2";
        let from = tx.query_one(sql, &[model.clone(), to.alias.into()])?.map(|row| row.int(0)).transpose()?;
        tx.execute(
            "INSERT INTO aliases (model, alias, version, updated_us) VALUES ($1, $2, $3, $4)
             ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version, updated_us = excluded.updated_us",
            &[model.clone(), to.alias.into(), version.clone(), Value::Int(now)],
        )?;
        if let Some(evidence) = to.evidence {
            tx.execute(
                "INSERT INTO approvals (model, version, alias, evidence, principal, reason, time_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (model, version, alias) DO UPDATE SET evidence = excluded.evidence,
                   principal = excluded.principal, reason = excluded.reason, time_us = excluded.time_us",
                &[
                    model,
                    version,
                    to.alias.into(),
                    evidence.into(),
                    to.principal.into(),
                    to.reason.into(),
                    Value::Int(now),
                ],
            )?;
        }
        let detail = serde_json::json!({"from": from, "to": to.version, "reason": to.reason, "evidence": to.evidence})
            .to_string();
        let kind = if is_prompt(tx, to.model)? { "prompt_alias.created" } else { "model_version_alias.created" };
        let event = serde_json::json!({"name": to.model, "alias": to.alias, "version": to.version.to_string()});
        emit(tx, now, kind, &event.to_string())?;
        let entry = AuditEntry {
            time: now,
            principal: to.principal.to_owned(),
            action: "alias.set".into(),
            subject: format!("models:/{}@{}", to.model, to.alias),
            detail,
        };
        Ok(append_audit(tx, &entry)?)
    }

    /// The version that a reference names now.
    ///
    /// # Errors
    /// [`TrackingError::ModelNotFound`] with a did-you-mean.
    pub fn resolve(&self, reference: &ModelRef) -> Result<ModelVersion, TrackingError> {
        self.store.catalog().read(|tx| {
            let version = match reference {
                ModelRef::Version { version, .. } => *version,
                ModelRef::Alias { name, alias } => alias_version(tx, name, alias)?,
            };
            read_version(tx, reference.name(), version)
        })
    }

    /// The number of the version that an alias points at now: the cheap question of a server that watches.
    ///
    /// # Errors
    /// [`TrackingError::ModelNotFound`].
    pub fn alias(&self, model: &str, alias: &str) -> Result<u64, TrackingError> {
        self.store.catalog().read(|tx| alias_version(tx, model, alias))
    }

    /// Every registered model, by name.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn models(&self) -> Result<Vec<Model>, TrackingError> {
        self.store.catalog().read(|tx| {
            let names = tx.query("SELECT name FROM models ORDER BY name", &[])?;
            names.iter().map(|row| read_model(tx, &row.text(0)?)).collect()
        })
    }

    /// A registered model.
    ///
    /// # Errors
    /// [`TrackingError::ModelNotFound`].
    pub fn model(&self, name: &str) -> Result<Model, TrackingError> {
        self.store.catalog().read(|tx| read_model(tx, name))
    }
}

fn check_name(name: &str, what: &'static str) -> Result<(), TrackingError> {
    match name_problem(name) {
        Some(reason) => Err(TrackingError::BadName { value: cut(name), field: what.into(), reason: reason.into() }),
        None => Ok(()),
    }
}

fn texts(rows: &[Row]) -> Result<Vec<String>, TrackingError> {
    rows.iter().map(|row| Ok(row.text(0)?)).collect()
}

fn model_not_found(tx: &mut dyn Tx, name: &str) -> Result<TrackingError, TrackingError> {
    let names = texts(&tx.query("SELECT name FROM models ORDER BY name LIMIT 100", &[])?)?;
    let hint = if names.is_empty() {
        "nothing is registered yet: `plinth run` registers a model when its gates let it through".to_owned()
    } else {
        did_you_mean(name, names.iter().map(String::as_str))
    };
    Ok(TrackingError::ModelNotFound { what: format!("registered model `{}`", cut(name)), hint })
}

fn alias_version(tx: &mut dyn Tx, model: &str, alias: &str) -> Result<u64, TrackingError> {
    let sql = "SELECT version FROM aliases WHERE model = $1 AND alias = $2";
    if let Some(row) = tx.query_one(sql, &[model.into(), alias.into()])? {
        return Ok(row.int(0)? as u64);
    }
    // Where MLflow's stages are used, a stage is as good as an alias of its name.
    let sql = "SELECT MAX(version) FROM versions WHERE model = $1 AND stage <> 'None' AND LOWER(stage) = LOWER($2)";
    let staged = tx.query_one(sql, &[model.into(), alias.into()])?.map(|row| row.opt_int(0)).transpose()?.flatten();
    if let Some(version) = staged {
        return Ok(version as u64);
    }
    let known = tx.query_one("SELECT 1 FROM models WHERE name = $1", &[model.into()])?;
    if known.is_none() {
        return Err(model_not_found(tx, model)?);
    }
    let aliases = texts(&tx.query("SELECT alias FROM aliases WHERE model = $1 ORDER BY alias", &[model.into()])?)?;
    Err(TrackingError::ModelNotFound {
        what: format!("alias `{}` of model `{model}`", cut(alias)),
        hint: did_you_mean(alias, aliases.iter().map(String::as_str)),
    })
}

fn read_version(tx: &mut dyn Tx, model: &str, version: u64) -> Result<ModelVersion, TrackingError> {
    let key = [Value::from(model), Value::from(version)];
    let sql = "SELECT run_id, spec, created_us, storage_location FROM versions WHERE model = $1 AND version = $2";
    let Some(row) = tx.query_one(sql, &key)? else {
        if tx.query_one("SELECT 1 FROM models WHERE name = $1", &key[..1])?.is_none() {
            return Err(model_not_found(tx, model)?);
        }
        let last = tx.query_one("SELECT MAX(version) FROM versions WHERE model = $1", &key[..1])?;
        let last = last.and_then(|row| row.opt_int(0).ok().flatten()).unwrap_or(0);
        let (what, hint) = (format!("version {version} of model `{model}`"), format!("the newest is {last}"));
        return Err(TrackingError::ModelNotFound { what, hint });
    };
    let reference = format!("models:/{model}/{version}");
    let spec = serde_json::from_str(&row.text(1)?)
        .map_err(|source| TrackingError::BadDocument { what: format!("the specification of {reference}"), source })?;
    let mut files: Vec<VersionFile> = tx
        .query(
            "SELECT role, path, blob, bytes FROM version_files WHERE model = $1 AND version = $2 ORDER BY path",
            &key,
        )?
        .iter()
        .map(|row| {
            let role = FileRole::from_name(&row.text(0)?);
            Ok(VersionFile { role, path: row.text(1)?, hash: row.hash(2)?, bytes: row.int(3)? as u64 })
        })
        .collect::<Result<_, TrackingError>>()?;
    if files.is_empty() {
        files = uploaded(tx, &row.text(3)?)?;
    }
    let aliases =
        texts(&tx.query("SELECT alias FROM aliases WHERE model = $1 AND version = $2 ORDER BY alias", &key)?)?;
    Ok(ModelVersion {
        model: model.to_owned(),
        version,
        run_id: row.opt_text(0)?,
        spec,
        files,
        aliases,
        created: row.int(2)?,
    })
}

/// Files of a version that a client registered: what it uploaded to where the version's files are.
fn uploaded(tx: &mut dyn Tx, storage: &str) -> Result<Vec<VersionFile>, TrackingError> {
    let run_root = |tx: &mut dyn Tx, path: &str| -> Result<String, TrackingError> {
        let (run_id, below) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        let run = runs::find(tx, run_id)?.1;
        Ok(format!("/{}/{run_id}/artifacts/{below}", run.experiment_id))
    };
    let root = match storage.split_once(':') {
        Some(("mlflow-artifacts", path)) => path.to_owned(),
        Some(("runs", path)) => run_root(tx, path)?,
        // It lies outside of this store.
        _ => return Ok(Vec::new()),
    };
    let root = root.trim_matches('/');
    let rows = tx.query(
        "SELECT path, blob, bytes FROM files WHERE path >= $1 AND path < $2 ORDER BY path",
        &[format!("{root}/").into(), format!("{root}0").into()],
    )?;
    let file = |row: &Row| {
        let path = row.text(0)?[root.len() + 1..].to_owned();
        let role = if path == "model.onnx" { FileRole::Model } else { FileRole::Other };
        Ok(VersionFile { role, path, hash: row.hash(1)?, bytes: row.int(2)? as u64 })
    };
    rows.iter().map(file).collect()
}

fn read_model(tx: &mut dyn Tx, name: &str) -> Result<Model, TrackingError> {
    let key = [Value::from(name)];
    let Some(row) = tx.query_one("SELECT description, created_us FROM models WHERE name = $1", &key)? else {
        return Err(model_not_found(tx, name)?);
    };
    let versions = tx
        .query("SELECT version FROM versions WHERE model = $1 ORDER BY version", &key)?
        .iter()
        .map(|row| Ok(row.int(0)? as u64))
        .collect::<Result<_, TrackingError>>()?;
    let aliases = tx
        .query("SELECT alias, version FROM aliases WHERE model = $1 ORDER BY alias", &key)?
        .iter()
        .map(|row| Ok(Alias { alias: row.text(0)?, version: row.int(1)? as u64 }))
        .collect::<Result<_, TrackingError>>()?;
    Ok(Model { name: name.to_owned(), description: row.text(0)?, versions, aliases, created: row.int(1)? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store, StoreError, verify_audit};

    use super::*;

    fn registry() -> (tempfile::TempDir, Tracking, NewVersion) {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        let hash = store.blobs().put(b"onnx").unwrap();
        let files = vec![VersionFile { role: FileRole::Model, path: "model.onnx".into(), hash, bytes: 4 }];
        let new = NewVersion { run_id: None, spec: serde_json::json!({"label": "churn"}), files };
        (dir, Tracking::new(store, Arc::new(FixedClock::at(1)), Arc::new(UuidIds), TrackingLimits::default()), new)
    }

    fn champion(version: u64) -> AliasMove<'static> {
        AliasMove {
            model: "churn",
            alias: "champion",
            version,
            principal: "ann",
            reason: "better",
            evidence: Some("ab"),
        }
    }

    #[test]
    fn versions_count_up_and_aliases_move_with_an_audit_record_and_an_event() {
        let (_dir, registry, new) = registry();
        assert_eq!((registry.register("churn", &new).unwrap(), registry.register("churn", &new).unwrap()), (1, 2));
        registry.set_alias(&champion(1)).unwrap();
        registry.set_alias(&champion(2)).unwrap();
        let version = registry.resolve(&"models:/churn@champion".parse().unwrap()).unwrap();
        assert_eq!((version.version, version.aliases.as_slice()), (2, &["champion".to_owned()][..]));
        assert_eq!(version.file(FileRole::Model).unwrap().path, "model.onnx");
        let catalog = registry.store().catalog();
        assert_eq!(catalog.read(verify_audit).unwrap(), 4);
        let events = catalog.read::<_, StoreError>(|tx| tx.query("SELECT kind FROM outbox ORDER BY id", &[])).unwrap();
        assert_eq!(events.last().unwrap().text(0).unwrap(), "model_version_alias.created");
        assert_eq!(registry.models().unwrap()[0].versions, [1, 2]);
    }

    #[test]
    fn what_is_not_there_is_named_with_a_suggestion() {
        use plinth_core::Coded;
        let (_dir, registry, new) = registry();
        let resolve = |text: &str| registry.resolve(&text.parse().unwrap()).unwrap_err();
        assert!(resolve("models:/churn/1").hint().unwrap().contains("plinth run"));
        registry.register("churn", &new).unwrap();
        registry.set_alias(&champion(1)).unwrap();
        assert_eq!(resolve("models:/chrun/1").hint().unwrap(), "did you mean `churn`?");
        assert_eq!(resolve("models:/churn@champoin").hint().unwrap(), "did you mean `champion`?");
        assert_eq!(resolve("models:/churn/9").to_string(), "there is no version 9 of model `churn`");
        assert!(registry.set_alias(&champion(9)).is_err());
        assert!(registry.register("../churn", &new).is_err());
    }

    #[test]
    fn files_of_a_version_keep_their_place_under_another_name_and_go_with_the_last_who_has_them() {
        let (_dir, registry, new) = registry();
        registry.register("churn", &new).unwrap();
        let uri = registry.download_uri("churn", 1).unwrap();
        let path = format!("{}/model.onnx", uri.strip_prefix("mlflow-artifacts:/").unwrap());
        assert_eq!(registry.file(&path).unwrap().blob, new.files[0].hash);
        registry.rename_model("churn", "leavers", "ann").unwrap();
        assert_eq!(registry.download_uri("leavers", 1).unwrap(), uri);
        // Another model of the old name has files of its own.
        registry.register("churn", &new).unwrap();
        assert_ne!(registry.download_uri("churn", 1).unwrap(), uri);
        let copy = crate::NewVersionRecord { source: "models:/leavers/1".into(), ..Default::default() };
        registry.create_version("churn", &copy, "ann").unwrap();
        registry.delete_model("leavers", "ann").unwrap();
        assert!(registry.file(&path).is_ok(), "the copy has it");
        let copied = registry.resolve(&"models:/churn/2".parse().unwrap()).unwrap();
        assert_eq!(copied.file(FileRole::Model).unwrap().hash, new.files[0].hash);
        registry.delete_version("churn", 2, "ann").unwrap();
        assert!(registry.file(&path).is_err());
        assert!(registry.resolve(&"models:/churn/1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_stage_is_as_good_as_an_alias_of_its_name() {
        let (_dir, registry, new) = registry();
        for _ in 0..2 {
            registry.register("churn", &new).unwrap();
            registry.transition("churn", 1, "Production", false, "ann").unwrap();
        }
        let named = |alias: &str| registry.alias("churn", alias).ok();
        assert_eq!(
            (named("production"), named("Production"), named("none"), named("staging")),
            (Some(1), Some(1), None, None)
        );
        registry.set_alias(&AliasMove { alias: "production", ..champion(2) }).unwrap();
        assert_eq!(named("production"), Some(2));
    }

    #[test]
    fn a_version_without_its_blobs_is_not_registered() {
        let (_dir, registry, mut new) = registry();
        new.files[0].hash = ContentHash::of(b"elsewhere");
        assert!(matches!(registry.register("churn", &new), Err(TrackingError::ArtifactNotFound { .. })));
        assert!(registry.models().unwrap().is_empty());
    }
}
