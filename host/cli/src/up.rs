//! `plinth up`: the tracking server and model registry that MLflow's clients talk to.

use std::{process::ExitCode, sync::Arc};

use plinth_api::{Tracker, TrackerConfig, WebhookConfig};
use plinth_core::{SystemClock, UuidIds, codes};
use plinth_store::{Access, Location, Store};
use plinth_tracking::Tracking;
use serde_json::json;

use crate::{
    args::UpArgs,
    config::Settings,
    listen,
    output::{Failure, Output, io_failure},
    pages, ui, webhook,
};

/// `plinth up`
pub(crate) fn up(args: &UpArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    if !args.auth && !args.insecure && !listen::is_loopback(&args.host) {
        let message = format!("{} can be reached from other machines, and access control is off", args.host);
        return Err(Failure::new(codes::USAGE, message).hint(
            "add --auth, and users with `plinth user add`; or --insecure, if everyone who reaches it may do anything",
        ));
    }
    let tls = listen::tls(&args.tls, settings)?;
    let dir = args.data_dir.clone().unwrap_or_else(|| settings.state_dir());
    // A flag over the environment and the file.
    let place = match (&args.artifacts_dir, &args.artifact_store) {
        (Some(folder), _) => Some(Location::Folder(folder.clone())),
        (None, url) => url.as_deref().map(str::parse).transpose()?,
    };
    let mut setup = settings.setup()?;
    setup.allowed.extend(args.artifact_allow.iter().cloned());
    let configured = &settings.config.artifacts.store;
    let place = match place {
        None if !configured.is_empty() => Some(configured.parse()?),
        given => given,
    };
    if let Some(place) = &place {
        Store::put_blobs_in(&dir, place, &setup)?;
    }
    let store = Store::open_set(&dir, &setup, Access::Shared)?;
    store.blobs().reach()?;
    let store = Arc::new(store);
    let mut elsewhere =
        settings.catalog().map_or_else(String::new, |_| format!(", catalog {}", store.catalog().name().display()));
    if let Some(bucket) = Store::bucket_of(&dir)? {
        elsewhere.push_str(&format!(", artifacts in {bucket}"));
    }
    let limits = settings.config.limits.tracking.clone();
    let tracking = Tracking::new(store, Arc::new(SystemClock), Arc::new(UuidIds), limits);
    if args.auth && tracking.users()?.is_empty() {
        output.say("nobody can sign in yet: add someone with `plinth user add NAME --role admin`");
    }
    let config = TrackerConfig {
        http: settings.config.limits.serve.http.clone(),
        requests: settings.config.limits.requests.clone(),
        access: args.auth,
        allowed_hosts: args.allowed_hosts.clone(),
        cors_origins: args.cors_origin.clone(),
        ui: ui::folder(args.mlflow_ui.as_deref(), |name| std::env::var_os(name))?,
        webhooks: WebhookConfig {
            allow: webhook::allowed(settings, &args.webhook_allow)?,
            // Where everyone who can call is on this machine, and can reach it without the server's help. Another name
            // means that something stands in front of the server, and with it others.
            loopback: !args.auth && listen::is_loopback(&args.host) && args.allowed_hosts.is_empty(),
        },
        direct_downloads: args.direct_downloads || settings.config.artifacts.direct_downloads,
        ..TrackerConfig::default()
    };
    let tracker = Tracker::new(tracking, config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(listen::threads())
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .map_err(|error| io_failure("the server's threads", &error))?;
    runtime.block_on(async {
        let listener = listen::bind(&args.host, args.port).await?;
        let bound = listener.local_addr().map_err(|error| io_failure("the listening address", &error))?;
        let shutdown = listen::stop_signal().map_err(|error| io_failure("signals", &error))?;
        listen::warn_of_clear_text(&args.host, tls.as_ref(), output);
        let scheme = listen::scheme(tls.as_ref());
        pages::let_go();
        output.say(format!("listening on {scheme}://{bound}, state in {}{elsewhere}", dir.display()));
        listen::told(&json!({"listening": format!("{scheme}://{bound}"), "state": dir}), output)?;
        let door = listen::door(listener, tls, output)?;
        let served = plinth_api::serve_tracking(door, tracker, shutdown).await;
        served.map_err(|error| io_failure("the server", &error))
    })?;
    Ok(ExitCode::SUCCESS)
}
