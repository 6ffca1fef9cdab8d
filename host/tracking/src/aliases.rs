//! Aliases as MLflow's clients use them.

use plinth_store::Tx;
use serde_json::json;

use crate::{
    Tracking, TrackingError, VersionRecord,
    names::{check_length, cut},
    registry::{check_model_name, is_prompt, must_exist, read_record},
};

impl Tracking {
    /// Removes an alias; one that is not there is gone already.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`].
    pub fn delete_alias(&self, name: &str, alias: &str, who: &str) -> Result<(), TrackingError> {
        check_model_name(name, "name")?;
        check_alias(alias, self.limits.alias_chars_max)?;
        self.change_model(name, |tx, _| self.remove_alias(tx, name, alias, who))
    }

    pub(crate) fn remove_alias(
        &self,
        tx: &mut dyn Tx,
        name: &str,
        alias: &str,
        who: &str,
    ) -> Result<(), TrackingError> {
        tx.execute("DELETE FROM aliases WHERE model = $1 AND alias = $2", &[name.into(), alias.into()])?;
        let kind = if is_prompt(tx, name)? { "prompt_alias.deleted" } else { "model_version_alias.deleted" };
        let payload = json!({"name": name, "alias": alias});
        self.tell(tx, self.clock.now(), who, kind, &format!("models:/{name}@{alias}"), &payload)
    }

    /// The version that an alias points at; `latest` is the newest of all.
    ///
    /// # Errors
    /// [`TrackingError::RegisteredModelNotFound`], [`TrackingError::Invalid`] if there is no such alias,
    /// [`TrackingError::Missing`] if there is no version at all.
    pub fn version_by_alias(&self, name: &str, alias: &str) -> Result<VersionRecord, TrackingError> {
        check_model_name(name, "name")?;
        check_alias(alias, self.limits.alias_chars_max)?;
        self.store.catalog().read(|tx| {
            must_exist(tx, name)?;
            let newest = alias.eq_ignore_ascii_case("latest");
            let row = if newest {
                tx.query_one("SELECT MAX(version) FROM versions WHERE model = $1", &[name.into()])?
            } else {
                let sql = "SELECT version FROM aliases WHERE model = $1 AND alias = $2";
                tx.query_one(sql, &[name.into(), alias.into()])?
            };
            match row.map(|row| row.opt_int(0)).transpose()?.flatten() {
                Some(version) => read_record(tx, name, version as u64),
                None if newest => {
                    Err(TrackingError::Missing(format!("Latest version not found for model {}.", cut(name))))
                }
                None => Err(TrackingError::Invalid(format!("Registered model alias {} not found.", cut(alias)))),
            }
        })
    }

    /// Checks an alias that is to be set: some words mean something already.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`], [`TrackingError::TooLong`].
    pub fn check_new_alias(&self, alias: &str) -> Result<(), TrackingError> {
        check_alias(alias, self.limits.alias_chars_max)?;
        if alias.eq_ignore_ascii_case("latest") {
            return Err(TrackingError::Invalid("'latest' alias name (case insensitive) is reserved.".into()));
        }
        let number = alias.strip_prefix(['v', 'V']).unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TrackingError::Invalid(format!("Version alias name '{alias}' is reserved.")));
        }
        Ok(())
    }
}

fn check_alias(alias: &str, limit: u32) -> Result<(), TrackingError> {
    if alias.is_empty() {
        return Err(TrackingError::Invalid("Registered model alias name cannot be empty.".into()));
    }
    if !alias.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        return Err(TrackingError::Invalid(format!(
            "Invalid alias name: '{}'. Names may only contain alphanumerics, underscores (_), and dashes (-).",
            cut(alias)
        )));
    }
    check_length(alias, limit, || "Registered model alias name".into())
}
