//! The life of a model: trained, stopped or let through, registered, watched, replaced.

use plinth_e2e::Project;
use serde_json::Value;

#[test]
fn the_forest_is_stopped_and_nothing_is_registered() {
    let project = Project::churn();
    let done = project.run(&["run", "-p", "trainer=random-forest"]);
    done.fails(3, "gate-failed", &["f1"]);
    assert!(done.stdout.contains("f1") || done.stderr.contains("f1"), "the table of checks names f1");
    assert_eq!(project.json(&["model", "list"]), Value::Array(vec![]));
}

#[test]
fn boosting_passes_and_becomes_the_champion_and_a_second_run_does_nothing() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let models = project.json(&["model", "list"]);
    assert_eq!(models[0]["name"], "churn", "{models}");

    let again = project.run(&["run"]);
    again.succeeds();
    let said = format!("{}{}", again.stdout, again.stderr);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(project.json(&["model", "show", "churn"])["versions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn one_changed_parameter_runs_again_only_what_depends_on_it() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let report = project.json(&["run", "--set", "split.seed=99", "--set", "split.by=seed", "--stage", "features"]);
    let status = |name: &str| {
        let stages = report["stages"].as_array().expect("stages");
        let stage = stages.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("{name} in {report}"));
        stage["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status("load"), "cached");
    assert_eq!(status("validate"), "cached");
    assert_eq!(status("split"), "ran");
    assert_eq!(status("features"), "ran");
}

#[test]
fn everything_that_happened_is_recorded_as_a_run() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let runs = project.json(&["runs", "list"]);
    let id = runs[0]["run_id"].as_str().expect("a run id").to_owned();
    let run = project.json(&["runs", "show", &id]);
    assert_eq!(run["status"], "FINISHED");
    let metrics = run["metrics"].to_string();
    for name in ["accuracy", "f1", "roc_auc", "log_loss"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert!(!run["artifacts"].as_array().expect("artifacts").is_empty());
}

#[test]
fn the_shifted_half_drifts_and_the_same_data_does_not() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let drift = project.run(&[
        "monitor",
        "check",
        "churn",
        "--current",
        "data/mlc_churn_sorted_cur.csv",
        "--report",
        "drift.html",
    ]);
    assert_eq!(drift.code, Some(4), "{}{}", drift.stdout, drift.stderr);
    assert!(drift.stdout.contains("total_day_minutes"), "{}", drift.stdout);
    let page = std::fs::read_to_string(project.path("drift.html")).expect("a report");
    assert!(page.contains("<svg") && page.len() < 1_000_000, "{} bytes", page.len());

    project.run(&["monitor", "check", "churn", "--current", "data/mlc_churn_events.csv"]).succeeds();
}

#[test]
fn retraining_waits_for_approval_and_then_moves_the_alias_under_a_running_server() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let mut server = project.serve("models:/churn@champion");
    let row = serde_json::json!({"dataframe_records": [super::serving::customer()]});
    assert_eq!(server.post("/invocations", &row).0, 200);

    let check = ["monitor", "check", "churn", "--current", "data/mlc_churn_sorted_cur.csv", "--retrain"];
    let proposed = project.run(&check);
    let said = format!("{}{}", proposed.stdout, proposed.stderr);
    assert!(said.contains("--approve") || said.contains("approv"), "{said}");
    assert!(server.get("/v2/models/churn").1.contains("\"1\""), "version 1 still serves");

    // Requests go on while the alias moves; none may fail.
    let port_url = server.url("/invocations");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let mut answered = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let response = agent.post(&port_url).header("content-type", "application/json").send(row.to_string());
                assert_eq!(response.expect("an answer").status().as_u16(), 200);
                answered += 1;
            }
            answered
        });
        let approved = project.run(&[&check[..], &["--approve"]].concat());
        let moved = approved.stdout.clone() + &approved.stderr;
        server.wait_for("v2");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(moved.contains("churn"), "{moved}");
        client.join().expect("no request failed")
    });
    assert!(answered > 0);
    assert!(server.get("/v2/models/churn").1.contains("\"2\""), "version 2 serves now");
}

#[test]
fn what_was_deleted_is_registered_by_the_next_run() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    for _ in 0..2 {
        project.run(&["model", "delete", "churn", "--yes"]).succeeds();
        let again = project.run(&["run"]);
        assert!(!again.succeeds().stdout.contains("nothing to do"), "{}", again.stdout);
        assert!(project.run(&["model", "list"]).succeeds().stdout.contains("churn"));
    }
    project.run(&["model", "delete", "models:/churn/1", "--yes"]).succeeds();
    project.run(&["run"]).succeeds();
    let again = project.run(&["run"]);
    assert!(again.succeeds().stdout.contains("nothing to do"), "{}", again.stdout);
}
