//! Users, their tokens, and what they may do.
//!
//! A role holds for everything, or, by a grant, for one experiment or one registered model; the larger counts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, PasswordHasher, Version,
    password_hash::{Output, SaltString, rand_core::OsRng},
};
use plinth_core::{ContentHash, Micros};
use plinth_store::{Tx, Value};
use serde::Serialize;
use serde_json::json;

use crate::{Tracking, TrackingError, names::cut};

/// What someone may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Nothing but what grants allow.
    None,
    /// See.
    Reader,
    /// Log runs, register versions.
    Editor,
    /// Decide what is in production: move aliases and stages.
    Approver,
    /// Manage users.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 5] = [Self::None, Self::Reader, Self::Editor, Self::Approver, Self::Admin];

    /// As users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reader => "reader",
            Self::Editor => "editor",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// The role that is written so.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] lists what there is.
    pub fn from_name(name: &str) -> Result<Self, TrackingError> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            TrackingError::Invalid(format!("`{}` is no role; choose one of {known}", cut(name)))
        })
    }
}

/// What a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// An experiment, by id.
    Experiment(String),
    /// A registered model, by name.
    Model(String),
}

impl Resource {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Experiment(id) => ("experiment", id),
            Self::Model(name) => ("model", name),
        }
    }
}

/// Someone who has said who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// User name.
    pub name: String,
    /// What they may do everywhere.
    pub role: Role,
    /// What they may do with single things.
    pub grants: BTreeMap<Resource, Role>,
}

impl Principal {
    /// Whoever comes, where nobody has to say who they are.
    pub fn anyone() -> Self {
        Self { name: crate::ANONYMOUS.to_owned(), role: Role::Admin, grants: BTreeMap::new() }
    }

    /// What they may do with a thing.
    pub fn role_for(&self, resource: &Resource) -> Role {
        self.grants.get(resource).copied().unwrap_or(Role::None).max(self.role)
    }

    /// The experiments that they may see; nothing means all.
    pub fn experiments(&self) -> Option<Vec<String>> {
        self.granted(|resource| match resource {
            Resource::Experiment(id) => Some(id.clone()),
            Resource::Model(_) => None,
        })
    }

    /// The registered models that they may see; nothing means all.
    pub fn models(&self) -> Option<Vec<String>> {
        self.granted(|resource| match resource {
            Resource::Model(name) => Some(name.clone()),
            Resource::Experiment(_) => None,
        })
    }

    fn granted(&self, pick: impl Fn(&Resource) -> Option<String>) -> Option<Vec<String>> {
        if self.role >= Role::Reader {
            return None;
        }
        let seen = self.grants.iter().filter(|(_, role)| **role >= Role::Reader);
        Some(seen.filter_map(|(resource, _)| pick(resource)).collect())
    }
}

/// A user, without what they know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Unique.
    pub name: String,
    /// What they may do everywhere.
    pub role: Role,
    /// When they were added.
    pub created: Micros,
    /// What they may do with single things.
    pub grants: Vec<(Resource, Role)>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Names it; no secret.
    pub token_id: String,
    /// Whose it is.
    pub user: String,
    /// What for.
    pub note: String,
    /// When it was made.
    pub created: Micros,
    /// From when on it is of no use.
    pub expires: Option<Micros>,
}

/// What tokens start with, so that a leaked one is found by those who look for them.
const TOKEN_PREFIX: &str = "plinth_";

impl Tracking {
    /// Adds a user.
    ///
    /// # Errors
    /// [`TrackingError::AlreadyExists`]; [`TrackingError::Invalid`] for a name or a password that cannot be one.
    pub fn add_user(&self, name: &str, password: &str, role: Role, who: &str) -> Result<(), TrackingError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            return Err(TrackingError::Invalid(format!(
                "`{}` cannot be the name of a user: letters, digits, `.`, `_`, `-` and `@`, at most 128",
                cut(name)
            )));
        }
        let hash = self.hashed(password)?;
        self.store.catalog().write(|tx| {
            if tx.query_one("SELECT 1 FROM users WHERE name = $1", &[name.into()])?.is_some() {
                return Err(TrackingError::AlreadyExists(format!("User (name={name})")));
            }
            let now = self.clock.now();
            tx.execute(
                "INSERT INTO users (name, password, role, created_us) VALUES ($1, $2, $3, $4)",
                &[name.into(), hash.into(), role.name().into(), Value::Int(now)],
            )?;
            self.audit(tx, now, who, "user.add", &format!("users:/{name}"), &json!({"role": role}))
        })
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// [`TrackingError::UserNotFound`]; [`TrackingError::Invalid`] for a password that cannot be one.
    pub fn set_password(&self, name: &str, password: &str, who: &str) -> Result<(), TrackingError> {
        let hash = self.hashed(password)?;
        self.change_user(name, who, "user.password", &json!({}), |tx| {
            tx.execute("UPDATE users SET password = $2 WHERE name = $1", &[name.into(), hash.into()])?;
            Ok(())
        })
    }

    /// Gives a user another role.
    ///
    /// # Errors
    /// [`TrackingError::UserNotFound`]; [`TrackingError::LastAdmin`].
    pub fn set_role(&self, name: &str, role: Role, who: &str) -> Result<(), TrackingError> {
        self.change_user(name, who, "user.role", &json!({"role": role}), |tx| {
            if role != Role::Admin {
                keep_an_admin(tx, name)?;
            }
            tx.execute("UPDATE users SET role = $2 WHERE name = $1", &[name.into(), role.name().into()])?;
            Ok(())
        })
    }

    /// Removes a user, with tokens and grants.
    ///
    /// # Errors
    /// [`TrackingError::UserNotFound`]; [`TrackingError::LastAdmin`].
    pub fn remove_user(&self, name: &str, who: &str) -> Result<(), TrackingError> {
        self.change_user(name, who, "user.remove", &json!({}), |tx| {
            keep_an_admin(tx, name)?;
            tx.execute("DELETE FROM users WHERE name = $1", &[name.into()])?;
            Ok(())
        })
    }

    /// Allows a user something with one thing; [`Role::None`] takes it back.
    ///
    /// # Errors
    /// [`TrackingError::UserNotFound`].
    pub fn grant(&self, name: &str, resource: &Resource, role: Role, who: &str) -> Result<(), TrackingError> {
        let (kind, id) = resource.parts();
        let detail = json!({"kind": kind, "resource": id, "role": role});
        self.change_user(name, who, "user.grant", &detail, |tx| {
            if role == Role::None {
                let sql = "DELETE FROM grants WHERE user_name = $1 AND kind = $2 AND resource = $3";
                tx.execute(sql, &[name.into(), kind.into(), id.into()])?;
            } else {
                tx.execute(
                    "INSERT INTO grants (user_name, kind, resource, role) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (user_name, kind, resource) DO UPDATE SET role = excluded.role",
                    &[name.into(), kind.into(), id.into(), role.name().into()],
                )?;
            }
            Ok(())
        })
    }

    /// Every user, by name.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn users(&self) -> Result<Vec<User>, TrackingError> {
        self.store.catalog().read(|tx| {
            let rows = tx.query("SELECT name, role, created_us FROM users ORDER BY name", &[])?;
            rows.iter()
                .map(|row| {
                    let name = row.text(0)?;
                    let grants = grants(tx, &name)?.into_iter().collect();
                    Ok(User { role: Role::from_name(&row.text(1)?)?, created: row.int(2)?, grants, name })
                })
                .collect()
        })
    }

    /// Makes a token of a user; returns its id and its secret, which nobody can read again.
    ///
    /// # Errors
    /// [`TrackingError::UserNotFound`].
    pub fn add_token(
        &self,
        name: &str,
        note: &str,
        expires: Option<Micros>,
        who: &str,
    ) -> Result<(String, String), TrackingError> {
        let token_id = self.ids.next();
        let salt = SaltString::generate(&mut OsRng);
        let more = SaltString::generate(&mut OsRng);
        // Two salts are 256 random bits.
        let random = ContentHash::of(format!("{}{}", salt.as_str(), more.as_str()).as_bytes()).to_hex();
        let secret = format!("{TOKEN_PREFIX}{random}");
        let detail = json!({"token": token_id, "note": note});
        self.change_user(name, who, "token.add", &detail, |tx| {
            tx.execute(
                "INSERT INTO tokens (token_id, user_name, hash, note, created_us, expires_us)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                &[
                    Value::from(&token_id),
                    name.into(),
                    ContentHash::of(secret.as_bytes()).into(),
                    note.into(),
                    Value::Int(self.clock.now()),
                    expires.map_or(Value::Null, Value::Int),
                ],
            )?;
            Ok(())
        })?;
        Ok((token_id, secret))
    }

    /// Makes a token useless.
    ///
    /// # Errors
    /// [`TrackingError::Missing`].
    pub fn revoke_token(&self, token_id: &str, who: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let sql = "DELETE FROM tokens WHERE token_id = $1 RETURNING user_name";
            let row = tx.query_one(sql, &[token_id.into()])?;
            let row = row.ok_or_else(|| TrackingError::Missing(format!("there is no token `{}`", cut(token_id))))?;
            let subject = format!("users:/{}", row.text(0)?);
            self.audit(tx, self.clock.now(), who, "token.revoke", &subject, &json!({"token": token_id}))
        })
    }

    /// Every token, oldest first, of one user or of all.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn tokens(&self, user: Option<&str>) -> Result<Vec<Token>, TrackingError> {
        let sql = "SELECT token_id, user_name, note, created_us, expires_us FROM tokens
                   WHERE $1 = '' OR user_name = $1 ORDER BY created_us, token_id";
        let parameters = [user.unwrap_or_default().into()];
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &parameters)?))?;
        rows.iter()
            .map(|row| {
                Ok(Token {
                    token_id: row.text(0)?,
                    user: row.text(1)?,
                    note: row.text(2)?,
                    created: row.int(3)?,
                    expires: row.opt_int(4)?,
                })
            })
            .collect()
    }

    /// The principal of a token, unless it is unknown or past its time.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn principal_of_token(&self, secret: &str) -> Result<Option<Principal>, TrackingError> {
        let now = self.clock.now();
        self.store.catalog().read(|tx| {
            let sql = "SELECT user_name FROM tokens WHERE hash = $1 AND (expires_us IS NULL OR expires_us > $2)";
            let row = tx.query_one(sql, &[ContentHash::of(secret.as_bytes()).into(), Value::Int(now)])?;
            row.map(|row| principal(tx, &row.text(0)?)).transpose().map(Option::flatten)
        })
    }

    /// The stored hash of a user's password and their principal, if there is such a user.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn credentials(&self, name: &str) -> Result<Option<(String, Principal)>, TrackingError> {
        self.store.catalog().read(|tx| {
            let Some(row) = tx.query_one("SELECT password FROM users WHERE name = $1", &[name.into()])? else {
                return Ok(None);
            };
            Ok(principal(tx, name)?.map(|principal| (row.text(0), principal))).and_then(|found| match found {
                Some((hash, principal)) => Ok(Some((hash?, principal))),
                None => Ok(None),
            })
        })
    }

    fn change_user(
        &self,
        name: &str,
        who: &str,
        action: &str,
        detail: &serde_json::Value,
        change: impl FnOnce(&mut dyn Tx) -> Result<(), TrackingError>,
    ) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let found = tx.query_one("SELECT 1 FROM users WHERE name = $1", &[name.into()])?;
            found.ok_or_else(|| TrackingError::UserNotFound(cut(name)))?;
            change(tx)?;
            self.audit(tx, self.clock.now(), who, action, &format!("users:/{name}"), detail)
        })
    }

    fn hashed(&self, password: &str) -> Result<String, TrackingError> {
        let least = self.limits.password_chars_min as usize;
        if password.chars().count() < least {
            return Err(TrackingError::Invalid(format!("a password has at least {least} characters")));
        }
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        Ok(hash.map_err(|error| TrackingError::Invalid(format!("the password cannot be hashed: {error}")))?.to_string())
    }
}

/// Where passwords are hashed, one at a time: it takes much memory on purpose, and anyone may send one.
static ROOM: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Whether a password has a stored hash. Slow on purpose.
pub fn verify_password(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| rehashed(&hash, password).is_some_and(|output| hash.hash == Some(output)))
}

/// What a password is hashed to in the way of a stored hash.
fn rehashed(hash: &PasswordHash<'_>, password: &str) -> Option<Output> {
    let params = Params::try_from(hash).ok()?;
    let version = hash.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
    let argon = Argon2::new(Algorithm::try_from(hash.algorithm).ok()?, version, params);
    let mut salt = [0; 64];
    let salt = hash.salt?.decode_b64(&mut salt).ok()?;
    let mut room = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    room.resize(argon.params().block_count(), Block::default());
    let mut out = vec![0; hash.hash?.len()];
    argon.hash_password_into_with_memory(password.as_bytes(), salt, &mut out, room.as_mut_slice()).ok()?;
    Output::new(&out).ok()
}

/// Refuses to take away the only one who may manage users.
fn keep_an_admin(tx: &mut dyn Tx, name: &str) -> Result<(), TrackingError> {
    let rows = tx.query("SELECT name FROM users WHERE role = $1 LIMIT 2", &[Role::Admin.name().into()])?;
    match &rows[..] {
        [only] if only.text(0)? == name => Err(TrackingError::LastAdmin(cut(name))),
        _ => Ok(()),
    }
}

fn principal(tx: &mut dyn Tx, name: &str) -> Result<Option<Principal>, TrackingError> {
    let Some(row) = tx.query_one("SELECT role FROM users WHERE name = $1", &[name.into()])? else { return Ok(None) };
    let role = Role::from_name(&row.text(0)?)?;
    Ok(Some(Principal { name: name.to_owned(), role, grants: grants(tx, name)? }))
}

fn grants(tx: &mut dyn Tx, name: &str) -> Result<BTreeMap<Resource, Role>, TrackingError> {
    let sql = "SELECT kind, resource, role FROM grants WHERE user_name = $1";
    tx.query(sql, &[name.into()])?
        .iter()
        .map(|row| {
            let id = row.text(1)?;
            let resource = if row.text(0)? == "experiment" { Resource::Experiment(id) } else { Resource::Model(id) };
            Ok((resource, Role::from_name(&row.text(2)?)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store, verify_audit};

    use super::*;

    #[test]
    fn passwords_and_tokens_open_doors_until_they_are_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        let clock = Arc::new(FixedClock::at(1));
        let tracking = Tracking::new(store, clock.clone(), Arc::new(UuidIds), TrackingLimits::default());
        tracking.add_user("ann", "correct horse", Role::Reader, "root").unwrap();
        assert!(tracking.add_user("ann", "correct horse", Role::Reader, "root").is_err());
        assert!(tracking.add_user("bob", "short", Role::Reader, "root").is_err());
        assert!(tracking.add_user("../bob", "correct horse", Role::Reader, "root").is_err());
        let (hash, principal) = tracking.credentials("ann").unwrap().unwrap();
        assert!(verify_password(&hash, "correct horse") && !verify_password(&hash, "wrong horse"));
        assert!(!hash.contains("horse"));
        assert_eq!((principal.role, principal.experiments()), (Role::Reader, None));
        let (id, secret) = tracking.add_token("ann", "ci", Some(10), "root").unwrap();
        assert_eq!(tracking.principal_of_token(&secret).unwrap().unwrap().name, "ann");
        assert_eq!(tracking.principal_of_token("plinth_guess").unwrap(), None);
        clock.advance(10);
        assert_eq!(tracking.principal_of_token(&secret).unwrap(), None);
        tracking.revoke_token(&id, "root").unwrap();
        assert!(tracking.revoke_token(&id, "root").is_err());
        tracking.set_role("ann", Role::None, "root").unwrap();
        let churn = Resource::Experiment("1".into());
        tracking.grant("ann", &churn, Role::Editor, "root").unwrap();
        let (_, principal) = tracking.credentials("ann").unwrap().unwrap();
        assert_eq!(principal.role_for(&churn), Role::Editor);
        assert_eq!(principal.role_for(&Resource::Experiment("2".into())), Role::None);
        assert_eq!((principal.experiments(), principal.models()), (Some(vec!["1".to_owned()]), Some(vec![])));
        // There is always someone who may manage users, once there was.
        tracking.set_role("ann", Role::Admin, "root").unwrap();
        let last = |outcome: Result<(), TrackingError>| matches!(outcome, Err(TrackingError::LastAdmin(name)) if name == "ann");
        assert!(last(tracking.set_role("ann", Role::Reader, "ann")) && last(tracking.remove_user("ann", "ann")));
        tracking.add_user("eve", "correct horse", Role::Admin, "root").unwrap();
        tracking.remove_user("ann", "root").unwrap();
        assert_eq!(tracking.credentials("ann").unwrap(), None);
        assert_eq!(tracking.store().catalog().read(verify_audit).unwrap(), 8);
    }
}
