//! Webhooks of the built binary: what happened is told, also if the server is killed in between.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

use plinth_e2e::{Project, Server, signal};
use serde_json::{Value, json};

/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request that came: its delivery id, its body, and where to answer.
struct Came {
    delivery: String,
    body: Value,
    stream: TcpStream,
}

impl Came {
    fn name(&self) -> &str {
        self.body["data"]["name"].as_str().expect("a name")
    }

    fn answer(mut self) {
        let _ = self.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

/// A receiver that says what came and leaves the answer to the test.
fn receiver() -> (u16, mpsc::Receiver<Came>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, came) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who was killed while it spoke has said nothing.
            if let Some(request) = read(stream)
                && sender.send(request).is_err()
            {
                break;
            }
        }
    });
    (port, came)
}

fn read(stream: TcpStream) -> Option<Came> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut delivery, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("x-mlflow-delivery-id: ") {
            delivery = value.to_owned();
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Came { delivery, body: serde_json::from_slice(&body).ok()?, stream })
}

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let (status, text) = server.post(&format!("/api/2.0/mlflow/{path}"), body);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_server_killed_between_an_event_and_its_delivery_delivers_it_afterwards_under_the_same_id() {
    let project = Project::empty();
    project.write("plinth.toml", "[limits.tracking.webhooks]\nrequest-ms-max = 1000\n");
    let mut server = project.up();
    let (port, came) = receiver();
    let next = || came.recv_timeout(PATIENCE).expect("a request");
    let event = json!({"entity": "REGISTERED_MODEL", "action": "CREATED"});
    let body = json!({"name": "w", "url": format!("http://localhost:{port}/"), "events": [event]});
    let made = post(&server, "webhooks", &body);
    let id = made["webhook"]["webhook_id"].as_str().expect("an id").to_owned();
    for name in ["a", "b", "c"] {
        post(&server, "registered-models/create", &json!({"name": name}));
    }
    // The first is on its way, and the others wait for it.
    let first = next();
    assert_eq!(first.name(), "a");
    signal(server.pid(), "KILL");
    server.kill();
    server = project.up();
    // It may have been sent twice before the kill; it is sent again after it, and the others follow in order.
    let mut seen = Vec::new();
    while seen.last().is_none_or(|name| name != "c") {
        let request = next();
        if request.name() == "a" {
            assert_eq!(request.delivery, first.delivery);
        }
        seen.push(request.name().to_owned());
        request.answer();
    }
    seen.dedup();
    assert_eq!(seen, ["a", "b", "c"]);
    server.stop();
    let log = project.json(&["webhook", "deliveries", &id]);
    let states: Vec<_> = log.as_array().expect("a list").iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!(states, ["delivered", "delivered", "delivered"]);
}

#[test]
fn a_delivery_in_flight_ends_before_the_server_does() {
    let project = Project::empty();
    let server = project.up();
    let (port, came) = receiver();
    let event = json!({"entity": "REGISTERED_MODEL", "action": "CREATED"});
    let body = json!({"name": "w", "url": format!("http://127.0.0.1:{port}/"), "events": [event]});
    let made = post(&server, "webhooks", &body);
    post(&server, "registered-models/create", &json!({"name": "a"}));
    let request = came.recv_timeout(PATIENCE).expect("a request");
    signal(server.pid(), "TERM");
    request.answer();
    server.stop();
    let id = made["webhook"]["webhook_id"].as_str().expect("an id");
    assert_eq!(project.json(&["webhook", "deliveries", id])[0]["state"], "delivered");
}

#[test]
fn webhooks_are_managed_on_the_command_line() {
    let project = Project::empty();
    project.run(&["webhook", "list"]).succeeds();
    let (port, came) = receiver();
    let url = format!("http://localhost:{port}/x");
    let make = |url: &str, event: &str| project.run(&["webhook", "create", "ci", url, "--event", event]);
    make(&url, "model_version.creatd").fails(2, "usage", &["model_version.created"]);
    make("http://169.254.169.254/", "model_version.created").fails(5, "bad-request", &["--webhook-allow"]);
    let made = project.json(&["webhook", "create", "ci", &url, "--event", "model_version.created,prompt.created"]);
    let id = made["webhook_id"].as_str().expect("an id");
    assert_eq!(project.json(&["webhook", "list"])[0]["events"], json!(["model_version.created", "prompt.created"]));
    let answered = std::thread::spawn(move || came.recv_timeout(PATIENCE).expect("a request").answer());
    assert_eq!(project.json(&["webhook", "test", id])["status"], 200);
    answered.join().expect("answered");
    project.run(&["webhook", "delete", id]).succeeds();
    project.run(&["webhook", "delete", id]).fails(6, "webhook-not-found", &["plinth webhook list"]);
}
