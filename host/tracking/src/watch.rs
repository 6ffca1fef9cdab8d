//! What was served and what the monitor found.

use plinth_core::{ContentHash, Micros};
use plinth_store::{Value, emit};
use serde::Serialize;

use crate::{Tracking, TrackingError};

/// What a file of captures holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureKind {
    /// Requests and their answers.
    Requests,
    /// What the columns of requests had to do with the answers.
    Attributions,
}

impl CaptureKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Attributions => "attributions",
        }
    }
}

/// A stored file of captured requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capture {
    /// What it holds.
    pub kind: CaptureKind,
    /// Its content: a Parquet file.
    pub blob: ContentHash,
    /// Registered model.
    pub model: String,
    /// The version that answered.
    pub version: u64,
    /// Number of rows.
    pub rows: u64,
    /// Time of the first.
    pub from: Micros,
    /// Time of the last.
    pub to: Micros,
}

/// A drift check that was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckRecord {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Registered model.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// What was compared with its reference.
    pub current: String,
    /// `drift`, `no-drift` or `inconclusive`.
    pub verdict: String,
    /// The report, as JSON.
    pub report: String,
    /// When.
    pub time: Micros,
}

impl Tracking {
    /// Records a stored file of captured requests.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn add_capture(&self, capture: &Capture) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            tx.execute(
                "INSERT INTO captures (blob, model, version, rows, from_us, to_us, kind)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (blob) DO NOTHING",
                &[
                    capture.blob.into(),
                    Value::from(&capture.model),
                    capture.version.into(),
                    capture.rows.into(),
                    Value::Int(capture.from),
                    Value::Int(capture.to),
                    capture.kind.name().into(),
                ],
            )?;
            Ok(())
        })
    }

    /// Forgets captured files whose last row is older than `before`; gives how many. The next collection of blobs
    /// removes the files.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn forget_captures(&self, before: Micros) -> Result<u64, TrackingError> {
        self.store.catalog().write(|tx| Ok(tx.execute("DELETE FROM captures WHERE to_us < $1", &[Value::Int(before)])?))
    }

    /// How many [`Tracking::forget_captures`] would forget.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn captures_before(&self, before: Micros) -> Result<u64, TrackingError> {
        self.store.catalog().read(|tx| {
            let row = tx.query_one("SELECT COUNT(*) FROM captures WHERE to_us < $1", &[Value::Int(before)])?;
            Ok(row.map(|row| row.int(0)).transpose()?.unwrap_or_default() as u64)
        })
    }

    /// Captured requests of a model version: files, oldest first, whose rows end at `since` or later.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn captures(&self, model: &str, version: u64, since: Micros) -> Result<Vec<Capture>, TrackingError> {
        self.captures_of(CaptureKind::Requests, model, version, since)
    }

    /// The same of one kind.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn captures_of(
        &self,
        kind: CaptureKind,
        model: &str,
        version: u64,
        since: Micros,
    ) -> Result<Vec<Capture>, TrackingError> {
        let sql = "SELECT blob, rows, from_us, to_us FROM captures
                   WHERE model = $1 AND version = $2 AND to_us >= $3 AND kind = $4 ORDER BY from_us, blob";
        let parameters = [model.into(), version.into(), Value::Int(since), kind.name().into()];
        let rows = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &parameters)?))?;
        rows.iter()
            .map(|row| {
                let (from, to) = (row.int(2)?, row.int(3)?);
                let (blob, model, rows) = (row.hash(0)?, model.to_owned(), row.int(1)? as u64);
                Ok(Capture { kind, blob, model, version, rows, from, to })
            })
            .collect()
    }

    /// Records a drift check, with an event if it found drift; returns its id.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn add_check(
        &self,
        model: &str,
        version: u64,
        current: &str,
        verdict: &str,
        report: &str,
    ) -> Result<String, TrackingError> {
        let (id, now) = (self.ids.next(), self.clock.now());
        self.store.catalog().write::<_, TrackingError>(|tx| {
            tx.execute(
                "INSERT INTO checks (id, model, version, current, verdict, report, time_us) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[Value::from(&id), model.into(), version.into(), current.into(), verdict.into(), report.into(), Value::Int(now)],
            )?;
            if verdict == "drift" {
                let payload = serde_json::json!({"model": model, "version": version, "check": id}).to_string();
                emit(tx, now, "drift.found", &payload)?;
            }
            Ok(())
        })?;
        Ok(id)
    }

    /// The newest checks of a model.
    ///
    /// # Errors
    /// [`TrackingError::Store`].
    pub fn checks(&self, model: &str, most: u32) -> Result<Vec<CheckRecord>, TrackingError> {
        let sql = "SELECT id, version, current, verdict, report, time_us FROM checks WHERE model = $1 ORDER BY time_us DESC, id DESC LIMIT $2";
        let rows =
            self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query(sql, &[model.into(), most.into()])?))?;
        rows.iter()
            .map(|row| {
                Ok(CheckRecord {
                    id: row.text(0)?,
                    model: model.to_owned(),
                    version: row.int(1)? as u64,
                    current: row.text(2)?,
                    verdict: row.text(3)?,
                    report: row.text(4)?,
                    time: row.int(5)?,
                })
            })
            .collect()
    }
}
