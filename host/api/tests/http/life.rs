//! Swaps, overload, limits of time, capture and the end.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use arrow_array::cast::AsArray;
use plinth_core::ServeLimits;
use plinth_ext::Batch;

use crate::common::{ONE_ROW, SLOW_ROW, gate, raw, serving, serving_with};

const JSON: &str = "application/json";

#[test]
fn a_swap_under_load_fails_no_request_and_never_mixes_versions() {
    let serving = serving();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = serving.client();
                while !stop.load(SeqCst) {
                    let answer = client.post("/invocations", JSON, ONE_ROW);
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    let version: f64 = answer.header("x-model-version").parse().unwrap();
                    let yes = answer.json()["predictions"][0]["probability_yes"].as_f64().unwrap();
                    assert_eq!(yes, 52.5 / (100.0 * version));
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        for version in 2..=20 {
            let before = answered.load(SeqCst);
            serving.shelf.version.store(version, SeqCst);
            assert!(serving.server.refresh().unwrap());
            while answered.load(SeqCst) < before + 8 {
                std::thread::yield_now();
            }
        }
        stop.store(true, SeqCst);
    });
    assert_eq!(serving.post("/invocations", JSON, ONE_ROW).header("x-model-version"), "20");
    let told = serving.get("/metrics").text;
    assert!(told.contains("plinth_model_swaps_total{outcome=\"swapped\"} 19"), "{told}");
    assert!(!told.contains("code=\"5"), "{told}");
    serving.stop().unwrap();
}

#[test]
fn past_the_limit_of_requests_the_next_is_answered_503_at_once() {
    let (gate, entered, open) = gate();
    let serving = serving_with(ServeLimits { requests_in_flight_max: 2, ..Default::default() }, Some(gate));
    std::thread::scope(|scope| {
        let held: Vec<_> =
            (0..2).map(|_| scope.spawn(|| serving.post("/invocations", JSON, SLOW_ROW).status)).collect();
        entered.recv().unwrap();
        while serving.server.in_flight() < 2 {
            std::thread::yield_now();
        }
        let refused = serving.post("/invocations", JSON, ONE_ROW);
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
        assert_eq!(refused.json()["error_code"], "TEMPORARILY_UNAVAILABLE");
        assert_eq!(serving.post("/v2/models/churn/infer", "", "{}").status, 503);
        assert_eq!(serving.get("/health").status, 200, "health is not scoring");
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert!(held.into_iter().all(|held| held.join().unwrap() == 200));
    });
    assert_eq!(serving.post("/invocations", JSON, ONE_ROW).status, 200);
    let told = serving.get("/metrics").text;
    assert!(told.contains("plinth_requests_shed_total 2"), "{told}");
    serving.stop().unwrap();
}

#[test]
fn who_is_refused_keeps_the_connection_and_may_ask_again() {
    let serving = serving_with(ServeLimits { requests_in_flight_max: 0, ..Default::default() }, None);
    let mut stream = TcpStream::connect(serving.address).unwrap();
    // More than the server reads at once, in pieces that do not come at once either.
    let body = " ".repeat(100_000);
    let head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut told = Vec::new();
    for _ in 0..3 {
        write!(stream, "{head}content-length: {}\r\n\r\n", body.len()).unwrap();
        for piece in body.as_bytes().chunks(40_000) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mut answer = vec![0; 4_096];
        let length = stream.read(&mut answer).unwrap();
        told.push(String::from_utf8_lossy(&answer[..length]).into_owned());
    }
    assert!(told.iter().all(|answer| answer.starts_with("HTTP/1.1 503")), "{told:?}");
    // One that waits to be told to go on is answered without its body.
    write!(stream, "{head}content-length: 100000\r\nexpect: 100-continue\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    serving.stop().unwrap();
}

#[test]
fn time_is_limited_for_the_body_and_for_the_answer() {
    let (gate, _entered, open) = gate();
    let serving = serving_with(ServeLimits { request_ms_max: 50, ..Default::default() }, Some(gate));
    let mut stream = TcpStream::connect(serving.address).unwrap();
    let head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    let late = serving.post("/invocations", JSON, SLOW_ROW);
    assert_eq!((late.status, late.header("retry-after")), (503, "1"));
    assert!(late.text.contains("within 50 ms"), "{}", late.text);
    open.send(()).unwrap();
    serving.stop().unwrap();
}

#[test]
fn a_body_in_pieces_of_unknown_length_is_read_and_limited() {
    let serving = serving_with(ServeLimits { body_bytes_max: 500, ..Default::default() }, None);
    let blanks = [b' '; 600];
    for (body, status) in [(ONE_ROW.as_bytes(), "200"), (&blanks[..], "413")] {
        let mut stream = TcpStream::connect(serving.address).unwrap();
        let head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let mut sent = head.as_bytes().to_vec();
        for piece in body.chunks(7) {
            sent.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            sent.extend(piece);
            sent.extend(b"\r\n");
        }
        sent.extend(b"0\r\n\r\n");
        // In one go: bytes that arrive after a refusal would reset the connection under the answer.
        stream.write_all(&sent).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    serving.stop().unwrap();
}

#[test]
fn answers_carry_the_callers_request_id_or_a_fresh_one_and_capture_keeps_it() {
    let serving = serving();
    let client = serving.client();
    let given = client.post_with("/invocations", &[("content-type", JSON), ("x-request-id", "mine-1")], ONE_ROW);
    assert_eq!(given.header("x-request-id"), "mine-1");
    assert_eq!((given.header("x-model-name"), given.header("x-model-version")), ("churn", "1"));
    let long = "x".repeat(129);
    let fresh = client.post_with("/invocations", &[("content-type", JSON), ("x-request-id", &long)], ONE_ROW);
    let fresh_id = fresh.header("x-request-id").to_owned();
    assert_eq!(fresh_id.len(), 32);
    let refused = client.post_with("/invocations", &[("content-type", JSON), ("x-request-id", "mine-2")], "{}");
    assert_eq!((refused.status, refused.header("x-request-id")), (400, "mine-2"));

    let drawer = Arc::clone(&serving.drawer);
    serving.stop().unwrap();
    let captured = drawer.0.lock().unwrap();
    assert_eq!(captured.len(), 1, "stored on the way out, as one table");
    let ids: Vec<&str> = captured[0].requests.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["mine-1", fresh_id.as_str()]);
    assert_eq!(captured[0].inputs.schema(), &raw());
    assert_eq!(captured[0].outputs.num_rows(), 2);
    let times = Batch::project(&captured[0].inputs, &[3]);
    assert_eq!(times.column(0).null_count(), 0);
}

#[test]
fn a_stop_lets_requests_in_flight_finish_and_their_rows_be_stored() {
    let (gate, entered, open) = gate();
    let serving = serving_with(ServeLimits::default(), Some(gate));
    let (client, server, drawer) = (serving.client(), Arc::clone(&serving.server), Arc::clone(&serving.drawer));
    let held = std::thread::spawn(move || client.post("/invocations", JSON, SLOW_ROW).status);
    entered.recv().unwrap();
    let end = serving.begin_stop();
    while !server.is_draining() {
        std::thread::yield_now();
    }
    open.send(()).unwrap();
    assert_eq!(held.join().unwrap(), 200);
    end.join().unwrap().unwrap();
    assert_eq!(drawer.0.lock().unwrap().iter().map(|captured| captured.inputs.num_rows()).sum::<usize>(), 1);
}

#[test]
fn a_stop_does_not_wait_longer_than_it_may() {
    let (gate, entered, open) = gate();
    let serving = serving_with(ServeLimits { drain_ms_max: 1, ..Default::default() }, Some(gate));
    let client = serving.client();
    let held = std::thread::spawn(move || client.post("/invocations", JSON, SLOW_ROW));
    entered.recv().unwrap();
    serving.stop().unwrap();
    open.send(()).unwrap();
    // Its connection ended with the server's runtime.
    assert!(held.join().is_err());
}

#[test]
fn metrics_tell_requests_stages_rows_capture_and_what_is_served() {
    let serving = serving();
    serving.post("/invocations", JSON, ONE_ROW);
    serving.post("/invocations", JSON, "{}");
    serving.post("/v2/models/chum/infer", "", "{}");
    let answer = serving.get("/metrics");
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let model = "model_name=\"churn\",model_version=\"1\"";
    for line in [
        format!("plinth_requests_total{{{model},protocol=\"mlflow\",code=\"200\"}} 1"),
        format!("plinth_requests_total{{{model},protocol=\"mlflow\",code=\"400\"}} 1"),
        "plinth_requests_total{model_name=\"\",model_version=\"\",protocol=\"oip\",code=\"404\"} 1".into(),
        format!("plinth_request_seconds_count{{{model}}} 2"),
        format!("plinth_stage_seconds_count{{{model},stage=\"transform\"}} 1"),
        format!("plinth_stage_seconds_count{{{model},stage=\"model\"}} 1"),
        format!("plinth_rows_total{{{model}}} 1"),
        "plinth_requests_in_flight 0".into(),
        "plinth_requests_shed_total 0".into(),
        "plinth_capture_rows_total{outcome=\"dropped\"} 0".into(),
        format!("plinth_model_info{{endpoint=\"churn\",deployment=\"main\",{model},model_hash=\""),
        "# EOF".into(),
    ] {
        assert!(answer.text.contains(&line), "{line} is not in\n{}", answer.text);
    }
    assert!(!answer.text.contains("chum"), "callers make no labels");
    serving.stop().unwrap();
}
