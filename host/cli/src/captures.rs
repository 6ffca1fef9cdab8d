//! What a scoring server keeps of its requests, and of why they were answered so: Parquet blobs with a row in the catalog,
//! for as long as the configuration says.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use plinth_core::{Clock, Micros, SystemClock, codes};
use plinth_ext::Batch;
use plinth_serve::{Attributions, CaptureSink, Captured, Keep, Rest, ServeError};
use plinth_tracking::{Capture, CaptureKind, TrackingError};

use crate::{config::ServeConfig, host::Host, output::Failure};

/// Between two looks for what has been kept long enough.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Which requests are kept and explained, and what of them.
///
/// # Errors
/// A part that is none.
pub(crate) fn keep(config: &ServeConfig) -> Result<Keep, Failure> {
    for (name, part) in [("capture-part", config.capture_part), ("explain-part", config.explain_part)] {
        if !(0.0..=1.0).contains(&part) {
            let message = format!("`serve.{name}` is {part}");
            return Err(Failure::new(codes::BAD_CONFIG, message).hint("it is a part of the requests, from 0 to 1"));
        }
    }
    Ok(Keep { part: config.capture_part, redacted: config.redact.clone(), explained: config.explain_part })
}

/// How long that is kept; nothing is for ever.
///
/// # Errors
/// A duration that does not read.
pub(crate) fn kept(config: &ServeConfig) -> Result<Option<Duration>, Failure> {
    let text = config.capture_kept.trim();
    if text.is_empty() {
        return Ok(None);
    }
    humantime::parse_duration(text).map(Some).map_err(|error| {
        Failure::new(codes::BAD_CONFIG, format!("`serve.capture-kept` is `{text}`, which is no duration: {error}"))
            .hint("write one such as 30days, or leave it empty to keep everything")
    })
}

/// The moment before which nothing is kept.
pub(crate) fn before(kept: Duration, now: Micros) -> Micros {
    now.saturating_sub(Micros::try_from(kept.as_micros()).unwrap_or(Micros::MAX))
}

/// Where captured requests go.
pub(crate) struct Captures {
    host: Arc<Host>,
    kept: Option<Duration>,
    swept: Mutex<Option<Instant>>,
}

impl Captures {
    pub(crate) fn new(host: &Arc<Host>) -> Result<Self, Failure> {
        let captures =
            Self { host: Arc::clone(host), kept: kept(&host.settings.config.serve)?, swept: Mutex::new(None) };
        captures.sweep()?;
        Ok(captures)
    }

    /// Forgets what has been kept long enough, if it is time to look.
    fn sweep(&self) -> Result<(), TrackingError> {
        let Some(kept) = self.kept else { return Ok(()) };
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_some_and(|swept| swept.elapsed() < SWEEP_EVERY) {
            return Ok(());
        }
        let files = self.host.tracking().forget_captures(before(kept, SystemClock.now()))?;
        *swept = Some(Instant::now());
        if files > 0 {
            tracing::info!(files, "captured requests were kept long enough; `plinth gc` removes their files");
        }
        Ok(())
    }
}

impl Captures {
    /// Stores a table of what a version answered between two moments, whose rows come in parts.
    fn store(
        &self,
        kind: CaptureKind,
        [model, version]: [String; 2],
        [from, to]: [Micros; 2],
        parts: Vec<Batch>,
        rest: &mut Rest<'_>,
    ) -> Result<(), ServeError> {
        let Some(first) = parts.first() else { return Ok(()) };
        let blob = self.host.store().blobs().writer().map_err(|error| ServeError::outside(&error))?;
        let blob = plinth_table::write_in_pieces(blob, first.schema(), &parts, || rest.take());
        let blob = blob.map_err(|error| ServeError::outside(&error))?;
        let (blob, _) = blob.finish().map_err(|error| ServeError::outside(&error))?;
        rest.take();
        let rows = parts.iter().map(|part| part.num_rows() as u64).sum();
        for part in parts {
            drop(part);
            rest.take();
        }
        let version = version.parse().unwrap_or_default();
        let capture = Capture { kind, blob, version, model, rows, from, to };
        self.host.tracking().add_capture(&capture).map_err(|error| ServeError::outside(&error))?;
        if let Err(error) = self.sweep() {
            // What came is kept all the same.
            tracing::warn!(%error, "captured requests that were kept long enough could not be forgotten");
        }
        Ok(())
    }
}

impl CaptureSink for Captures {
    fn write(&self, captured: Vec<Captured>, rest: &mut Rest<'_>) -> Result<(), ServeError> {
        let Some(first) = captured.first() else { return Ok(()) };
        let which = [first.model.clone(), first.version.clone()];
        let times = captured
            .iter()
            .fold([first.first_at, first.last_at], |[from, to], part| [from.min(part.first_at), to.max(part.last_at)]);
        let parts = Captured::tables(captured, rest);
        self.store(CaptureKind::Requests, which, times, parts, rest)
    }

    fn write_attributions(&self, attributions: Attributions, rest: &mut Rest<'_>) -> Result<(), ServeError> {
        let Attributions { model, version, first_at, last_at, table } = attributions;
        self.store(CaptureKind::Attributions, [model, version], [first_at, last_at], vec![table], rest)
    }
}
