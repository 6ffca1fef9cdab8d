//! Endpoints of the catalog, changed from the command line under a running server.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use plinth_e2e::{Project, Server, try_post};
use serde_json::{Value, json};

use crate::serving::customer;

/// Status, and the deployment that answered.
fn ask(server: &Server, headers: &[(&str, &str)]) -> (u16, String) {
    let body = json!({"dataframe_records": [customer()]});
    server.told("/endpoints/churn/invocations", headers, &body, "x-deployment")
}

/// Waits until `done`.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} never came true");
        std::thread::yield_now();
    }
}

/// Ends the callers, also when the test fails meanwhile.
pub(crate) struct End<'a>(pub(crate) &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn traffic_moves_between_deployments_under_load_and_nobody_is_refused() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let endpoint = |args: &[&str]| project.run(&[&["endpoint"], args].concat());
    endpoint(&["create", "churn", "models:/churn/1", "--name", "champion"]).succeeds();
    let mut server = project.listening(&["serve", "--port", "0"]);
    assert_eq!(ask(&server, &[]), (200, "champion".into()));

    let url = server.url("/endpoints/churn/invocations");
    let (stop, asked, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _end = End(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    asked.fetch_add(1, Relaxed);
                    let answer = try_post(&url, &json!({"dataframe_records": [customer()]}));
                    if answer.is_none_or(|(status, _)| status != 200) {
                        refused.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        endpoint(&["deploy", "churn", "models:/churn@champion", "--name", "canary", "--weight", "20"]).succeeds();
        until("the canary", || ask(&server, &[]).1 == "canary");
        endpoint(&["route", "churn", "champion=100", "--rule", "x-beta=yes:canary", "--sticky", "header:x-user"])
            .succeeds();
        // Until then the canary's answers may be of its weight.
        until("the route", || {
            let metrics = server.get("/metrics").1;
            metrics
                .lines()
                .any(|line| line.contains("deployment_weight{") && line.contains("\"canary\"") && line.ends_with(" 0"))
        });
        assert_eq!(ask(&server, &[("x-beta", "yes")]).1, "canary");
        assert_eq!(ask(&server, &[("x-beta", "no")]).1, "champion");
        endpoint(&["promote", "churn", "canary"]).succeeds();
        until("the promotion", || ask(&server, &[]).1 == "canary");
        endpoint(&["rollback", "churn"]).succeeds();
        until("the way back", || ask(&server, &[]).1 == "champion");
    });
    assert!(asked.load(Relaxed) > 0);
    assert_eq!(refused.load(Relaxed), 0, "of {asked:?}");

    // A model that does not exist changes nothing, and a server that comes back has the same routes.
    endpoint(&["deploy", "churn", "models:/churn/99", "--weight", "50"]).fails(6, "model-not-found", &[]);
    server.kill();
    let server = project.listening(&["serve", "--port", "0"]);
    assert_eq!(ask(&server, &[("x-beta", "yes")]).1, "canary");
    let log: Value = project.json(&["endpoint", "logs", "churn"]);
    let actions: Vec<&str> = log.as_array().expect("a list").iter().filter_map(|e| e["action"].as_str()).collect();
    assert_eq!(actions, ["rollback", "promote", "route", "deploy", "create"]);
    project.run(&["audit", "verify"]).succeeds();
}

#[test]
fn endpoints_that_cannot_be_are_refused_by_name() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let endpoint = |args: &[&str]| project.run(&[&["endpoint"], args].concat());
    endpoint(&["create", "churn", "models:/churn/1"]).succeeds();
    endpoint(&["create", "churn", "models:/churn/1"]).fails(7, "endpoint-exists", &[]);
    endpoint(&["create", "../x", "models:/churn/1"]).fails(2, "bad-endpoint", &[]);
    endpoint(&["status", "chrun"]).fails(6, "endpoint-not-found", &[]);
    endpoint(&["route", "churn", "v1=0"]).fails(2, "bad-endpoint", &[]);
    endpoint(&["route", "churn", "v1=101"]).fails(2, "bad-endpoint", &[]);
    endpoint(&["route", "churn", "v2=10"]).fails(6, "endpoint-not-found", &[]);
    endpoint(&["route", "churn", "--rule", "x y=1:v1"]).fails(2, "bad-endpoint", &[]);
    endpoint(&["route", "churn", "--sticky", "cookie:x"]).fails(2, "usage", &[]);
    endpoint(&["remove", "churn", "v1"]).fails(2, "bad-endpoint", &[]);
    endpoint(&["rollback", "churn"]).fails(2, "bad-endpoint", &[]);
    endpoint(&["deploy", "churn", "models:/churn/1", "--device", "tpu"]).fails(2, "bad-config", &[]);
    endpoint(&["deploy", "churn", "models:/churn/1", "--device", "cuda:99"]).fails(
        12,
        "device-not-found",
        &["`cuda:99`", "--force"],
    );
    for flag in ["--weight", "--shadow"] {
        endpoint(&["deploy", "churn", "models:/churn/1", "--name", "b", flag, "150"]).fails(
            2,
            "usage",
            &["150", "0 to 100"],
        );
    }
    endpoint(&["route", "churn", "v1=90"]).fails(2, "bad-endpoint", &["v1=90 add up to 90 %"]);
    endpoint(&["route", "churn"]).fails(2, "usage", &["nothing is said", "--sticky"]);
    assert_eq!(project.json(&["endpoint", "status", "churn"])["revision"], json!(1), "nothing of this changed it");
    endpoint(&["delete", "churn"]).fails(2, "usage", &["endpoint `churn` (v1)", "--yes"]);
    for model in ["churn", "models:/churn/1", "models:/churn@champion"] {
        project.run(&["model", "delete", model, "--yes"]).fails(7, "invalid-state", &["endpoint `churn`", "--force"]);
    }
    endpoint(&["delete", "churn", "--yes"]).succeeds();
    endpoint(&["create", "churn", "models:/churn/1"]).succeeds();
    project.run(&["model", "delete", "churn", "--yes", "--force"]).succeeds();
}

#[test]
fn a_server_tells_what_it_serves_or_keeps_it_to_itself_and_answers_pages_that_it_knows() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let mut wrong = customer();
    wrong["total_day_minutes"] = json!("many");
    let wrong = json!({"dataframe_records": [wrong]});
    let site = [("origin", "https://example.org")];
    let good = json!({"dataframe_records": [customer()]});
    {
        let server = project.serve("models:/churn@champion");
        let told: Value = serde_json::from_str(&server.get("/openapi.json").1).expect("JSON");
        let rows = &told["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"];
        assert!(rows["example"]["dataframe_records"][0]["state"].is_string(), "{rows}");
        // What it shows as an example it answers.
        assert_eq!(server.post("/invocations", &rows["example"]).0, 200);
        assert!(server.get("/docs").1.contains("openapi.json"));
        assert!(server.post("/invocations", &wrong).1.contains("total_day_minutes"));
        assert_eq!(server.told("/invocations", &site, &good, "access-control-allow-origin"), (200, String::new()));
    }
    project.write("plinth.toml", "[serve]\nhide-schema = true\ncors-origins = [\"https://example.org\"]\n");
    let server = project.serve("models:/churn@champion");
    let (status, answer) = server.post("/invocations", &wrong);
    assert!(status == 400 && answer.contains("bad-value") && !answer.contains("total_day_minutes"), "{answer}");
    assert_eq!(server.get("/openapi.json").0, 404);
    let (status, metadata) = server.get("/v2/models/churn");
    assert!(status == 200 && !metadata.contains("total_day_minutes"), "{metadata}");
    let allowed = server.told("/invocations", &site, &good, "access-control-allow-origin");
    assert_eq!(allowed, (200, "https://example.org".into()));
    let other = server.told("/invocations", &[("origin", "https://evil.test")], &good, "access-control-allow-origin");
    assert_eq!(other, (200, String::new()));
}

#[test]
fn a_server_that_comes_back_serves_what_it_can_of_an_endpoint() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let endpoint = |args: &[&str]| project.run(&[&["endpoint"], args].concat());
    endpoint(&["create", "churn", "models:/churn/1", "--name", "champion"]).succeeds();
    // No machine has so many.
    endpoint(&[
        "deploy",
        "churn",
        "models:/churn/1",
        "--name",
        "far",
        "--device",
        "cuda:99",
        "--weight",
        "30",
        "--force",
    ])
    .succeeds();
    let server = project.listening(&["serve", "--port", "0"]);
    for _ in 0..20 {
        assert_eq!(ask(&server, &[]), (200, "champion".into()));
    }
    // As soon as all of it can be had, all of it is served.
    endpoint(&["deploy", "churn", "models:/churn/1", "--name", "far", "--weight", "30"]).succeeds();
    until("the other", || ask(&server, &[]).1 == "far");
}
