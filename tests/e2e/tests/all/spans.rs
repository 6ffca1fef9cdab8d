//! Spans of scoring requests, as a collector of OpenTelemetry gets them from the built binary.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use plinth_e2e::Project;
use serde_json::{Value, json};

use crate::serving::customer;

/// A span, as far as the tests look at it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    start: u64,
    end: u64,
    status: u64,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

/// What came to a collector.
#[derive(Default)]
struct Came {
    spans: Vec<Span>,
    heads: Vec<String>,
}

/// A collector on a port of its own.
struct Collector {
    port: u16,
    came: Arc<Mutex<Came>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let came = Arc::new(Mutex::new(Came::default()));
        let keep = Arc::clone(&came);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let came = Arc::clone(&keep);
                std::thread::spawn(move || while take(&stream, &came).is_some() {});
            }
        });
        Self { port, came }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spans(&self) -> Vec<Span> {
        self.came.lock().expect("nobody panicked").spans.clone()
    }
}

/// One request on a connection.
fn take(stream: &TcpStream, came: &Mutex<Came>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mut came = came.lock().expect("nobody panicked");
    came.spans.extend(read(&body));
    came.heads.push(head);
    drop(came);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    (&mut &*stream).write_all(answer).ok()
}

/// A field of a message of protobuf: its number, and its value as a number or as bytes.
struct Field<'a> {
    number: u64,
    value: u64,
    bytes: &'a [u8],
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let mut field = Field { number: key >> 3, value: 0, bytes: &[] };
        match key & 7 {
            0 => field.value = varint(&mut bytes),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                (field.bytes, bytes) = bytes.split_at(length);
            }
            wide => {
                let width = if wide == 1 { 8 } else { 4 };
                let (number, rest) = bytes.split_at(width);
                field.value = number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
                bytes = rest;
            }
        }
        fields.push(field);
    }
    fields
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key and a value, which is a text or a whole number.
fn attribute(bytes: &[u8]) -> (String, String) {
    let (mut key, mut value) = (String::new(), String::new());
    for field in fields(bytes) {
        match field.number {
            1 => key = text(field.bytes),
            _ => {
                for any in fields(field.bytes) {
                    value = if any.number == 1 { text(any.bytes) } else { any.value.to_string() };
                }
            }
        }
    }
    (key, value)
}

/// The spans of a request for export, by `opentelemetry/proto/trace/v1/trace.proto`.
fn read(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in fields(body) {
        let parts = fields(group.bytes);
        let resource = parts.iter().filter(|part| part.number == 1).flat_map(|part| fields(part.bytes));
        let resource: BTreeMap<_, _> = resource.filter(|f| f.number == 1).map(|f| attribute(f.bytes)).collect();
        for scope in parts.iter().filter(|part| part.number == 2) {
            for span in fields(scope.bytes).iter().filter(|field| field.number == 2) {
                let mut read = Span { resource: resource.clone(), ..Span::default() };
                for field in fields(span.bytes) {
                    match field.number {
                        1 => read.trace = hex(field.bytes),
                        2 => read.id = hex(field.bytes),
                        4 => read.parent = hex(field.bytes),
                        5 => read.name = text(field.bytes),
                        6 => read.kind = field.value,
                        7 => read.start = field.value,
                        8 => read.end = field.value,
                        9 => read.attributes.extend([attribute(field.bytes)]),
                        15 => {
                            let status = fields(field.bytes).into_iter().find(|part| part.number == 3);
                            read.status = status.map_or(0, |part| part.value);
                        }
                        _ => {}
                    }
                }
                spans.push(read);
            }
        }
    }
    spans
}

/// A project with a model, whose commands send spans there; nothing is sent before the server ends.
fn project(url: &str, more: &[(&'static str, &str)]) -> Project {
    let mut project = Project::churn();
    project.run(&["run"]).succeeds();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    for (name, value) in environment.iter().chain(more) {
        project.set(name, value);
    }
    project
}

const SERVER: u64 = 2;

#[test]
fn a_collector_is_told_of_each_request_and_of_its_parts() {
    let collector = Collector::start();
    let more = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue"),
        ("OTEL_SERVICE_NAME", "scorer"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let project = project(&collector.url(), &more);
    let server = project.serve("models:/churn@champion");
    let rows = json!({"dataframe_records": [customer(), customer()]});
    let ask = |path: &str, headers: &[(&str, &str)], body: &Value| server.told(path, headers, body, "x-request-id").0;
    let parent = |trace: &str, sampled: &str| format!("00-{}-00f067aa0ba902b7-{sampled}", trace.repeat(16));

    assert_eq!(ask("/invocations", &[("x-request-id", "plain")], &rows), 200);
    assert_eq!(ask("/endpoints/churn/invocations", &[("traceparent", &parent("a1", "01"))], &rows), 200);
    assert_eq!(ask("/invocations", &[("traceparent", &parent("b2", "00"))], &rows), 200, "whose caller is not traced");
    assert_eq!(ask("/invocations", &[("traceparent", "00-nonsense")], &json!({"dataframe_records": [{}]})), 400);
    assert_eq!(ask("/v2/models/nobody/infer", &[], &json!({"inputs": []})), 404);
    // A message with the name of the model alone: what a client of gRPC sends, without HTTP/2.
    let message = b"\0\0\0\0\x07\x0a\x05churn";
    let headers = [("content-type", "application/grpc"), ("traceparent", &parent("c3", "01"))];
    server.send("POST", "/inference.GRPCInferenceService/ModelInfer", &headers, message);
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains("plinth_spans_total{outcome=\"sent\"} 0"), "{metrics}");
    assert_eq!(collector.spans(), [], "nothing is sent before its time");
    server.stop();

    let spans = collector.spans();
    let roots: Vec<&Span> = spans.iter().filter(|span| span.kind == SERVER).collect();
    let names: Vec<&str> = roots.iter().map(|root| root.name.as_str()).collect();
    let wanted = [
        "POST /invocations",
        "POST /endpoints/{endpoint}/invocations",
        "POST /invocations",
        "POST /v2/models/{model}/infer",
        "inference.GRPCInferenceService/ModelInfer",
    ];
    assert_eq!(names, wanted);
    let [plain, traced, refused, nobody, grpc] = roots[..] else { panic!("{roots:?}") };

    let has = |span: &Span, wanted: &[(&str, &str)]| {
        for (key, value) in wanted {
            assert_eq!(span.attributes.get(*key).map(String::as_str), Some(*value), "{key} of {span:#?}");
        }
    };
    has(
        plain,
        &[("http.request.method", "POST"), ("http.route", "/invocations"), ("http.response.status_code", "200")],
    );
    has(plain, &[("plinth.endpoint", "churn"), ("plinth.deployment", "main"), ("plinth.rows", "2")]);
    has(plain, &[("plinth.model.name", "churn"), ("plinth.model.version", "1"), ("plinth.request.id", "plain")]);
    assert_eq!((plain.parent.as_str(), plain.status), ("", 0));
    for (key, value) in [("service.name", "scorer"), ("deployment.environment.name", "test")] {
        assert_eq!(plain.resource.get(key).map(String::as_str), Some(value), "{:?}", plain.resource);
    }
    assert!(plain.resource.contains_key("service.version") && plain.resource.contains_key("telemetry.sdk.name"));

    for root in [plain, traced] {
        let mut parts: Vec<&Span> = spans.iter().filter(|span| span.parent == root.id).collect();
        parts.sort_by_key(|part| (part.start, part.end));
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["queue", "decode", "transform", "inference", "encode"], "{parts:#?}");
        for part in &parts {
            assert_eq!(part.trace, root.trace);
            assert!(root.start <= part.start && part.start <= part.end && part.end <= root.end, "{root:#?}{part:#?}");
        }
        assert!(parts.windows(2).all(|pair| pair[0].end <= pair[1].start), "one after the other: {parts:#?}");
        has(parts[3], &[("plinth.batch.rows", "2")]);
    }
    assert_eq!((traced.trace.as_str(), traced.parent.as_str()), ("a1".repeat(16).as_str(), "00f067aa0ba902b7"));
    assert!(spans.iter().all(|span| span.trace != "b2".repeat(16)), "its caller is not traced");

    has(refused, &[("http.response.status_code", "400"), ("plinth.error.code", "unknown-column")]);
    assert_eq!((refused.status, refused.parent.as_str()), (0, ""), "what a caller got wrong is no fault");
    has(nobody, &[("http.response.status_code", "404"), ("plinth.error.code", "endpoint-not-found")]);
    assert_eq!(nobody.attributes.get("plinth.endpoint"), None);
    let call =
        [("rpc.system", "grpc"), ("rpc.service", "inference.GRPCInferenceService"), ("rpc.method", "ModelInfer")];
    has(grpc, &call);
    has(grpc, &[("rpc.grpc.status_code", "3"), ("plinth.endpoint", "churn")]);
    assert_eq!((grpc.trace.as_str(), grpc.status), ("c3".repeat(16).as_str(), 0));

    let came = collector.came.lock().expect("nobody panicked");
    for head in &came.heads {
        assert!(head.starts_with("post /v1/traces http/1.1") && head.contains("x-team: blue"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    }
}

#[test]
fn callers_steer_what_is_traced_and_see_it() {
    let collector = Collector::start();
    let project = project(&collector.url(), &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    let server = project.serve("models:/churn@champion");
    let ask = |id: &str| {
        let rows = json!({"dataframe_records": [customer()]});
        assert_eq!(server.told("/invocations", &[("x-request-id", id)], &rows, "x-deployment").0, 200);
    };
    let settings = |changes: Value| {
        let (status, told) = server.post("/v2/models/churn/trace/setting", &changes);
        assert_eq!(status, 200, "{told}");
        serde_json::from_str::<Value>(&told).expect("JSON")
    };
    let told: Value = serde_json::from_str(&server.get("/v2/trace/setting").1).expect("JSON");
    assert_eq!((&told["trace_mode"], &told["trace_rate"]), (&json!("opentelemetry"), &json!("0")));
    ask("before");
    let told = settings(json!({"trace_rate": "1", "trace_count": "2"}));
    assert_eq!((&told["trace_rate"], &told["trace_level"]), (&json!("1"), &json!(["TIMESTAMPS"])));
    ["first", "second", "third"].iter().for_each(|id| ask(id));
    assert_eq!(settings(json!({}))["trace_count"], "0");
    settings(json!({"trace_count": null, "trace_level": ["OFF"]}));
    ask("off");
    settings(json!({"trace_level": null}));
    ask("on");
    assert_eq!(server.post("/v2/trace/setting", &json!({"trace_level": ["TENSORS"]})).0, 400);
    server.stop();
    let mut ids: Vec<String> =
        collector.spans().into_iter().filter_map(|mut span| span.attributes.remove("plinth.request.id")).collect();
    ids.sort();
    assert_eq!(ids, ["first", "on", "second"]);
}

#[test]
fn a_collector_that_is_away_or_hangs_harms_nobody() {
    // Takes connections, and says nothing on them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hangs = listener.local_addr().expect("bound").port();
    for (port, words) in [(1, "refused"), (hangs, "")] {
        let more = [("OTEL_BSP_SCHEDULE_DELAY", "10"), ("OTEL_BSP_MAX_QUEUE_SIZE", "12")];
        let project = project(&format!("http://127.0.0.1:{port}"), &more);
        project.write("plinth.toml", "[limits.serve]\nspan-flush-ms-max = 300\n");
        let mut server = project.serve("models:/churn@champion");
        let counted = |outcome: &str| {
            let metrics = server.get("/metrics").1;
            let line = format!("plinth_spans_total{{outcome=\"{outcome}\"}} ");
            let count = metrics.lines().find_map(|told| told.strip_prefix(&line));
            count.unwrap_or_else(|| panic!("no {line}in {metrics}")).parse::<u64>().expect("a count")
        };
        let wanted = if words.is_empty() { "dropped" } else { "failed" };
        let began = Instant::now();
        while counted(wanted) == 0 {
            let rows = json!({"dataframe_records": [customer()]});
            assert_eq!(server.post("/invocations", &rows).0, 200);
            assert!(began.elapsed() < Duration::from_secs(60), "no spans are {wanted}");
        }
        assert_eq!(counted("sent"), 0);
        if !words.is_empty() {
            let line = server.wait_for("the collector takes no spans");
            assert!(line.contains(words), "{line}");
        }
        let began = Instant::now();
        server.stop();
        assert!(began.elapsed() < Duration::from_secs(5), "it waited {:?}", began.elapsed());
    }
}

#[test]
fn plinth_itself_keeps_the_traces_of_what_it_serves() {
    let tracker = Project::empty();
    let tracking = tracker.up();
    let project = project(&tracking.url(""), &[("OTEL_EXPORTER_OTLP_HEADERS", "x-mlflow-experiment-id=0")]);
    let server = project.serve("models:/churn@champion");
    assert_eq!(server.post("/invocations", &json!({"dataframe_records": [customer()]})).0, 200);
    server.stop();
    let traces = tracker.json(&["trace", "list"]);
    let [trace] = &traces.as_array().expect("a list")[..] else { panic!("{traces}") };
    let id = trace["trace_id"].as_str().unwrap_or_else(|| panic!("{trace}"));
    let shown = tracker.json(&["trace", "show", id]).to_string();
    for name in ["POST /invocations", "queue", "decode", "transform", "inference", "encode", "plinth.model.version"] {
        assert!(shown.contains(name), "no {name} in {shown}");
    }
    tracking.stop();
}
