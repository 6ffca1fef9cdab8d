//! What every request passes before it is answered: the host that it names, the page that it comes from, who sends it.

use std::{collections::HashSet, net::IpAddr, sync::Arc, sync::LazyLock};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use plinth_tracking::{Principal, Role};

use crate::connections::Peer;

use super::{MlflowError, Need, PREFIXES, ROUTES, Tracker, access, blocking, fields::Fields};

/// Whether what a browser sends comes from a page of the same site.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whoever sends a request, in its extensions.
#[derive(Clone)]
pub(super) struct Caller(pub(super) Arc<Principal>);

/// Patterns of the routes in the table, whose needs are checked where their fields are read.
static TABLED: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let paths = ROUTES.iter().copied().flatten().map(|route| route.path);
    paths.flat_map(|path| PREFIXES.map(|prefix| format!("{prefix}{path}"))).collect()
});

/// Before anything else, and for every method: what a page of another site asks first tells it nothing either.
pub(super) async fn same_site(State(tracker): State<Tracker>, request: Request, next: Next) -> Response {
    if let Err(refusal) = named_rightly(&tracker, &request) {
        return refusal;
    }
    // A length that stood beside the chunks is gone by now. What follows a body that others may have measured by it
    // must not be taken for another request.
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = secured(next.run(request).await);
    if chunked {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(super) async fn guard(State(tracker): State<Tracker>, mut request: Request, next: Next) -> Response {
    let asked = Asked::of(&request);
    let caller = match authenticate(&tracker, asked).await {
        Ok(caller) => caller,
        Err(error) => {
            let unauthenticated = error.status == StatusCode::UNAUTHORIZED;
            let mut response = error.into_response();
            if unauthenticated {
                let challenge = HeaderValue::from_static("Basic realm=\"mlflow\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            return response;
        }
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Refuses what a browser was talked into: a name that was made to point here, a page of another site.
fn named_rightly(tracker: &Tracker, request: &Request) -> Result<(), Response> {
    let config = &tracker.config;
    let path = request.uri().path();
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let hosts: Vec<&str> = request
        .headers()
        .get_all(header::HOST)
        .iter()
        .map(|host| host.to_str().unwrap_or_default())
        // A proxy's form of a request names a host of its own.
        .chain(request.uri().authority().map(Authority::as_str))
        .collect();
    let rightly = !hosts.is_empty() && hosts.iter().all(|host| allowed_host(&config.allowed_hosts, host));
    if !matches!(path, "/health" | "/version") && !rightly {
        return Err(plain("Invalid Host header - possible DNS rebinding attack detected"));
    }
    // A page that asks whether it may is told as plainly as one that does not ask.
    let harmless = matches!(*request.method(), Method::GET | Method::HEAD);
    // One that is no text is foreign, and so is the second of two.
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    let allowed =
        |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| allowed_origin(&config.cors_origins, origin));
    let mut foreign = !origins.all(allowed);
    if !request.headers().contains_key(header::ORIGIN) {
        // Browsers say so of what they leave no origin in.
        foreign = text(SITE).is_some_and(|site| site.eq_ignore_ascii_case("cross-site"));
    }
    if !harmless && foreign {
        return Err(plain("Cross-origin request blocked"));
    }
    Ok(())
}

fn plain(message: &'static str) -> Response {
    secured((StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "text/plain")], message).into_response())
}

fn secured(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    response
}

/// Names of this machine, addresses that no public name server gives out, and what the operator allows.
pub(crate) fn allowed_host(allowed: &[String], host: &str) -> bool {
    if allowed.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(host)) {
        return true;
    }
    let name = without_port(host);
    if allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
        return true;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // A rebinding attack needs a name; an address in numbers is what it says. Public ones must be allowed all the same.
    match name.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => false,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

/// Pages of this machine, and of the sites that the operator allows.
pub(crate) fn allowed_origin(allowed: &[String], origin: &str) -> bool {
    if allowed.iter().any(|site| site == "*" || site == origin) {
        return true;
    }
    let name = origin.split_once("://").map(|(_, host)| without_port(host));
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// What of a request tells who sends it and what it needs. The body of a request cannot be lent to a task that waits.
struct Asked {
    headers: HeaderMap,
    address: IpAddr,
    /// Of a route that is not in the table; nothing for one that is open to all.
    need: Option<(Need, Fields)>,
    tabled: bool,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let tabled = request.extensions().get::<MatchedPath>().is_some_and(|path| TABLED.contains(path.as_str()));
        let headers = request.headers().clone();
        let need = if tabled { None } else { access::inferred(request.method(), path, query, &headers) };
        let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
        Self { headers, address: peer.address, need, tabled }
    }
}

async fn authenticate(tracker: &Tracker, asked: Asked) -> Result<Caller, MlflowError> {
    if !tracker.config.access {
        tracker.doorkeeper.rates.address(asked.address)?;
        return Ok(Caller(Arc::clone(&tracker.anyone)));
    }
    if !asked.tabled && asked.need.is_none() {
        // Open to all: nothing there tells or changes anything.
        return Ok(Caller(Arc::new(Principal { role: Role::None, ..Principal::anyone() })));
    }
    let tracker = tracker.clone();
    blocking(move || {
        let principal = tracker.doorkeeper.principal(&tracker.tracking, &asked.headers, asked.address)?;
        tracker.doorkeeper.rates.user(&principal.name)?;
        if let Some((need, fields)) = &asked.need {
            access::authorize(&tracker.tracking, &principal, *need, fields)?;
        }
        Ok(Caller(Arc::new(principal)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_control_are_refused() {
        let allowed = ["plinth.example".to_owned()];
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
            "10.1.2.3",
            "192.168.0.7:80",
            "PLINTH.example:443",
            "0.0.0.0:1",
        ] {
            assert!(allowed_host(&allowed, host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.evil.example",
            "8.8.8.8",
            "192.168.0.7.nip.io",
            "localhost@evil.example",
        ] {
            assert!(!allowed_host(&allowed, host), "{host}");
        }
        assert!(allowed_host(&["*".to_owned()], "evil.example"));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:1", "https://ok.example"] {
            assert!(allowed_origin(&["https://ok.example".to_owned()], origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://evil.example",
            "http://localhost.evil.example",
            "https://ok.example.evil",
            "http://ok.example",
        ] {
            assert!(!allowed_origin(&["https://ok.example".to_owned()], origin), "{origin}");
        }
    }
}
