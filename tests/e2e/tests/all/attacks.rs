//! Attacks on the tracking server, byte by byte: each is refused with the status that it deserves, in good time, changes
//! nothing, and leaves a server that answers.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use plinth_e2e::{Project, Server};
use serde_json::{Value, json};

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(30);

const API: &str = "/api/2.0/mlflow";
const FILES: &str = "/api/2.0/mlflow-artifacts";

/// A request, and the statuses that answer it; 0 is a connection that ends without one.
struct Attack {
    name: String,
    request: Vec<u8>,
    wanted: Vec<u16>,
}

/// A request from its parts.
fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let kind =
        if headers.to_ascii_lowercase().contains("content-type:") { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\n{host}{kind}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn attack(wanted: u16, method: &str, target: &str, headers: &str, body: &[u8]) -> Attack {
    let cut = |text: &str| text.chars().take(120).collect::<String>();
    let name = format!("{method} {} {} {}", cut(target), cut(headers), cut(&String::from_utf8_lossy(body)));
    Attack { name, request: request(method, target, headers, body), wanted: vec![wanted] }
}

fn post(wanted: u16, path: &str, body: &Value) -> Attack {
    attack(wanted, "POST", &format!("{API}/{path}"), "", body.to_string().as_bytes())
}

/// Bytes that are no well-formed request.
fn malformed(wanted: &[u16], request: impl AsRef<[u8]>) -> Attack {
    let request = request.as_ref();
    let name = String::from_utf8_lossy(&request[..request.len().min(160)]).into_owned();
    Attack { name, request: request.to_vec(), wanted: wanted.to_vec() }
}

/// The first answer to some bytes: its status, and all that came.
fn answer(server: &Server, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A server may answer, and close, before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("no end of an answer to {}", String::from_utf8_lossy(&request[..request.len().min(300)]))
            }
            // Closed with bytes of ours unread.
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

/// A server with something to lose.
struct Target {
    project: Project,
    server: Server,
    run: String,
}

impl Target {
    fn new(more: &[&str]) -> Self {
        let project = Project::empty();
        let server = project.up_with(more);
        Self { project, server, run: String::new() }
    }

    fn filled() -> Self {
        let mut target = Self::new(&[]);
        let post = |path: &str, body: Value| -> Value {
            let (status, text) = target.server.post(&format!("{API}/{path}"), &body);
            assert_eq!(status, 200, "{path}: {text}");
            serde_json::from_str(&text).expect("JSON")
        };
        let made = post("runs/create", json!({"experiment_id": "0"}));
        let run = made["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
        post("registered-models/create", json!({"name": "m"}));
        let source = format!("mlflow-artifacts:/0/{run}/artifacts");
        post("model-versions/create", json!({"name": "m", "source": source, "run_id": run}));
        target.run = run;
        let file = format!("{FILES}/artifacts/0/{}/artifacts/a/inside", target.run);
        assert_eq!(answer(&target.server, &request("PUT", &file, "", b"content")).0, 200);
        target
    }

    /// All that clients see, and every file but the catalog's, whose pages may be written back at any time.
    fn state(&self) -> String {
        let paths = [
            format!("{API}/experiments/search?max_results=1000&view_type=ALL"),
            format!("{API}/runs/get?run_id={}", self.run),
            format!("{API}/registered-models/search"),
            format!("{API}/model-versions/search"),
            format!("{API}/artifacts/list?run_id={}&path=a", self.run),
            format!("{FILES}/artifacts"),
        ];
        let mut state: Vec<String> = paths.iter().map(|path| self.server.get(path).1).collect();
        files(&self.project.path(".plinth"), &mut state);
        state.join("\n")
    }

    fn withstands(&self, attacks: &[Attack]) {
        let before = self.state();
        let mut failed = Vec::new();
        for attack in attacks {
            let (status, text) = answer(&self.server, &attack.request);
            if !attack.wanted.contains(&status) || text.contains("root:x:0:0") {
                let shown: String = text.chars().skip(9).take(300).collect();
                failed.push(format!("{}\n    wanted {:?}, got {shown:?}", attack.name, attack.wanted));
            }
        }
        assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), attacks.len(), failed.join("\n"));
        assert_eq!(self.state(), before, "something was changed");
        assert_eq!(self.server.get("/health").0, 200);
    }
}

fn files(dir: &Path, found: &mut Vec<String>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if !path.file_name().expect("a name").to_string_lossy().starts_with("catalog.db") {
            found.push(path.display().to_string());
        }
    }
}

/// What must lead nowhere, as it stands in a URL.
const PATHS: [&str; 36] = [
    "..",
    "../x",
    "../../../../etc/passwd",
    "a/../../x",
    "a/..",
    "%2e%2e%2fx",
    "%2E%2E/x",
    "a/%2e%2e/%2e%2e/x",
    "%252e%252e%252fx",
    "%25252e%25252e%25252fx",
    "..%2f..%2f..%2fetc%2fpasswd",
    "..%252fx",
    "%2fetc%2fpasswd",
    "%252fetc%252fpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "..%5c..%5cx",
    "a%5cb",
    "%5c%5chost%5cshare",
    "file:///etc/passwd",
    "FILE:%2f%2f%2fetc%2fpasswd",
    "file%3a%2f%2f%2fetc",
    "http://127.0.0.1/x",
    "C:%5cx",
    "c:x",
    "a%00b",
    "%00",
    "a%0d%0aX-Evil:1",
    "a%7fb",
    "./x",
    "a//x",
    "...",
    "%c0%ae%c0%ae/x",
    "%ff%fe",
    "..%ef%bc%8fx",
    "%u002e%u002e/../x",
];

#[test]
fn no_path_leads_out() {
    let target = Target::filled();
    let run = &target.run;
    let long = ["a".repeat(300), "a/".repeat(2_500) + "b"];
    let mut attacks = Vec::new();
    let create = json!({"path": "x", "num_parts": 1}).to_string();
    for path in PATHS.into_iter().chain(long.iter().map(String::as_str)) {
        attacks.extend([
            attack(400, "GET", &format!("{FILES}/artifacts/{path}"), "", b""),
            attack(400, "PUT", &format!("{FILES}/artifacts/{path}"), "", b"evil"),
            attack(400, "DELETE", &format!("{FILES}/artifacts/{path}"), "", b""),
            attack(400, "POST", &format!("{FILES}/mpu/create/{path}"), "", create.as_bytes()),
            attack(400, "GET", &format!("{FILES}/artifacts?path={path}"), "", b""),
            attack(400, "GET", &format!("/get-artifact?run_id={run}&path={path}"), "", b""),
            attack(400, "GET", &format!("/model-versions/get-artifact?name=m&version=1&path={path}"), "", b""),
            attack(400, "GET", &format!("{API}/artifacts/list?run_id={run}&path={path}"), "", b""),
        ]);
    }
    for name in ["..", "a/..", "x\\..", "a\u{0}b", "%2e%2e", ".", "a\nb"] {
        let body = json!({"path": name, "num_parts": 1}).to_string();
        attacks.push(attack(400, "POST", &format!("{FILES}/mpu/create/0/{run}/artifacts"), "", body.as_bytes()));
    }
    for path in ["../../etc/passwd", "/etc/passwd", "a/../../x", "..\\x"] {
        let target = format!("{API}/get-trace-artifact?request_id=tr-1&path={path}");
        attacks.push(Attack { wanted: vec![400, 404], ..attack(400, "GET", &target, "", b"") });
    }
    target.withstands(&attacks);
}

#[test]
fn no_source_is_the_servers_own_or_another_hosts() {
    let target = Target::filled();
    let sources = [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file://localhost/etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "../../etc/passwd",
        ".",
        "\\\\host\\share",
        "C:\\Windows",
        "http://169.254.169.254/latest",
        "https://evil.example/x",
        "HTTP://evil.example/x",
        "ftp://evil.example/x",
        "sftp://evil.example/x",
        "hdfs://evil.example/x",
        "mlflow-artifacts://evil.example/x",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/0/%2e%2e/%2e%2e/etc",
        "mlflow-artifacts:/1/other/artifacts",
        "runs:/other/model",
        "runs:/../../x",
        "s3://bucket/../x",
        "s3://bucket/%2e%2e/x",
        "s3://bucket",
        "dbfs:/../etc",
        "jar:file:///x!/y",
        "javascript:alert(1)",
        "data:text/plain,x",
        "gopher://evil.example/x",
        "models:/../x",
        "models://evil/m/1",
        "s3:",
        "://x",
        "s3://b/x\u{0}y",
        "file%3A///etc/passwd",
    ];
    let version = |source: &str, more: Value| {
        let mut body = json!({"name": "m", "source": source});
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        post(400, "model-versions/create", &body)
    };
    let mut attacks: Vec<Attack> = sources.iter().map(|source| version(source, json!({}))).collect();
    attacks.extend(sources.iter().take(22).map(|source| version(source, json!({"run_id": target.run}))));
    let locations = [
        "http://evil.example/x",
        "runs:/x",
        "mlflow-artifacts://evil/x",
        "s3://b/../x",
        "s3://b/%2e%2e/x",
        "file:///a/../b",
        "../x",
        "s3://b?x=../y",
        "hdfs://evil/x",
    ];
    for (at, location) in locations.iter().enumerate() {
        let body = json!({"name": format!("e{at}"), "artifact_location": location});
        attacks.push(post(400, "experiments/create", &body));
    }
    target.withstands(&attacks);
}

#[test]
fn nobody_is_talked_into_anything_by_a_page_or_a_name() {
    let target = Target::filled();
    let create = json!({"name": "evil"}).to_string();
    let create = create.as_bytes();
    let (path, list) = (format!("{API}/experiments/create"), format!("{API}/experiments/search?max_results=1"));
    let mut attacks = Vec::new();
    for host in [
        "evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "8.8.8.8",
        "192.168.0.7.nip.io",
        "",
        "[::ffff:8.8.8.8]",
        "127.0.0.1:5000:evil",
        "evil.example#localhost",
    ] {
        let header = format!("Host: {host}\r\n");
        attacks.push(attack(403, "GET", &list, &header, b""));
        attacks.push(attack(403, "POST", &path, &header, create));
        attacks.push(attack(
            403,
            "OPTIONS",
            &path,
            &format!("{header}Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n"),
            b"",
        ));
    }
    attacks.push(attack(403, "POST", &path, "Host: localhost\r\nHost: evil.example\r\n", create));
    attacks.push(attack(403, "POST", &path, "Host: evil.example\r\nHost: localhost\r\n", create));
    attacks.push(attack(403, "POST", &format!("http://evil.example{path}"), "", create));
    attacks.push(malformed(&[400, 403], format!("GET {list} HTTP/1.1\r\nConnection: close\r\n\r\n")));
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "file://",
        "http://127.0.0.1.nip.io",
        "\u{e9}",
    ] {
        attacks.push(attack(403, "POST", &path, &format!("Origin: {origin}\r\n"), create));
        let asks = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        attacks.push(attack(403, "OPTIONS", &path, &asks, b""));
    }
    attacks.push(attack(403, "POST", &path, "Origin: http://localhost\r\nOrigin: https://evil.example\r\n", create));
    attacks.push(attack(403, "POST", &path, "Sec-Fetch-Site: cross-site\r\n", create));
    attacks.push(attack(403, "DELETE", &format!("{FILES}/artifacts/0"), "Origin: https://evil.example\r\n", b""));
    attacks.push(attack(403, "PUT", &format!("{FILES}/artifacts/x"), "Origin: https://evil.example\r\n", b"evil"));
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=x",
        "text/plain;application/json",
        "application/jsonx",
        "",
    ] {
        attacks.push(attack(400, "POST", &path, &format!("Content-Type: {kind}\r\n"), create));
    }
    // What tells a server to take one method for another is not obeyed.
    for header in ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"] {
        let target = format!("{API}/registered-models/get?name=m");
        attacks
            .push(Attack { wanted: vec![200], ..attack(200, "GET", &target, &format!("{header}: DELETE\r\n"), b"") });
    }
    for (method, path) in [
        ("GET", "experiments/create"),
        ("PUT", "experiments/create"),
        ("DELETE", "experiments/create"),
        ("POST", "registered-models/delete"),
        ("POST", "experiments/get"),
        ("PATCH", "runs/search"),
        ("TRACE", "experiments/search"),
        ("PROPFIND", "experiments/search"),
        ("post", "experiments/create"),
        ("DELETE", "runs/delete"),
        ("POST", "model-versions/get"),
    ] {
        attacks.push(attack(405, method, &format!("{API}/{path}"), "", create));
    }
    target.withstands(&attacks);
}

#[test]
fn requests_that_two_read_differently_are_refused() {
    let target = Target::filled();
    let head =
        format!("POST {API}/experiments/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
    let evil = r#"{"name": "evil"}"#;
    let mut attacks = Vec::new();
    for lengths in [
        "Content-Length: 16\r\nContent-Length: 17\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +16\r\n",
        "Content-Length: 16, 17\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length: 1 6\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length:\r\n",
        "Content-Length : 16\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "X: a\r\n b\r\nContent-Length: 16\r\n",
        " Content-Length: 16\r\n",
        "X: a\0b\r\nContent-Length: 16\r\n",
        "X\u{1}: a\r\nContent-Length: 16\r\n",
        "no colon\r\nContent-Length: 16\r\n",
        ": empty\r\nContent-Length: 16\r\n",
        "X: a\rb\r\nContent-Length: 16\r\n",
    ] {
        attacks.push(malformed(&[400], format!("{head}{lengths}\r\n{evil}")));
    }
    for line in [
        "GET / HTTP/9.9",
        "GET  /health HTTP/1.1",
        "GET /health",
        "GET /hea lth HTTP/1.1",
        "G\u{1}T /health HTTP/1.1",
        "/health HTTP/1.1",
        "GET /\u{0} HTTP/1.1",
        "PRI * HTTP/2.0",
        "\u{16}\u{3}\u{1}",
    ] {
        attacks.push(malformed(&[400, 505], format!("{line}\r\nHost: localhost\r\n\r\n")));
    }
    for chunks in
        ["zz\r\nevil\r\n0\r\n\r\n", "-5\r\nevil\r\n", "ffffffffffffffffff\r\nevil", "5\r\nevilevil\r\n0\r\n\r\n"]
    {
        attacks
            .push(malformed(&[400], format!("{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunks}")));
    }
    target.withstands(&attacks);
    // A length beside chunks: whatever follows the chunks is not taken for a request of its own.
    let hidden = format!("{head}Content-Length: 16\r\n\r\n{evil}");
    for both in [
        "Content-Length: 400\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 400\r\n",
    ] {
        let request = format!("{head}{both}\r\n0\r\n\r\n{hidden}");
        let before = target.state();
        let (_, text) = answer(&target.server, request.as_bytes());
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
        assert_eq!(target.state(), before, "{both}");
    }
}

#[test]
fn nothing_is_too_large_too_deep_or_too_odd() {
    let target = Target::filled();
    let run = target.run.as_str();
    let search = |body: Value| post(400, "runs/search", &body);
    let mut attacks = vec![
        malformed(&[0, 431], format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(1 << 20))),
        malformed(&[0, 414, 431], format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "y".repeat(1 << 20))),
        malformed(&[0, 431], format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(5_000))),
        malformed(
            &[413],
            format!(
                "POST {API}/runs/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n"
            ),
        ),
        malformed(
            &[413],
            format!(
                "PUT {FILES}/artifacts/0/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 999999999999999\r\n\r\n"
            ),
        ),
        malformed(
            &[400],
            format!(
                "POST {API}/upload-artifact?run_uuid={run}&path=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n"
            ),
        ),
        search(json!({"experiment_ids": ["0"], "max_results": 1_000_000_000})),
        search(json!({"experiment_ids": ["0"], "max_results": -1})),
        search(json!({"experiment_ids": ["0"], "max_results": "many"})),
        search(json!({"experiment_ids": ["0"], "page_token": "!!!"})),
        search(json!({"experiment_ids": ["0"], "page_token": "////////////"})),
        search(json!({"experiment_ids": ["0"], "filter": "(".repeat(50_000)})),
        search(json!({"experiment_ids": ["0"], "filter": "x".repeat(2_000_000)})),
        search(json!({"experiment_ids": ["0"], "filter": "metrics.a > 1 AND ".repeat(1_000) + "metrics.a > 1"})),
        search(json!({"experiment_ids": ["0"], "filter": "metrics.a > 1; DROP TABLE runs"})),
        search(json!({"experiment_ids": ["0"], "filter": "params.a = 'x' OR 1=1"})),
        search(json!({"experiment_ids": ["0"], "filter": "attributes.secret = 'x'"})),
        search(json!({"experiment_ids": ["0"], "order_by": ["metrics.a; DROP TABLE runs"]})),
        search(json!({"experiment_ids": {"$ne": "0"}})),
        post(400, "experiments/search", &json!({"max_results": 1_000_000_000})),
        attack(400, "GET", &format!("{API}/registered-models/search?max_results=1000000000"), "", b""),
        attack(400, "GET", &format!("{API}/model-versions/search?max_results=1000000000"), "", b""),
        post(
            400,
            "traces/search",
            &json!({"locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "max_results": 1_000_000}),
        ),
        post(
            400,
            "runs/log-batch",
            &json!({"run_id": run, "metrics": vec![json!({"key": "a", "value": 1, "timestamp": 1}); 1_001]}),
        ),
        post(
            400,
            "runs/log-batch",
            &json!({"run_id": run, "params": (0..101).map(|at| json!({"key": at.to_string(), "value": "x"})).collect::<Vec<_>>()}),
        ),
        // The last of a batch is wrong: none of it is written.
        post(
            400,
            "runs/log-batch",
            &json!({"run_id": run, "params": [{"key": "good", "value": "x"}, {"key": "../..", "value": "x"}]}),
        ),
        post(
            400,
            "runs/log-batch",
            &json!({"run_id": run, "tags": [{"key": "good", "value": "x"}], "metrics": [{"key": "m", "value": "x", "timestamp": 1}]}),
        ),
        post(400, "runs/log-parameter", &json!({"run_id": run, "key": "k".repeat(300), "value": "x"})),
        post(400, "runs/log-parameter", &json!({"run_id": run, "key": "/etc/passwd", "value": "x"})),
        post(400, "runs/log-parameter", &json!({"run_id": run, "key": "a/../../b", "value": "x"})),
        post(400, "runs/log-metric", &json!({"run_id": run, "key": "a", "value": 1, "timestamp": i64::MAX})),
        post(400, "runs/log-metric", &json!({"run_id": run, "key": "a", "value": "1e", "timestamp": 1})),
        post(400, "experiments/create", &json!({"name": "n".repeat(100_000)})),
        post(400, "experiments/create", &json!({"name": ["evil"]})),
        post(400, "registered-models/create", &json!({"name": "a/b"})),
        post(400, "registered-models/create", &json!({"name": "a:b"})),
        post(400, "registered-models/alias", &json!({"name": "m", "version": "1", "alias": "v1"})),
        post(400, "registered-models/alias", &json!({"name": "m", "version": "1", "alias": "a/../b"})),
        post(400, "registered-models/alias", &json!({"name": "m", "version": "1", "alias": "a".repeat(300)})),
        post(404, "registered-models/alias", &json!({"name": "m", "version": "-1", "alias": "a"})),
    ];
    let path = format!("{API}/experiments/create");
    let deep = "[".repeat(100_000);
    let (nested, objects) = (format!("{{\"name\": {deep}"), "{\"a\":".repeat(100_000));
    for body in [
        &b"{\"name\": \"\xff\xfe\"}"[..],
        b"{\"name\": \"\xc0\xaf\"}",
        b"{\"name\": \"\\ud800\"}",
        b"{\"name\": \"\\udfff\\ud800\"}",
        b"{\"name\": \"evil\"",
        b"{\"name\": \"evil\"} x",
        b"{'name': 'evil'}",
        b"{\"name\": \"a\nb\"}",
        b"[]",
        b"1",
        b"\"\"",
        b"nul",
        b"{\"name\": \"\\x41\"}",
        b"\x00",
        b"\xef\xbb\xbf{\"name\": \"evil\"}",
        deep.as_bytes(),
        nested.as_bytes(),
        objects.as_bytes(),
    ] {
        attacks.push(attack(400, "POST", &path, "", body));
    }
    let odd = format!("{API}/experiments/get?experiment_id=%ff%fe&experiment_id=1");
    attacks.push(Attack { wanted: vec![400, 404], ..attack(400, "GET", &odd, "", b"") });
    for encoding in ["br", "zstd", "gzip, gzip"] {
        let headers =
            format!("Content-Type: application/json\r\nX-Mlflow-Experiment-Id: 0\r\nContent-Encoding: {encoding}\r\n");
        attacks.push(attack(400, "POST", "/v1/traces", &headers, b"{}"));
    }
    let file = format!("{FILES}/artifacts/0/{run}/artifacts/a/inside");
    for (range, wanted) in [
        ("bytes=99999999999999999999-", 416),
        ("bytes=7-", 416),
        ("bytes=-0", 416),
        ("bytes=5-1", 200),
        ("bytes=a-b", 200),
        ("bytes=-1-2", 200),
        ("lines=1-2", 200),
    ] {
        attacks.push(attack(wanted, "GET", &file, &format!("Range: {range}\r\n"), b""));
    }
    let overlapping = format!("Range: bytes={}\r\n", vec!["0-"; 5_000].join(","));
    attacks.push(attack(200, "GET", &file, &overlapping, b""));
    target.withstands(&attacks);
    // Long lists are no fault, whatever they are answered.
    let ids: Vec<String> = (0..100_000).map(|at| at.to_string()).collect();
    for (path, body) in [
        ("runs/search", json!({"experiment_ids": ids, "max_results": 1})),
        ("runs/search", json!({"experiment_ids": ["0"], "order_by": vec!["metrics.a"; 2_000]})),
        (
            "runs/search",
            json!({"experiment_ids": ["0"], "filter": format!("run_id IN ({})", vec!["'x'"; 10_000].join(","))}),
        ),
        ("logged-models/search", json!({"experiment_ids": ids})),
        ("traces/batchGetInfos", json!({"trace_ids": ids})),
        ("traces/delete-traces", json!({"experiment_id": "0", "request_ids": ids})),
        ("experiments/search-datasets", json!({"experiment_ids": ids})),
        ("datasets/search", json!({"experiment_ids": ids})),
    ] {
        let body = body.to_string();
        let (status, text) = answer(&target.server, &request("POST", &format!("{API}/{path}"), "", body.as_bytes()));
        assert!((200..500).contains(&status), "{path}: {}", text.chars().take(500).collect::<String>());
    }
}

#[test]
fn a_packed_body_is_not_unpacked_without_end() {
    let target = Target::filled();
    // Zeros without end, as `gzip` packs them: a thousand to one.
    let mut packed = std::process::Command::new("sh");
    let packed = packed.args(["-c", "head -c 300000000 /dev/zero | gzip -1"]).output().expect("gzip is there").stdout;
    let headers = "Content-Type: application/x-protobuf\r\nX-Mlflow-Experiment-Id: 0\r\nContent-Encoding: gzip\r\n";
    target.withstands(&[attack(413, "POST", "/v1/traces", headers, &packed)]);
}

#[test]
fn with_access_control_nobody_gains_a_right() {
    let project = Project::empty();
    project.write("password", "correct horse");
    let run = |arguments: &[&str]| {
        project.run(arguments).succeeds();
    };
    for (name, role) in [("root", "admin"), ("ann", "reader"), ("bob", "editor")] {
        run(&["user", "add", name, "--role", role, "--password-file", "password"]);
    }
    let token = |user: &str| {
        let made = project.json(&["token", "create", user]);
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("token_id"), text("token"))
    };
    let ((ann_id, ann), (_, bob), (_, root)) = (token("ann"), token("bob"), token("root"));
    let server = project.up_with(&["--auth"]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let ask = |authorization: &str, method: &str, path: &str, body: &Value| {
        answer(&server, &request(method, path, authorization, body.to_string().as_bytes()))
    };
    let create = format!("{API}/experiments/create");
    assert_eq!(ask(&bearer(&root), "POST", &create, &json!({"name": "e"})).0, 200);
    let long = format!("Authorization: Bearer {}\r\n", "x".repeat(40_000));
    for authorization in [
        "",
        "Authorization: \r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer x\r\n",
        "Authorization: Basic\r\n",
        "Authorization: Basic !!!\r\n",
        "Authorization: Basic cm9vdA==\r\n",
        "Authorization: Basic cm9vdDo=\r\n",
        "Authorization: Basic Og==\r\n",
        "Authorization: Digest username=\"root\"\r\n",
        "Authorization: Negotiate x\r\n",
        "X-Remote-User: root\r\n",
        "X-Forwarded-User: root\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "Cookie: session=root\r\n",
        "Authorization: Basic cm9vdDonIE9SIDE9MQ==\r\n",
        "Authorization: Basic 5//+/Q==\r\n",
        &long,
    ] {
        for (method, path) in [
            ("POST", create.clone()),
            ("POST", format!("{API}/runs/create")),
            ("DELETE", format!("{FILES}/artifacts/0")),
            ("PUT", format!("{FILES}/artifacts/0/x")),
            ("GET", format!("{API}/experiments/search?max_results=1")),
        ] {
            let (status, text) = ask(authorization, method, &path, &json!({"name": "evil"}));
            // Guesses may be told to wait.
            assert!(matches!(status, 401 | 429), "{authorization} {method} {path}: {text}");
        }
    }
    let users = format!("{API}/users");
    let admin = json!({"username": "ann", "is_admin": true});
    for (who, method, path, body) in [
        (&ann, "POST", format!("{users}/create"), json!({"username": "eve", "password": "correct horse"})),
        (&ann, "PATCH", format!("{users}/update-admin"), admin.clone()),
        (&ann, "PATCH", format!("{users}/update-password"), json!({"username": "root", "password": "correct horse"})),
        (&ann, "DELETE", format!("{users}/delete"), json!({"username": "root"})),
        (&ann, "GET", format!("{users}/list"), json!({})),
        (&ann, "GET", format!("{users}/get?username=root"), json!({})),
        (&ann, "POST", create.clone(), json!({"name": "evil"})),
        (&ann, "POST", format!("{API}/runs/create"), json!({"experiment_id": "1"})),
        (&ann, "PUT", format!("{FILES}/artifacts/1/x"), json!("evil")),
        (&ann, "DELETE", format!("{FILES}/artifacts/1"), json!({})),
        (&ann, "POST", format!("{API}/experiments/delete"), json!({"experiment_id": "1"})),
        (&bob, "PATCH", format!("{users}/update-admin"), admin),
        (&bob, "POST", format!("{API}/registered-models/alias"), json!({"name": "m", "alias": "a", "version": "1"})),
        (
            &bob,
            "POST",
            format!("{API}/model-versions/transition-stage"),
            json!({"name": "m", "version": "1", "stage": "Production"}),
        ),
    ] {
        let (status, text) = ask(&bearer(who), method, &path, &body);
        assert_eq!(status, 403, "{method} {path}: {text}");
    }
    let current = format!("{users}/current");
    assert_eq!(ask(&bearer(&ann), "GET", &current, &json!({})).0, 200);
    // From another process, while the server runs.
    run(&["token", "revoke", &ann_id]);
    assert_eq!(ask(&bearer(&ann), "GET", &current, &json!({})).0, 401);
    let last = project.run(&["user", "remove", "root"]);
    last.fails(7, "last-admin", &["`root` is the last admin", "make someone else an admin first"]);
    let (status, text) = ask(&bearer(&root), "GET", &format!("{API}/experiments/search?max_results=100"), &json!({}));
    assert!(status == 200 && !text.contains("evil"), "{text}");
}
