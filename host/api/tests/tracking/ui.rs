use std::{
    io::{Read, Write},
    path::Path,
};

use serde_json::{Value, json};

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

#[test]
fn a_prompt_that_was_tried_becomes_a_run() {
    let server = Server::start();
    let path = "/ajax-api/2.0/mlflow/runs/create-promptlab-run";
    let mut whole = json!({
        "experiment_id": "0", "run_name": "tried", "prompt_template": "about {{x}}: \"a\nb\"", "start_time": 456,
        "prompt_parameters": [{"key": "x", "value": "v"}], "model_route": "route", "model_input": "about v",
        "model_parameters": [{"key": "temperature", "value": 0.1}], "model_output": "out", "user_id": "ann",
        "model_output_parameters": [{"key": "latency", "value": "100"}], "mlflow_version": "1.0.0",
    });
    let (status, made) = server.send("POST", path, Some(&whole.to_string()));
    assert_eq!(status, 200, "{made}");
    let info = &made["run"]["info"];
    assert_eq!(
        (&info["run_name"], &info["status"], &info["start_time"]),
        (&json!("tried"), &json!("FINISHED"), &json!(456))
    );
    let params = made["run"]["data"]["params"].to_string();
    assert!(
        params.contains(r#"{"key":"temperature","value":"0.1"}"#) && params.contains("prompt_template"),
        "{params}"
    );
    let tags = made["run"]["data"]["tags"].to_string();
    assert!(tags.contains("PROMPT_ENGINEERING") && tags.contains("mlflow.log-model.history"), "{tags}");
    let file = |name: &str| {
        let run = info["run_id"].as_str().unwrap();
        server.send("GET", &format!("/get-artifact?run_id={run}&path={name}"), None).1
    };
    assert_eq!(file("eval_results_table.json")["data"], json!([["v", "about v", "out", "100"]]));
    let parameters = file("model/parameters.yaml");
    assert!(parameters.as_str().unwrap().contains(r#"prompt_template: "about {{x}}: \"a\nb\"""#), "{parameters}");
    assert!(file("model/MLmodel").as_str().unwrap().contains("mlflow.prompt.promptlab_model"));
    for lacking in
        ["mlflow_version", "model_input", "model_route", "prompt_parameters", "prompt_template", "experiment_id"]
    {
        whole.as_object_mut().unwrap().remove(lacking);
        let (status, told) = server.send("POST", path, Some(&whole.to_string()));
        assert_eq!(status, 400, "{told}");
        assert_eq!(told["message"], format!("CreatePromptlabRun request must specify {lacking}."));
    }
}

#[test]
fn traces_are_counted_and_measured_in_groups() {
    let server = Server::start();
    for (at, name, state, millis) in [(1, "a", "OK", 10), (2, "a", "ERROR", 30), (3, "b", "OK", 80)] {
        let info = json!({"trace_info": {
            "trace_id": format!("tr-{at:032}"), "state": state, "execution_duration": format!("0.{millis:03}s"),
            "request_time": format!("2026-01-0{at}T00:00:01Z"), "tags": {"mlflow.traceName": name},
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
            "trace_metadata": {"mlflow.trace.tokenUsage": format!("{{\"total_tokens\": {millis}}}")},
        }});
        let (status, told) = server.send("POST", "/api/3.0/mlflow/traces", Some(&json!({"trace": info}).to_string()));
        assert_eq!(status, 200, "{told}");
    }
    let ask = |more: Value| {
        let mut body = json!({"experiment_ids": ["0"], "view_type": "TRACES"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.send("POST", "/ajax-api/3.0/mlflow/traces/metrics", Some(&body.to_string()))
    };
    let count = json!([{"aggregation_type": "COUNT"}]);
    let (_, all) = ask(json!({"metric_name": "trace_count", "aggregations": count}));
    assert_eq!(all, json!({"data_points": [{"metric_name": "trace_count", "values": {"COUNT": 3.0}}]}));
    let filters = json!(["trace.status = 'OK'"]);
    let (_, ok) = ask(json!({"metric_name": "trace_count", "aggregations": count, "filters": filters}));
    assert_eq!(ok["data_points"][0]["values"]["COUNT"], 2.0);
    let spread = json!([
        {"aggregation_type": "AVG"}, {"aggregation_type": "MAX"},
        {"aggregation_type": "PERCENTILE", "percentile_value": 50},
    ]);
    let (_, named) = ask(json!({"metric_name": "latency", "aggregations": spread, "dimensions": ["trace_name"]}));
    assert_eq!(
        named["data_points"],
        json!([
            {"metric_name": "latency", "dimensions": {"trace_name": "a"}, "values": {"AVG": 20.0, "MAX": 30.0, "P50.0": 20.0}},
            {"metric_name": "latency", "dimensions": {"trace_name": "b"}, "values": {"AVG": 80.0, "MAX": 80.0, "P50.0": 80.0}},
        ])
    );
    let (_, daily) = ask(json!({
        "metric_name": "total_tokens", "aggregations": [{"aggregation_type": "SUM"}], "time_interval_seconds": 86_400,
        "start_time_ms": 1_767_225_600_000_i64, "end_time_ms": 1_767_398_399_000_i64,
    }));
    let points = daily["data_points"].as_array().unwrap();
    assert_eq!(points.len(), 2, "{daily}");
    assert_eq!(points[0]["dimensions"]["time_bucket"], "2026-01-01T00:00:00+00:00");
    for wrong in [
        json!({"metric_name": "nope", "aggregations": count}),
        json!({"metric_name": "latency", "aggregations": count}),
        json!({"metric_name": "trace_count", "aggregations": count, "dimensions": ["span_name"]}),
        json!({"metric_name": "trace_count", "aggregations": count, "filters": ["span.name = 'x'"]}),
        json!({"metric_name": "trace_count", "aggregations": count, "filters": ["trace.nope ~ 3"]}),
        json!({"metric_name": "trace_count", "aggregations": []}),
        json!({"metric_name": "trace_count", "aggregations": count, "time_interval_seconds": 60}),
    ] {
        let (status, told) = ask(wrong.clone());
        assert_eq!(status, 400, "{wrong}: {told}");
    }
}

#[test]
fn the_browser_is_asked_who_is_there_and_other_sites_cannot_use_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "index.html", b"<html>the page</html>");
    write(folder.path(), "static/js/main.js", b"script");
    let ui = folder.path().to_owned();
    let server = Server::start_with(|config| (config.access, config.ui) = (true, Some(ui)));
    server.tracking.add_user("ann", "correct horse", plinth_tracking::Role::Admin, "test").unwrap();
    let (head, body) = get(&server, "/", "");
    assert!(head.starts_with("HTTP/1.1 401") && head.contains("www-authenticate: Basic realm="), "{head}");
    assert!(!body.windows(8).any(|part| part == b"the page"));
    let ann = "authorization: Basic YW5uOmNvcnJlY3QgaG9yc2U=\r\n";
    assert!(get(&server, "/", ann).0.starts_with("HTTP/1.1 200"));
    assert!(get(&server, "/static-files/static/js/main.js", "").0.starts_with("HTTP/1.1 200"));
    let foreign = [("authorization", "Basic YW5uOmNvcnJlY3QgaG9yc2U="), ("origin", "https://evil.example")];
    for path in
        ["/graphql", "/ajax-api/2.0/mlflow/runs/create", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=r&path=x"]
    {
        assert_eq!(server.send_with("POST", path, Some("{}"), &foreign).0, 403, "{path}");
    }
}
