//! Someone who receives webhooks: a real listener that answers as it is told and remembers what came.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use serde_json::Value;

/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request that came.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Came {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn delivery(&self) -> &str {
        &self.headers["x-mlflow-delivery-id"]
    }
}

/// What it answers: everything that is written on the connection.
type Answer = dyn Fn(&Came, &mut TcpStream) + Send + Sync;

pub(crate) struct Receiver {
    port: u16,
    came: mpsc::Receiver<Came>,
    answer: Arc<Mutex<Arc<Answer>>>,
}

impl Receiver {
    /// Answers everything with 200.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, came) = mpsc::channel();
        let ok: Arc<Answer> = Arc::new(|_, stream| status(stream, "200 OK", "", "thanks"));
        let answer = Arc::new(Mutex::new(ok));
        let answers = Arc::clone(&answer);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                std::thread::spawn(move || receive(stream, &sender, &answers));
            }
        });
        Self { port, came, answer }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answers(&self, answer: impl Fn(&Came, &mut TcpStream) + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    /// The next request.
    #[track_caller]
    pub(crate) fn next(&self) -> Came {
        self.came.recv_timeout(PATIENCE).expect("a request")
    }

    /// Whether none has come so far.
    pub(crate) fn quiet(&self) -> bool {
        self.came.try_recv().is_err()
    }
}

/// Writes a whole answer. Whoever asked may have gone.
pub(crate) fn status(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}");
}

fn receive(mut stream: TcpStream, sender: &mpsc::Sender<Came>, answers: &Mutex<Arc<Answer>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let came = Came { path, headers, body: String::from_utf8(body).ok()? };
    let answer: Arc<Answer> = answers.lock().ok()?.clone();
    sender.send(came.clone()).ok()?;
    answer(&came, &mut stream);
    Some(())
}
