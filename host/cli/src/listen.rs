//! What servers share: an address to listen on, a certificate, and the signals to stop and to read the certificate again.

use std::{path::PathBuf, time::Duration};

use plinth_api::{Door, Tls, TlsError};
use plinth_core::{Coded, codes};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    args::TlsArgs,
    config::Settings,
    output::{Failure, Output, io_failure},
};

/// How often the files of a certificate are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Listens on an address; port 0 takes a free one.
pub(crate) async fn bind(address: &str, port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((address, port)).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            Failure::new(codes::ADDRESS_IN_USE, format!("{address}:{port} is in use by another process"))
                .hint("choose another with --port; --port 0 takes a free one")
        } else {
            io_failure(&format!("{address}:{port}"), &error)
        }
    })
}

/// Threads that read requests and write answers: as much as a fourth of the processors has to do, and where there is but
/// one, a second thread would only take it from the first.
pub(crate) fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 4).max(processors.min(2))
}

/// Whether only this machine reaches an address.
pub(crate) fn is_loopback(address: &str) -> bool {
    address == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The certificate that flags or settings name.
pub(crate) fn tls(args: &TlsArgs, settings: &Settings) -> Result<Option<Tls>, Failure> {
    let configured = &settings.config.server;
    let file = |flag: Option<&PathBuf>, setting: &str| {
        flag.cloned().or_else(|| (!setting.is_empty()).then(|| settings.project.join(setting)))
    };
    let certificate = file(args.tls_cert.as_ref(), &configured.tls_cert);
    let key = file(args.tls_key.as_ref(), &configured.tls_key);
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(Tls::open(&certificate, &key)?)),
        (Some(_), None) => Err(half("--tls-cert", "--tls-key")),
        (None, Some(_)) => Err(half("--tls-key", "--tls-cert")),
    }
}

fn half(given: &str, lacking: &str) -> Failure {
    Failure::new(codes::USAGE, format!("{given} is of no use without {lacking}")).hint("give both, or neither")
}

pub(crate) fn scheme(tls: Option<&Tls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// Says so if passwords and data can be read on their way.
pub(crate) fn warn_of_clear_text(address: &str, tls: Option<&Tls>, output: Output) {
    if tls.is_none() && !is_loopback(address) {
        output.say(
            "warning: without TLS everyone on the way can read passwords, tokens and data: \
             add --tls-cert and --tls-key, or let a proxy with TLS be the only one who reaches this address",
        );
    }
}

/// A listener with a certificate that follows its files.
pub(crate) fn door(listener: TcpListener, tls: Option<Tls>, output: Output) -> Result<Door, Failure> {
    if let Some(tls) = &tls {
        let asked = signal(SignalKind::hangup()).map_err(|error| io_failure("signals", &error))?;
        tokio::spawn(follow(tls.clone(), asked, output));
    }
    Ok(Door::new(listener, tls))
}

/// Reads a certificate again when its files have changed, and when the operator says so.
async fn follow(tls: Tls, mut asked: Signal, output: Output) {
    let mut pause = tokio::time::interval(LOOK_EVERY);
    loop {
        let asked = tokio::select! {
            _ = pause.tick() => false,
            _ = asked.recv() => true,
        };
        let tls = tls.clone();
        let read = move || if asked { tls.reload().map(|()| true) } else { tls.refresh() };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(true)) => output.say("the certificate was read again"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => output.say(unusable(&error)),
        }
    }
}

fn unusable(error: &TlsError) -> String {
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("[{}] {error}{hint}; the certificate in use stays", error.code())
}

/// Ready once ctrl-C or SIGTERM was sent.
pub(crate) fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// With `--json`, where a server listens: the one object that it writes to stdout.
pub(crate) fn told(listening: &Value, output: Output) -> Result<(), Failure> {
    match output.json {
        true => output.data(listening, String::new).map_err(|error| io_failure("stdout", &error)),
        false => Ok(()),
    }
}
