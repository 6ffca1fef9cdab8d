//! A bucket of a store that speaks S3, for callers that wait.
//!
//! One small runtime of the process moves the bytes; a caller waits for its answer like for any other call, so it may be
//! any thread. Every request has a bound in time, and what fails for the moment is tried again, with growing pauses, a
//! bounded number of times. Keys come from the variables that every S3 client reads; no message has one in it.

use std::{
    fmt,
    future::Future,
    io,
    ops::Range,
    path::Path as FilePath,
    sync::{Arc, Mutex, OnceLock, mpsc as channel},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
    signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer},
};
use plinth_core::ArtifactLimits;
use tokio::{runtime::Runtime, sync::mpsc};

use crate::{StoreError, Trouble, bucket_url::BucketUrl};

/// Bytes of one request for a part of an object.
pub(crate) const RANGE_BYTES: u64 = 4 << 20;
/// Such requests at once for one reader: they are held in memory.
const RANGES_AT_ONCE: usize = 4;
/// Objects up to this size are sent in one request.
const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Parts of a larger one that are sent at once, each in memory.
const PARTS_AT_ONCE: usize = 4;
/// Most parts of an object, below what S3 takes.
const PARTS_MAX: u64 = 9_000;

/// What is taken from the environment as every S3 client does; the endpoint is looked at by itself.
const VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_REQUEST_PAYER",
];

/// Variables that say who asks.
const KEYS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// Where the server of all buckets is, the first that is set.
const ENDPOINTS: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"];

/// Where settings such as keys are looked up: the process's environment, or what a test says.
#[derive(Clone)]
pub struct Environment(Arc<Look>);

type Look = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// From what looks a variable up.
    pub fn new(look: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its values are secrets.
        f.write_str("Environment")
    }
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Below the bucket's prefix.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
    /// What the bucket says of its content.
    pub(crate) tag: Option<String>,
}

/// A folder of a bucket. Every key is one below it.
#[derive(Clone)]
pub(crate) struct Bucket {
    url: BucketUrl,
    endpoint: String,
    /// Whether nothing says who asks: then the machine itself may have keys.
    keyless: bool,
    s3: Arc<AmazonS3>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.url).finish()
    }
}

impl Bucket {
    /// Reads the settings; nothing is asked of a server yet.
    pub(crate) fn new(url: &BucketUrl, environment: &Environment, limits: &ArtifactLimits) -> Result<Self, StoreError> {
        // An error says that there is a way to encrypt already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let endpoint = ENDPOINTS.iter().find_map(|name| environment.get(name));
        let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| environment.get(name));
        let timeout = Duration::from_millis(limits.request_ms_max);
        let plain = endpoint.as_deref().is_some_and(|url| url.to_ascii_lowercase().starts_with("http://"));
        let client = ClientOptions::new()
            .with_timeout(timeout)
            .with_connect_timeout(timeout.min(Duration::from_secs(5)))
            .with_allow_http(plain);
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: limits.retries_max as usize,
            retry_timeout: timeout,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(url.bucket())
            .with_region(region.as_deref().unwrap_or("us-east-1"))
            .with_client_options(client)
            .with_retry(retry);
        for name in VARIABLES {
            let key: Option<AmazonS3ConfigKey> = name.to_ascii_lowercase().parse().ok();
            if let (Some(key), Some(value)) = (key, environment.get(name)) {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(endpoint) = &endpoint {
            if !(plain || endpoint.to_ascii_lowercase().starts_with("https://")) {
                let reason = format!("the endpoint `{}` is no http:// or https:// URL", cut(endpoint));
                return Err(StoreError::bucket(url, "use", Trouble::Settings(reason)));
            }
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let endpoint = endpoint.unwrap_or_else(|| "Amazon".to_owned());
        let keyless = !KEYS.iter().any(|name| environment.get(name).is_some());
        let built = builder.build().map_err(|error| StoreError::bucket(url, "use", Trouble::Settings(said(&error))))?;
        Ok(Self { url: url.clone(), endpoint, keyless, s3: Arc::new(built) })
    }

    pub(crate) fn url(&self) -> &BucketUrl {
        &self.url
    }

    /// How messages call an object.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    fn path(&self, key: &str) -> Result<Path, StoreError> {
        let whole = match (self.url.prefix(), key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        };
        Path::parse(&whole).map_err(|error| self.refused("name", &error.into()))
    }

    fn key(&self, path: &Path) -> String {
        let path = path.as_ref();
        path.strip_prefix(self.url.prefix()).unwrap_or(path).trim_start_matches('/').to_owned()
    }

    fn refused(&self, action: &'static str, error: &object_store::Error) -> StoreError {
        let text = said(error);
        let trouble = match error {
            object_store::Error::NotFound { .. } if text.contains("NoSuchBucket") => Trouble::NoBucket,
            object_store::Error::NotFound { .. } => Trouble::NotFound(text),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Trouble::Denied(text)
            }
            _ if self.keyless => Trouble::Denied(format!(
                "AWS_ACCESS_KEY_ID is not set, and this machine has no keys of its own: {text}"
            )),
            _ => Trouble::Unavailable { endpoint: self.endpoint.clone(), said: text },
        };
        StoreError::bucket(&self.url, action, trouble)
    }

    /// Waits for what the runtime does.
    fn wait<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = channel::sync_channel(1);
        runtime()?.spawn(async move {
            // Nobody waits any more if the receiver is gone.
            let _ = answer.send(work.await);
        });
        match answered.recv() {
            Ok(outcome) => outcome.map_err(|error| self.refused(action, &error)),
            Err(_) => Err(StoreError::io(action, FilePath::new(&self.url.to_string()), io::Error::other("no answer"))),
        }
    }

    /// What an object is, if it is there.
    pub(crate) fn head(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        absent(self.wait("look at an object of", async move { s3.head(&path).await }))
            .map(|found| found.map(|meta| self.found(&meta)))
    }

    fn found(&self, meta: &ObjectMeta) -> Found {
        Found {
            key: self.key(&meta.location),
            bytes: meta.size,
            modified: meta.last_modified.into(),
            tag: meta.e_tag.clone(),
        }
    }

    /// A small object's bytes.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        absent(self.wait("read from", async move { s3.get(&path).await?.bytes().await }))
    }

    /// Sends a small object.
    pub(crate) fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        self.wait("write to", async move { s3.put(&path, bytes.into()).await }).map(drop)
    }

    /// Sends a file: it is there, whole, when this returns.
    pub(crate) fn put_file(&self, key: &str, file: &FilePath, bytes: u64) -> Result<(), StoreError> {
        let unread = |e| StoreError::io("read", file, e);
        if bytes <= WHOLE_BYTES_MAX {
            return self.put(key, std::fs::read(file).map_err(unread)?.into());
        }
        let file = Arc::new(Mutex::new(std::fs::File::open(file).map_err(unread)?));
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        self.wait("write to", async move {
            let mut upload = s3.put_multipart(&path).await?;
            let sent = send_parts(upload.as_mut(), &file, bytes).await;
            match sent {
                Ok(()) => upload.complete().await.map(drop),
                Err(error) => {
                    // Its parts cost room until somebody throws them away; that they could not be is the lesser trouble.
                    if let Err(left) = upload.abort().await {
                        tracing::warn!(reason = %said(&left), "the parts of a failed upload stay in the bucket");
                    }
                    Err(error)
                }
            }
        })?;
        match self.head(key)? {
            Some(found) if found.bytes == bytes => Ok(()),
            _ => {
                let said = "the object is not there in its full length after it was sent".to_owned();
                let trouble = Trouble::Unavailable { endpoint: self.endpoint.clone(), said };
                Err(StoreError::bucket(&self.url, "write to", trouble))
            }
        }
    }

    /// Removes an object, or finds that it is gone.
    pub(crate) fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        absent(self.wait("remove from", async move { s3.delete(&path).await })).map(drop)
    }

    /// Moves an object to another key; not in one step.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (s3, from, to) = (Arc::clone(&self.s3), self.path(from)?, self.path(to)?);
        self.wait("move an object of", async move {
            s3.copy(&from, &to).await?;
            s3.delete(&from).await
        })
    }

    /// Every object below a folder, sorted by key.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Found>, StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(folder)?);
        let mut metas: Vec<ObjectMeta> = self.wait("list", async move { s3.list(Some(&path)).try_collect().await })?;
        metas.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(metas.iter().map(|meta| self.found(meta)).collect())
    }

    /// What lies directly in a folder: the names of folders, and objects.
    pub(crate) fn list_folder(&self, folder: &str) -> Result<(Vec<String>, Vec<Found>), StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(folder)?);
        let listed = self.wait("list", async move { s3.list_with_delimiter(Some(&path)).await })?;
        let folders = listed.common_prefixes.iter().map(|path| self.key(path)).collect();
        Ok((folders, listed.objects.iter().map(|meta| self.found(meta)).collect()))
    }

    /// The bytes of a stretch of an object, in pieces and in order, some of them fetched ahead.
    pub(crate) fn stream(&self, key: &str, range: Range<u64>) -> Result<Pieces, StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        let (sender, receiver) = mpsc::channel(1);
        let starts = (range.start..range.end).step_by(RANGE_BYTES as usize);
        let ranges = starts.map(move |start| start..range.end.min(start + RANGE_BYTES));
        runtime()?.spawn(async move {
            let fetch = |range: Range<u64>| {
                let (s3, path) = (Arc::clone(&s3), path.clone());
                async move {
                    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
                    s3.get_opts(&path, options).await?.bytes().await
                }
            };
            let mut pieces = futures_util::stream::iter(ranges).map(fetch).buffered(RANGES_AT_ONCE);
            while let Some(piece) = pieces.next().await {
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Pieces { bucket: self.clone(), receiver })
    }

    /// A URL by which anybody may do one thing with one object for a time.
    pub(crate) fn sign(
        &self,
        method: &str,
        key: &str,
        valid: Duration,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
    ) -> Result<String, StoreError> {
        let (s3, path) = (Arc::clone(&self.s3), self.path(key)?);
        let method = if method == "PUT" { Method::PUT } else { Method::GET };
        let mut options =
            SignedUrlOptions::default().with_query(query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                options = options.with_signed_header(HeaderName::from_static(name), value);
            }
        }
        let url =
            self.wait("sign a URL for", async move { s3.signed_url_opts(method, &path, valid, &options).await })?;
        Ok(url.to_string())
    }
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    file: &Arc<Mutex<std::fs::File>>,
    bytes: u64,
) -> object_store::Result<()> {
    let size = WHOLE_BYTES_MAX.max(bytes.div_ceil(PARTS_MAX));
    let mut sending = futures_util::stream::FuturesUnordered::new();
    for start in (0..bytes).step_by(size as usize) {
        if sending.len() >= PARTS_AT_ONCE {
            let _sent: Option<()> = sending.try_next().await?;
        }
        let (file, length) = (Arc::clone(file), size.min(bytes - start));
        let part = tokio::task::spawn_blocking(move || read_part(&file, start, length)).await?;
        let part = part.map_err(|source| object_store::Error::Generic { store: "spool", source: Box::new(source) })?;
        sending.push(upload.put_part(part.into()));
    }
    while sending.try_next().await?.is_some() {}
    Ok(())
}

fn read_part(file: &Mutex<std::fs::File>, start: u64, length: u64) -> io::Result<Bytes> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(SeekFrom::Start(start))?;
    let mut part = vec![0; length as usize];
    file.read_exact(&mut part)?;
    Ok(part.into())
}

/// Pieces of an object on their way.
#[derive(Debug)]
pub(crate) struct Pieces {
    bucket: Bucket,
    receiver: mpsc::Receiver<object_store::Result<Bytes>>,
}

impl Pieces {
    /// The next; nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut waiting = futures_util::FutureExt::boxed(self.receiver.recv());
        let piece = park(&mut waiting);
        drop(waiting);
        piece.transpose().map_err(|error| self.bucket.refused("read from", &error))
    }
}

/// Waits for a future on any thread; what wakes it runs elsewhere.
fn park<T>(future: &mut (impl Future<Output = T> + Unpin)) -> T {
    use std::task::{Context, Poll, Wake, Waker};
    struct Thread(std::thread::Thread);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Thread(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut *future).poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Nothing in place of an object that is not there. That the bucket itself is not there stays an error.
fn absent<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Bucket { trouble: Trouble::NotFound(_), .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a server said, or else the innermost reason: never a whole answer, which may repeat who asked.
fn said(error: &object_store::Error) -> String {
    let mut chain: Vec<String> = vec![error.to_string()];
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        chain.push(source.to_string());
        at = source;
    }
    let between = |text: &str, tag: &str| {
        let from = text.split_once(&format!("<{tag}>"))?.1;
        Some(from.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    for text in &chain {
        if let Some(code) = between(text, "Code") {
            return cut(&match between(text, "Message") {
                Some(message) => format!("{code}: {message}"),
                None => code,
            });
        }
    }
    cut(chain.last().map_or("no reason", String::as_str))
}

fn cut(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("plinth-objects")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    started.as_ref().map_err(|reason| {
        StoreError::io("start threads for", FilePath::new("the artifact store"), io::Error::other(reason.clone()))
    })
}
