//! Servers as programs see them: where they listen, and what `plinth top` tells of one.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use plinth_e2e::{Project, try_post};
use serde_json::{Value, json};

use crate::{endpoints::End, serving::customer};

#[test]
fn what_a_server_does_is_told_while_it_does_it() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let server = project.listening(&["serve", "models:/churn/1", "--port", "0"]);
    let body = json!({"dataframe_records": [customer()]});
    let (url, stop) = (server.url("/invocations"), AtomicBool::new(false));
    let told: Value = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                assert!(try_post(&url, &body).is_some_and(|(status, _)| status == 200));
            }
        });
        let _end = End(&stop);
        project.json(&["top", &server.url(""), "--interval", "1s"])
    });
    assert!(told["requests_per_second"].as_f64() > Some(1.0), "{told}");
    let deployment = &told["deployments"][0];
    assert_eq!((&deployment["model"], &deployment["version"]), (&json!("churn"), &json!("1")), "{told}");
    assert_eq!(deployment["share"], 100.0, "{told}");
    assert!(deployment["rows_per_second"].as_f64() > Some(1.0), "{told}");
    let (half, most) = (deployment["p50_ms"].as_f64(), deployment["p99_ms"].as_f64());
    assert!(half > Some(0.0) && half <= most, "{told}");

    let once = project.run(&["top", &server.url(""), "--once", "--interval", "100ms"]);
    assert!(once.succeeds().stdout.contains("DEPLOYMENT"));
    project.run(&["top", "http://127.0.0.1:9", "--once"]).fails(12, "server-unreachable", &["127.0.0.1:9"]);
    project.run(&["top", "ftp://127.0.0.1", "--once"]).fails(2, "usage", &["ftp"]);
    project.run(&["top", "--once", "--interval", "1us"]).fails(2, "usage", &[]);
}

#[test]
fn where_a_server_listens_is_one_object_on_stdout() {
    let project = Project::empty();
    let mut child = project
        .command(&["up", "--data-dir", "state", "--port", "0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut told = String::new();
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        told += &line.expect("text");
        if told.ends_with('}') {
            break;
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let address = told["listening"].as_str().expect("an address");
    assert!(address.starts_with("http://127.0.0.1:") && !address.ends_with(":0"), "{told}");
}
