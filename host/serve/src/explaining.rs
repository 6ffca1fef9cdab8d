//! What explains a deployment's predictions: made when the first caller asks, and kept as long as the deployment.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use plinth_score::{Explainer, Scorer};

use crate::ServeError;

/// Makes an explainer for a scorer.
pub type MakeExplainer = Box<dyn Fn(&Scorer) -> Result<Explainer, ServeError> + Send + Sync>;

/// An explainer that is made when it is needed.
pub(crate) struct Explaining {
    make: MakeExplainer,
    made: Mutex<Option<Arc<Explainer>>>,
}

impl Explaining {
    pub(crate) const fn new(make: MakeExplainer) -> Self {
        Self { make, made: Mutex::new(None) }
    }

    /// The explainer. Callers that come while it is made wait for it; after a failure the next one tries again.
    pub(crate) fn of(&self, scorer: &Scorer) -> Result<Arc<Explainer>, ServeError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(Arc::clone(made));
        }
        let explainer = Arc::new((self.make)(scorer)?);
        *made = Some(Arc::clone(&explainer));
        Ok(explainer)
    }
}

impl fmt::Debug for Explaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explaining").finish_non_exhaustive()
    }
}
