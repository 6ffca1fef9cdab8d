//! The tracking server over a bucket of an S3 server: what it keeps there, what a kill leaves, what commands find.

use std::time::Duration;

use plinth_e2e::{Project, Server};
use plinth_test_objects::{BUCKET, Fault, SECRET, Server as Objects};
use serde_json::json;

const STORE: [&str; 2] = ["--artifact-store", "s3://artifacts/plinth"];
const PATH: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn put(server: &Server, path: &str, bytes: &[u8]) -> u16 {
    server.send("PUT", &format!("{PATH}/{path}"), &[], bytes).0
}

#[test]
fn every_command_finds_the_bucket_that_was_named_once() {
    let objects = Objects::start();
    let project = Project::with_environment(objects.environment());
    let server = project.up_with(&STORE);
    let (status, made) = server.post("/api/2.0/mlflow/runs/create", &json!({"experiment_id": "0"}));
    assert_eq!(status, 200, "{made}");
    let run: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let run = run["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
    assert_eq!(put(&server, &format!("0/{run}/artifacts/a.txt"), b"from the server"), 200);
    server.stop();
    assert!(!project.path(".plinth/blobs").exists());
    project.write("b.txt", "from the command line");
    project.run(&["artifact", "put", &run, "b.txt"]).succeeds();
    std::fs::remove_dir_all(project.path(".plinth/copies")).expect("copies may go at any time");
    project.run(&["artifact", "get", &run, "a.txt", "--output", "out"]).succeeds();
    assert_eq!(std::fs::read(project.path("out/a.txt")).expect("the file"), b"from the server");
    let kept = || objects.keys(BUCKET).iter().filter(|key| key.starts_with("plinth/blobs/")).count();
    assert_eq!(kept(), 2);
    project.run(&["run", "delete", &run, "--yes"]).succeeds();
    project.run(&["gc", "--older-than", "0s", "--grace", "0s"]).succeeds();
    assert_eq!(kept(), 0);
    assert_eq!(project.json(&["doctor"])["findings"], json!([]));
    // A place that is named again in another way, or is another's, is refused.
    let elsewhere = project.run(&["up", "--port", "0", "--artifact-store", "s3://artifacts/other"]);
    elsewhere.fails(7, "already-exists", &["s3://artifacts/plinth", "s3://artifacts/other"]);
    let stranger = Project::with_environment(objects.environment());
    stranger.run(&["up", "--port", "0", STORE[0], STORE[1]]).fails(7, "already-exists", &["another store"]);
}

#[test]
fn a_bucket_that_cannot_be_used_ends_the_start_with_what_to_set() {
    let objects = Objects::start();
    let told = |changed: &[(&'static str, &str)], url: &str| {
        let mut environment = objects.environment();
        environment.extend(changed.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let done = Project::with_environment(environment).run(&["-vvv", "up", "--port", "0", "--artifact-store", url]);
        assert!(!done.stderr.contains(SECRET) && !done.stderr.contains("wrong-secret"), "{}", done.stderr);
        done
    };
    told(&[], "s3://nobody/x").fails(12, "artifact-store-unavailable", &["s3://nobody/x", "no such bucket"]);
    told(&[("AWS_SECRET_ACCESS_KEY", "wrong-secret")], "s3://artifacts/x").fails(
        12,
        "artifact-store-denied",
        &["s3://artifacts/x", "AWS_SECRET_ACCESS_KEY"],
    );
    let both = ["up", "--port", "0", "--artifact-store", "s3://artifacts/x", "--artifacts-dir", "here"];
    let done = Project::with_environment(objects.environment()).run(&both);
    assert!(done.code == Some(2) && done.stderr.contains("cannot be used with '--artifacts-dir"), "{done:?}");
    told(&[], "gs://artifacts/x").fails(2, "bad-config", &["gs://artifacts/x", "s3://"]);
}

#[test]
fn kill_9_in_the_middle_of_an_upload_leaves_nothing_that_was_acknowledged() {
    let objects = Objects::start();
    let project = Project::with_environment(objects.environment());
    let mut server = project.up_with(&STORE);
    assert_eq!(put(&server, "1/before", b"acknowledged"), 200);
    objects.fail("PUT", "partNumber=2", 1, Fault::Slow(Duration::from_secs(600)));
    let large: Vec<u8> = (0..40_u32 << 20).map(|i| (i >> 9) as u8).collect();
    let url = server.url(&format!("{PATH}/1/large"));
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| ureq::put(&url).send(&large[..]).is_ok());
        while !objects.requests().iter().any(|request| request.contains("partNumber=2")) {
            std::thread::yield_now();
        }
        server.kill();
        assert!(!upload.join().expect("the client ends"), "nothing was acknowledged");
    });
    objects.heal();
    let server = project.up_with(&[]);
    assert_eq!(server.get(&format!("{PATH}/1/before")), (200, "acknowledged".to_owned()));
    assert_eq!(server.get(&format!("{PATH}/1/large")).0, 404);
    assert_eq!(objects.keys(BUCKET).iter().filter(|key| key.contains("/blobs/")).count(), 1, "half a blob is no blob");
    server.stop();
    // The spooled bytes are named, and swept up.
    let findings = project.json(&["doctor"]);
    assert!(findings["findings"][0]["what"].as_str().is_some_and(|what| what.contains("copies/tmp")), "{findings}");
    project.run(&["doctor", "--repair"]).succeeds();
    assert_eq!(project.json(&["doctor"])["findings"], json!([]));
    let server = project.up_with(&[]);
    assert_eq!(put(&server, "1/large", &large), 200);
    let answer = ureq::get(server.url(&format!("{PATH}/1/large"))).call().expect("it is there");
    let read = answer.into_body().into_with_config().limit(1 << 30).read_to_vec().expect("whole");
    assert!(read == large);
}
