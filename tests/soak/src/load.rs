//! Good requests, all the time, each answer compared byte for byte.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use ureq::Agent;

/// A request and the bytes that are its answer.
pub(crate) struct Question {
    pub(crate) body: String,
    pub(crate) answer: Vec<u8>,
}

/// So many callers, each with one request at a time.
pub(crate) const CALLERS: usize = 4;

/// Each caller asks no sooner than this after it asked before: the server is to be busy, not to be measured.
const PACE: Duration = Duration::from_millis(20);

/// What came of the requests so far.
#[derive(Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    pub(crate) requests: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Microseconds of each.
    latencies: Mutex<Vec<u32>>,
    /// The first few failures, in words.
    pub(crate) failures: Mutex<Vec<String>>,
}

impl Load {
    /// Asks a server until it is told to stop.
    pub(crate) fn run(&self, port: u16, questions: &Arc<Vec<Question>>, caller: usize) {
        let agent = agent();
        let url = url(port);
        let mut next = Instant::now();
        for index in (caller..).step_by(CALLERS) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + PACE;
            let question = &questions[index % questions.len()];
            let start = Instant::now();
            let answer = ask(&agent, &url, &question.body);
            let took = start.elapsed();
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(took.as_micros() as u32);
            let wrong = match answer {
                Ok((200, body)) if body == question.answer => continue,
                Ok((status, body)) => format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])),
                Err(error) => format!("{error:#}"),
            };
            self.failed.fetch_add(1, Ordering::Relaxed);
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() < 10 {
                failures.push(wrong);
            }
        }
    }

    /// Lets each caller finish its request.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The time within which such a share of the requests were answered, in microseconds.
    pub(crate) fn percentile(&self, share: f64) -> u32 {
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_unstable();
        let last = all.len().saturating_sub(1);
        all.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// A caller that keeps its connection.
pub(crate) fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30)));
    config.build().into()
}

pub(crate) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/invocations")
}

/// The status and the bytes of one answer.
pub(crate) fn ask(agent: &Agent, url: &str, body: &str) -> Result<(u16, Vec<u8>)> {
    let mut response = agent.post(url).header("content-type", "application/json").send(body)?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_vec()?))
}
