//! Requests of plugins through the client that the binary gives them, to servers that mean no good.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use plinth_e2e::{Done, Project};
use serde_json::Value;

/// A server on this machine: what it was sent, one text for each connection.
struct Trap {
    port: u16,
    requests: mpsc::Receiver<String>,
}

impl Trap {
    /// One that does this with each of its connections, once it has the head of a request.
    fn new(answer: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (tell, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                    head.push(byte[0]);
                }
                if tell.send(String::from_utf8_lossy(&head).into_owned()).is_err() {
                    return;
                }
                answer(stream);
            }
        });
        Self { port, requests }
    }

    /// One that answers a text.
    fn says(text: String) -> Self {
        Self::new(move |mut stream| {
            let _ = stream.write_all(text.as_bytes());
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests that came so far.
    fn seen(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }
}

/// A plugin that asks for what it is told to; `http` is what it is granted of it.
fn project(http: &str) -> Project {
    let project = Project::empty();
    project.write("rows.csv", "x\n1\n");
    let all = r#"["objects", "tables", "kv", "http", "nn", "clock", "random", "secrets"]"#;
    project.write(
        "plinth.toml",
        format!(
            "[limits.plugin]\nhttp-ms-max = 1000\nhttp-response-bytes-max = 100000\nhttp-header-bytes-max = 10000\n\
             [plugins.evil-imports]\ngrant = {all}\n{http}\n"
        ),
    );
    project
}

/// One at whose private address the plugin may be.
fn allowed(trap: &Trap) -> Project {
    project(&format!("http.private = [\"127.0.0.1:{}\"]", trap.port))
}

fn ask(project: &Project, item: &str, url: &str) -> Done {
    let options = serde_json::json!({ "url": url }).to_string();
    project.run(&["plugin", "run", "evil-imports", "rows.csv", "--item", item, "--options", &options, "--json"])
}

/// What a misdeed says that the host answered.
fn observed(done: &Done) -> String {
    done.succeeds();
    let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
    told["checks"][0]["observed"].as_str().expect("a text").to_owned()
}

/// The problem that the host answered, which the plugin passed on.
#[track_caller]
fn refused(done: &Done, code: &str, words: &str) {
    assert_eq!(done.code, Some(5), "{}{}", done.stdout, done.stderr);
    let told: Value = serde_json::from_str(&done.stderr).expect("JSON");
    let message = told["error"]["message"].as_str().expect("a text");
    assert!(message.contains(&format!("({code})")) && message.contains(words), "{message}");
}

#[test]
fn a_redirect_is_handed_back_and_leads_nowhere() {
    let inner = Trap::says("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret".into());
    let to = inner.url("/latest/meta-data");
    let trap = Trap::says(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"));
    let project = allowed(&trap);
    assert_eq!(observed(&ask(&project, "http-get", &trap.url("/"))), "302, 0 bytes");
    assert_eq!(trap.seen().len(), 1);
    // A plugin that follows it by itself is checked anew.
    refused(
        &ask(&project, "http-get", &to),
        "denied",
        &format!("the host `127.0.0.1:{}`, which was not granted", inner.port),
    );
    assert_eq!(inner.seen(), Vec::<String>::new());
}

#[test]
fn names_and_addresses_of_this_machine_are_not_public_hosts() {
    let trap = Trap::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into());
    let port = trap.port;
    let project = project(&format!(
        "http.hosts = [\"localhost:{port}\", \"127.0.0.1:{port}\", \"[::1]:{port}\", \"[::ffff:127.0.0.1]:{port}\", \"0.0.0.0:{port}\"]"
    ));
    let denied = |host: &str, words: &str| {
        refused(&ask(&project, "http-get", &format!("http://{host}:{port}/")), "denied", words);
    };
    denied("localhost", "its name leads to an address that is not public");
    denied("127.0.0.1", "`127.0.0.1` is a loopback address");
    for host in ["[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        denied(host, &format!("if that is wanted, add \"{host}:{port}\" to `http.private`"));
    }
    assert_eq!(trap.seen(), Vec::<String>::new());
}

#[test]
fn answers_end_at_their_size() {
    let head = "HTTP/1.1 200 OK\r\n";
    let honest = Trap::says(format!("{head}content-length: 100001\r\n\r\n{}", "x".repeat(100_001)));
    // Not a byte of what it promises comes.
    let boasting = Trap::says(format!("{head}content-length: 99999999999\r\n\r\n{}", "x".repeat(100_001)));
    let endless = Trap::new(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        // Until the other side has had enough.
        while stream
            .write_all(b"3e8\r\n")
            .and_then(|()| stream.write_all(&[b'x'; 1_000]))
            .and_then(|()| stream.write_all(b"\r\n"))
            .is_ok()
        {}
    });
    let headers = Trap::says(format!("{head}x: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(10_001)));
    let head_without_end = Trap::new(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(&[b'y'; 1_000]).is_ok() {}
    });
    for trap in [honest, boasting, endless, headers] {
        refused(&ask(&allowed(&trap), "http-get", &trap.url("/")), "http-too-large", "is larger than 100000 bytes");
    }
    let done = ask(&allowed(&head_without_end), "http-get", &head_without_end.url("/"));
    refused(&done, "http-failed", "`127.0.0.1`: message head is too large");
    let full = Trap::says(format!("{head}content-length: 100000\r\n\r\n{}", "x".repeat(100_000)));
    assert_eq!(observed(&ask(&allowed(&full), "http-get", &full.url("/"))), "200, 100000 bytes");
}

#[test]
fn servers_that_take_their_time_do_not_get_it() {
    // All they do is wait for the other side to go away.
    let wait = |mut stream: TcpStream| {
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let silent = Trap::new(wait);
    let halting = Trap::new(move |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx");
        wait(stream);
    });
    let start = Instant::now();
    for trap in [silent, halting] {
        refused(&ask(&allowed(&trap), "http-get", &trap.url("/")), "http-timeout", "within 1000 ms");
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn a_url_is_one_line_of_a_request() {
    let trap = Trap::says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into());
    let project = allowed(&trap);
    for path in
        ["/a\r\nX-Evil: 1", "/a HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET /b", "/a\nb", "/a b", "/a\0b", "/\\evil.example"]
    {
        refused(&ask(&project, "http-get", &trap.url(path)), "http-bad-request", "white space, a control character");
    }
    assert_eq!(trap.seen(), Vec::<String>::new());
    // What is written as such stays what it is.
    assert_eq!(observed(&ask(&project, "http-get", &trap.url("/a%0d%0aX-Evil:%201?x=%0a#y%0d%0a"))), "200, 0 bytes");
    let seen = trap.seen();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert!(request.starts_with("GET /a%0d%0aX-Evil:%201?x=%0a HTTP/1.1\r\n"), "{request}");
    assert!(!request.lines().any(|line| line.starts_with("X-Evil")), "{request}");
}

#[test]
fn methods_and_headers_that_were_not_granted_reach_nobody() {
    let project = project("http.hosts = [\"granted.example\"]");
    assert_eq!(observed(&ask(&project, "http-methods", "")), "denied denied denied denied");
    assert_eq!(observed(&ask(&project, "http-bad-headers", "")), ["http-bad-request"; 10].join(" "));
    refused(
        &ask(&project, "http-get", "https://other.example/"),
        "denied",
        "http.hosts = [\"granted.example\", \"other.example\"]",
    );
}
