//! Connections: how many there may be, how long one may take to say what it wants, and how they end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use plinth_core::HttpLimits;
use tokio::{net::TcpListener, sync::Semaphore};

/// How long accepting rests after the system refused a connection, such as for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Answers requests on `listener` until `shutdown` is ready. Then no connection is taken any more, and those that are
/// there have `drain_max` to end.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain_max: Duration,
    limits: &HttpLimits,
) -> io::Result<()> {
    // HTTP/1 alone: to find out whether a connection speaks HTTP/2 its first bytes must be waited for, without limit.
    let mut builder = http1::Builder::new();
    // A connection that says nothing, or says it byte by byte, is closed: it would hold a place for ever.
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(limits.header_ms_max));
    builder.max_buf_size(limits.header_bytes_max as usize);
    let places = Arc::new(Semaphore::new(limits.connections_max as usize));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            // Waits for a place before it takes a connection: the rest wait in the system's own queue.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let (stream, place) = tokio::select! {
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not taken");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        // An answer is small and complete when it is written: waiting for more would only delay it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with delayed packets");
        }
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            // A client that went away, or took too long, is no fault of the server.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(drain_max) => {
            tracing::warn!("requests were still in flight when time was up");
        }
    }
    Ok(())
}
