//! Endpoints over HTTP, where there is no catalog: figures are told, changes are refused.

use crate::common::{ONE_ROW, serving};

#[test]
fn figures_are_told_and_changes_have_no_catalog_to_go_to() {
    let serving = serving();
    for _ in 0..3 {
        assert_eq!(serving.post("/invocations", "application/json", ONE_ROW).status, 200);
    }
    assert_eq!(serving.post("/invocations", "application/json", "{\"instances\": 3}").status, 400);
    let all = serving.get("/endpoints").json();
    let one = &all["endpoints"][0];
    assert_eq!((&one["name"], all["endpoints"].as_array().map(Vec::len)), (&"churn".into(), Some(1)));
    let told = serving.get("/endpoints/churn").json();
    let main = &told["serving"]["deployments"][0];
    assert_eq!(main, &one["deployments"][0]);
    assert_eq!((&main["requests"], &main["answered"], &main["refused"]), (&4.into(), &3.into(), &1.into()), "{main}");
    assert!(main["p99_ms"].as_f64() > Some(0.0) && main["batches"].as_u64() >= Some(1), "{main}");
    assert_eq!(serving.get("/endpoints/nobody").status, 404);
    for path in ["/endpoints", "/endpoints/churn/promote", "/endpoints/churn/rollback", "/endpoints/churn/feedback"] {
        let body = match path {
            "/endpoints" => r#"{"name": "x", "spec": {"deployments": []}}"#,
            _ if path.ends_with("feedback") => r#"{"request_id": "x", "reward": 1}"#,
            _ => "{}",
        };
        let answer = serving.post(path, "application/json", body);
        assert_eq!(answer.status, 409, "{path}: {}", answer.text);
        assert_eq!(serving.post(path, "application/json", "{\"nonsense\": 1}").status, 400, "{path}");
        assert_eq!(serving.post(path, "text/plain", body).status, 415, "{path}");
    }
    let metrics = serving.get("/metrics").text;
    let line = r#"plinth_deployment_requests_total{endpoint="churn",deployment="main",model_name="churn",model_version="1",outcome="answered"} 3"#;
    assert!(metrics.contains(line), "{metrics}");
    serving.stop().unwrap();
}
