//! `plinth gc`: gives back the room of what was deleted long ago.

use std::{process::ExitCode, sync::Arc};

use plinth_core::{Clock, SystemClock, UuidIds};
use plinth_store::{Access, StoreError};
use plinth_tracking::Tracking;
use serde_json::json;

use crate::{
    args::GcArgs,
    captures,
    config::Settings,
    output::{Failure, Output, io_failure},
};

/// `plinth gc`
pub(crate) fn gc(args: &GcArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let dir = args.data_dir.clone().unwrap_or_else(|| settings.state_dir());
    // Opening makes what is not there, and there would be nothing to collect.
    if !dir.is_dir() {
        return Err(StoreError::NoDirectory { dir }.into());
    }
    let access = if args.dry_run { Access::Shared } else { Access::Writer { command: "plinth gc".into() } };
    let store = Arc::new(settings.open_store(&dir, access)?);
    let limits = settings.config.limits.tracking.clone();
    let tracking = Tracking::new(Arc::clone(&store), Arc::new(SystemClock), Arc::new(UuidIds), limits);
    let forgotten = match captures::kept(&settings.config.serve)? {
        Some(kept) if args.dry_run => tracking.captures_before(captures::before(kept, SystemClock.now()))?,
        Some(kept) => tracking.forget_captures(captures::before(kept, SystemClock.now()))?,
        None => 0,
    };
    let before = args.older_than.micros(SystemClock.now());
    let only = (!args.experiment_ids.is_empty()).then_some(args.experiment_ids.as_slice());
    let retired = tracking.retired(before, only)?;
    if !args.dry_run {
        tracking.remove_retired(&retired, before)?;
    }
    let gone = if args.dry_run { retired.folders.as_slice() } else { &[] };
    let blobs = plinth_store::collect(&store, args.grace, args.dry_run, gone)?;
    let value = json!({"dry_run": args.dry_run, "removed": retired, "captures": forgotten, "blobs": blobs});
    let text = || {
        let did = if args.dry_run { "would remove" } else { "removed" };
        format!(
            "{did} {} experiments, {} runs, {} logged models, {} uploads, {forgotten} files of captured requests\n\
             {did} {} blobs of {} bytes; {} are in use, {} are too young\n",
            retired.experiments.len(),
            retired.runs.len(),
            retired.logged_models.len(),
            retired.uploads,
            blobs.removed,
            blobs.removed_bytes,
            blobs.kept,
            blobs.young
        )
    };
    output.data(&value, text).map_err(|error| io_failure("stdout", &error))?;
    if !retired.kept.is_empty() {
        output.say(format!("{} deleted things stay: registered versions name them", retired.kept.len()));
    }
    Ok(ExitCode::SUCCESS)
}
