//! What goes wrong around a server that serves: callers that mean no good or know no better, models that fail, a disk
//! that is full, a catalog that is away, and an end without a word. Others are answered meanwhile, and what was kept is
//! whole.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use plinth_e2e::{Project, Server, listening, signal};
use serde_json::{Value, json};

use crate::rollouts::{ask, evil, priced, register, serve};

/// Longest wait for something that a server does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, by looking and not by a fixed time, until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} never came true");
        std::thread::yield_now();
    }
}

/// The value of a metric whose line starts with `name`, which has its labels in it.
fn metric(server: &Server, name: &str) -> f64 {
    let (_, all) = server.get("/metrics");
    let line = all.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{all}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn captured_rows(server: &Server, outcome: &str) -> f64 {
    metric(server, &format!("plinth_capture_rows_total{{outcome=\"{outcome}\"}}"))
}

/// A connection of its own, on which a test says what it likes.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// What the server says on a connection until it ends it.
fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        // One that ends a connection on which more is coming resets it; what it said before may be lost with that.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("the connection is still there: {error}"),
        _ => String::from_utf8_lossy(&said).into_owned(),
    }
}

fn answers(server: &Server) {
    let told = ask(server, 1.0, &[]);
    assert_eq!(told.status, 200, "{}", told.body);
}

#[test]
fn every_wrong_request_is_refused_with_its_reason_and_the_next_one_is_answered() {
    let project = priced(&[[0.0, 1.0]]);
    project.write("plinth.toml", "[limits.serve]\nbody-bytes-max = 20000\n");
    let server = serve(&project, &[]);
    let input = |name: &str, datatype: &str, shape: Value, data: Value| json!({"name": name, "datatype": datatype, "shape": shape, "data": data});
    let y = || input("y", "FP64", json!([1]), json!([0.0]));
    let v2 = |x: Value| json!({"inputs": [x, y()]}).to_string();
    let (json, csv) = ("application/json", "text/csv");
    let infer = "/v2/models/price/infer";
    let scoring = "/endpoints/price/invocations";
    let column =
        |value: &str| format!("{{\"dataframe_split\": {{\"columns\": [\"x\", \"y\"], \"data\": [[{value}, 0.0]]}}}}");
    for (path, kind, body, status, word) in [
        (infer, json, v2(input("z", "FP64", json!([1]), json!([1.0]))), 400, "z"),
        (infer, json, v2(input("x", "BYTES", json!([1]), json!(["one"]))), 400, "x"),
        (infer, json, v2(input("x", "FP65", json!([1]), json!([1.0]))), 400, "FP65"),
        (infer, json, v2(input("x", "FP64", json!([2]), json!([1.0]))), 400, "x"),
        (infer, json, v2(input("x", "FP64", json!([1]), json!([1.0, 2.0]))), 400, "x"),
        (infer, json, v2(input("x", "FP64", json!([1, 1, 1]), json!([1.0]))), 400, "x"),
        (infer, json, v2(input("x", "FP64", json!([-1]), json!([1.0]))), 400, ""),
        (infer, json, json!({"inputs": [y(), y()]}).to_string(), 400, "y"),
        (infer, json, json!({"inputs": [y()]}).to_string(), 400, "x"),
        (infer, json, "{\"inputs\": [".into(), 400, ""),
        ("/v2/models/price/versions/99/infer", json, v2(y()), 404, "99"),
        ("/v2/models/prise/infer", json, v2(y()), 404, "prise"),
        ("/endpoints/prise/invocations", json, column("1.0"), 404, "prise"),
        (scoring, json, column("NaN"), 400, "null, not NaN"),
        (scoring, json, column("Infinity"), 400, ""),
        (scoring, json, column("1e999"), 400, "x"),
        (scoring, json, column("\"one\""), 400, "x"),
        (scoring, json, column("[1.0]"), 400, "x"),
        (scoring, json, "{\"dataframe_split\": {\"columns\": [\"x\"], \"data\": [[1.0]]}}".into(), 400, "y"),
        (scoring, json, "\u{0}".into(), 400, ""),
        (scoring, csv, "x,y\n1.0\n".into(), 400, ""),
        (scoring, csv, "x,y\none,2.0\n".into(), 400, "x"),
        (scoring, "application/x-who-knows", "x".into(), 415, ""),
        (scoring, json, format!("{}{}", " ".repeat(20_000), column("1.0")), 413, "20000"),
    ] {
        let (said, answer) = server.post_text(path, kind, &body);
        let shown = &body[..body.len().min(120)];
        assert_eq!(said, status, "{path} {shown}: {answer}");
        assert!(answer.contains(word), "{path} {shown}: no `{word}` in {answer}");
    }
    // Values that follow the JSON, of which the head says how long it is.
    let head = json!({"inputs": [
        {"name": "x", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}, y()]})
    .to_string();
    let whole = |value: f64| [head.as_bytes(), &value.to_le_bytes()].concat();
    let length = head.len().to_string();
    let binary =
        |length: &str, body: &[u8]| server.send("POST", infer, &[("inference-header-content-length", length)], body);
    assert_eq!(binary(&length, &whole(1.0)).0, 200);
    for length in ["-1", "many", "1", "99999", "18446744073709551616"] {
        let (status, answer) = binary(length, &whole(1.0));
        assert_eq!(status, 400, "{length}: {answer}");
    }
    assert_eq!(binary(&length, &whole(1.0)[..head.len() + 7]).0, 400);
    assert_eq!(binary(&length, &[whole(1.0), vec![0]].concat()).0, 400);
    answers(&server);
    assert!(metric(&server, "plinth_requests_in_flight") <= 0.0);
    server.stop();
}

#[test]
fn giant_bodies_and_heads_are_turned_away_before_they_have_come() {
    let project = priced(&[[0.0, 1.0]]);
    project.write("plinth.toml", "[limits.serve]\nbody-bytes-max = 100000\n");
    let server = serve(&project, &[]);
    let head = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
    };
    for path in ["/endpoints/price/invocations", "/v2/models/price/infer"] {
        // Nothing of what is promised is ever sent.
        let mut stream = connect(&server);
        stream.write_all(head(path, "content-length: 1000000000000").as_bytes()).expect("it is taken");
        assert!(rest(stream).starts_with("HTTP/1.1 413"), "{path}");
        // No length, and no end.
        let mut stream = connect(&server);
        stream.write_all(head(path, "transfer-encoding: chunked").as_bytes()).expect("it is taken");
        let piece = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
        let began = Instant::now();
        while stream.write_all(piece.as_bytes()).is_ok() {
            assert!(began.elapsed() < PATIENCE, "{path}: it takes whatever comes");
        }
    }
    // Small on the way, and a hundred megabytes once it is unpacked: stored blocks of deflate would not do, so it is
    // made by who does this for a living.
    let bomb = Command::new("sh").args(["-c", "head -c 100000000 /dev/zero | gzip -9"]).output().expect("gzip runs");
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let (status, answer) = server.send("POST", "/endpoints/price/invocations", &packed, &bomb.stdout);
    // The packed body is within the limit, or this would say nothing.
    assert!(bomb.stdout.len() < 100_000 && status == 413 && answer.contains("unpacked"), "{status} {answer}");
    let mut stream = connect(&server);
    let wide = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-wide: {}\r\n\r\n", "y".repeat(200_000));
    // It may hang up before all of it was sent.
    let _ = stream.write_all(wide.as_bytes());
    let said = rest(stream);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    answers(&server);
    server.stop();
}

/// Says a text byte by byte, with a pause after each, until the server ends the connection: what that said.
fn trickle(server: &Server, text: &str, pause: Duration) -> String {
    let mut stream = connect(server);
    let (begin, slow) = text.split_at(text.len() / 2);
    stream.write_all(begin.as_bytes()).expect("it is taken");
    stream.set_nonblocking(true).expect("it can be asked without waiting");
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    let began = Instant::now();
    for byte in slow.bytes().cycle() {
        assert!(began.elapsed() < PATIENCE, "a connection that trickles is never ended: {text:.60}");
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        // This is the client's own pace, and no wait for anything.
        std::thread::sleep(pause);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn connections_that_trickle_are_ended_and_hold_up_nobody() {
    let project = priced(&[[0.0, 1.0]]);
    project.write(
        "plinth.toml",
        "[limits.serve]\nrequest-ms-max = 1500\n[limits.serve.http]\nheader-ms-max = 1500\nconnections-max = 60\n",
    );
    let server = serve(&project, &[]);
    let head = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-slow: {}", "y".repeat(200));
    let body = |path: &str| {
        let head = "host: x\r\ncontent-type: application/json\r\ncontent-length: 100000";
        format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n{}", " ".repeat(300))
    };
    let bodies = [
        "/endpoints/price/invocations",
        "/v2/models/price/infer",
        "/endpoints/price/feedback",
        "/endpoints",
        "/v2/repository/index",
        "/v2/logging",
    ]
    .map(body);
    std::thread::scope(|scope| {
        let server = &server;
        let tricklers: Vec<_> = std::iter::repeat_n(&head, 10)
            .chain(bodies.iter().flat_map(|body| std::iter::repeat_n(body, 5)))
            .map(|text| (text, scope.spawn(move || trickle(server, text, Duration::from_millis(20)))))
            .collect();
        // Who is quick is answered quickly all the while.
        while tricklers.iter().any(|(_, trickler)| !trickler.is_finished()) {
            let began = Instant::now();
            answers(server);
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
        for (text, trickler) in tricklers {
            let said = trickler.join().expect("it ends");
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{text:.40}: {said}");
        }
    });
    // Their places are free again: more than that many come one after the other.
    for _ in 0..80 {
        answers(&server);
    }
    server.stop();
}

#[test]
fn a_row_that_makes_the_model_trap_costs_its_own_request_and_no_other() {
    let project = priced(&[[0.0, 1.0]]);
    evil(&project, "panic", false);
    project.run(&["endpoint", "create", "evil", "models:/evil/1"]).succeeds();
    // One thread, so that requests wait for each other and are scored together.
    project.write("plinth.toml", "[limits.serve]\nscoring-threads = 1\n");
    let server = project.listening(&["serve", "--port", "0"]);
    let status = |x: f64| {
        let row = json!({"dataframe_split": {"columns": ["x", "y"], "data": [[x, 0.0]]}});
        server.post("/endpoints/evil/invocations", &row)
    };
    let (bad, good): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let status = &status;
        let callers: Vec<_> = (0..8_u32)
            .map(|caller| {
                scope.spawn(move || {
                    // Two of them send a bad row now and then. Each such row fails at most twice, in company and alone,
                    // and good ones of the same caller follow: never five failures in a row, which would let it rest.
                    let bad = |turn: u32| caller < 2 && turn.is_multiple_of(4);
                    let xs = (0..160_u32).map(|turn| if bad(turn) { 13.0 } else { f64::from(turn) / 16.0 });
                    xs.map(|x| (x == 13.0, status(x))).collect::<Vec<_>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("it ends")).partition(|(bad, _)| *bad)
    });
    assert_eq!((good.len(), bad.len()), (1200, 80));
    for (_, (status, answer)) in good {
        assert_eq!(status, 200, "{answer}");
    }
    // It looks at the first row of what it gets: in company it may have gone unnoticed.
    assert!(bad.iter().all(|(_, (status, _))| [200, 500].contains(status)), "{bad:?}");
    assert!(bad.iter().any(|(_, (status, answer))| *status == 500 && answer.contains("plugin-trap")), "{bad:?}");
    // One caller who sends nothing else keeps the plugin from nobody for longer than a moment.
    let mut refused = 0;
    for _ in 0..30 {
        let (said, answer) = status(13.0);
        assert!([500, 503].contains(&said), "{said} {answer}");
        refused += u32::from(said == 503);
    }
    assert!(refused > 0, "a plugin that only fails is given no rest");
    let began = Instant::now();
    until("an answer", || status(1.0).0 == 200);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    answers(&server);
    server.stop();
}

#[test]
fn a_model_that_cannot_be_loaded_leaves_the_one_in_service_and_is_taken_once_it_can() {
    let project = priced(&[[0.0, 1.0], [0.25, 1.0]]);
    let mut server = serve(&project, &[]);
    let by = || ask(&server, 1.0, &[]).headers["x-model-version"].clone();
    assert_eq!(by(), "1");
    let version = project.json(&["model", "show", "models:/price/2"]);
    let files = version["files"].as_array().expect("files");
    let artifact = files.iter().find(|file| file["path"] == "model.artifact").unwrap_or_else(|| panic!("in {version}"));
    let hash = artifact["hash"].as_str().expect("a hash");
    let blob = project.path(".plinth/blobs").join(&hash[..2]).join(&hash[2..]);
    let whole = std::fs::read(&blob).expect("the blob");
    let replace = |bytes: &[u8]| {
        std::fs::remove_file(&blob).expect("removable");
        std::fs::write(&blob, bytes).expect("writable");
    };
    let mut broken = whole.clone();
    broken[0] ^= 1;
    replace(&broken);
    project.run(&["endpoint", "deploy", "price", "models:/price/2", "--name", "champion"]).succeeds();
    let failed = "plinth_model_swaps_total{outcome=\"failed\"}";
    until("the failure", || metric(&server, failed) > 0.0);
    assert_eq!(by(), "1");
    let (status, ready) = server.get("/v2/models/price/ready");
    assert_eq!(status, 200, "what is in service is ready: {ready}");
    let told: Value = serde_json::from_str(&server.get("/endpoints/price").1).expect("JSON");
    assert_ne!(told["revision"], told["serving"]["revision"], "{told}");
    replace(&whole);
    until("the new one", || by() == "2");
    server.wait_for("now serving");
    server.stop();
}

/// Says how large the files of a process may become.
fn file_size(server: &Server, limit: &str) {
    let status =
        Command::new("prlimit").args([&format!("--pid={}", server.pid()), &format!("--fsize={limit}")]).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit (of util-linux) does not run");
}

#[test]
fn a_disk_that_is_full_loses_captured_rows_and_counts_them_and_serving_goes_on() {
    let project = priced(&[[0.0, 1.0]]);
    project.write("plinth.toml", "[limits.serve]\ncapture-flush-ms = 50\n");
    // A limit on the size of files makes the system refuse a write as a full device does; the signal with which it says
    // so must not end the process.
    let plinth = project.command(&["serve", "--endpoint=price", "--port", "0", "--access-log", "access.jsonl"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(plinth.get_program()).args(plinth.get_args());
    shell.current_dir(project.path("")).envs(plinth.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut server = listening(shell);
    answers(&server);
    until("a stored row", || captured_rows(&server, "stored") >= 1.0);
    file_size(&server, "0:unlimited");
    let rows = 20;
    for _ in 0..rows {
        answers(&server);
    }
    until("lost rows", || captured_rows(&server, "failed") >= f64::from(rows));
    assert!(server.wait_for("could not be stored").contains("captured rows"), "it is said");
    assert!(metric(&server, "plinth_access_log_lines_total{outcome=\"lost\"}") > 0.0);
    // What cannot be kept is refused, and not acknowledged.
    let (status, answer) = server.post("/endpoints/price/pause", &json!({}));
    assert!(status >= 400, "{status} {answer}");
    answers(&server);
    file_size(&server, "unlimited:unlimited");
    let stored = captured_rows(&server, "stored");
    answers(&server);
    until("rows that are stored again", || captured_rows(&server, "stored") > stored);
    let last = server.stop();
    assert!(last.starts_with("stopped; captured rows that could not be stored: "), "{last}");
    let kept = project.run(&["sql", "select count(*) from 'captures:/price/1'", "--format", "csv"]);
    let kept: f64 = kept.succeeds().stdout.lines().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    assert!(kept >= 2.0, "{kept}");
    project.run(&["doctor"]).succeeds();
}

#[test]
fn while_the_catalog_is_away_the_server_serves_what_it_has_and_follows_once_it_is_back() {
    let database = plinth_test_catalog::Server::start();
    let project = Project::with_catalog(&database.url());
    register(&project, &[[0.0, 1.0], [0.25, 1.0]]);
    project.write("plinth.toml", "[limits.serve]\ncapture-flush-ms = 50\n");
    let mut server = serve(&project, &[]);
    let by = || ask(&server, 1.0, &[]).headers["x-model-version"].clone();
    assert_eq!(by(), "1");
    database.stop();
    server.wait_for("what is in service stays");
    for _ in 0..20 {
        assert_eq!(ask(&server, 1.0, &[]).headers["x-model-version"], "1");
    }
    assert_eq!(server.get("/v2/health/ready").0, 200);
    assert_eq!(server.get("/v2/models/price/ready").0, 200);
    let (status, answer) = server.post("/endpoints/price/pause", &json!({}));
    assert!((500..600).contains(&status), "{status} {answer}");
    // A server that starts now has nothing to serve, and says why.
    let done = project.run(&["serve", "--endpoint=price", "--port", "0"]);
    assert!(done.code.is_some_and(|code| code != 0) && done.stderr.contains("error["), "{done:?}");
    until("lost rows", || captured_rows(&server, "failed") > 0.0);
    database.start_again();
    project.run(&["endpoint", "deploy", "price", "models:/price/2", "--name", "champion"]).succeeds();
    until("the change", || ask(&server, 1.0, &[]).headers["x-model-version"] == "2");
    let stored = captured_rows(&server, "stored");
    until("rows that are stored again", || {
        ask(&server, 1.0, &[]).status == 200 && captured_rows(&server, "stored") > stored
    });
    server.stop();
}

#[test]
fn a_catalog_that_is_locked_or_moved_away_keeps_nobody_from_answers() {
    let project = priced(&[[0.0, 1.0], [0.25, 1.0]]);
    let server = serve(&project, &[]);
    let by = || ask(&server, 1.0, &[]).headers["x-model-version"].clone();
    assert_eq!(by(), "1");
    // Another process holds the lock that writers need, and goes only when it is told to.
    let hold = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\nprint('held', flush=True)\nsys.stdin.read()\n";
    let mut holder = Command::new("python3");
    holder.args(["-c", hold]).arg(project.path(".plinth/catalog.db"));
    holder.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().expect("python3 runs");
    let mut held = [0; 4];
    holder.stdout.take().expect("it is piped").read_exact(&mut held).expect("the lock is held");
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(by(), "1");
        assert!(began.elapsed() < Duration::from_secs(1), "somebody waited for the catalog: {:?}", began.elapsed());
    }
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
    project.run(&["endpoint", "deploy", "price", "models:/price/2", "--name", "champion"]).succeeds();
    until("the change", || by() == "2");

    let files = || {
        let all = std::fs::read_dir(project.path(".plinth")).expect("the state directory").flatten();
        let all = all.filter(|file| file.file_name().to_string_lossy().starts_with("catalog.db"));
        all.map(|file| file.path()).collect::<Vec<_>>()
    };
    std::fs::create_dir(project.path("aside")).expect("a new folder");
    for file in files() {
        std::fs::rename(&file, project.path("aside").join(file.file_name().expect("a name"))).expect("movable");
    }
    for _ in 0..20 {
        assert_eq!(by(), "2");
    }
    // Nothing takes its place while it is away.
    assert_eq!(files(), Vec::<std::path::PathBuf>::new());
    for file in std::fs::read_dir(project.path("aside")).expect("the folder").flatten() {
        std::fs::rename(file.path(), project.path(".plinth").join(file.file_name())).expect("movable");
    }
    project.run(&["endpoint", "deploy", "price", "models:/price/1", "--name", "champion"]).succeeds();
    until("the change", || by() == "1");
    server.stop();
    project.run(&["doctor"]).succeeds();
    project.run(&["audit", "verify"]).succeeds();
}

#[test]
fn what_was_captured_before_a_kill_is_whole_and_the_next_server_serves_the_same() {
    let project = priced(&[[0.0, 1.0], [0.25, 1.0]]);
    let deploy = ["endpoint", "deploy", "price", "models:/price/2", "--name", "second", "--weight", "30"];
    project.run(&deploy).succeeds();
    project.run(&["endpoint", "route", "price", "champion=70", "second=30", "--sticky", "header:x-user"]).succeeds();
    project.write("plinth.toml", "[limits.serve]\ncapture-flush-ms = 20\n");
    let by = |server: &Server, user: u32| {
        let told = ask(server, 1.0, &[("x-user", &user.to_string()), ("x-request-id", &format!("user-{user}"))]);
        assert_eq!(told.status, 200, "{}", told.body);
        told.headers["x-deployment"].clone()
    };
    let mut before: Vec<String> = Vec::new();
    let mut stored = 0.0;
    for round in 0..5_u32 {
        let mut server = serve(&project, &[]);
        let users = 0..40 + round;
        let now: Vec<String> = users.map(|user| by(&server, user)).collect();
        assert_eq!(now[..before.len()], before[..], "the same routes after a kill");
        before = now;
        until("stored rows", || captured_rows(&server, "stored") >= 10.0);
        // While it stores what else came.
        (0..20).for_each(|user| drop(by(&server, user)));
        stored += captured_rows(&server, "stored");
        server.kill();
    }
    let count = |version: u32| -> f64 {
        let sql = format!(
            "select count(*) from 'captures:/price/{version}' where \"request_id\" like 'user-%' and \"output.prediction\" is not null"
        );
        let kept = project.run(&["sql", &sql, "--format", "csv"]);
        kept.succeeds().stdout.lines().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    };
    // What a server says that it has stored is there, whatever became of it.
    assert!(count(1) + count(2) >= stored, "{} of {stored}", count(1) + count(2));
    project.run(&["doctor"]).succeeds();
}

#[test]
fn nobody_scores_for_a_caller_who_went_away() {
    let project = priced(&[[0.0, 1.0]]);
    evil(&project, "infinite-loop", false);
    project.run(&["endpoint", "create", "evil", "models:/evil/1"]).succeeds();
    project.write("plinth.toml", "[limits.serve]\nscoring-threads = 1\n");
    let server = project.listening(&["serve", "--port", "0"]);
    answers(&server);
    let request = |endpoint: &str, x: f64| {
        let body = json!({"dataframe_split": {"columns": ["x", "y"], "data": [[x, 0.0]]}}).to_string();
        let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        format!("POST /endpoints/{endpoint}/invocations HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{body}")
    };
    let rows = || metric(&server, "plinth_rows_total{model_name=\"price\",model_version=\"1\"}");
    let before = rows();
    // The one thread is kept busy by a model that never ends by itself.
    let mut busy = connect(&server);
    busy.write_all(request("evil", 13.0).as_bytes()).expect("it is taken");
    until("the busy one", || metric(&server, "plinth_requests_in_flight") >= 1.0);
    until("the queue", || {
        let mut gone: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
        for stream in &mut gone {
            stream.write_all(request("price", 1.0).as_bytes()).expect("it is taken");
        }
        metric(&server, "plinth_requests_waiting") >= 1.0
    });
    // All of those have hung up by now. The next one is scored, and it is the only one.
    answers(&server);
    assert!(rows() - before <= 2.0, "{} rows were scored for nobody", rows() - before - 1.0);
    until("nobody in flight", || metric(&server, "plinth_requests_in_flight") <= 0.0);
    drop(busy);
    server.stop();
}

#[test]
fn a_server_that_is_told_to_end_while_callers_hang_ends_all_the_same() {
    let project = priced(&[[0.0, 1.0]]);
    project.write("plinth.toml", "[limits.serve]\ndrain-ms-max = 500\n");
    let server = serve(&project, &[]);
    let mut hanging = connect(&server);
    let head = "POST /endpoints/price/invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 1000\r\n\r\n{";
    hanging.write_all(head.as_bytes()).expect("it is taken");
    until("the request", || metric(&server, "plinth_requests_in_flight") >= 1.0);
    signal(server.pid(), "TERM");
    assert!(rest(hanging).is_empty());
    server.stop();
}
