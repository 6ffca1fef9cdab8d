//! Who asks a scoring server, and whether they may.
//!
//! A principal is looked up in the catalog, which blocks and costs more than scoring a row, so what was found is
//! remembered for a moment: a token that was revoked is of no use after that. While the catalog does not answer, those
//! who were known a while ago still are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use plinth_core::{ContentHash, codes, refs::ModelRef};
use plinth_serve::Server;
use plinth_tracking::{EndpointSpec, Principal, Resource, Role, Tracking};

use super::{Caller, Serving, text};
use crate::{
    connections::Peer,
    error::{ApiError, Surface},
    mlflow::{Doorkeeper, allowed_host, allowed_origin},
    oip::grpc,
};

/// How long it is remembered who somebody is.
const FRESH: Duration = Duration::from_millis(500);
/// How long that still counts while the catalog does not answer.
const STALE: Duration = Duration::from_secs(600);
/// How many are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// What decides who may do what.
pub(crate) struct Access {
    server: Arc<Server>,
    tracking: Tracking,
    doorkeeper: Doorkeeper,
    known: Mutex<HashMap<ContentHash, (Instant, Arc<Principal>)>>,
}

impl Access {
    /// Nothing where nobody has to say who they are.
    pub(crate) fn new(serving: &Serving) -> Option<Self> {
        Some(Self {
            server: Arc::clone(&serving.server),
            tracking: serving.access.clone()?,
            doorkeeper: Doorkeeper::new(&serving.requests),
            known: Mutex::default(),
        })
    }

    async fn principal(self: &Arc<Self>, headers: &HeaderMap, peer: Peer) -> Result<Arc<Principal>, ApiError> {
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let key = ContentHash::of(given);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let principal = match &known {
            Some((at, principal)) if at.elapsed() < FRESH => Arc::clone(principal),
            _ => {
                let (access, headers) = (Arc::clone(self), headers.clone());
                let look = move || access.doorkeeper.principal(&access.tracking, &headers, peer.address);
                let found = tokio::task::spawn_blocking(look).await;
                let found = found.map_err(|_| {
                    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL, "the look-up panicked")
                })?;
                match (found, known) {
                    (Ok(found), _) => self.remember(key, found),
                    // The catalog is away, not the caller.
                    (Err(error), Some((at, principal))) if error.status.is_server_error() && at.elapsed() < STALE => {
                        principal
                    }
                    (Err(error), _) => {
                        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                        return Err(error.into());
                    }
                }
            }
        };
        // Each token has a rate of its own.
        self.doorkeeper.rates.user(&format!("{}/{}", principal.name, &key.to_hex()[..16]))?;
        Ok(principal)
    }

    fn remember(&self, key: ContentHash, principal: Principal) -> Arc<Principal> {
        let principal = Arc::new(principal);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if known.len() < REMEMBERED_MAX {
            known.insert(key, (Instant::now(), Arc::clone(&principal)));
        }
        principal
    }

    /// What a principal may do with what a path is about: their role, or that which they were granted for every model
    /// behind it.
    fn role(&self, principal: &Principal, path: &str) -> Role {
        if principal.grants.is_empty() {
            return principal.role;
        }
        let mut parts = path.trim_start_matches('/').split('/');
        let named = match (parts.next(), parts.next(), parts.next()) {
            (Some("v2"), Some("models"), Some(name)) | (Some("endpoints"), Some(name), _) => Some(name),
            (Some("invocations"), None, _) => None,
            _ => return principal.role,
        };
        let named = named.map(|name| percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned());
        let models = self.server.models(named.as_deref()).unwrap_or_default();
        let roles = models.iter().map(|model| principal.role_for(&Resource::Model(model.to_string())));
        roles.min().unwrap_or(principal.role)
    }
}

/// What a request needs; nothing for what is open to all.
fn needed(method: &Method, path: &str) -> Option<Role> {
    const OPEN: [&str; 6] = ["/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready", "/v2"];
    if OPEN.contains(&path) {
        return None;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let last = path.rsplit('/').next().unwrap_or_default();
    // Everything of gRPC is a POST. Its settings are read by the call that changes them.
    if path.starts_with("/grpc.health.v1.Health/") {
        return None;
    }
    if path.starts_with("/inference.GRPCInferenceService/") {
        return match last {
            "ServerLive" | "ServerReady" => None,
            "ModelInfer" | "ModelStreamInfer" | "ModelReady" | "ModelMetadata" | "ModelConfig" | "ModelStatistics"
            | "ServerMetadata" | "RepositoryIndex" => Some(Role::Reader),
            _ => Some(Role::Editor),
        };
    }
    if reads {
        return Some(Role::Reader);
    }
    if path == "/endpoints" || path.starts_with("/endpoints/") {
        return Some(match (method, last) {
            (_, "invocations" | "feedback") => Role::Reader,
            (_, "promote" | "approve") if path.split('/').count() > 3 => Role::Approver,
            (&Method::DELETE, _) => Role::Admin,
            _ => Role::Editor,
        });
    }
    // What asks for answers only; everything else of the protocol changes what is served or how.
    let asks = path == "/invocations" || matches!(last, "infer" | "generate" | "index" | "explain" | "feedback");
    Some(if asks { Role::Reader } else { Role::Editor })
}

/// Refuses those who may not change every model of an endpoint to be: or who may change one model could have any other one
/// served, and ask it.
pub(super) fn require_models(principal: &Principal, spec: &EndpointSpec) -> Result<(), ApiError> {
    // What is no reference the catalog tells of.
    let models = spec.deployments.iter().filter_map(|deployment| deployment.model.parse::<ModelRef>().ok());
    let mut roles = models.map(|model| principal.role_for(&Resource::Model(model.name().to_owned())));
    roles.try_for_each(|role| require(role, Role::Editor))
}

/// Refuses those who have not that role.
pub(super) fn require(has: Role, needs: Role) -> Result<(), ApiError> {
    if has >= needs {
        return Ok(());
    }
    let message = format!("permission denied: this needs the role `{}`", needs.name());
    Err(ApiError::new(StatusCode::FORBIDDEN, codes::PERMISSION_DENIED, message))
}

/// Lets in those who may.
pub(crate) async fn guard(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let Some(role) = needed(request.method(), &path) else {
        request.extensions_mut().insert(Caller::from(Arc::new(Principal { role: Role::None, ..Principal::anyone() })));
        return next.run(request).await;
    };
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let headers = request.headers().clone();
    let let_in = async {
        let principal = access.principal(&headers, peer).await?;
        let has = access.role(&principal, &path);
        require(has, role)?;
        // What a grant allows here is what a handler may count on.
        Ok::<_, ApiError>(Caller(principal, has))
    };
    match let_in.await {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            // For the access log.
            response.extensions_mut().insert(caller);
            response
        }
        Err(error) => {
            if grpc::is_grpc(request.headers()) {
                return grpc::refusal(&error);
            }
            let mut response = error.response(Surface::of(&path));
            if error.status() == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::from_static("Basic realm=\"plinth\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// Refuses changes that a page of another site talked a browser into.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers();
    let host = text(headers, &header::HOST);
    // A name that was made to point here is caught by what it says of itself, except where it is called by that name.
    let foreign = headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let own = host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, name)| name == host));
        !(own && host.is_some_and(|host| allowed_host(&[], host)) || allowed_origin(&[], origin))
    });
    let said = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if !harmless && (foreign || said.is_some_and(|site| site.eq_ignore_ascii_case("cross-site"))) {
        let message = "a page of another site must not change what is served";
        return ApiError::new(StatusCode::FORBIDDEN, codes::PERMISSION_DENIED, message).response(Surface::Mlflow);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requests_need() {
        for (method, path, role) in [
            (Method::GET, "/health", None),
            (Method::GET, "/v2/health/ready", None),
            (Method::GET, "/metrics", Some(Role::Reader)),
            (Method::GET, "/endpoints/churn", Some(Role::Reader)),
            (Method::POST, "/invocations", Some(Role::Reader)),
            (Method::POST, "/endpoints/churn/invocations", Some(Role::Reader)),
            (Method::POST, "/endpoints/churn/feedback", Some(Role::Reader)),
            (Method::POST, "/v2/models/churn/infer", Some(Role::Reader)),
            (Method::POST, "/v2/models/churn/versions/2/infer", Some(Role::Reader)),
            (Method::POST, "/v2/repository/index", Some(Role::Reader)),
            (Method::POST, "/v2/repository/models/churn/load", Some(Role::Editor)),
            (Method::POST, "/endpoints", Some(Role::Editor)),
            (Method::PUT, "/endpoints/promote", Some(Role::Editor)),
            (Method::POST, "/endpoints/churn/rollback", Some(Role::Editor)),
            (Method::POST, "/endpoints/churn/pause", Some(Role::Editor)),
            (Method::POST, "/endpoints/churn/promote", Some(Role::Approver)),
            (Method::POST, "/endpoints/churn/approve", Some(Role::Approver)),
            (Method::DELETE, "/endpoints/churn", Some(Role::Admin)),
            (Method::POST, "/anything/else", Some(Role::Editor)),
            (Method::POST, "/inference.GRPCInferenceService/ServerLive", None),
            (Method::POST, "/inference.GRPCInferenceService/ModelInfer", Some(Role::Reader)),
            (Method::POST, "/inference.GRPCInferenceService/ModelStreamInfer", Some(Role::Reader)),
            (Method::POST, "/inference.GRPCInferenceService/RepositoryIndex", Some(Role::Reader)),
            (Method::POST, "/inference.GRPCInferenceService/RepositoryModelUnload", Some(Role::Editor)),
            (Method::POST, "/inference.GRPCInferenceService/LogSettings", Some(Role::Editor)),
            (Method::POST, "/grpc.health.v1.Health/Check", None),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }
}
