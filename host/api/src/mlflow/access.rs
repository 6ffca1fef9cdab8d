//! Who a caller is, and whether they may do what they ask.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_core::{ContentHash, RequestLimits};
use plinth_tracking::{Principal, Resource, Role, Tracking, TrackingError, verify_password};

use tokio::sync::Semaphore;

use super::{
    MlflowError, Need, Thing,
    fields::Fields,
    plain,
    rates::{Rates, too_often},
};

/// How long a password that was right is taken as right again without hashing it anew. The stored hash is part of what
/// is remembered, so another password counts at once.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Passwords remembered at once.
const REMEMBERED_MAX: usize = 10_000;

/// Passwords that were right a moment ago. Hashing one takes tens of milliseconds, on purpose; a client sends it with
/// every request.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    right: Mutex<HashMap<ContentHash, Instant>>,
    /// How often each may come.
    pub(crate) rates: Rates,
    /// Hashing takes a thread, and whoever waits for it too: guesses must not take those of everybody else.
    hashing: Semaphore,
}

impl Doorkeeper {
    pub(crate) fn new(limits: &RequestLimits) -> Self {
        Self {
            right: Mutex::default(),
            rates: Rates::new(limits),
            hashing: Semaphore::new(limits.passwords_waiting_max as usize),
        }
    }

    /// The principal that the headers name and prove. Blocks.
    pub(crate) fn principal(
        &self,
        tracking: &Tracking,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Principal, MlflowError> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given
            .ok_or_else(|| unauthenticated("You are not authenticated. Send a user name and a password, or a token"))?;
        let (scheme, rest) = given.split_once(' ').unwrap_or((given, ""));
        let found = if scheme.eq_ignore_ascii_case("bearer") {
            tracking.principal_of_token(rest.trim())?
        } else if scheme.eq_ignore_ascii_case("basic") {
            self.by_password(tracking, rest.trim(), address)?
        } else {
            None
        };
        found.ok_or_else(|| unauthenticated("The user name, password or token is not valid"))
    }

    fn by_password(
        &self,
        tracking: &Tracking,
        encoded: &str,
        address: IpAddr,
    ) -> Result<Option<Principal>, MlflowError> {
        let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else { return Ok(None) };
        let Some((hash, principal)) = tracking.credentials(name)? else {
            // As slow as a wrong password, so that names cannot be tried out.
            self.verify(NOBODY, password, address)?;
            return Ok(None);
        };
        let key = ContentHash::of_parts([name.as_bytes(), hash.as_bytes(), password.as_bytes()]);
        let now = Instant::now();
        {
            let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.get(&key).is_some_and(|since| now.duration_since(*since) < REMEMBERED) {
                return Ok(Some(principal));
            }
        }
        if !self.verify(&hash, password, address)? {
            return Ok(None);
        }
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED_MAX {
            right.retain(|_, since| now.duration_since(*since) < REMEMBERED);
        }
        if right.len() < REMEMBERED_MAX {
            right.insert(key, now);
        }
        Ok(Some(principal))
    }

    /// Whether a password has a hash, as often as an address may ask.
    fn verify(&self, hash: &str, password: &str, address: IpAddr) -> Result<bool, MlflowError> {
        self.rates.password(address)?;
        let _turn = self.hashing.try_acquire().map_err(|_| too_often(1))?;
        Ok(verify_password(hash, password))
    }
}

/// The hash of a password that nobody has.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$8sX1mC1Qb3mK2m1mV7wYk8m8m1c8b0cJ5b1h1n0yq3k";

fn unauthenticated(message: &str) -> MlflowError {
    MlflowError::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
}

/// Refuses what a principal may not do.
pub(super) fn authorize(
    tracking: &Tracking,
    principal: &Principal,
    need: Need,
    fields: &Fields,
) -> Result<(), MlflowError> {
    let (role, thing) = match need {
        Need::Narrow => return Ok(()),
        Need::Read(thing) => (Role::Reader, thing),
        Need::Edit(thing) => (Role::Editor, thing),
        Need::Approve(thing) => (Role::Approver, thing),
        Need::Admin => (Role::Admin, Thing::All),
    };
    if principal.role >= role {
        return Ok(());
    }
    let has = match resource(tracking, thing, fields)? {
        Some(resource) => principal.role_for(&resource),
        None => principal.role,
    };
    if has >= role {
        return Ok(());
    }
    let message = format!("Permission denied: this needs the role `{}`", role.name());
    Err(MlflowError::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message))
}

/// Refuses to write to a trace that is there already, in an experiment that the principal may not change. Traces are
/// known by ids that clients make, and come with the name of an experiment that need not be theirs.
pub(super) fn may_change_trace(tracking: &Tracking, principal: &Principal, trace_id: &str) -> Result<(), MlflowError> {
    if principal.role >= Role::Editor {
        return Ok(());
    }
    match tracking.trace(trace_id) {
        Err(TrackingError::TraceNotFound(_)) => Ok(()),
        Err(other) => Err(other.into()),
        Ok(trace) => {
            let mut fields = Fields::default();
            fields.set("experiment_id", &trace.experiment_id);
            authorize(tracking, principal, Need::Edit(Thing::Experiment), &fields)
        }
    }
}

/// The experiment or the model that a request is about; nothing for what is about neither, or is not there.
fn resource(tracking: &Tracking, thing: Thing, fields: &Fields) -> Result<Option<Resource>, MlflowError> {
    let experiment = |found: Result<String, TrackingError>| match found {
        Ok(id) => Ok(Some(Resource::Experiment(id))),
        Err(error @ TrackingError::Store(_)) => Err(MlflowError::from(error)),
        Err(_) => Ok(None),
    };
    match thing {
        Thing::All => Ok(None),
        Thing::Experiment => {
            let id = fields.text("experiment_id")?.filter(|id| !id.is_empty()).unwrap_or("0");
            Ok(Some(Resource::Experiment(id.to_owned())))
        }
        Thing::ExperimentName => {
            let found = tracking.experiment_by_name(fields.text_or_empty("experiment_name")?)?;
            Ok(found.map(|experiment| Resource::Experiment(experiment.experiment_id)))
        }
        Thing::Run => experiment(tracking.experiment_of_run(fields.run_id().unwrap_or_default())),
        Thing::Model => Ok(Some(Resource::Model(fields.text_or_empty("name")?.to_owned()))),
        Thing::LoggedModel => {
            let id = fields.text_or_empty("model_id")?;
            experiment(tracking.logged_model(id, true).map(|model| model.experiment_id))
        }
        Thing::Trace => {
            experiment(tracking.trace(fields.trace_id().unwrap_or_default()).map(|trace| trace.experiment_id))
        }
    }
}

/// What a request needs that has no entry in the table of routes: files, spans, pages.
pub(super) fn inferred(method: &Method, path: &str, query: &str, headers: &HeaderMap) -> Option<(Need, Fields)> {
    const OPEN: [&str; 2] = ["/health", "/version"];
    if OPEN.contains(&path) || path.starts_with("/static-files/") || path.ends_with("/mlflow/server-info") {
        return None;
    }
    let mut fields = Fields::from_query(query);
    // The page itself only makes the browser ask who is there. Of GraphQL each field needs what its route needs.
    if path == "/" || path == "/graphql" || path.ends_with("/mlflow/graphql") || plain::is_open(path) {
        return Some((Need::Narrow, fields));
    }
    let thing = if let Some((_, rest)) = path.split_once("/mlflow-artifacts/") {
        // Whoever may begin an upload was given its id, which nobody can guess.
        if rest.starts_with("mpu/parts/") {
            return Some((Need::Narrow, fields));
        }
        // `artifacts/PATH`, `mpu/create/PATH`, `presigned/PATH`; a listing names its path in the query.
        let skipped = if rest.starts_with("mpu/") { 2 } else { 1 };
        let decoded = decoded(rest.splitn(skipped + 1, '/').nth(skipped).unwrap_or_default());
        let listed = fields.text("path").ok().flatten().unwrap_or_default().to_owned();
        let file = if decoded.is_empty() { listed } else { decoded };
        let mut parts = file.trim_start_matches('/').split('/');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("", _) => Thing::All,
            ("models", Some(name)) => {
                fields.set("name", name);
                Thing::Model
            }
            (experiment, _) => {
                fields.set("experiment_id", experiment);
                Thing::Experiment
            }
        }
    } else if path == "/v1/traces" {
        let id = headers.get("x-mlflow-experiment-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
        fields.set("experiment_id", id);
        Thing::Experiment
    } else if let Some((_, rest)) = path.split_once("/logged-models/") {
        // What the path names decides, whatever the query adds.
        fields.set("model_id", &decoded(rest.split('/').next().unwrap_or_default()));
        Thing::LoggedModel
    } else if path.ends_with("/model-versions/get-artifact") {
        Thing::Model
    } else if path.ends_with("/mlflow/upload-artifact") {
        // The one field that is read there decides, whatever else the query names.
        let id = fields.text("run_uuid").ok().flatten().unwrap_or_default().to_owned();
        fields.set("run_id", &id);
        Thing::Run
    } else if path.ends_with("/get-trace-artifact") {
        let id = fields.text("request_id").ok().flatten().unwrap_or_default().to_owned();
        fields.set("trace_id", &id);
        Thing::Trace
    } else if fields.has("run_id") || fields.has("run_uuid") {
        Thing::Run
    } else if fields.has("trace_id") || fields.has("request_id") {
        Thing::Trace
    } else if fields.has("name") {
        Thing::Model
    } else {
        Thing::All
    };
    let reads = method == Method::GET || method == Method::HEAD;
    Some((if reads { Need::Read(thing) } else { Need::Edit(thing) }, fields))
}

fn decoded(path: &str) -> String {
    // Once, as the routes' own extractor does it.
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_is_about() {
        let about = |method: &Method, path: &str, query: &str| {
            let (need, fields) = inferred(method, path, query, &HeaderMap::new()).unwrap();
            let field = ["experiment_id", "name", "model_id", "run_id"]
                .map(|name| fields.text_or_empty(name).unwrap().to_owned());
            (need, field.concat())
        };
        let root = "/api/2.0/mlflow-artifacts";
        let cases = [
            (Method::GET, format!("{root}/artifacts/7/r/artifacts/x"), "", Need::Read(Thing::Experiment), "7"),
            (Method::PUT, format!("{root}/artifacts/%37/r/artifacts/x"), "", Need::Edit(Thing::Experiment), "7"),
            (Method::GET, format!("{root}/artifacts"), "path=7/r", Need::Read(Thing::Experiment), "7"),
            (Method::GET, format!("{root}/artifacts"), "", Need::Read(Thing::All), ""),
            (Method::POST, format!("{root}/mpu/create/7/r/artifacts/x"), "", Need::Edit(Thing::Experiment), "7"),
            (Method::GET, format!("{root}/artifacts/models/churn/1/model.onnx"), "", Need::Read(Thing::Model), "churn"),
            (Method::GET, "/get-artifact".to_owned(), "run_id=r&path=x", Need::Read(Thing::Run), "r"),
            (Method::PUT, format!("{root}/mpu/parts/abc/1"), "", Need::Narrow, ""),
            (Method::POST, "/graphql".to_owned(), "", Need::Narrow, ""),
            (Method::GET, "/".to_owned(), "", Need::Narrow, ""),
            (Method::POST, "/anything/new".to_owned(), "", Need::Edit(Thing::All), ""),
        ];
        for (method, path, query, need, field) in cases {
            assert_eq!(about(&method, &path, query), (need, field.to_owned()), "{method} {path}");
        }
        // A run that the caller may see opens nothing else.
        let files = "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files";
        assert_eq!(about(&Method::GET, files, "run_id=r").0, Need::Read(Thing::LoggedModel));
        assert_eq!(about(&Method::GET, "/model-versions/get-artifact", "name=m&run_id=r").0, Need::Read(Thing::Model));
        let (need, fields) = inferred(
            &Method::GET,
            "/ajax-api/3.0/mlflow/get-trace-artifact",
            "run_id=r&trace_id=tr-1&request_id=tr-2",
            &HeaderMap::new(),
        )
        .unwrap();
        assert_eq!((need, fields.trace_id().unwrap()), (Need::Read(Thing::Trace), "tr-2"));
        let upload = "/ajax-api/2.0/mlflow/upload-artifact";
        let (need, fields) = inferred(&Method::POST, upload, "run_id=mine&run_uuid=r", &HeaderMap::new()).unwrap();
        assert_eq!((need, fields.run_id().unwrap()), (Need::Edit(Thing::Run), "r"));
        assert!(inferred(&Method::GET, "/health", "", &HeaderMap::new()).is_none());
    }
}
