use std::io::{Read, Write};

use crate::server::Server;

#[test]
fn a_connection_that_says_nothing_or_never_ends_its_head_is_closed() {
    let server = Server::start_with(|config| config.http.header_ms_max = 100);
    for said in ["", "GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
        let mut connection = server.connect();
        connection.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Ends when the server closes; a server that does not would hold the test for ever.
        let _ = connection.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"), "{said}");
    }
    assert_eq!(server.send("GET", "/health", None).0, 200);
}

#[test]
fn those_past_the_limit_wait_until_a_place_is_free() {
    let server = Server::start_with(|config| config.http.connections_max = 1);
    let held = server.connect();
    let mut waiting = server.connect();
    waiting.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    drop(held);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_head_past_its_limit_is_refused() {
    let server = Server::start();
    let mut connection = server.connect();
    let huge = format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    // The server may close before it has read everything.
    let _ = connection.write_all(huge.as_bytes());
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[test]
fn a_head_may_be_no_larger_where_there_is_room_for_more() {
    for roomy in [0, 8] {
        let server = Server::start_with(|config| config.http.roomy_connections_max = roomy);
        for (bytes, fits) in [(60 << 10, true), (66 << 10, false), (200 << 10, false)] {
            let mut connection = server.connect();
            let head = format!(
                "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {}\r\n\r\n",
                "y".repeat(bytes)
            );
            let _ = connection.write_all(head.as_bytes());
            let mut answer = String::new();
            let _ = connection.read_to_string(&mut answer);
            assert_eq!(answer.starts_with("HTTP/1.1 200"), fits, "{roomy} {bytes}: {answer}");
            assert!(fits || answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{roomy} {bytes}: {answer}");
        }
    }
}
