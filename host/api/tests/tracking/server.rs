//! A server for one test, and requests to it.

use std::sync::Arc;

use plinth_api::{Door, Tls, Tracker, TrackerConfig};
use plinth_core::{SystemClock, TrackingLimits, UuidIds};
use plinth_store::{Access, Store};
use plinth_tracking::Tracking;
use serde_json::{Value, json};

/// Settings, and the URL of the catalog where that is not in the state directory.
type Made = (TrackerConfig, Option<String>);

pub(crate) struct Server {
    /// What it serves.
    pub(crate) tracking: Tracking,
    address: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    made_with: Made,
    /// Whose state it serves, unless that is another server's.
    _dir: Option<tempfile::TempDir>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With other settings than the usual.
    pub(crate) fn start_with(change: impl FnOnce(&mut TrackerConfig)) -> Self {
        Self::start_at(None, change, |_| {})
    }

    /// Over TLS.
    pub(crate) fn start_over(tls: Tls, change: impl FnOnce(&mut TrackerConfig)) -> Self {
        Self::start_at(Some(tls), change, |_| {})
    }

    /// With other settings and limits than the usual.
    pub(crate) fn start_within(
        change: impl FnOnce(&mut TrackerConfig),
        limit: impl FnOnce(&mut TrackingLimits),
    ) -> Self {
        Self::start_at(None, change, limit)
    }

    /// With its blobs in a bucket, or what else a state directory is opened with.
    pub(crate) fn start_set(
        setup: plinth_store::Setup,
        place: Option<&str>,
        change: impl FnOnce(&mut TrackerConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = plinth_test_catalog::url();
        let setup = plinth_store::Setup { catalog: catalog.clone(), ..setup };
        if let Some(place) = place {
            Store::put_blobs_in(dir.path(), &place.parse().unwrap(), &setup).unwrap();
        }
        let store = Arc::new(Store::open_set(dir.path(), &setup, Access::Shared).unwrap());
        let mut config = TrackerConfig::default();
        change(&mut config);
        let tracking = Tracking::new(store, Arc::new(SystemClock), Arc::new(UuidIds), TrackingLimits::default());
        Self::launch(tracking, (config, catalog), None, Some(dir))
    }

    fn start_at(
        tls: Option<Tls>,
        change: impl FnOnce(&mut TrackerConfig),
        limit: impl FnOnce(&mut TrackingLimits),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = plinth_test_catalog::url();
        let store = Arc::new(Store::open_with(dir.path(), catalog.as_deref(), Access::Shared).unwrap());
        let (mut config, mut limits) = (TrackerConfig::default(), TrackingLimits::default());
        change(&mut config);
        limit(&mut limits);
        let tracking = Tracking::new(store, Arc::new(SystemClock), Arc::new(UuidIds), limits);
        Self::launch(tracking, (config, catalog), tls, Some(dir))
    }

    /// Another server over the same state; it must end before this one.
    pub(crate) fn twin(&self) -> Self {
        let (config, catalog) = self.made_with.clone();
        let store = Arc::new(Store::open_with(self.dir(), catalog.as_deref(), Access::Shared).unwrap());
        let limits = self.tracking.limits().clone();
        let tracking = Tracking::new(store, Arc::new(SystemClock), Arc::new(UuidIds), limits);
        Self::launch(tracking, (config, catalog), None, None)
    }

    fn launch(tracking: Tracking, made_with: Made, tls: Option<Tls>, dir: Option<tempfile::TempDir>) -> Self {
        let tracker = Tracker::new(tracking.clone(), made_with.0.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                plinth_api::serve_tracking(Door::new(listener, tls), tracker, stop).await.unwrap();
            });
        });
        Self { tracking, address, stop: Some(stop), thread: Some(thread), made_with, _dir: dir }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    /// The state directory.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.tracking.store().dir()
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> std::net::TcpStream {
        std::net::TcpStream::connect(self.address.trim_start_matches("http://")).unwrap()
    }

    /// Any request: status and body; the body as text if it is no JSON.
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        self.send_with(method, path, body, &[])
    }

    /// The same, with headers.
    pub(crate) fn send_with(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.address));
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.unwrap_or_default().to_owned()).unwrap();
        let mut response = agent.run(request).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (response.status().as_u16(), value)
    }

    /// A POST that must succeed.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send("POST", &format!("/api/2.0/mlflow/{path}"), Some(&body.to_string()));
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A GET that must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send("GET", &format!("/api/2.0/mlflow/{path}"), None);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A request that must be refused: its status and error code, and its message.
    pub(crate) fn refused(&self, method: &str, path: &str, body: &Value) -> (u16, String, String) {
        let text = (method != "GET").then(|| body.to_string());
        let (status, answer) = self.send(method, &format!("/api/2.0/mlflow/{path}"), text.as_deref());
        assert!(status >= 400, "{path}: {answer}");
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{path}: {answer}")).to_owned();
        (status, text("error_code"), text("message"))
    }

    /// A new run's id.
    pub(crate) fn run(&self, experiment: &str) -> String {
        let run = self.post("runs/create", &json!({"experiment_id": experiment, "start_time": 1_000}));
        run["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
