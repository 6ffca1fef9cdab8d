//! The one thread on which callers have models loaded and unloaded.
//!
//! Memory that a thread gives back stays with it for its next use. If models came and went on whichever thread is free,
//! each of them would keep the room of one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use axum::http::StatusCode;
use plinth_core::codes;
use tokio::sync::oneshot;

use crate::error::ApiError;

type Job = Box<dyn FnOnce() + Send>;

/// Begun when it is needed first; ends when this goes.
#[derive(Default)]
pub(crate) struct Loader {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Loader {
    /// Does `work` after all that was given before it, also if the caller stops waiting.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (tell, told) = oneshot::channel();
        // A caller who left meanwhile does not want the answer.
        self.push(Box::new(move || drop(tell.send(work()))))?;
        told.await.map_err(|_| fault("the work panicked; the log says where"))?
    }

    fn push(&self, job: Job) -> Result<(), ApiError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match &*jobs {
            Some(jobs) => jobs,
            None => jobs.insert(begin().map_err(|error| fault(&format!("a thread could not be started: {error}")))?),
        };
        jobs.send(job).map_err(|_| fault("the thread that loads models has ended"))
    }
}

fn begin() -> std::io::Result<mpsc::Sender<Job>> {
    let (jobs, waiting) = mpsc::channel::<Job>();
    let work = move || {
        for job in waiting {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("loading or unloading a model panicked");
            }
        }
    };
    thread::Builder::new().name("plinth-load".into()).spawn(work)?;
    Ok(jobs)
}

fn fault(message: &str) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_is_done_on_one_thread_and_a_panic_costs_only_its_own_caller() {
        let loader = Loader::default();
        let thread = || Ok((thread::current().id(), thread::current().name().map(str::to_owned)));
        let (first, name) = loader.run(thread).await.unwrap();
        assert_eq!(name.as_deref(), Some("plinth-load"));
        let error = loader.run(|| -> Result<(), ApiError> { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(loader.run(thread).await.unwrap().0, first);
    }
}
