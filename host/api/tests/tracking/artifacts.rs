//! Artifacts over HTTP. Requests are written byte by byte: no client normalises what it is asked to send.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use serde_json::{Value, json};

use crate::server::Server;

/// Status, head in lower case, body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// Sends bytes as they are and reads the answer to its end; an answer that breaks off is as long as it is, and one that
/// breaks off before its head was sent has the status 0.
fn raw(server: &Server, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.host()).unwrap();
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer { status: 0, head: String::new(), body: Vec::new() };
    };
    let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes.split_off(at + 4) }
}

fn send(server: &Server, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        server.host(),
        body.len()
    );
    raw(server, &[head.as_bytes(), body].concat())
}

const PROXY: &str = "/api/2.0/mlflow-artifacts";

fn put(server: &Server, path: &str, bytes: &[u8]) {
    let answer = send(server, "PUT", &format!("{PROXY}/artifacts/{path}"), "", bytes);
    assert_eq!((answer.status, answer.text()), (200, "{}".into()), "{path}");
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn a_file_comes_back_whole_in_part_and_not_at_all_if_it_is_known() {
    let server = Server::start();
    let run = server.run("0");
    let (path, bytes) = (format!("0/{run}/artifacts/model/weights.bin"), pattern(3_000_001));
    put(&server, &path, &bytes);
    let target = format!("{PROXY}/artifacts/{path}");
    let get = |headers: &str| send(&server, "GET", &target, headers, b"");
    let whole = get("");
    assert!(whole.status == 200 && whole.body == bytes);
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("content-disposition"), "attachment; filename=weights.bin");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    let tag = whole.header("etag").to_owned();
    let head = send(&server, "HEAD", &target, "", b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "3000001", 0));
    for (headers, status, part) in [
        ("Range: bytes=0-0\r\n".to_owned(), 206, &bytes[..1]),
        ("Range: bytes=1000000-2999999\r\n".to_owned(), 206, &bytes[1_000_000..3_000_000]),
        ("Range: bytes=-5\r\n".to_owned(), 206, &bytes[2_999_996..]),
        (format!("Range: bytes=7-\r\nIf-Range: {tag}\r\n"), 206, &bytes[7..]),
        ("Range: bytes=7-\r\nIf-Range: \"other\"\r\n".to_owned(), 200, &bytes[..]),
        ("Range: bytes=1-2,5-6\r\n".to_owned(), 200, &bytes[..]),
        ("Range: bytes=3000001-\r\n".to_owned(), 416, &[][..]),
        (format!("If-None-Match: \"x\", {tag}\r\n"), 304, &[][..]),
    ] {
        let answer = get(&headers);
        assert!(answer.status == status && answer.body == part, "{headers} {} {}", answer.status, answer.body.len());
    }
    let part = get("Range: bytes=2-4\r\n");
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 2-4/3000001", "3"));
    assert_eq!(get("Range: bytes=3000001-\r\n").header("content-range"), "bytes */3000001");
}

#[test]
fn every_way_to_a_file_gives_the_same_bytes() {
    let server = Server::start();
    let run = server.run("0");
    put(&server, &format!("0/{run}/artifacts/notes/a.md"), b"# hello");
    let model = server.post("logged-models", &json!({"experiment_id": "0", "source_run_id": run}));
    let model = model["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    put(&server, &format!("0/models/{model}/artifacts/MLmodel"), b"flavors: {}");
    server.post("registered-models/create", &json!({"name": "m"}));
    let source = format!("models:/{model}");
    server.post("model-versions/create", &json!({"name": "m", "source": source, "model_id": model}));
    let source = format!("runs:/{run}/notes");
    server.post("model-versions/create", &json!({"name": "m", "source": source, "run_id": run}));
    let ajax = "/ajax-api/2.0/mlflow";
    for (target, wanted) in [
        (format!("/get-artifact?run_id={run}&path=notes/a.md"), "# hello"),
        (format!("/get-artifact?run_uuid={run}&path=notes%2Fa.md"), "# hello"),
        (format!("{ajax}/logged-models/{model}/artifacts/files?artifact_file_path=MLmodel"), "flavors: {}"),
        ("/model-versions/get-artifact?name=m&version=1&path=MLmodel".to_owned(), "flavors: {}"),
        ("/model-versions/get-artifact?name=m&version=2&path=a.md".to_owned(), "# hello"),
    ] {
        let answer = send(&server, "GET", &target, "", b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, wanted), "{target}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    let sent = send(&server, "POST", &format!("{ajax}/upload-artifact?run_uuid={run}&path=ui/x.txt"), "", b"hi");
    assert_eq!(sent.status, 200);
    let listed = server.get(&format!("artifacts/list?run_id={run}&path=ui"));
    assert_eq!(listed["files"], json!([{"path": "ui/x.txt", "is_dir": false, "file_size": 2}]));
    let listed = server.get(&format!("artifacts/list?run_id={run}"));
    assert_eq!(listed["files"], json!([{"path": "notes", "is_dir": true}, {"path": "ui", "is_dir": true}]));
    assert_eq!(listed["root_uri"], format!("mlflow-artifacts:/0/{run}/artifacts"));
    for (target, status, code) in [
        (format!("/get-artifact?run_id={run}&path=notes/b.md"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (format!("/get-artifact?run_id={run}&path=notes"), 400, "INVALID_PARAMETER_VALUE"),
        (format!("/get-artifact?run_id={run}"), 400, "INVALID_PARAMETER_VALUE"),
        ("/get-artifact?run_id=none&path=a".to_owned(), 404, "RESOURCE_DOES_NOT_EXIST"),
        (format!("{PROXY}/presigned/0/{run}/artifacts/notes/a.md"), 501, "NOT_IMPLEMENTED"),
    ] {
        let answer = send(&server, "GET", &target, "", b"");
        assert_eq!((answer.status, answer.json()["error_code"].as_str()), (status, Some(code)), "{target}");
    }
    let empty = send(&server, "POST", &format!("{ajax}/upload-artifact?run_uuid={run}&path=ui/y.txt"), "", b"");
    assert_eq!((empty.status, empty.json()["message"].as_str()), (400, Some("Request must specify data.")));
}

#[test]
fn artifacts_of_an_experiment_with_a_place_of_its_own_are_found_there() {
    let server = Server::start();
    let made =
        server.post("experiments/create", &json!({"name": "e", "artifact_location": "mlflow-artifacts:/team/x"}));
    let run = server.run(made["experiment_id"].as_str().unwrap());
    put(&server, &format!("team/x/{run}/artifacts/a.txt"), b"a");
    let listed = server.get(&format!("artifacts/list?run_id={run}"));
    assert_eq!(listed["files"][0]["path"], "a.txt");
    assert_eq!(send(&server, "GET", &format!("/get-artifact?run_id={run}&path=a.txt"), "", b"").text(), "a");
    // What clients keep elsewhere is never fetched, not even from the server's own disk.
    let made = server.post("experiments/create", &json!({"name": "f", "artifact_location": "file:///etc"}));
    let run = server.run(made["experiment_id"].as_str().unwrap());
    assert_eq!(server.get(&format!("artifacts/list?run_id={run}")).get("files"), None);
    assert_eq!(send(&server, "GET", &format!("/get-artifact?run_id={run}&path=hostname"), "", b"").status, 400);
}

#[test]
fn a_file_in_parts_is_there_when_it_is_complete() {
    let server = Server::start();
    let run = server.run("0");
    let (folder, bytes) = (format!("0/{run}/artifacts/big"), pattern(700_000));
    let post = |what: &str, body: &Value| {
        let target = format!("{PROXY}/mpu/{what}/{folder}");
        send(&server, "POST", &target, "Authorization: Basic abc\r\n", body.to_string().as_bytes())
    };
    let made = post("create", &json!({"path": "data/x.bin", "num_parts": 3})).json();
    let id = made["upload_id"].as_str().unwrap();
    let mut parts = Vec::new();
    for (credential, piece) in made["credentials"].as_array().unwrap().iter().zip(bytes.chunks(250_000)) {
        assert_eq!(credential["headers"]["Authorization"], "Basic abc");
        let url = credential["url"].as_str().unwrap().strip_prefix(&format!("http://{}", server.host())).unwrap();
        let answer = send(&server, "PUT", url, "", piece);
        assert_eq!(answer.status, 200);
        parts.push(json!({"part_number": credential["part_number"], "etag": answer.header("etag"), "url": url}));
    }
    let target = format!("{PROXY}/artifacts/{folder}/x.bin");
    assert_eq!(send(&server, "GET", &target, "", b"").status, 404);
    let complete =
        |parts: &[Value]| post("complete", &json!({"path": "x.bin", "upload_id": id, "parts": parts})).status;
    assert_eq!(complete(&parts[..2]), 400);
    assert_eq!(complete(&parts), 200);
    assert!(send(&server, "GET", &target, "", b"").body == bytes);
    assert_eq!(complete(&parts), 404);
    let made = post("create", &json!({"path": "y.bin", "num_parts": 1})).json();
    let abort = json!({"path": "y.bin", "upload_id": made["upload_id"]});
    assert_eq!((post("abort", &abort).status, post("abort", &abort).status), (200, 404));
    for bad in [json!({"path": "..", "num_parts": 1}), json!({"path": "a/", "num_parts": 1}), json!({"num_parts": 1})] {
        assert_eq!(post("create", &bad).status, 400, "{bad}");
    }
    assert_eq!(post("create", &json!({"path": "a", "num_parts": 1_000_000})).status, 400);
    assert_eq!(send(&server, "PUT", &format!("{PROXY}/mpu/parts/{id}/1"), "", b"x").status, 404);
}

/// What must lead nowhere, as it stands in a URL.
const ATTACKS: &[&str] = &[
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
    "..%2f..%2fx",
    "..%252fx",
    "%2fetc%2fpasswd",
    "%252fetc%252fpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "..%5c..%5cx",
    "a%5cb",
    "%5c%5chost%5cshare",
    "file:///etc/passwd",
    "file:%2fetc",
    "FILE:%2f%2f%2fetc%2fpasswd",
    "file%3a%2f%2f%2fetc",
    "http://127.0.0.1/x",
    "s3://bucket/x",
    "C:%5cx",
    "C:/x",
    "c:x",
    "a%00b",
    "%00",
    "a%0ab",
    "a%0d%0aX-Evil:1",
    "a%1bb",
    "a%7fb",
    "./x",
    "a/./x",
    "a//x",
    ".",
    "...",
    "..%20/x",
    "%20/x",
    "a%23b",
    "%c0%ae%c0%ae/x",
    "%ff%fe",
    "%ef%bc%8e%ef%bc%8e/x",
    "..%ef%bc%8fx",
    "..%e2%88%95x",
    "a/%e2%80%aetxt.exe",
    "a/../../../blobs",
    "%u002e%u002e/../x",
];

fn attacks() -> Vec<String> {
    let mut attacks: Vec<String> = ATTACKS.iter().map(|&attack| attack.to_owned()).collect();
    attacks.push("a".repeat(300));
    attacks.push("a/".repeat(2_500) + "b");
    attacks
}

/// Every file below a folder but the catalog's, whose pages may be written back at any time.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.file_name().unwrap().to_string_lossy().starts_with("catalog.db") {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn no_path_leads_out_of_the_artifacts() {
    let server = Server::start();
    let run = server.run("0");
    put(&server, &format!("0/{run}/artifacts/a/inside"), b"x");
    let model = server.post("logged-models", &json!({"experiment_id": "0"}));
    let model = model["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    server.post("registered-models/create", &json!({"name": "m"}));
    let source = format!("models:/{model}");
    server.post("model-versions/create", &json!({"name": "m", "source": source, "model_id": model}));
    let before = files(server.dir());
    let (root, ajax) = (format!("0/{run}/artifacts"), "/ajax-api/2.0/mlflow");
    let escaped = |attack: &str| attack.replace('#', "%23").replace('&', "%26");
    for attack in attacks() {
        let query = escaped(&attack);
        let body = json!({"path": "x", "num_parts": 1, "upload_id": "u", "parts": []}).to_string();
        let mut tries = vec![
            ("GET", format!("/api/2.0/mlflow/artifacts/list?run_id={run}&path={query}"), ""),
            ("GET", format!("{PROXY}/artifacts?path={query}"), ""),
            ("GET", format!("/get-artifact?run_id={run}&path={query}"), ""),
            ("GET", format!("/model-versions/get-artifact?name=m&version=1&path={query}"), ""),
            ("GET", format!("{ajax}/logged-models/{model}/artifacts/files?artifact_file_path={query}"), ""),
            ("GET", format!("{ajax}/logged-models/{model}/artifacts/directories?artifact_directory_path={query}"), ""),
            ("POST", format!("{ajax}/upload-artifact?run_uuid={run}&path={query}"), "evil"),
            ("GET", format!("{PROXY}/artifacts/{attack}"), ""),
            ("PUT", format!("{PROXY}/artifacts/{attack}"), "evil"),
            ("DELETE", format!("{PROXY}/artifacts/{attack}"), ""),
            ("GET", format!("{PROXY}/presigned/{attack}"), ""),
            ("POST", format!("{PROXY}/mpu/create/{attack}"), &body),
            ("POST", format!("{PROXY}/mpu/complete/{attack}"), &body),
            ("POST", format!("{PROXY}/mpu/abort/{attack}"), &body),
        ];
        // A scheme or a drive is one only where a path starts.
        if !attack.contains(':') && !attack.contains("%3a") {
            tries.push(("GET", format!("{PROXY}/artifacts?path={root}/{query}"), ""));
            tries.push(("PUT", format!("{PROXY}/artifacts/{root}/{attack}"), "evil"));
            tries.push(("GET", format!("{PROXY}/artifacts/{root}/{attack}"), ""));
            tries.push(("DELETE", format!("{PROXY}/artifacts/{root}/{attack}"), ""));
        }
        for (method, target, body) in tries {
            let answer = send(&server, method, &target, "", body.as_bytes());
            assert_eq!(answer.status, 400, "{method} {target}: {}", answer.text());
            assert_eq!(answer.json()["error_code"], "INVALID_PARAMETER_VALUE", "{method} {target}");
        }
    }
    // A name in a body is no better than one in a URL.
    for name in ["..", "a/..", "x\\..", "a\u{0}b", "%2e%2e", ".", "a\nb"] {
        let body = json!({"path": name, "num_parts": 1}).to_string();
        let answer = send(&server, "POST", &format!("{PROXY}/mpu/create/{root}"), "", body.as_bytes());
        assert_eq!(answer.status, 400, "{name:?}");
    }
    assert_eq!(files(server.dir()), before, "something was written");
    assert_eq!(server.get(&format!("artifacts/list?run_id={run}&path=a"))["files"][0]["path"], "a/inside");
}

#[test]
fn a_body_that_is_too_long_or_breaks_off_leaves_nothing() {
    let server = Server::start();
    let before = files(server.dir());
    let target = format!("{PROXY}/artifacts/0/x");
    let head = format!(
        "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 999999999999999\r\n\r\n"
    );
    let answer = raw(&server, head.as_bytes());
    assert_eq!((answer.status, answer.json()["error_code"].as_str()), (413, Some("INVALID_PARAMETER_VALUE")));
    let mut stream = TcpStream::connect(server.host()).unwrap();
    stream
        .write_all(format!("PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf").as_bytes())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(send(&server, "GET", &target, "", b"").status, 404);
    // The end of the connection is seen before the server has cleaned up behind it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while files(server.dir()) != before && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(files(server.dir()), before);
}

#[test]
fn a_file_that_rotted_on_disk_is_cut_off_and_a_link_in_its_place_is_not_followed_out() {
    let server = Server::start();
    let bytes = pattern(2_000_000);
    put(&server, "0/x", &bytes);
    let blob = files(&server.dir().join("blobs")).pop().unwrap();
    let mut rotten = bytes.clone();
    rotten[1_500_000] ^= 1;
    std::fs::write(&blob, &rotten).unwrap();
    let target = format!("{PROXY}/artifacts/0/x");
    let answer = send(&server, "GET", &target, "", b"");
    // Cut off at its end, or even before its head has left the server.
    assert!(matches!(answer.status, 0 | 200) && answer.body.len() < bytes.len(), "{}", answer.body.len());
    assert!(send(&server, "GET", &target, "Range: bytes=0-9\r\n", b"").status >= 500);
    // Somebody with access to the disk puts a link to a secret there.
    let secret = server.dir().join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    std::fs::remove_file(&blob).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, &blob).unwrap();
    for headers in ["", "Range: bytes=0-3\r\n"] {
        let answer = send(&server, "GET", &target, headers, b"");
        assert!(!answer.text().contains("secr"), "{}", answer.text());
    }
}

#[test]
fn deleting_a_folder_takes_what_is_in_it_and_nothing_else() {
    let server = Server::start();
    for path in ["0/r/artifacts/a/1", "0/r/artifacts/a/b/2", "0/r/artifacts/a.txt", "0/r/artifacts/ab"] {
        put(&server, path, b"x");
    }
    let answer = send(&server, "DELETE", &format!("{PROXY}/artifacts/0/r/artifacts/a/"), "", b"");
    assert_eq!((answer.status, answer.text()), (200, "{}".into()));
    let listed = send(&server, "GET", &format!("{PROXY}/artifacts?path=0/r/artifacts"), "", b"").json();
    let names: Vec<&str> = listed["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.txt", "ab"]);
    assert_eq!(send(&server, "DELETE", &format!("{PROXY}/artifacts/0/r/artifacts/nope"), "", b"").status, 200);
    let folder = send(&server, "PUT", &format!("{PROXY}/artifacts/0/r"), "", b"x");
    assert_eq!(folder.status, 400, "a file in place of a folder");
}
