//! Models, a source, a sink and a client.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread::JoinHandle,
};

use arrow_array::{Array, ArrayRef, Float64Array, StringArray, cast::AsArray, types::Float64Type};
use plinth_core::{ContentHash, ServeLimits, codes};
use plinth_ext::{Batch, ExtError, Field, Fitted, Kind, Model, Problem, Schema};
use plinth_score::{Scorer, Signature};
use plinth_serve::{
    CaptureSink, Captured, Deployment, DeploymentPlan, EndpointPlan, Generation, Options, Rest, ServeError, Server,
    Source,
};
use serde_json::Value;
use tokio::sync::oneshot;

/// What a caller sends: `age` whole, `plan` text, `minutes` perhaps, `since` a time perhaps.
pub(crate) fn raw() -> Schema {
    Schema::new(vec![
        Field::new("age", Kind::Int64, false),
        Field::new("plan", Kind::Utf8, false),
        Field::new("minutes", Kind::Float64, true),
        Field::new("since", Kind::TimestampUs, true),
    ])
    .unwrap()
}

/// Makes `age`, `gold` and `minutes` into three floats; refuses a plan it does not know.
struct Features {
    input: Schema,
    output: Schema,
}

impl Fitted for Features {
    fn input(&self) -> &Schema {
        &self.input
    }
    fn output(&self) -> &Schema {
        &self.output
    }
    fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
        let plans = rows.column(1).as_string::<i32>();
        let gold = plans.iter().enumerate().map(|(row, plan)| match plan {
            Some("gold") => Ok(1.0),
            Some("tin") => Ok(0.0),
            other => Err(ExtError::Problem {
                who: "features".into(),
                problem: Problem {
                    code: "unknown-category".into(),
                    message: format!("row {row}, column `plan`: {other:?} was not in the training data"),
                    ..Problem::default()
                },
            }),
        });
        let gold: Float64Array = gold.collect::<Result<Vec<f64>, _>>()?.into();
        let age: Float64Array = rows.column(0).as_primitive::<arrow_array::types::Int64Type>().unary(|v| v as f64);
        let minutes = rows.column(2).as_primitive::<Float64Type>();
        let minutes: Float64Array = (0..minutes.len())
            .map(|row| if minutes.is_null(row) { 0.0 } else { minutes.value(row) })
            .collect::<Vec<f64>>()
            .into();
        let columns: Vec<ArrayRef> = vec![Arc::new(age), Arc::new(gold), Arc::new(minutes)];
        Ok(Batch::new(self.output.clone(), columns, rows.num_rows())?)
    }
}

/// Says yes with probability `(age + 10 gold + minutes) / (100 version)`. At an age of 999 it waits for the gate, at
/// 666 it fails, at 667 it panics.
struct Scale {
    input: Schema,
    output: Schema,
    version: f64,
    gate: Option<Arc<Gate>>,
}

/// Holds scoring threads until it is opened.
pub(crate) struct Gate {
    pub(crate) entered: Mutex<mpsc::Sender<()>>,
    pub(crate) open: Mutex<mpsc::Receiver<()>>,
}

impl Model for Scale {
    fn input(&self) -> &Schema {
        &self.input
    }
    fn output(&self) -> &Schema {
        &self.output
    }
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        let column = |index: usize| features.column(index).as_primitive::<Float64Type>().values();
        match (column(0).first(), &self.gate) {
            (Some(999.0), Some(gate)) => {
                gate.entered.lock().unwrap().send(()).unwrap();
                gate.open.lock().unwrap().recv().unwrap();
            }
            (Some(666.0), _) => return Err(ExtError::fault("scale", codes::BAD_MODEL, "the model is broken")),
            (Some(667.0), _) => panic!("on purpose"),
            _ => {}
        }
        let yes: Vec<f64> = (0..features.num_rows())
            .map(|row| (column(0)[row] + 10.0 * column(1)[row] + column(2)[row]) / (100.0 * self.version))
            .collect();
        let label: StringArray = yes.iter().map(|p| Some(if *p >= 0.5 { "yes" } else { "no" })).collect();
        let no: Float64Array = yes.iter().map(|p| Some(1.0 - p)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(label), Arc::new(no), Arc::new(Float64Array::from(yes))];
        Ok(Batch::new(self.output.clone(), columns, features.num_rows())?)
    }
}

/// Serves the version that a test sets.
pub(crate) struct Shelf {
    pub(crate) version: AtomicU64,
    pub(crate) gate: Option<Arc<Gate>>,
}

impl Source for Shelf {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(self.version.load(SeqCst)))
    }
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        Ok(vec![EndpointPlan::single("churn", self.version.load(SeqCst))])
    }
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        let version = what.version;
        let floats = |names: &[&str]| names.iter().map(|n| Field::new(*n, Kind::Float64, false)).collect::<Vec<_>>();
        let features = Schema::new(floats(&["age", "gold", "minutes"])).unwrap();
        let mut output = vec![Field::new("prediction", Kind::Utf8, false)];
        output.extend(floats(&["probability_no", "probability_yes"]));
        let transform = Features { input: raw().project(&[0, 1, 2]), output: features.clone() };
        let model = Scale {
            input: features,
            output: Schema::new(output).unwrap(),
            version: version as f64,
            gate: self.gate.clone(),
        };
        let scorer = Scorer::new(Signature::new(raw()), vec![Arc::new(transform)], Arc::new(model)).unwrap();
        let hashes = vec![("model".to_owned(), ContentHash::of(&version.to_le_bytes()))];
        Ok(Deployment::new("churn", version, scorer, hashes))
    }
}

#[derive(Default)]
pub(crate) struct Drawer(pub(crate) Mutex<Vec<Captured>>);

impl CaptureSink for Drawer {
    fn write(&self, captured: Vec<Captured>, _: &mut Rest<'_>) -> Result<(), ServeError> {
        self.0.lock().unwrap().extend(captured);
        Ok(())
    }
}

/// A running server; stopped and checked when told to.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    pub(crate) server: Arc<Server>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) drawer: Arc<Drawer>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

pub(crate) fn serving() -> Serving {
    serving_with(ServeLimits::default(), None)
}

pub(crate) fn serving_with(limits: ServeLimits, gate: Option<Arc<Gate>>) -> Serving {
    let shelf = Arc::new(Shelf { version: AtomicU64::new(1), gate });
    serving_from(Arc::clone(&shelf) as _, shelf, limits)
}

/// A server of another source than the shelf.
pub(crate) fn serving_of(source: Arc<dyn Source>) -> Serving {
    serving_from(source, Arc::new(Shelf { version: AtomicU64::new(1), gate: None }), ServeLimits::default())
}

fn serving_from(source: Arc<dyn Source>, shelf: Arc<Shelf>, limits: ServeLimits) -> Serving {
    // Tests say when to look for a new version.
    let limits = ServeLimits { source_poll_ms: 3_600_000, scoring_threads: 2, ..limits };
    let drawer = Arc::new(Drawer::default());
    let options = Options { limits, capture: Some(Arc::clone(&drawer) as _), ..Options::default() };
    let server = Server::start(source, options).unwrap();
    let (stop, stopped) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    let served = Arc::clone(&server);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let shutdown = async {
                let _ = stopped.await;
            };
            plinth_api::serve(listener, served, plinth_api::Surroundings::default(), shutdown).await
        })
    });
    Serving { address: told.recv().unwrap(), server, shelf, drawer, stop, thread }
}

impl Serving {
    pub(crate) fn client(&self) -> Client {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Client { agent: config.into(), base: format!("http://{}", self.address) }
    }

    pub(crate) fn post(&self, path: &str, kind: &str, body: impl AsRef<[u8]>) -> Answer {
        self.client().post(path, kind, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().get(path)
    }

    /// Asks it to stop and says how serving ended.
    pub(crate) fn stop(self) -> std::io::Result<()> {
        let _ = self.stop.send(());
        self.thread.join().unwrap()
    }

    /// Asks it to stop without waiting for the end.
    pub(crate) fn begin_stop(self) -> JoinHandle<std::io::Result<()>> {
        let _ = self.stop.send(());
        self.thread
    }
}

pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    pub(crate) fn post(&self, path: &str, kind: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(path, &[("content-type", kind)], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        read(request.send(body.as_ref()).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        read(self.agent.get(format!("{}{path}", self.base)).call().unwrap())
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let bytes = response.body_mut().read_to_vec().unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), text, bytes }
}

pub(crate) const ONE_ROW: &str =
    r#"{"dataframe_records":[{"age":40,"plan":"gold","minutes":2.5,"since":"2024-03-28 08:22:20+00:00"}]}"#;

/// A row at whose age the model waits for the gate.
pub(crate) const SLOW_ROW: &str = r#"{"dataframe_records":[{"age":999,"plan":"tin","minutes":null,"since":null}]}"#;

pub(crate) fn gate() -> (Arc<Gate>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (entered, enter) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    (Arc::new(Gate { entered: Mutex::new(entered), open: Mutex::new(open) }), enter, opener)
}
