//! Who answered which request, remembered for the last of them, so that a reward that is told by the request's id
//! reaches the deployment that earned it.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashTable;

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
    /// Of this server alone, so that no caller can make two ids that it takes for one.
    keys: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By their keys, which are hashes already.
    by_request: HashTable<(u64, Answerer)>,
    order: VecDeque<u64>,
}

impl Answers {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, keys: RandomState::new(), inner: Mutex::default() }
    }

    pub(crate) fn remember(&self, endpoint: &str, request_id: &str, deployment: &Arc<str>, version: &Arc<str>) {
        if self.most == 0 {
            return;
        }
        let key = self.key(endpoint, request_id);
        let answerer = Answerer { deployment: Arc::clone(deployment), version: Arc::clone(version) };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { by_request, order } = &mut *inner;
        // An id that is used again means the request that came last.
        match by_request.find_mut(key, |(known, _)| *known == key) {
            Some((_, before)) => *before = answerer,
            None => {
                by_request.insert_unique(key, (key, answerer), |(known, _)| *known);
                order.push_back(key);
            }
        }
        while order.len() > self.most {
            let Some(oldest) = order.pop_front() else { break };
            if let Ok(found) = by_request.find_entry(oldest, |(known, _)| *known == oldest) {
                found.remove();
            }
        }
    }

    pub(crate) fn find(&self, endpoint: &str, request_id: &str) -> Option<Answerer> {
        let key = self.key(endpoint, request_id);
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_request.find(key, |(known, _)| *known == key).map(|(_, answerer)| answerer.clone())
    }

    fn key(&self, endpoint: &str, request_id: &str) -> u64 {
        self.keys.hash_one((endpoint, request_id))
    }
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
