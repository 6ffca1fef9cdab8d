//! The registry as MLflow's clients use it: registered models, versions with what people say of them, tags, aliases,
//! stages. What a version *is*, for those who run it, stands in `models.rs`; the rows are the same.

use plinth_core::Micros;
use plinth_store::{Row, Tx, Value};
use serde_json::json;

use crate::{
    Alias, Tracking, TrackingError,
    names::{check_key, check_length, cut, resolved_name},
    sources::{self, Claimed},
};

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModel {
    /// Unique.
    pub name: String,
    /// For a person.
    pub description: String,
    /// When it was made.
    pub created: Micros,
    /// When it, or a version of it, was last changed.
    pub updated: Micros,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
    /// Its aliases, by name.
    pub aliases: Vec<Alias>,
    /// The newest version of each stage, by stage.
    pub latest: Vec<VersionRecord>,
}

/// A model version with what people say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    /// Registered model.
    pub model: String,
    /// From 1.
    pub version: u64,
    /// For a person.
    pub description: String,
    /// Who made it.
    pub user: String,
    /// Where it came from, as its maker named it.
    pub source: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// A link to that run, where it is kept elsewhere.
    pub run_link: String,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// `READY`, or how far it is.
    pub status: String,
    /// More about the status.
    pub status_message: String,
    /// `None`, `Staging`, `Production` or `Archived`.
    pub stage: String,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
    /// Aliases that point at it.
    pub aliases: Vec<String>,
}

/// A version that a client wants to register.
#[derive(Debug, Clone, Default)]
pub struct NewVersionRecord {
    /// Where it comes from.
    pub source: String,
    /// The run that made it; an empty one says that there is none.
    pub run_id: Option<String>,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// A link to the run, where it is kept elsewhere.
    pub run_link: String,
    /// For a person.
    pub description: String,
    /// Tags by key.
    pub tags: Vec<(String, String)>,
}

/// Names of MLflow's stages.
pub const STAGES: [&str; 4] = ["None", "Staging", "Production", "Archived"];

/// The tag that makes a registered model a prompt.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
/// The tag that holds what a version of a prompt says.
const PROMPT_TEXT_TAG: &str = "mlflow.prompt.text";
const PROMPT_TYPE_TAG: &str = "_mlflow_prompt_type";

pub(crate) const VERSION_COLUMNS: &str = "v.model, v.version, v.description, v.user_name, v.source, v.run_id, v.run_link, \
    v.model_id, v.status, v.status_message, v.stage, v.created_us, v.updated_us";

impl Tracking {
    /// Makes a registered model.
    ///
    /// # Errors
    /// [`TrackingError::ModelExists`]; what names and tags may not be.
    pub fn create_model(
        &self,
        name: &str,
        description: &str,
        tags: &[(String, String)],
        who: &str,
    ) -> Result<RegisteredModel, TrackingError> {
        check_model_name(name, "name")?;
        for (key, value) in tags {
            self.check_registry_tag(key, value)?;
        }
        let prompt = says_prompt(tags);
        self.store.catalog().write(|tx| {
            if tx.query_one("SELECT 1 FROM models WHERE name = $1", &[name.into()])?.is_some() {
                let old = is_prompt(tx, name)?;
                return Err(TrackingError::ModelExists { name: cut(name), prompt: old, wanted_prompt: prompt });
            }
            let now = self.clock.now();
            tx.execute(
                "INSERT INTO models (name, description, created_us, updated_us) VALUES ($1, $2, $3, $3)",
                &[name.into(), description.into(), Value::Int(now)],
            )?;
            for (key, value) in tags {
                set_model_tag(tx, name, key, value)?;
            }
            let kind = if prompt { "prompt.created" } else { "registered_model.created" };
            let payload = json!({"name": name, "tags": shown_tags(tags, prompt), "description": description});
            self.tell(tx, now, who, kind, &format!("models:/{name}"), &payload)?;
            read_model(tx, name)
        })
    }

    /// A registered model.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`].
    pub fn registered_model(&self, name: &str) -> Result<RegisteredModel, TrackingError> {
        check_model_name(name, "name")?;
        self.store.catalog().read(|tx| read_model(tx, name))
    }

    /// Gives a model, and all that belongs to it, another name.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`], [`TrackingError::AlreadyExists`].
    pub fn rename_model(&self, name: &str, new: &str, who: &str) -> Result<RegisteredModel, TrackingError> {
        check_model_name(new, "new_name")?;
        self.change_model(name, |tx, now| {
            touch(tx, name, now)?;
            if name != new && tx.query_one("SELECT 1 FROM models WHERE name = $1", &[new.into()])?.is_some() {
                return Err(TrackingError::AlreadyExists(format!("Registered Model (name={new})")));
            }
            let both = [name.into(), new.into()];
            tx.execute("UPDATE models SET name = $2 WHERE name = $1", &both)?;
            tx.execute("UPDATE versions SET updated_us = $2 WHERE model = $1", &[new.into(), Value::Int(now)])?;
            tx.execute("UPDATE captures SET model = $2 WHERE model = $1", &both)?;
            tx.execute("UPDATE checks SET model = $2 WHERE model = $1", &both)?;
            tx.execute("UPDATE grants SET resource = $2 WHERE kind = 'model' AND resource = $1", &both)?;
            self.audit(tx, now, who, "model.rename", &format!("models:/{name}"), &json!({"new_name": new}))?;
            read_model(tx, new)
        })
    }

    /// Says something else of a model.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`].
    pub fn describe_model(&self, name: &str, description: &str) -> Result<RegisteredModel, TrackingError> {
        self.change_model(name, |tx, now| {
            touch(tx, name, now)?;
            let sql = "UPDATE models SET description = $2 WHERE name = $1";
            tx.execute(sql, &[name.into(), description.into()])?;
            let detail = json!({"description": description});
            self.audit(tx, now, &self.who, "model.describe", &format!("models:/{name}"), &detail)?;
            read_model(tx, name)
        })
    }

    /// Deletes a model with its versions, tags and aliases.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`].
    pub fn delete_model(&self, name: &str, who: &str) -> Result<(), TrackingError> {
        self.change_model(name, |tx, now| {
            let sql = "SELECT DISTINCT storage_location FROM versions WHERE model = $1";
            let places = tx.query(sql, &[name.into()])?;
            tx.execute("DELETE FROM models WHERE name = $1", &[name.into()])?;
            // Another model of this name is not theirs.
            tx.execute("DELETE FROM grants WHERE kind = 'model' AND resource = $1", &[name.into()])?;
            for place in &places {
                forget_files(tx, &place.text(0)?)?;
            }
            self.audit(tx, now, who, "model.delete", &format!("models:/{name}"), &json!({}))
        })
    }

    /// Sets a tag of a model.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`]; what tags may not be.
    pub fn set_model_tag(&self, name: &str, key: &str, value: &str, who: &str) -> Result<(), TrackingError> {
        check_model_name(name, "name")?;
        self.check_registry_tag(key, value)?;
        self.change_model(name, |tx, now| {
            set_model_tag(tx, name, key, value)?;
            let (subject, payload) = (format!("models:/{name}"), json!({"name": name, "key": key, "value": value}));
            if is_prompt(tx, name)? {
                self.tell(tx, now, who, "prompt_tag.set", &subject, &payload)
            } else {
                self.audit(tx, now, who, "model-tag.set", &subject, &payload)
            }
        })
    }

    /// Removes a tag of a model; one that is not there is gone already.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`].
    pub fn delete_model_tag(&self, name: &str, key: &str, who: &str) -> Result<(), TrackingError> {
        check_model_name(name, "name")?;
        check_key(key, || "key".into())?;
        self.change_model(name, |tx, now| {
            tx.execute("DELETE FROM model_tags WHERE model = $1 AND key = $2", &[name.into(), key.into()])?;
            let (subject, payload) = (format!("models:/{name}"), json!({"name": name, "key": key}));
            if is_prompt(tx, name)? {
                self.tell(tx, now, who, "prompt_tag.deleted", &subject, &payload)
            } else {
                self.audit(tx, now, who, "model-tag.delete", &subject, &payload)
            }
        })
    }

    /// Registers a version under the next free number.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`]; [`TrackingError::Invalid`] if the source is not the caller's.
    pub fn create_version(
        &self,
        name: &str,
        new: &NewVersionRecord,
        who: &str,
    ) -> Result<VersionRecord, TrackingError> {
        check_model_name(name, "name")?;
        for (key, value) in &new.tags {
            self.check_version_tag(key, value)?;
        }
        let prompt = says_prompt(&new.tags);
        self.change_model(name, |tx, now| {
            touch(tx, name, now)?;
            let source = if prompt {
                if !matches!(new.source.as_str(), "prompt-template" | "dummy-source") {
                    return Err(TrackingError::Invalid(format!(
                        "Invalid prompt source: '{}'. Prompt sources must use an MLflow placeholder.",
                        cut(&new.source)
                    )));
                }
                sources::Source {
                    uri: new.source.clone(),
                    storage: new.source.clone(),
                    run_id: new.run_id.clone(),
                    model_id: None,
                }
            } else {
                let claimed = Claimed { run_id: new.run_id.as_deref(), model_id: new.model_id.as_deref() };
                sources::resolve(tx, &new.source, claimed)?
            };
            let version = next_version(tx, name)?;
            tx.execute(
                "INSERT INTO versions (model, version, run_id, spec, created_us, updated_us, description, user_name,
                    source, storage_location, run_link, model_id)
                 VALUES ($1, $2, $3, '{}', $4, $4, $5, $6, $7, $8, $9, $10)",
                &[
                    name.into(),
                    version.into(),
                    source.run_id.clone().filter(|id| !id.is_empty()).into(),
                    Value::Int(now),
                    Value::from(&new.description),
                    if who == crate::ANONYMOUS { "".into() } else { who.into() },
                    Value::from(&source.uri),
                    Value::from(&source.storage),
                    Value::from(&new.run_link),
                    source.model_id.clone().into(),
                ],
            )?;
            for (key, value) in &new.tags {
                set_version_tag(tx, name, version, key, value)?;
            }
            if let Some(model_id) = &source.model_id {
                crate::logged_models::note_version(tx, model_id, name, version)?;
            }
            let tags = shown_tags(&new.tags, prompt);
            let description = Some(&new.description).filter(|text| !text.is_empty());
            let (kind, payload) = if prompt {
                let template = new.tags.iter().rev().find(|(key, _)| key == PROMPT_TEXT_TAG).map(|(_, text)| text);
                let payload = json!({
                    "name": name, "version": version.to_string(), "template": template, "tags": tags,
                    "description": description,
                });
                ("prompt_version.created", payload)
            } else {
                let payload = json!({
                    "name": name, "version": version.to_string(), "source": source.uri, "run_id": source.run_id,
                    "tags": tags, "description": description,
                });
                ("model_version.created", payload)
            };
            self.tell(tx, now, who, kind, &format!("models:/{name}/{version}"), &payload)?;
            read_record(tx, name, version)
        })
    }

    /// A version.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`].
    pub fn version(&self, name: &str, version: u64) -> Result<VersionRecord, TrackingError> {
        check_model_name(name, "name")?;
        self.store.catalog().read(|tx| read_record(tx, name, version))
    }

    /// Says something else of a version.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`].
    pub fn describe_version(
        &self,
        name: &str,
        version: u64,
        description: &str,
    ) -> Result<VersionRecord, TrackingError> {
        self.change_version(name, version, |tx, now| {
            let sql = "UPDATE versions SET description = $3, updated_us = $4 WHERE model = $1 AND version = $2";
            tx.execute(sql, &[name.into(), version.into(), description.into(), Value::Int(now)])?;
            let (subject, detail) = (format!("models:/{name}/{version}"), json!({"description": description}));
            self.audit(tx, now, &self.who, "model-version.describe", &subject, &detail)?;
            read_record(tx, name, version)
        })
    }

    /// Deletes a version; its number is not given again.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`].
    pub fn delete_version(&self, name: &str, version: u64, who: &str) -> Result<(), TrackingError> {
        self.change_version(name, version, |tx, now| {
            touch(tx, name, now)?;
            let key = [name.into(), version.into()];
            let sql = "DELETE FROM versions WHERE model = $1 AND version = $2 RETURNING storage_location";
            if let Some(row) = tx.query_one(sql, &key)? {
                forget_files(tx, &row.text(0)?)?;
            }
            self.audit(tx, now, who, "model-version.delete", &format!("models:/{name}/{version}"), &json!({}))
        })
    }

    /// Moves a version to a stage; with `archive`, whatever is there goes to `Archived`.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`]; [`TrackingError::Invalid`] for what is no stage.
    pub fn transition(
        &self,
        name: &str,
        version: u64,
        stage: &str,
        archive: bool,
        who: &str,
    ) -> Result<VersionRecord, TrackingError> {
        let to = canonical_stage(stage)?;
        if archive && !matches!(to, "Staging" | "Production") {
            return Err(TrackingError::Invalid(format!(
                "Model version transition cannot archive existing model versions because '{}' is not an Active stage. \
                 Valid stages are ['Staging', 'Production']",
                cut(stage)
            )));
        }
        self.change_version(name, version, |tx, now| {
            touch(tx, name, now)?;
            let at = [name.into(), version.into(), to.into(), Value::Int(now)];
            if archive {
                tx.execute(
                    "UPDATE versions SET stage = 'Archived', updated_us = $4
                     WHERE model = $1 AND version <> $2 AND stage = $3",
                    &at,
                )?;
            }
            let sql = "UPDATE versions SET stage = $3, updated_us = $4 WHERE model = $1 AND version = $2";
            tx.execute(sql, &at)?;
            let detail = json!({"stage": to, "archive": archive});
            self.audit(tx, now, who, "model-version.stage", &format!("models:/{name}/{version}"), &detail)?;
            read_record(tx, name, version)
        })
    }

    /// The newest version of each of some stages, or of all.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`]; [`TrackingError::Invalid`] for what is no stage.
    pub fn latest_versions(&self, name: &str, stages: &[String]) -> Result<Vec<VersionRecord>, TrackingError> {
        check_model_name(name, "name")?;
        let wanted = stages.iter().map(|stage| canonical_stage(stage)).collect::<Result<Vec<_>, _>>()?;
        let mut model = self.registered_model(name)?;
        model.latest.retain(|version| wanted.is_empty() || wanted.contains(&version.stage.as_str()));
        for version in &mut model.latest {
            let own = model.aliases.iter().filter(|alias| alias.version == version.version);
            version.aliases = own.map(|alias| alias.alias.clone()).collect();
        }
        Ok(model.latest)
    }

    /// Where a version's files are.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`].
    pub fn download_uri(&self, name: &str, version: u64) -> Result<String, TrackingError> {
        check_model_name(name, "name")?;
        let sql = "SELECT storage_location, source FROM versions WHERE model = $1 AND version = $2";
        self.store.catalog().read(|tx| {
            let row = tx.query_one(sql, &[name.into(), version.into()])?;
            let row = row.ok_or_else(|| not_found(name, version))?;
            let storage = row.text(0)?;
            Ok(if storage.is_empty() { row.text(1)? } else { storage })
        })
    }

    /// Sets a tag of a version.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`]; what tags may not be.
    pub fn set_version_tag(
        &self,
        name: &str,
        version: u64,
        key: &str,
        value: &str,
        who: &str,
    ) -> Result<(), TrackingError> {
        check_model_name(name, "name")?;
        self.check_version_tag(key, value)?;
        self.change_version(name, version, |tx, now| {
            set_version_tag(tx, name, version, key, value)?;
            let kind = if is_prompt(tx, name)? { "prompt_version_tag.set" } else { "model_version_tag.set" };
            let payload = json!({"name": name, "version": version.to_string(), "key": key, "value": value});
            self.tell(tx, now, who, kind, &format!("models:/{name}/{version}"), &payload)
        })
    }

    /// Removes a tag of a version; one that is not there is gone already.
    ///
    /// # Errors
    /// [`TrackingError::VersionNotFound`].
    pub fn delete_version_tag(&self, name: &str, version: u64, key: &str, who: &str) -> Result<(), TrackingError> {
        check_model_name(name, "name")?;
        check_key(key, || "key".into())?;
        self.change_version(name, version, |tx, now| {
            let sql = "DELETE FROM version_tags WHERE model = $1 AND version = $2 AND key = $3";
            tx.execute(sql, &[name.into(), version.into(), key.into()])?;
            let kind = if is_prompt(tx, name)? { "prompt_version_tag.deleted" } else { "model_version_tag.deleted" };
            let payload = json!({"name": name, "version": version.to_string(), "key": key});
            self.tell(tx, now, who, kind, &format!("models:/{name}/{version}"), &payload)
        })
    }

    pub(crate) fn change_model<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut dyn Tx, Micros) -> Result<T, TrackingError>,
    ) -> Result<T, TrackingError> {
        check_model_name(name, "name")?;
        self.store.catalog().write(|tx| {
            must_exist(tx, name)?;
            change(tx, self.clock.now())
        })
    }

    fn change_version<T>(
        &self,
        name: &str,
        version: u64,
        change: impl FnOnce(&mut dyn Tx, Micros) -> Result<T, TrackingError>,
    ) -> Result<T, TrackingError> {
        check_model_name(name, "name")?;
        self.store.catalog().write(|tx| {
            let sql = "SELECT 1 FROM versions WHERE model = $1 AND version = $2";
            if tx.query_one(sql, &[name.into(), version.into()])?.is_none() {
                return Err(not_found(name, version));
            }
            change(tx, self.clock.now())
        })
    }

    fn check_registry_tag(&self, key: &str, value: &str) -> Result<(), TrackingError> {
        check_key(key, || "key".into())?;
        check_length(key, self.limits.key_chars_max, || "key".into())?;
        check_length(value, self.limits.registry_tag_value_chars_max, || "value".into())
    }

    fn check_version_tag(&self, key: &str, value: &str) -> Result<(), TrackingError> {
        let most = self.limits.registry_tag_value_chars_max;
        if key == PROMPT_TEXT_TAG && check_length(value, most, String::new).is_err() {
            return Err(TrackingError::Invalid(format!("Prompt text exceeds max length of {most} characters.")));
        }
        self.check_registry_tag(key, value)
    }
}

/// Notes that a model, or what belongs to it, changed. Tags and aliases are no change to MLflow.
fn touch(tx: &mut dyn Tx, name: &str, now: Micros) -> Result<(), TrackingError> {
    tx.execute("UPDATE models SET updated_us = $2 WHERE name = $1", &[name.into(), Value::Int(now)])?;
    Ok(())
}

/// Whether tags make what carries them a prompt; of tags with the same key the last counts.
fn says_prompt(tags: &[(String, String)]) -> bool {
    let tag = tags.iter().rev().find(|(key, _)| key == PROMPT_TAG);
    tag.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"))
}

/// Tags as an event shows them: of a prompt without those that make it one.
fn shown_tags(tags: &[(String, String)], prompt: bool) -> serde_json::Map<String, serde_json::Value> {
    let inner = |key: &str| prompt && matches!(key, PROMPT_TAG | PROMPT_TEXT_TAG | PROMPT_TYPE_TAG);
    tags.iter().filter(|(key, _)| !inner(key)).map(|(key, value)| (key.clone(), json!(value))).collect()
}

/// The next free number of a model's versions, taken.
pub(crate) fn next_version(tx: &mut dyn Tx, name: &str) -> Result<u64, TrackingError> {
    let sql = "UPDATE models SET last_version = last_version + 1 WHERE name = $1 RETURNING last_version";
    let row = tx.query_one(sql, &[name.into()])?;
    let row = row.ok_or_else(|| TrackingError::RegisteredModelNotFound(cut(name)))?;
    Ok(row.int(0)? as u64)
}

pub(crate) fn must_exist(tx: &mut dyn Tx, name: &str) -> Result<(), TrackingError> {
    let found = tx.query_one("SELECT 1 FROM models WHERE name = $1", &[name.into()])?;
    found.map(drop).ok_or_else(|| TrackingError::RegisteredModelNotFound(cut(name)))
}

fn not_found(name: &str, version: u64) -> TrackingError {
    TrackingError::VersionNotFound { model: cut(name), version: version.to_string() }
}

pub(crate) fn is_prompt(tx: &mut dyn Tx, name: &str) -> Result<bool, TrackingError> {
    let sql = "SELECT 1 FROM model_tags WHERE model = $1 AND key = $2 AND LOWER(value) = 'true'";
    Ok(tx.query_one(sql, &[name.into(), PROMPT_TAG.into()])?.is_some())
}

fn set_model_tag(tx: &mut dyn Tx, name: &str, key: &str, value: &str) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO model_tags (model, key, value) VALUES ($1, $2, $3)
         ON CONFLICT (model, key) DO UPDATE SET value = excluded.value",
        &[name.into(), key.into(), value.into()],
    )?;
    Ok(())
}

fn set_version_tag(tx: &mut dyn Tx, name: &str, version: u64, key: &str, value: &str) -> Result<(), TrackingError> {
    tx.execute(
        "INSERT INTO version_tags (model, version, key, value) VALUES ($1, $2, $3, $4)
         ON CONFLICT (model, version, key) DO UPDATE SET value = excluded.value",
        &[name.into(), version.into(), key.into(), value.into()],
    )?;
    Ok(())
}

/// A stage as it is written, however it was spelled.
pub(crate) fn canonical_stage(stage: &str) -> Result<&'static str, TrackingError> {
    STAGES.into_iter().find(|known| known.eq_ignore_ascii_case(stage)).ok_or_else(|| {
        let known = STAGES.join(", ");
        TrackingError::Invalid(format!("Invalid Model Version stage: {}. Value must be one of {known}.", cut(stage)))
    })
}

pub(crate) fn check_model_name(name: &str, field: &str) -> Result<(), TrackingError> {
    if name.trim().is_empty() {
        return Err(TrackingError::Invalid(format!("Missing value for required parameter '{field}'.")));
    }
    if name.contains(['/', ':']) {
        let message = format!("Invalid model name '{}'. Names cannot contain '/' or ':'.", cut(name));
        return Err(TrackingError::Invalid(message));
    }
    resolved_name(name, || "name".into())?;
    // The column of MLflow's databases is that wide; a name is in every key of the registry.
    check_length(name, 256, || "name".into())
}

pub(crate) fn read_model(tx: &mut dyn Tx, name: &str) -> Result<RegisteredModel, TrackingError> {
    let key = [Value::from(name)];
    let sql = "SELECT description, created_us, updated_us FROM models WHERE name = $1";
    let row = tx.query_one(sql, &key)?.ok_or_else(|| TrackingError::RegisteredModelNotFound(cut(name)))?;
    let tags = tx.query("SELECT key, value FROM model_tags WHERE model = $1 ORDER BY key", &key)?;
    let aliases = tx.query("SELECT alias, version FROM aliases WHERE model = $1 ORDER BY alias", &key)?;
    let sql = format!(
        "SELECT {VERSION_COLUMNS} FROM versions v JOIN
            (SELECT MIN(version) AS first, MAX(version) AS version FROM versions WHERE model = $1 GROUP BY stage) newest
         ON newest.version = v.version WHERE v.model = $1 ORDER BY newest.first"
    );
    let latest = tx.query(&sql, &key)?;
    let latest = latest.iter().map(|row| tagged(tx, row)).collect::<Result<_, TrackingError>>()?;
    Ok(RegisteredModel {
        name: name.to_owned(),
        description: row.text(0)?,
        created: row.int(1)?,
        updated: row.int(2)?,
        tags: tags.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, TrackingError>>()?,
        aliases: aliases
            .iter()
            .map(|row| Ok(Alias { alias: row.text(0)?, version: row.int(1)? as u64 }))
            .collect::<Result<_, TrackingError>>()?,
        latest,
    })
}

pub(crate) fn read_record(tx: &mut dyn Tx, name: &str, version: u64) -> Result<VersionRecord, TrackingError> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM versions v WHERE v.model = $1 AND v.version = $2");
    let row = tx.query_one(&sql, &[name.into(), version.into()])?.ok_or_else(|| not_found(name, version))?;
    let mut record = tagged(tx, &row)?;
    let sql = "SELECT alias FROM aliases WHERE model = $1 AND version = $2 ORDER BY alias";
    let aliases = tx.query(sql, &[name.into(), version.into()])?;
    record.aliases = aliases.iter().map(|row| Ok(row.text(0)?)).collect::<Result<_, TrackingError>>()?;
    Ok(record)
}

/// A version from its row of [`VERSION_COLUMNS`], with its tags. Its aliases stand with the model wherever MLflow shows
/// several versions.
pub(crate) fn tagged(tx: &mut dyn Tx, row: &Row) -> Result<VersionRecord, TrackingError> {
    let (model, version) = (row.text(0)?, row.int(1)?);
    let key = [Value::from(&model), Value::Int(version)];
    let tags = tx.query("SELECT key, value FROM version_tags WHERE model = $1 AND version = $2 ORDER BY key", &key)?;
    Ok(VersionRecord {
        version: version as u64,
        description: row.text(2)?,
        user: row.text(3)?,
        source: row.text(4)?,
        run_id: row.opt_text(5)?,
        run_link: row.text(6)?,
        model_id: row.opt_text(7)?,
        status: row.text(8)?,
        status_message: row.text(9)?,
        stage: row.text(10)?,
        created: row.int(11)?,
        updated: row.int(12)?,
        tags: tags.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, TrackingError>>()?,
        aliases: Vec::new(),
        model,
    })
}

/// Where the registry's own files are, below the artifact root.
pub(crate) const FILES_ROOT: &str = "models";

/// Forgets the files of a version that is gone, if they are the registry's own and no other version, such as a copy,
/// has them.
fn forget_files(tx: &mut dyn Tx, storage: &str) -> Result<(), TrackingError> {
    let Some(root) = storage.strip_prefix("mlflow-artifacts:/") else { return Ok(()) };
    let own = root.strip_prefix(FILES_ROOT).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1);
    let sql = "SELECT 1 FROM versions WHERE storage_location = $1 LIMIT 1";
    if own && tx.query_one(sql, &[storage.into()])?.is_none() {
        let sql = "DELETE FROM files WHERE path >= $1 AND path < $2";
        tx.execute(sql, &[format!("{root}/").into(), format!("{root}0").into()])?;
    }
    Ok(())
}
