use std::{
    io::{Read, Write},
    path::Path,
};

use crate::server::Server;

fn write(folder: &Path, path: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
    std::fs::write(folder.join(path), bytes).unwrap();
}

/// The whole answer to a GET, its head as text.
fn get(server: &Server, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", server.host()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), bytes[end + 4..].to_vec())
}

#[test]
fn the_web_interface_is_served_out_of_its_folder_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let ui = folder.path().join("build");
    let script = "let x = 1;\n".repeat(1_000);
    write(&ui, "index.html", b"<html>the page</html>");
    write(&ui, "static/js/main.0123.js", script.as_bytes());
    write(&ui, "favicon.ico", b"icon");
    write(folder.path(), "secret", b"secret");
    std::os::unix::fs::symlink(folder.path().join("secret"), ui.join("static/link.js")).unwrap();
    let server = Server::start_with(|config| config.ui = Some(ui));

    let (head, body) = get(&server, "/", "");
    assert!(head.starts_with("HTTP/1.1 200") && body == b"<html>the page</html>", "{head}");
    for wanted in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-cache",
        "content-security-policy: default-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'self'",
        "x-content-type-options: nosniff",
        "x-frame-options: SAMEORIGIN",
    ] {
        assert!(head.contains(wanted), "no {wanted} in {head}");
    }
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let (head, body) = get(&server, "/", &format!("if-none-match: {tag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304") && body.is_empty(), "{head}");

    let path = "/static-files/static/js/main.0123.js";
    let (head, body) = get(&server, path, "");
    assert!(head.contains("max-age=2419200") && head.contains("javascript") && body == script.as_bytes(), "{head}");
    let (head, body) = get(&server, path, "accept-encoding: br, gzip\r\n");
    assert!(head.contains("content-encoding: gzip") && body.len() < script.len() / 10, "{head}");

    for path in [
        "/static-files/../secret",
        "/static-files/%2e%2e/secret",
        "/static-files/static/..%2f..%2f../secret",
        "/static-files/%252e%252e/secret",
        "/static-files//etc/passwd",
        "/static-files/%2fetc%2fpasswd",
        "/static-files/static%5c..%5csecret",
        "/static-files/static/link.js",
        "/static-files/static",
        "/static-files/",
        "/static-files/a%00b",
        "/static-files/no.js",
    ] {
        let (head, body) = get(&server, path, "");
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((400..500).contains(&status), "{path}: {head}");
        assert!(!String::from_utf8_lossy(&body).contains("root:"), "{path}");
    }
}

#[test]
fn without_an_interface_the_page_says_how_to_get_one() {
    let server = Server::start();
    let (head, body) = get(&server, "/", "");
    assert!(head.contains("text/plain") && String::from_utf8_lossy(&body).contains("--mlflow-ui"), "{head}");
    assert_eq!(server.send("GET", "/static-files/static/js/main.js", None).0, 404);
}

#[test]
fn parts_that_are_left_out_are_empty_rather_than_missing() {
    let server = Server::start();
    for (method, path) in [
        ("GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/"),
        ("POST", "/ajax-api/2.0/mlflow/gateway-proxy"),
        ("GET", "/ajax-api/3.0/mlflow/gateway/endpoints/list"),
        ("GET", "/ajax-api/3.0/mlflow/scorers/list?experiment_id=0"),
        ("GET", "/ajax-api/3.0/mlflow/ui-telemetry"),
        ("POST", "/ajax-api/3.0/mlflow/ui-telemetry"),
        ("POST", "/ajax-api/3.0/mlflow/issues/search"),
        ("POST", "/ajax-api/3.0/jobs/search"),
    ] {
        assert_eq!(server.send(method, path, Some("{}")).0, 200, "{method} {path}");
    }
    let (status, answer) = server.send("GET", "/ajax-api/3.0/mlflow/jobs/j-1", None);
    assert_eq!((status, &answer["message"]), (404, &"Job with ID j-1 not found".into()));
    assert_eq!(server.send("POST", "/ajax-api/3.0/mlflow/gateway/secrets/create", Some("{}")).0, 501);
}
