//! Who answered which request, remembered for the last of them, so that a reward that is told by the request's id
//! reaches the deployment that earned it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use plinth_core::ContentHash;

/// Who answered a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answerer {
    /// The deployment's name within the endpoint.
    pub deployment: Arc<str>,
    /// The version of its model.
    pub version: Arc<str>,
}

/// The last requests that were answered, oldest first; bounded.
#[derive(Debug)]
pub(crate) struct Answers {
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_request: HashMap<u64, Answerer>,
    order: VecDeque<u64>,
}

impl Answers {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, inner: Mutex::default() }
    }

    pub(crate) fn remember(&self, endpoint: &str, request_id: &str, deployment: &Arc<str>, version: &Arc<str>) {
        if self.most == 0 {
            return;
        }
        let key = key(endpoint, request_id);
        let answerer = Answerer { deployment: Arc::clone(deployment), version: Arc::clone(version) };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // An id that is used again means the request that came last.
        if inner.by_request.insert(key, answerer).is_none() {
            inner.order.push_back(key);
        }
        while inner.order.len() > self.most {
            if let Some(oldest) = inner.order.pop_front() {
                inner.by_request.remove(&oldest);
            }
        }
    }

    pub(crate) fn find(&self, endpoint: &str, request_id: &str) -> Option<Answerer> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_request.get(&key(endpoint, request_id)).cloned()
    }
}

fn key(endpoint: &str, request_id: &str) -> u64 {
    let hash = ContentHash::of_parts([endpoint.as_bytes(), request_id.as_bytes()]);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_requests_are_remembered_and_the_oldest_forgotten() {
        let answers = Answers::new(3);
        for (id, by) in [("a", "one"), ("b", "two"), ("c", "one"), ("a", "two"), ("d", "one")] {
            answers.remember("churn", id, &by.into(), &"7".into());
        }
        let by = |id| answers.find("churn", id).map(|found| found.deployment.to_string());
        assert_eq!(["a", "b", "c", "d"].map(by), [None, Some("two".into()), Some("one".into()), Some("one".into())]);
        assert_eq!(answers.find("other", "d"), None);
        assert_eq!(Answers::new(0).find("churn", "d"), None);
    }
}
