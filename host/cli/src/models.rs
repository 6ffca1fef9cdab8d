//! Registered models as other commands name them, and who acts on them.

use plinth_core::{Micros, refs::ModelRef};
use plinth_tracking::ModelVersion;

use crate::{host::Host, output::Failure};

/// Who acts, for the audit log.
pub(crate) fn principal() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// The version that a name or a reference means: for a bare name its champion, else its newest version.
pub(crate) fn resolve(host: &Host, text: &str) -> Result<ModelVersion, Failure> {
    if text.starts_with("models:/") {
        return Ok(host.tracking().resolve(&text.parse::<ModelRef>()?)?);
    }
    let model = host.tracking().model(text)?;
    let champion = model.aliases.iter().find(|alias| alias.alias == "champion").map(|alias| alias.version);
    let version = champion.or(model.versions.last().copied()).unwrap_or(1);
    Ok(host.tracking().resolve(&ModelRef::Version { name: model.name, version })?)
}

/// `2026-11-23 21:05:21`, UTC
pub(crate) fn day(time: Micros) -> String {
    chrono::DateTime::from_timestamp_micros(time)
        .map_or_else(|| time.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}
