//! Connections: how many there may be, how they agree on keys, how long one may take to say what it wants, and how they
//! end.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::{
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use plinth_core::HttpLimits;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
};

use crate::{
    Tls,
    front::{Answering, Front},
};

/// How long accepting rests after the system refused a connection, such as for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// What a connection with room reads at once. In smaller pieces a fast client is told of every one that it may go on.
const READ_BYTES: usize = 408 << 10;

/// How HTTP/2 begins, as far as no method of HTTP/1 does.
const PREFACE: &[u8; 4] = b"PRI ";
const PEEK_REST: Duration = Duration::from_millis(2);
/// Requests of one HTTP/2 connection at once; further ones wait at the client.
const STREAMS_MAX: u32 = 256;
/// What a client of HTTP/2 may send before it hears from us: some tensors are large.
const WINDOW_BYTES: u32 = 2 << 20;
/// How often a silent HTTP/2 connection is asked whether it is there, and how long its answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Where a server is reached.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    tls: Option<Tls>,
    http2: bool,
}

impl Door {
    /// A listener, with TLS or without.
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        Self { listener, tls, http2: false }
    }

    /// The same for clients that speak HTTP/2 too, as those of gRPC do.
    pub(crate) fn with_http2(self) -> Self {
        Self { http2: true, ..self }
    }
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, None)
    }
}

/// Who is at the other end of a request's connection, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether nobody between could read along.
    pub(crate) secure: bool,
}

impl Default for Peer {
    /// For requests that came over no connection of ours.
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), secure: false }
    }
}

/// Answers requests at `door` until `shutdown` is ready. Then no connection is taken any more, and those that are there
/// have `drain_max` to end.
pub(crate) async fn serve(
    door: Door,
    app: Front,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain_max: Duration,
    limits: &HttpLimits,
) -> io::Result<()> {
    let Door { listener, tls, http2: two } = door;
    let mut builder = http1::Builder::new();
    // A connection that says nothing, or says it byte by byte, is closed: it would hold a place for ever.
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(limits.header_ms_max));
    let (header_bytes_max, head_bytes_max) = (limits.header_bytes_max, limits.header_bytes_max as usize);
    let mut roomy = builder.clone();
    builder.max_buf_size(head_bytes_max);
    roomy.max_buf_size(head_bytes_max.max(READ_BYTES));
    let header_max = Duration::from_millis(limits.header_ms_max);
    let room = Arc::new(Semaphore::new(limits.roomy_connections_max as usize));
    let places = Arc::new(Semaphore::new(limits.connections_max as usize));
    let shaking = Arc::new(Semaphore::new(limits.handshakes_max as usize));
    let handshake_max = Duration::from_millis(limits.handshake_ms_max);
    let graceful = GracefulShutdown::new();
    // Closed at shutdown: who has not even agreed on keys by then has sent nothing that would be lost.
    let (open, closed) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            // Waits for a place before it takes a connection: the rest wait in the system's own queue.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, address)| (stream, address, place))
        };
        let (stream, address, place) = tokio::select! {
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
        let peer = Peer { address: address.ip().to_canonical(), secure: tls.is_some() };
        let told = Told { app: app.clone(), peer, head_bytes_max };
        let room = Arc::clone(&room).try_acquire_owned().ok();
        let (builder, watcher) = (if room.is_some() { &roomy } else { &builder }.clone(), graceful.watcher());
        let mut closed = closed.clone();
        let Some(acceptor) = tls.as_ref().map(|tls| if two { &tls.acceptor_of_both } else { &tls.acceptor }.clone())
        else {
            tokio::spawn(async move {
                let _place = (place, room);
                if !two {
                    return talk(&builder, stream, told, watcher).await;
                }
                let first = tokio::select! {
                    first = tokio::time::timeout(header_max, begins_http2(&stream)) => first,
                    _ = closed.changed() => return,
                };
                match first {
                    Ok(Ok(true)) => talk_http2(header_bytes_max, stream, told, watcher).await,
                    Ok(Ok(false)) => talk(&builder, stream, told, watcher).await,
                    Ok(Err(_)) | Err(_) => tracing::debug!("a connection said nothing"),
                }
            });
            continue;
        };
        let shaking = Arc::clone(&shaking);
        tokio::spawn(async move {
            let _place = (place, room);
            let shake = async {
                let _turn = shaking.acquire().await.map_err(io::Error::other)?;
                acceptor.accept(stream).await
            };
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(handshake_max, shake) => shaken,
                _ = closed.changed() => return,
            };
            match shaken {
                Ok(Ok(stream)) if two && stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    talk_http2(header_bytes_max, stream, told, watcher).await;
                }
                Ok(Ok(stream)) => talk(&builder, stream, told, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "a connection agreed on no keys"),
                Err(_) => tracing::debug!("a connection took too long to agree on keys"),
            }
        });
    }
    drop((listener, open));
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(drain_max) => {
            tracing::warn!("requests were still in flight when time was up");
        }
    }
    Ok(())
}

async fn talk(
    builder: &http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    told: Told,
    watcher: Watcher,
) {
    let connection = builder.serve_connection(TokioIo::new(stream), told);
    // A client that went away, or took too long, is no fault of the server.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn talk_http2(
    header_bytes_max: u32,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    told: Told,
    watcher: Watcher,
) {
    let (send, mut come) = mpsc::unbounded_channel();
    let mut builder = http2::Builder::new(Beside(send));
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(header_bytes_max)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        // Who is not there any more would hold a place for ever.
        .keep_alive_interval(Some(KEEP_ALIVE))
        .keep_alive_timeout(KEEP_ALIVE);
    let mut connection = pin!(watcher.watch(builder.serve_connection(TokioIo::new(stream), told)));
    let mut requests = FuturesUnordered::new();
    let ended = poll_fn(|context| {
        let mut heard = false;
        loop {
            while let Ok(request) = come.try_recv() {
                requests.push(request);
            }
            // What a request has to say the connection writes; where none says anything, it is enough to hear it once.
            let mut said = false;
            while let Poll::Ready(Some(())) = requests.poll_next_unpin(context) {
                said = true;
            }
            if heard && !said {
                return Poll::Pending;
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            heard = true;
        }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Has the requests of an HTTP/2 connection worked on by the task of the connection. As tasks of their own they would wake
/// other threads at every small request; what takes long is not done by any of these. One that panics ends alone.
#[derive(Clone)]
struct Beside(mpsc::UnboundedSender<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Beside {
    fn execute(&self, request: F) {
        // Of a connection that ended nobody hears any more.
        let _ = self.0.send(Box::pin(AssertUnwindSafe(request).catch_unwind().map(drop)));
    }
}

/// Whether what a client says first is how HTTP/2 begins; nothing is taken from the stream. Waits until that is known.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut first).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[..read] != PREFACE[..read] {
            return Ok(false);
        }
        if read == PREFACE.len() {
            return Ok(true);
        }
        // The rest of four bytes is on its way, and what is there already would wake us at once.
        tokio::time::sleep(PEEK_REST).await;
    }
}

/// What answers, told who is at the other end.
struct Told {
    app: Front,
    peer: Peer,
    /// Where there is room for more, a head may be no larger for it.
    head_bytes_max: usize,
}

impl Service<Request<Incoming>> for Told {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if head_bytes(&request) > self.head_bytes_max {
            let refusal = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, [(header::CONNECTION, "close")]);
            return Front::at_once(refusal.into_response());
        }
        self.app.call(request, self.peer)
    }
}

/// The size of a request's head, near enough.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let line = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + fields.sum::<usize>()
}
