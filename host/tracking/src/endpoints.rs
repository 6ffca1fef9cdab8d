//! Endpoints: what is served under a name, how requests are shared out, and everything that became of it.
//!
//! A specification is changed as a whole: read, altered, and written back under the revision that was read. Whoever
//! serves follows the newest revision.

use std::collections::HashSet;

use plinth_core::{
    ContentHash, Micros, did_you_mean,
    refs::{ModelRef, name_problem},
};
use plinth_store::{Row, Tx, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    RolloutSpec, Tracking, TrackingError,
    changes::{MovedAlias, with_aliases},
};

/// Most deployments of one endpoint, and most rules.
const PARTS_MAX: usize = 16;
/// Most bytes of a header's name or value, a pointer or a column in a rule or a key.
const TEXT_MAX: usize = 256;

/// What an endpoint is to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// What answers; the first is the champion that others are compared with.
    pub deployments: Vec<DeploymentSpec>,
    /// What makes requests those of one caller, who keeps the same deployment; without it each is drawn anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Rules that come before the weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    /// What shares out the requests, if not the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// The last rollout, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,
}

/// What shares out requests in the place of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Each deployment with a weight gets the part of the requests that is the probability that it earns the highest
    /// rewards.
    Thompson,
}

/// One of the deployments of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentSpec {
    /// Its name within the endpoint.
    pub name: String,
    /// `models:/NAME/VERSION`, or `models:/NAME@ALIAS`, which follows the alias.
    pub model: String,
    /// `auto`, `cpu` or `cuda:N`, if not where the server runs everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Percent of the requests that it answers; they are taken relative to the sum of all.
    #[serde(default)]
    pub weight: f64,
    /// Percent of all requests of which it gets a copy. Its answers are compared and discarded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shadow: f64,
    /// How much of the server it may take.
    #[serde(default, skip_serializing_if = "CapacitySpec::is_default")]
    pub capacity: CapacitySpec,
    /// What is looked up for its rows, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupSpec>,
}

/// Columns that callers need not send, because they are known by an entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupSpec {
    /// The column that names the entity.
    pub entity: String,
    /// The table, a Parquet file, by content.
    pub table: ContentHash,
    /// How many entities it knows, for people.
    pub rows: u64,
    /// Its columns besides the entity's, for people.
    pub columns: Vec<String>,
}

/// How much of a server a deployment may take; what is not said is up to the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacitySpec {
    /// Most rows of a batch that several requests make up; 1 scores each by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_rows_max: Option<u32>,
    /// How long the first request of a batch may wait for others, in microseconds, although a thread is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_wait_us: Option<u32>,
    /// Batches that are scored at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_max: Option<u32>,
    /// Requests that wait to be scored; further ones are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_max: Option<u32>,
    /// Milliseconds from a request's head to its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

impl CapacitySpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is said in `other`, else what is said here.
    #[must_use]
    pub fn altered(self, other: Self) -> Self {
        Self {
            batch_rows_max: other.batch_rows_max.or(self.batch_rows_max),
            batch_wait_us: other.batch_wait_us.or(self.batch_wait_us),
            concurrency_max: other.concurrency_max.or(self.concurrency_max),
            queue_max: other.queue_max.or(self.queue_max),
            timeout_ms: other.timeout_ms.or(self.timeout_ms),
        }
    }

    /// Whether a server can keep to it.
    fn check(&self, deployment: &str) -> Result<(), TrackingError> {
        let Self { batch_rows_max, batch_wait_us, concurrency_max, queue_max, timeout_ms } = *self;
        for (what, number, least, most) in [
            ("batch-rows", batch_rows_max, 1, 100_000),
            ("batch-wait-us", batch_wait_us, 0, 1_000_000),
            ("concurrency", concurrency_max, 1, 1_024),
            ("queue", queue_max, 1, 65_536),
            ("timeout-ms", timeout_ms, 1, 3_600_000),
        ] {
            if number.is_some_and(|number| !(least..=most).contains(&number)) {
                let number = number.unwrap_or_default();
                return Err(TrackingError::BadEndpoint(format!(
                    "deployment `{deployment}` has a {what} of {number}; it is from {least} to {most}"
                )));
            }
        }
        if let (Some(wait), Some(timeout)) = (batch_wait_us, timeout_ms)
            && u64::from(wait) >= u64::from(timeout) * 1_000
        {
            return Err(TrackingError::BadEndpoint(format!(
                "deployment `{deployment}` has a batch-wait-us of {wait} within a timeout-ms of {timeout}: a request \
                 would be given up while it waits for others"
            )));
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// Where a request says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// In this header.
    Header(String),
    /// At this JSON pointer of the body.
    Json(String),
    /// In this column of the first row.
    Column(String),
}

/// Requests with a header go to a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The header.
    pub header: String,
    /// What it must say; without it any value will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// Who answers.
    pub deployment: String,
}

/// An endpoint as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointRecord {
    /// Its name.
    pub name: String,
    /// Grows with every change, also over a deletion.
    pub revision: u64,
    /// What it is.
    pub spec: EndpointSpec,
    /// When it was made.
    pub created: Micros,
    /// When it was last changed.
    pub updated: Micros,
}

/// Something that became of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointEvent {
    /// Its place among those of the endpoint.
    pub seq: u64,
    /// The revision that was there afterwards.
    pub revision: u64,
    /// When.
    pub time: Micros,
    /// Who did it.
    pub principal: String,
    /// Such as `create`, `route`, `promote`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// What it was from then on, if that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<EndpointSpec>,
    /// What it was decided by, if by figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<serde_json::Value>,
}

/// Who changes an endpoint, what they call it, and why.
#[derive(Debug, Clone, Copy)]
pub struct EndpointChange<'a> {
    /// Who.
    pub who: &'a str,
    /// Such as `route`.
    pub action: &'a str,
    /// Why, in a sentence; may be empty.
    pub reason: &'a str,
    /// What it was decided by, if by figures.
    pub evidence: Option<&'a serde_json::Value>,
}

impl EndpointSpec {
    /// Whether this can be served; says what cannot be.
    ///
    /// # Errors
    /// [`TrackingError::BadEndpoint`].
    pub fn check(&self) -> Result<(), TrackingError> {
        let bad = |message: String| Err(TrackingError::BadEndpoint(message));
        if self.deployments.is_empty() {
            return bad("an endpoint needs at least one deployment".into());
        }
        if self.deployments.len() > PARTS_MAX || self.rules.len() > PARTS_MAX {
            return bad(format!("an endpoint has at most {PARTS_MAX} deployments and {PARTS_MAX} rules"));
        }
        let mut names = HashSet::new();
        for deployment in &self.deployments {
            let DeploymentSpec { name, model, weight, shadow, .. } = deployment;
            if let Some(reason) = name_problem(name) {
                return bad(format!("a deployment cannot be named `{name}`: {reason}"));
            }
            if !names.insert(name.as_str()) {
                return bad(format!("two deployments are named `{name}`"));
            }
            if let Err(error) = model.parse::<ModelRef>() {
                return bad(format!("deployment `{name}`: {error}"));
            }
            deployment.capacity.check(name)?;
            if let Some(LookupSpec { entity, columns, .. }) = &deployment.lookup {
                if entity.is_empty() {
                    return bad(format!("deployment `{name}` looks up by a column without a name"));
                }
                for column in std::iter::once(entity).chain(columns) {
                    short(column, "the name of a column that is looked up")?;
                }
            }
            for (what, percent) in [("weight", weight), ("shadow", shadow)] {
                if !(0.0..=100.0).contains(percent) {
                    return bad(format!("deployment `{name}` has a {what} of {percent}; it is a percentage"));
                }
            }
        }
        if self.deployments.iter().map(|deployment| deployment.weight).sum::<f64>() <= 0.0 {
            return bad("no deployment has a weight, so nobody would answer".into());
        }
        for RuleSpec { header, equals, deployment } in &self.rules {
            header_name(header)?;
            short(equals.as_deref().unwrap_or_default(), "the value of a rule")?;
            if !names.contains(deployment.as_str()) {
                let hint = did_you_mean(deployment, self.deployments.iter().map(|d| d.name.as_str()));
                return bad(format!("a rule leads to deployment `{deployment}`, which is not there; {hint}"));
            }
        }
        if let Some(rollout) = &self.rollout {
            rollout.check(&self.deployments)?;
        }
        if self.policy.is_some() {
            if self.sticky.is_some() {
                return bad(
                    "a routing key keeps callers with one deployment, and the thompson policy moves them to the \
                            best one: have one or the other"
                        .into(),
                );
            }
            if self.active_rollout().is_some() {
                return bad("a rollout and the thompson policy cannot both share out the requests".into());
            }
        }
        if let Some(Sticky::Column(column)) = &self.sticky {
            let looks_up = |lookup: &&LookupSpec| lookup.columns.contains(column);
            if let Some(lookup) = self.deployments.iter().filter_map(|d| d.lookup.as_ref()).find(looks_up) {
                return bad(format!(
                    "the routing key `{column}` is looked up by `{}`, after it is known who answers; callers are told \
                     apart by what they send",
                    lookup.entity
                ));
            }
        }
        match &self.sticky {
            Some(Sticky::Header(name)) => header_name(name),
            Some(Sticky::Json(pointer)) if !pointer.starts_with('/') => {
                bad(format!("`{pointer}` is no JSON pointer: it starts with a slash, as in /user/id"))
            }
            Some(Sticky::Column(name)) if name.is_empty() => {
                bad("the routing key is in a column without a name".into())
            }
            Some(Sticky::Json(text) | Sticky::Column(text)) => short(text, "the place of the routing key"),
            None => Ok(()),
        }
    }

    /// The deployment of this name.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`].
    pub fn deployment(&self, endpoint: &str, name: &str) -> Result<usize, TrackingError> {
        self.deployments.iter().position(|deployment| deployment.name == name).ok_or_else(|| {
            let hint = did_you_mean(name, self.deployments.iter().map(|d| d.name.as_str()));
            TrackingError::EndpointNotFound { what: format!("deployment `{name}` of endpoint `{endpoint}`"), hint }
        })
    }
}

fn header_name(name: &str) -> Result<(), TrackingError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > TEXT_MAX || !name.bytes().all(allowed) {
        return Err(TrackingError::BadEndpoint(format!("`{name}` cannot be the name of a header")));
    }
    Ok(())
}

fn short(text: &str, what: &str) -> Result<(), TrackingError> {
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(TrackingError::BadEndpoint(format!("{what} has at most {TEXT_MAX} bytes, none of them a control")));
    }
    Ok(())
}

impl Tracking {
    /// Every endpoint, by name.
    ///
    /// # Errors
    /// [`TrackingError::Store`], [`TrackingError::BadDocument`].
    pub fn endpoints(&self) -> Result<Vec<EndpointRecord>, TrackingError> {
        self.store.catalog().read(|tx| {
            let sql = format!("SELECT {COLUMNS} FROM endpoints ORDER BY name");
            tx.query(&sql, &[])?.iter().map(record).collect()
        })
    }

    /// Names of the endpoints for which a model answers, or one version of it, also by an alias.
    ///
    /// # Errors
    /// [`TrackingError::Store`], [`TrackingError::BadDocument`].
    pub fn endpoints_of(&self, model: &str, version: Option<u64>) -> Result<Vec<String>, TrackingError> {
        let named = |deployment: &DeploymentSpec| match deployment.model.parse::<ModelRef>() {
            Ok(ModelRef::Version { name, version: number }) => {
                name == model && version.is_none_or(|version| version == number)
            }
            Ok(ModelRef::Alias { name, alias }) => {
                let meant = || version.is_none_or(|version| self.alias(&name, &alias).is_ok_and(|at| at == version));
                name == model && meant()
            }
            Err(_) => false,
        };
        let all = self.endpoints()?.into_iter();
        Ok(all.filter(|record| record.spec.deployments.iter().any(named)).map(|record| record.name).collect())
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`].
    pub fn endpoint(&self, name: &str) -> Result<EndpointRecord, TrackingError> {
        self.store.catalog().read(|tx| read(tx, name)?.map_or_else(|| Err(not_found(tx, name)), Ok))
    }

    /// What became of an endpoint, newest first; also of one that is gone.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`].
    pub fn endpoint_events(&self, name: &str, limit: u64) -> Result<Vec<EndpointEvent>, TrackingError> {
        self.store.catalog().read(|tx| {
            let rows = tx.query(
                "SELECT seq, revision, time_us, principal, action, reason, spec, evidence FROM endpoint_events
                 WHERE endpoint = $1 ORDER BY seq DESC LIMIT $2",
                &[name.into(), limit.into()],
            )?;
            if rows.is_empty() && limit > 0 {
                return Err(not_found(tx, name));
            }
            rows.iter().map(|row| event(name, row)).collect()
        })
    }

    /// Makes an endpoint: its first revision.
    ///
    /// # Errors
    /// [`TrackingError::BadEndpoint`], [`TrackingError::AlreadyExists`], and those of the models it names.
    pub fn create_endpoint(
        &self,
        name: &str,
        spec: &EndpointSpec,
        change: EndpointChange<'_>,
    ) -> Result<EndpointRecord, TrackingError> {
        if let Some(reason) = name_problem(name) {
            return Err(TrackingError::BadEndpoint(format!("an endpoint cannot be named `{name}`: {reason}")));
        }
        self.check_endpoint(spec)?;
        self.store.catalog().write(|tx| {
            if read(tx, name)?.is_some() {
                return Err(TrackingError::EndpointExists(name.to_owned()));
            }
            let last = tx.query_one("SELECT MAX(revision) FROM endpoint_events WHERE endpoint = $1", &[name.into()])?;
            let last = last.map(|row| row.opt_int(0)).transpose()?.flatten().unwrap_or_default();
            let now = self.clock.now();
            let record = EndpointRecord {
                name: name.to_owned(),
                revision: last as u64 + 1,
                spec: spec.clone(),
                created: now,
                updated: now,
            };
            tx.execute(
                "INSERT INTO endpoints (name, revision, spec, created_us, updated_us) VALUES ($1, $2, $3, $4, $4)",
                &[name.into(), record.revision.into(), json!(spec).to_string().into(), Value::Int(now)],
            )?;
            self.log_endpoint(tx, &record, Some(spec), change)?;
            Ok(record)
        })
    }

    /// Changes an endpoint from the revision that was read to the next.
    ///
    /// # Errors
    /// [`TrackingError::EndpointChanged`] if another change came first; those of [`Tracking::create_endpoint`].
    pub fn change_endpoint(
        &self,
        name: &str,
        from: u64,
        spec: &EndpointSpec,
        change: EndpointChange<'_>,
    ) -> Result<EndpointRecord, TrackingError> {
        self.change_endpoint_with(name, from, spec, change, |_| Ok(Vec::new()))
    }

    /// The same, with aliases that `also` moves in the same transaction; which, is kept with what the change was decided by.
    pub(crate) fn change_endpoint_with(
        &self,
        name: &str,
        from: u64,
        spec: &EndpointSpec,
        change: EndpointChange<'_>,
        also: impl FnOnce(&mut dyn Tx) -> Result<Vec<MovedAlias>, TrackingError>,
    ) -> Result<EndpointRecord, TrackingError> {
        self.check_endpoint(spec)?;
        self.store.catalog().write(|tx| {
            let Some(mut record) = read(tx, name)? else { return Err(not_found(tx, name)) };
            if record.revision != from {
                return Err(TrackingError::EndpointChanged { name: name.to_owned(), from, found: record.revision });
            }
            record.revision += 1;
            record.spec = spec.clone();
            record.updated = self.clock.now();
            tx.execute(
                "UPDATE endpoints SET revision = $2, spec = $3, updated_us = $4 WHERE name = $1",
                &[name.into(), record.revision.into(), json!(spec).to_string().into(), Value::Int(record.updated)],
            )?;
            let evidence = with_aliases(change.evidence, &also(tx)?);
            self.log_endpoint(tx, &record, Some(spec), EndpointChange { evidence: evidence.as_ref(), ..change })?;
            Ok(record)
        })
    }

    /// Writes down something about an endpoint that does not change it.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`].
    pub fn note_endpoint(&self, name: &str, change: EndpointChange<'_>) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let Some(record) = read(tx, name)? else { return Err(not_found(tx, name)) };
            self.log_endpoint(tx, &record, None, change)
        })
    }

    /// Takes an endpoint out of service. What became of it stays on record.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`].
    pub fn delete_endpoint(&self, name: &str, change: EndpointChange<'_>) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let Some(mut record) = read(tx, name)? else { return Err(not_found(tx, name)) };
            record.revision += 1;
            record.updated = self.clock.now();
            for table in ["endpoints WHERE name", "endpoint_feedback WHERE endpoint", "endpoint_rewards WHERE endpoint"]
            {
                tx.execute(&format!("DELETE FROM {table} = $1"), &[name.into()])?;
            }
            self.log_endpoint(tx, &record, None, change)
        })
    }

    /// The specification of an earlier revision.
    ///
    /// # Errors
    /// [`TrackingError::EndpointNotFound`] if there was none of that number.
    pub fn endpoint_revision(&self, name: &str, revision: u64) -> Result<EndpointSpec, TrackingError> {
        self.store.catalog().read(|tx| {
            let row = tx.query_one(
                "SELECT seq, revision, time_us, principal, action, reason, spec, evidence FROM endpoint_events
                 WHERE endpoint = $1 AND revision = $2 AND spec IS NOT NULL ORDER BY seq LIMIT 1",
                &[name.into(), revision.into()],
            )?;
            let found = row.map(|row| event(name, &row)).transpose()?.and_then(|event| event.spec);
            found.ok_or_else(|| TrackingError::EndpointNotFound {
                what: format!("revision {revision} of endpoint `{name}`"),
                hint: format!("`plinth endpoint logs {name}` shows them all"),
            })
        })
    }

    /// The form of it, and that every model and every table it names is there.
    fn check_endpoint(&self, spec: &EndpointSpec) -> Result<(), TrackingError> {
        spec.check()?;
        for deployment in &spec.deployments {
            if let Ok(reference) = deployment.model.parse::<ModelRef>() {
                self.resolve(&reference)?;
            }
            if let Some(LookupSpec { table, .. }) = &deployment.lookup
                && !self.store.blobs().contains(table)?
            {
                let DeploymentSpec { name, .. } = deployment;
                return Err(TrackingError::BadEndpoint(format!(
                    "deployment `{name}` looks up in the table {table}, which is not stored here; \
                     `plinth endpoint deploy --lookup FILE` stores one"
                )));
            }
        }
        Ok(())
    }

    fn log_endpoint(
        &self,
        tx: &mut dyn Tx,
        record: &EndpointRecord,
        spec: Option<&EndpointSpec>,
        change: EndpointChange<'_>,
    ) -> Result<(), TrackingError> {
        let EndpointChange { who, action, reason, evidence } = change;
        let now = self.clock.now();
        let last =
            tx.query_one("SELECT MAX(seq) FROM endpoint_events WHERE endpoint = $1", &[(&record.name).into()])?;
        let last = last.map(|row| row.opt_int(0)).transpose()?.flatten().unwrap_or_default();
        tx.execute(
            "INSERT INTO endpoint_events (endpoint, seq, revision, time_us, principal, action, reason, spec, evidence)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                (&record.name).into(),
                Value::Int(last + 1),
                record.revision.into(),
                Value::Int(now),
                who.into(),
                action.into(),
                reason.into(),
                spec.map_or(Value::Null, |spec| json!(spec).to_string().into()),
                evidence.map_or(Value::Null, |evidence| evidence.to_string().into()),
            ],
        )?;
        let detail = json!({
            "endpoint": record.name, "revision": record.revision, "reason": reason, "spec": spec, "evidence": evidence,
        });
        self.tell(tx, now, who, &format!("endpoint.{action}"), &format!("endpoints:/{}", record.name), &detail)
    }
}

const COLUMNS: &str = "name, revision, spec, created_us, updated_us";

fn read(tx: &mut dyn Tx, name: &str) -> Result<Option<EndpointRecord>, TrackingError> {
    let row = tx.query_one(&format!("SELECT {COLUMNS} FROM endpoints WHERE name = $1"), &[name.into()])?;
    row.map(|row| record(&row)).transpose()
}

fn record(row: &Row) -> Result<EndpointRecord, TrackingError> {
    let name = row.text(0)?;
    Ok(EndpointRecord {
        revision: row.int(1)? as u64,
        spec: specification(&name, &row.text(2)?)?,
        created: row.int(3)?,
        updated: row.int(4)?,
        name,
    })
}

fn event(endpoint: &str, row: &Row) -> Result<EndpointEvent, TrackingError> {
    Ok(EndpointEvent {
        seq: row.int(0)? as u64,
        revision: row.int(1)? as u64,
        time: row.int(2)?,
        principal: row.text(3)?,
        action: row.text(4)?,
        reason: row.text(5)?,
        spec: row.opt_text(6)?.map(|spec| specification(endpoint, &spec)).transpose()?,
        evidence: row.opt_text(7)?.and_then(|evidence| serde_json::from_str(&evidence).ok()),
    })
}

fn specification(endpoint: &str, text: &str) -> Result<EndpointSpec, TrackingError> {
    serde_json::from_str(text).map_err(|source| TrackingError::BadDocument {
        what: format!("the specification of endpoint `{endpoint}`"),
        source,
    })
}

fn not_found(tx: &mut dyn Tx, name: &str) -> TrackingError {
    let known: Vec<String> = match tx.query("SELECT name FROM endpoints ORDER BY name LIMIT 100", &[]) {
        Ok(rows) => rows.iter().filter_map(|row| row.text(0).ok()).collect(),
        Err(error) => return error.into(),
    };
    let hint = match known.is_empty() {
        true => "there is none yet: `plinth endpoint create` makes one".into(),
        false => did_you_mean(name, known.iter().map(String::as_str)),
    };
    TrackingError::EndpointNotFound { what: format!("endpoint `{name}`"), hint }
}
