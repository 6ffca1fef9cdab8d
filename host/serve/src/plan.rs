//! What should be served, and where deployments come from.

use std::sync::Arc;

use plinth_core::ContentHash;

use crate::{Capacity, Deployment, RolloutPlan, ServeError};

/// Tells one state of a [`Source`] from the next, such as the version number an alias points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation(pub u64);

/// Where deployments come from. All methods may block; they are called from one thread at a time, never from an async
/// one.
pub trait Source: Send + Sync + 'static {
    /// Which state it is in. Asked several times a second, so it must be cheap.
    ///
    /// # Errors
    /// [`ServeError::outside`].
    fn current(&self) -> Result<Generation, ServeError>;

    /// The endpoints that should be served now; called when the generation is another than before.
    ///
    /// # Errors
    /// [`ServeError::outside`].
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError>;

    /// An endpoint that is not planned, when somebody asks for it by name: a model whose version is chosen by the source.
    ///
    /// # Errors
    /// [`ServeError::NoEndpoint`] unless there is one.
    fn find(&self, name: &str) -> Result<EndpointPlan, ServeError> {
        Err(ServeError::NoEndpoint { name: name.to_owned(), known: Vec::new() })
    }

    /// Names that [`Source::find`] knows, with the version that it would choose.
    ///
    /// # Errors
    /// [`ServeError::outside`].
    fn known(&self) -> Result<Vec<(Arc<str>, u64)>, ServeError> {
        Ok(Vec::new())
    }

    /// Loads one deployment of a plan.
    ///
    /// # Errors
    /// [`ServeError::outside`], also when a part is not the one that was recorded.
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError>;
}

/// An endpoint as it should be: a name that callers ask, and what answers them.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointPlan {
    /// Its name; no two endpoints of a plan have the same.
    pub name: Arc<str>,
    /// Which of its states this is; grows with every change.
    pub revision: u64,
    /// What answers; at least one of them with a weight. The first is the one that others are compared with.
    pub deployments: Vec<DeploymentPlan>,
    /// Who is answered by which.
    pub routing: Routing,
}

impl EndpointPlan {
    /// An endpoint of a model's name that one version answers for.
    pub fn single(model: &str, version: u64) -> Self {
        let deployment = DeploymentPlan {
            name: "main".into(),
            model: model.into(),
            version,
            device: None,
            capacity: Capacity::default(),
            lookup: None,
            weight: 1,
            shadow: 0,
        };
        Self { name: model.into(), revision: 1, deployments: vec![deployment], routing: Routing::default() }
    }
}

/// A shadow of this much gets a copy of every request.
pub(crate) const SHADOW_ALL: u64 = 10_000;

/// A model version on a device, as one of those that answer for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentPlan {
    /// Its name within the endpoint.
    pub name: Arc<str>,
    /// The registered model.
    pub model: Arc<str>,
    /// The model's version.
    pub version: u64,
    /// Where it runs, if not where everything does.
    pub device: Option<String>,
    /// How much of the server it may take.
    pub capacity: Capacity,
    /// What is looked up for its rows, if anything is.
    pub lookup: Option<LookupPlan>,
    /// Its part of the requests, relative to the weights of the others.
    pub weight: u32,
    /// The part of all requests, of 10,000, that it gets a copy of, without being the one that answers.
    pub shadow: u32,
}

/// Columns that callers need not send, because they are known by an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupPlan {
    /// The column that names the entity.
    pub entity: Arc<str>,
    /// The table, by content.
    pub table: ContentHash,
}

impl DeploymentPlan {
    /// Whether what one of them loaded can serve for the other too.
    pub(crate) fn loads_the_same(&self, other: &Self) -> bool {
        (&self.model, self.version, &self.device, self.capacity, &self.lookup)
            == (&other.model, other.version, &other.device, other.capacity, &other.lookup)
    }
}

/// Who is answered by which deployment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// Rules that come before the weights; the first that fits decides.
    pub rules: Vec<Rule>,
    /// What makes two requests those of the same caller, who is to be answered by the same deployment.
    pub key: KeySource,
    /// The rollout that is under way, if one is.
    pub rollout: Option<RolloutPlan>,
}

/// Requests that one deployment answers, whatever the weights say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The header to look at, in lower case.
    pub header: String,
    /// What it must say; none if it only has to be there.
    pub equals: Option<String>,
    /// The deployment's name.
    pub deployment: Arc<str>,
}

/// Where a request says whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeySource {
    /// Nowhere: each request is one of its own.
    #[default]
    Request,
    /// In a header, in lower case.
    Header(String),
    /// In a JSON body, at this pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
    Json(String),
    /// In the first row, in this column.
    Column(String),
}
