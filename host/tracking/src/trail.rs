//! The trail that changes leave: events for those who wait for them, records of who did what.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use plinth_core::Micros;
use plinth_store::{AuditEntry, Tx, append_audit, emit};

use crate::{Tracking, TrackingError};

/// Who changes something where nobody has to say who they are.
pub const ANONYMOUS: &str = "anonymous";

impl Tracking {
    /// An event, and an audit record of the same.
    pub(crate) fn tell(
        &self,
        tx: &mut dyn Tx,
        now: Micros,
        who: &str,
        kind: &str,
        subject: &str,
        payload: &serde_json::Value,
    ) -> Result<(), TrackingError> {
        emit(tx, now, kind, &payload.to_string())?;
        self.audit(tx, now, who, kind, subject, payload)
    }

    /// An audit record of what the one for whom this is did just now.
    pub(crate) fn note(
        &self,
        tx: &mut dyn Tx,
        action: &str,
        subject: &str,
        detail: &serde_json::Value,
    ) -> Result<(), TrackingError> {
        self.audit(tx, self.clock.now(), &self.who, action, subject, detail)
    }

    pub(crate) fn audit(
        &self,
        tx: &mut dyn Tx,
        now: Micros,
        who: &str,
        action: &str,
        subject: &str,
        detail: &serde_json::Value,
    ) -> Result<(), TrackingError> {
        let entry = AuditEntry {
            time: now,
            principal: who.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_string(),
        };
        Ok(append_audit(tx, &entry)?)
    }
}

/// Who has logged to what since the process began. Points come by the thousand: one record says that someone logs to a
/// run, and not one for each of them.
#[derive(Debug, Default)]
pub(crate) struct Loggers(Mutex<HashMap<Arc<str>, HashSet<String>>>);

impl Loggers {
    /// Things that are remembered for each who logs; past that all are forgotten, and noted once more.
    const MOST: usize = 20_000;

    pub(crate) fn is_new(&self, who: &str, subject: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(who).is_none_or(|subjects| !subjects.contains(subject))
    }

    /// Only what is durable is remembered.
    pub(crate) fn add(&self, who: &Arc<str>, subject: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let subjects = known.entry(Arc::clone(who)).or_default();
        if subjects.len() >= Self::MOST {
            subjects.clear();
        }
        subjects.insert(subject.to_owned());
    }
}
