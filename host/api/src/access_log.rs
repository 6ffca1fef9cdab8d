//! One line of JSON for each request, for as long as somebody wants that.
//!
//! A line is left in a bounded queue and written by a thread of its own: a disk that is slow or full holds up nobody.
//! What does not fit is dropped and counted, and so is what cannot be written.

use std::{
    fmt,
    io::{self, Write},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use crate::{connections::Peer, control::Caller, request::Who};

/// Lines that wait to be written.
const WAITING_MAX: usize = 16_384;

/// What is told of a request. Queries are not: they may hold what is nobody's business.
#[derive(Debug, Serialize)]
struct Line {
    /// When it was answered, such as `2026-01-31T08:00:00.000123Z`.
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    /// Whose token or password it carried, where callers have to say who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    method: String,
    path: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    total_us: u64,
}

/// Tells of a request once it is answered.
pub(crate) async fn tell(State(log): State<Arc<AccessLog>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let headers = response.headers();
    // Over gRPC the head of a good answer says nothing of it.
    let who = response.extensions().get::<Who>();
    let target = who.and_then(|who| who.target.as_ref());
    let said = |name| text(headers, name);
    let request_id = || who?.request_id.as_ref().map(ToString::to_string);
    log.leave(Line {
        time: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        peer,
        principal: response.extensions().get::<Caller>().map(|caller| caller.0.name.clone()),
        method,
        path,
        status: response.status().as_u16(),
        grpc_status: said("grpc-status").or_else(|| who.map(|_| "0".into())),
        request_id: said("x-request-id").or_else(request_id),
        deployment: said("x-deployment").or_else(|| Some(target?.name().to_string())),
        model: said("x-model-name").or_else(|| Some(target?.deployment().model().to_string())),
        version: said("x-model-version").or_else(|| Some(target?.deployment().version().to_string())),
        total_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    });
    response
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Where lines go.
pub struct AccessLog {
    sender: Mutex<Option<SyncSender<Line>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// A log that writes to `to`.
    ///
    /// # Errors
    /// [`io::Error`] if there is no thread for it.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, lines) = sync_channel(WAITING_MAX);
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        let thread = thread::Builder::new().name("plinth-access".into()).spawn(move || write(to, &lines, &counted))?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), counts })
    }

    /// Leaves a line, or drops and counts it. Never waits for anything but a short lock.
    fn leave(&self, line: Line) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.as_ref().is_none_or(|sender| sender.try_send(line).is_err()) {
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were written, and lines that were lost.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [self.counts.written.load(Relaxed), self.counts.lost.load(Relaxed)]
    }

    /// Writes what is left and ends the thread. Blocks; does nothing twice.
    pub(crate) fn stop(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the access log panicked");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write(to: impl Write, lines: &Receiver<Line>, counts: &Counts) {
    let mut to = io::BufWriter::new(to);
    let mut failing = false;
    while let Ok(first) = lines.recv() {
        // What waits already goes out together; then nothing is held back.
        let batch: Vec<Line> = std::iter::once(first).chain(lines.try_iter().take(WAITING_MAX)).collect();
        let outcome = batch.iter().try_for_each(|line| {
            serde_json::to_writer(&mut to, line)?;
            to.write_all(b"\n")
        });
        match outcome.and_then(|()| to.flush()) {
            Ok(()) => {
                failing = false;
                counts.written.fetch_add(batch.len() as u64, Relaxed);
            }
            Err(error) => {
                counts.lost.fetch_add(batch.len() as u64, Relaxed);
                // Told once, not for every request.
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the access log cannot be written");
                }
                // What is in the buffer is lost, or it would fail for ever.
                to = io::BufWriter::new(to.into_parts().0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A disk that may be full.
    #[derive(Clone, Default)]
    struct Disk {
        full: Arc<AtomicBool>,
        holds: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.full.load(Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.holds.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(path: &str) -> Line {
        Line {
            time: String::new(),
            peer: None,
            principal: Some("ann \"the\" reader".into()),
            method: "POST".into(),
            path: path.into(),
            status: 200,
            grpc_status: None,
            request_id: None,
            deployment: None,
            model: None,
            version: None,
            total_us: 7,
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_what_comes_later_is_written() {
        let disk = Disk::default();
        disk.full.store(true, Relaxed);
        let log = AccessLog::start(disk.clone()).unwrap();
        log.leave(line("/lost"));
        while log.counts()[1] == 0 {
            thread::yield_now();
        }
        disk.full.store(false, Relaxed);
        log.leave(line("/kept\n"));
        log.stop();
        assert_eq!(log.counts(), [1, 1]);
        let held = String::from_utf8(disk.holds.lock().unwrap().clone()).unwrap();
        let told: Vec<serde_json::Value> = held.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0]["path"], &told[0]["principal"]), (&"/kept\n".into(), &"ann \"the\" reader".into()));
        log.leave(line("/late"));
        assert_eq!(log.counts()[1], 2, "after the end nothing is written");
    }
}
