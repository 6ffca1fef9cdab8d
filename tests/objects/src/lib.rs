//! An S3 server on loopback for tests: real requests, real signatures, objects in a temporary folder, and faults on
//! demand. Knows nothing of Plinth.
//!
//! What it lacks beside AWS: it lists no unfinished uploads, keeps no versions, and its buckets have no policies.
#![expect(clippy::expect_used, reason = "a test whose scene cannot be set has failed")]

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{Body, HttpResponse, auth::SimpleAuth, service::S3Service, service::S3ServiceBuilder};
use tokio::sync::oneshot;

/// Who may sign requests.
pub const KEY_ID: &str = "AKIDPLINTHTEST";
/// And with what.
pub const SECRET: &str = "a-secret-that-no-message-may-show";
/// The bucket that is there.
pub const BUCKET: &str = "artifacts";

/// What a request is answered instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and nothing done.
    Status(u16),
    /// The connection ends before an answer, after the request was carried out.
    Mute,
    /// The answer's body ends after so many bytes, although its head announces all.
    Cut(usize),
    /// The first byte of the answer's body is another one.
    Garble,
    /// The answer comes later.
    Slow(Duration),
    /// The answer bears another tag.
    WrongTag,
}

/// When a fault shows.
#[derive(Debug, Clone)]
struct Rule {
    method: &'static str,
    path: String,
    after: usize,
    times: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<String>,
}

/// A server; it ends when this does.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// A server on a free port, with one empty bucket.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).expect("a file system"));
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = oneshot::channel();
        let (shared, root) = (Arc::clone(&state), folder.path().to_owned());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener, service, shared, root) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, folder, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a process needs in its environment to use it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// The folder in which a bucket's objects lie, each by its key.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another bucket.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make_bucket(&self, name: &str) {
        std::fs::create_dir(self.bucket(name)).expect("a bucket");
    }

    /// The keys of a bucket's objects, sorted.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, keys: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.strip_prefix(root) {
                    _ if path.is_dir() => walk(root, &path, keys),
                    Ok(key) => keys.push(key.display().to_string()),
                    Err(_) => {}
                }
            }
        }
        let (root, mut keys) = (self.bucket(bucket), Vec::new());
        walk(&root, &root, &mut keys);
        keys.sort();
        keys
    }

    /// From now on the next `times` requests of a method, or of any if it is empty, whose path and query contain `path`,
    /// get a fault.
    pub fn fail(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.fail_after(method, path, 0, times, fault);
    }

    /// The same once `after` of them went well.
    pub fn fail_after(&self, method: &'static str, path: &str, after: usize, times: usize, fault: Fault) {
        lock(&self.state).rules.push(Rule { method, path: path.to_owned(), after, times, fault });
    }

    /// No more faults.
    pub fn heal(&self) {
        lock(&self.state).rules.clear();
    }

    /// The requests since the last time this was asked, such as `PUT /artifacts/x?partNumber=1`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: tokio::net::TcpListener, service: S3Service, state: Arc<Mutex<State>>, root: PathBuf) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (service, state, root) = (service.clone(), Arc::clone(&state), root.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(service.clone(), Arc::clone(&state), root.clone(), request));
            // A client that goes away is no failure of the server.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

/// The fault of a request, if it is to have one.
fn fault(state: &Mutex<State>, method: &str, path: &str) -> Option<Fault> {
    let mut state = lock(state);
    state.seen.push(format!("{method} {path}"));
    let rule = state.rules.iter_mut().find(|rule| {
        rule.times > 0 && (rule.method.is_empty() || rule.method == method) && path.contains(&rule.path)
    })?;
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    rule.times -= 1;
    Some(rule.fault)
}

async fn answer(
    service: S3Service,
    state: Arc<Mutex<State>>,
    root: PathBuf,
    request: Request<Incoming>,
) -> Result<HttpResponse, Mute> {
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let fault = fault(&state, request.method().as_str(), &path);
    if let Some(Fault::Status(status)) = fault {
        let code = if status == 503 { "SlowDown" } else { "InternalError" };
        let body = format!("<Error><Code>{code}</Code><Message>on demand</Message></Error>");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status.try_into().expect("a status");
        return Ok(response);
    }
    // The file system behind the server makes buckets as they are needed; those of Amazon are made first.
    let bucket = request.uri().path().split('/').nth(1).unwrap_or_default();
    if !bucket.is_empty() && !root.join(bucket).is_dir() {
        let mut response = Response::new(Body::from(
            "<Error><Code>NoSuchBucket</Code><Message>on demand</Message></Error>".to_owned(),
        ));
        *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        return Ok(response);
    }
    let mut response = service.call(request.map(Body::from)).await.map_err(|_| Mute)?;
    match fault {
        Some(Fault::Mute) => return Err(Mute),
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        Some(Fault::WrongTag) => {
            response.headers_mut().insert("etag", "\"0\"".parse().expect("a header"));
        }
        Some(Fault::Cut(bytes)) => {
            // The head goes on saying how much it would have been.
            let whole = whole(response.body_mut()).await;
            *response.body_mut() = Body::from(whole.slice(..bytes.min(whole.len())));
        }
        Some(Fault::Garble) => {
            let mut whole = whole(response.body_mut()).await.to_vec();
            if let Some(first) = whole.first_mut() {
                *first ^= 1;
            }
            *response.body_mut() = Body::from(whole);
        }
        Some(Fault::Status(_)) | None => {}
    }
    Ok(response)
}

async fn whole(body: &mut Body) -> Bytes {
    body.store_all_limited(usize::MAX).await.expect("a body")
}

/// The end of a connection.
#[derive(Debug)]
struct Mute;

impl std::fmt::Display for Mute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no answer")
    }
}

impl std::error::Error for Mute {}

impl From<Infallible> for Mute {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
