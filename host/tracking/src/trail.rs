//! The trail that changes leave: events for those who wait for them, records of who did what.

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
