//! The way of a request to its handler: the routes, and a shorter one for what is asked far more often than anything else.
//!
//! To find one route among all, to unpack its path and to go through the layers around it takes about a third of the
//! pieces of memory that a request of one row needs. The shorter way leads to the same handlers, which give the same
//! answer. What has to be let in or logged before, or is asked in an unusual way, takes the routes.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    response::Response,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, ready},
};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use crate::{App, connections::Peer, oip, request::Asked, scoring};

type Routes = TowerToHyperService<Router>;

/// What answers the requests of a connection.
#[derive(Clone)]
pub(crate) struct Front {
    routes: Routes,
    /// None where every request takes the routes.
    straight: Option<App>,
}

/// An answer on its way.
pub(crate) type Answering =
    Either<BoxFuture<'static, Result<Response, Infallible>>, <Routes as Service<Request<Incoming>>>::Future>;

/// What has a way of its own.
#[derive(Debug, PartialEq, Eq)]
enum Often {
    /// Of a model, by its name.
    Infer(String),
    Invocations,
    ModelInfer,
}

impl Often {
    fn of<B>(request: &Request<B>) -> Option<Self> {
        // Pages of a browser name where they come from, and may be told that they may not read the answer.
        if request.method() != Method::POST || request.headers().contains_key(header::ORIGIN) {
            return None;
        }
        match request.uri().path() {
            "/invocations" => Some(Self::Invocations),
            oip::MODEL_INFER => Some(Self::ModelInfer),
            path => {
                let model = path.strip_prefix(oip::MODELS)?.strip_suffix(oip::INFER)?;
                let is_plain = !model.is_empty() && !model.contains(['/', '%']);
                is_plain.then(|| Self::Infer(model.to_owned()))
            }
        }
    }

    async fn answer(self, app: App, request: Request) -> Response {
        let mut response = match self {
            Self::Infer(model) => oip::infer_of(app, Asked::of(model, None), request).await,
            Self::Invocations => scoring::invocations(State(app), request).await,
            Self::ModelInfer => return oip::model_infer(State(app), request).await,
        };
        // As the layer says it that answers pages of a browser.
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
        response
    }
}

impl Front {
    /// Routes, and `straight` if what is asked most need not take them.
    pub(crate) fn new(routes: Router, straight: Option<App>) -> Self {
        Self { routes: TowerToHyperService::new(routes), straight }
    }

    /// An answer that is there already.
    pub(crate) fn at_once(response: Response) -> Answering {
        Either::Left(ready(Ok(response)).boxed())
    }

    pub(crate) fn call(&self, mut request: Request<Incoming>, peer: Peer) -> Answering {
        if let Some(app) = &self.straight
            && let Some(often) = Often::of(&request)
        {
            return Either::Left(often.answer(app.clone(), request.map(Body::new)).map(Ok).boxed());
        }
        request.extensions_mut().insert(peer);
        Either::Right(self.routes.call(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_most_in_its_usual_way_does_not_take_the_routes() {
        let of = |method: Method, path: &str, origin: bool| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            *request.uri_mut() = path.parse().unwrap();
            if origin {
                request.headers_mut().insert(header::ORIGIN, HeaderValue::from_static("https://page.example"));
            }
            Often::of(&request)
        };
        let infer = |model: &str| Some(Often::Infer(model.to_owned()));
        for (path, often) in [
            ("/v2/models/churn/infer", infer("churn")),
            ("http://localhost:80/v2/models/churn/infer?timings=true", infer("churn")),
            ("/invocations", Some(Often::Invocations)),
            ("/inference.GRPCInferenceService/ModelInfer", Some(Often::ModelInfer)),
            ("/v2/models/churn/versions/1/infer", None),
            ("/v2/models/%63hurn/infer", None),
            ("/v2/models//infer", None),
            ("/v2/models/infer", None),
            ("/v2/models/churn/infer/", None),
            ("/endpoints/churn/invocations", None),
            ("/inference.GRPCInferenceService/ModelReady", None),
        ] {
            assert_eq!(of(Method::POST, path, false), often, "{path}");
            assert_eq!(of(Method::GET, path, false), None, "{path}");
            assert_eq!(of(Method::POST, path, true), None, "{path}");
        }
    }
}
