//! TLS as clients meet it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use plinth_api::{Tls, install_crypto};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;

use crate::server::Server;

/// A certificate and its key, in files.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.renew();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Another certificate.
    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.path("cert"), made.cert.pem()).unwrap();
        std::fs::write(self.path("key"), made.signing_key.serialize_pem()).unwrap();
    }

    fn tls(&self) -> Tls {
        Tls::open(&self.path("cert"), &self.path("key")).unwrap()
    }
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A connection that trusts the certificate of a file and nothing else.
fn connect(server: &Server, trusted: &Path, versions: &[&'static rustls::SupportedProtocolVersion]) -> Connection {
    install_crypto();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    let client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(client, server.connect())
}

/// An answer to a request on a connection that stays.
fn ask(connection: &mut Connection, request: &str) -> std::io::Result<String> {
    connection.write_all(request.as_bytes())?;
    let mut answer = vec![0; 64 << 10];
    let read = connection.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn both_versions_are_spoken_and_urls_say_so() {
    let files = Files::new();
    let server = Server::start_over(files.tls(), |_| {});
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut connection = connect(&server, &files.path("cert"), &[version]);
        assert!(ask(&mut connection, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
    }
    let body = json!({"path": "x", "num_parts": 1}).to_string();
    let create = format!(
        "POST /api/2.0/mlflow-artifacts/mpu/create/0/r/artifacts HTTP/1.1\r\nhost: localhost:1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = connect(&server, &files.path("cert"), rustls::ALL_VERSIONS);
    let answer = ask(&mut connection, &create).unwrap();
    assert!(answer.contains("https://localhost:1/api/2.0/mlflow-artifacts/mpu/parts/"), "{answer}");
}

#[test]
fn another_certificate_takes_over_without_ending_a_connection() {
    let (files, old) = (Files::new(), tempfile::tempdir().unwrap());
    let old = old.path().join("cert");
    std::fs::copy(files.path("cert"), &old).unwrap();
    let tls = files.tls();
    let server = Server::start_over(tls.clone(), |_| {});
    let mut before = connect(&server, &old, rustls::ALL_VERSIONS);
    assert!(ask(&mut before, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
    files.renew();
    tls.reload().unwrap();
    assert!(ask(&mut before, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask(&mut connect(&server, &old, rustls::ALL_VERSIONS), HEALTH).is_err());
    let mut after = connect(&server, &files.path("cert"), rustls::ALL_VERSIONS);
    assert!(ask(&mut after, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn who_agrees_on_no_keys_holds_nobody_up() {
    let files = Files::new();
    let server = Server::start_over(files.tls(), |config| {
        config.http.handshake_ms_max = 200;
        config.http.handshakes_max = 2;
    });
    let mut silent: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    silent[1].write_all(&[0x16, 0x03]).unwrap();
    for connection in &mut silent {
        // Ends when the server closes; a server that does not would hold the test for ever.
        let _ = connection.read_to_end(&mut Vec::new());
    }
    // What is no TLS is not answered as if it were.
    let mut plain = server.connect();
    plain.write_all(HEALTH.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    let mut connection = connect(&server, &files.path("cert"), rustls::ALL_VERSIONS);
    assert!(ask(&mut connection, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_server_ends_although_somebody_never_agreed_on_keys() {
    let files = Files::new();
    let server = Server::start_over(files.tls(), |config| config.http.handshake_ms_max = 600_000);
    let silent = server.connect();
    // Waits for the server's end, which is long before the handshake's time is up.
    drop(server);
    drop(silent);
}
