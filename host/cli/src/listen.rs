//! What servers share: an address to listen on, and the signal to stop.

use plinth_core::codes;
use tokio::net::TcpListener;

use crate::output::{Failure, io_failure};

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

/// Whether only this machine reaches an address.
pub(crate) fn is_loopback(address: &str) -> bool {
    address == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Ready once ctrl-C or SIGTERM was sent.
pub(crate) fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
