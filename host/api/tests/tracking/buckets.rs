//! Artifacts in buckets: of the store, and of clients that put them there themselves.

use plinth_store::{Environment, Setup};
use plinth_test_objects::{BUCKET, SECRET, Server as Objects};
use serde_json::{Value, json};

use crate::server::Server;

fn setup(objects: &Objects, allowed: &[&str]) -> Setup {
    let variables = objects.environment();
    let look = move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let allowed = allowed.iter().map(|url| url.parse().unwrap()).collect();
    Setup { environment: Environment::new(look), allowed, ..Setup::default() }
}

/// A request without this server: status and body.
fn fetch(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = agent.run(request.body(body).unwrap()).unwrap();
    let disposition = answer.headers().get("content-disposition").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap(), disposition.unwrap_or_default())
}

#[test]
fn artifacts_of_the_store_go_through_the_server_and_can_be_read_around_it() {
    let objects = Objects::start();
    let server = Server::start_set(setup(&objects, &[]), Some("s3://artifacts/plinth"), |_| {});
    let path = "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/a b.txt".replace(' ', "%20");
    assert_eq!(server.send("PUT", &path, Some("hello world")), (200, json!({})));
    assert_eq!(server.send("GET", &path, None), (200, json!("hello world")));
    assert_eq!(server.send_with("GET", &path, None, &[("range", "bytes=6-8")]), (206, json!("wor")));
    let signed = path.replace("mlflow-artifacts/artifacts", "mlflow-artifacts/presigned");
    let (status, answer) = server.send("GET", &signed, None);
    assert_eq!((status, &answer["file_size"], &answer["headers"]), (200, &json!(11), &json!({})), "{answer}");
    assert!(!answer.to_string().contains(SECRET));
    let url = answer["url"].as_str().unwrap();
    let (status, body, _) = fetch("GET", url, &[("range", "bytes=0-4")], b"");
    assert_eq!((status, body.as_slice()), (206, &b"hello"[..]));
    assert_eq!(
        fetch("GET", &url.replace("expires=300", "expires=900").replace("Expires=300", "Expires=900"), &[], b"").0,
        403
    );
    let (status, answer) = server.send("GET", &signed.replace("a%20b", "no"), None);
    assert_eq!((status, &answer["message"]), (404, &json!("No such artifact: '0/r/artifacts/no.txt'")));
    // Parts go through the server, because only it can name a file by its content.
    let (status, answer) =
        server.send("POST", "/api/2.0/mlflow-artifacts/mpu/create/0/r", Some(r#"{"path": "big", "num_parts": 2}"#));
    assert_eq!(status, 200, "{answer}");
    assert!(answer["credentials"][0]["url"].as_str().unwrap().contains(server.host()), "{answer}");
    let info = |server: &Server| {
        server.send("GET", "/api/2.0/mlflow/server-info", None).1["multipart_downloads_enabled"].clone()
    };
    assert_eq!(info(&server), json!(false), "clients that cannot reach the bucket must not be sent there");
    let direct =
        Server::start_set(setup(&objects, &[]), Some("s3://artifacts/second"), |config| config.direct_downloads = true);
    assert_eq!(info(&direct), json!(true));
    let local = Server::start_with(|config| config.direct_downloads = true);
    assert_eq!(info(&local), json!(false));
    assert_eq!(local.send("GET", &signed, None).0, 501);
}

/// A run of an experiment whose artifacts are at a location, and their URI.
fn run_at(server: &Server, name: &str, location: &str) -> (String, String) {
    let made = server.post("experiments/create", &json!({"name": name, "artifact_location": location}));
    let run = server.run(made["experiment_id"].as_str().unwrap());
    let info = server.get(&format!("runs/get?run_id={run}"))["run"]["info"].clone();
    (run, info["artifact_uri"].as_str().unwrap().to_owned())
}

#[test]
fn what_clients_put_into_a_bucket_is_listed_and_read_where_that_is_allowed() {
    let objects = Objects::start();
    objects.make_bucket("data");
    let server = Server::start_set(setup(&objects, &["s3://data/team"]), Some("s3://artifacts/plinth"), |_| {});
    for (n, location) in ["s3://data/team/x", "s3://artifacts/plinth/direct"].into_iter().enumerate() {
        let (run, uri) = run_at(&server, &format!("direct {n}"), location);
        assert_eq!(uri, format!("{location}/{run}/artifacts"));
        let folder = objects.bucket("").join(uri.strip_prefix("s3://").unwrap());
        std::fs::create_dir_all(folder.join("model/deep")).unwrap();
        std::fs::write(folder.join("model/MLmodel"), "flavors: {}").unwrap();
        std::fs::write(folder.join("model/deep/a"), "a").unwrap();
        std::fs::write(folder.join("plot 1.txt"), "0123456789").unwrap();
        let list = |path: &str| server.get(&format!("artifacts/list?run_id={run}&path={path}"));
        let wanted = json!({"root_uri": uri, "files": [
            {"path": "model", "is_dir": true}, {"path": "plot 1.txt", "is_dir": false, "file_size": 10},
        ]});
        assert_eq!(list(""), wanted);
        assert_eq!(
            list("model")["files"],
            json!([
                {"path": "model/MLmodel", "is_dir": false, "file_size": 11}, {"path": "model/deep", "is_dir": true},
            ])
        );
        assert_eq!(list("nowhere"), json!({"root_uri": uri}));
        let file = |path: &str| format!("/get-artifact?run_id={run}&path={path}");
        assert_eq!(server.send("GET", &file("plot%201.txt"), None), (200, json!("0123456789")));
        let part = server.send_with("GET", &file("plot%201.txt"), None, &[("range", "bytes=-3")]);
        assert_eq!(part, (206, json!(789)));
        assert_eq!(server.send("HEAD", &file("model/MLmodel"), None).0, 200);
        assert_eq!(server.send("GET", &file("model/none"), None).0, 404);
        assert_eq!(server.send("GET", &file("../x"), None).0, 400);
        // The web interface uploads small files.
        let upload = format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=up/u.txt");
        assert_eq!(server.send("POST", &upload, Some("from the page")).0, 200);
        assert_eq!(std::fs::read_to_string(folder.join("up/u.txt")).unwrap(), "from the page");
        // URLs for clients without keys.
        let ask = |what: &str, more: Value| {
            let mut body = json!({"run_id": run, "path": "model/MLmodel"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            server.send("POST", &format!("/api/2.0/mlflow/artifacts/presigned-{what}-url"), Some(&body.to_string()))
        };
        let (status, answer) = ask("download", json!({"expiration": 60}));
        assert_eq!((status, &answer["file_size"]), (200, &json!(11)), "{answer}");
        assert_eq!(fetch("GET", answer["presigned_url"].as_str().unwrap(), &[], b"").1, b"flavors: {}");
        assert_eq!(ask("download", json!({"expiration": 0})).0, 400);
        assert_eq!(ask("download", json!({"path": "none"})).0, 404);
        let (status, answer) = ask("upload", json!({"path": "new/n.json"}));
        assert_eq!((status, &answer["headers"]), (200, &json!({"Content-Type": "application/json"})), "{answer}");
        let url = answer["presigned_url"].as_str().unwrap();
        assert_eq!(fetch("PUT", url, &[("content-type", "text/html")], b"{}").0, 403, "another type");
        assert_eq!(fetch("PUT", url, &[("content-type", "application/json")], b"{}").0, 200);
        assert_eq!(std::fs::read_to_string(folder.join("new/n.json")).unwrap(), "{}");
    }
}

#[test]
fn no_bucket_is_read_because_a_client_named_it() {
    let objects = Objects::start();
    objects.make_bucket("data");
    let server = Server::start_set(setup(&objects, &["s3://data/team"]), Some("s3://artifacts/plinth"), |_| {});
    let stored = "/api/2.0/mlflow-artifacts/artifacts/1/secret";
    assert_eq!(server.send("PUT", stored, Some("of somebody else")).0, 200);
    let keys = objects.keys(BUCKET);
    let blobs = keys.iter().find(|key| key.contains("/blobs/")).unwrap().rsplit_once('/').unwrap().0.to_owned();
    objects.requests();
    for (n, location) in [
        "s3://data/teams",
        "s3://data",
        "s3://artifacts",
        "s3://artifacts/plinth/blobs",
        &format!("s3://artifacts/{blobs}"),
        "s3://another-bucket/x",
    ]
    .into_iter()
    .enumerate()
    {
        let (run, uri) = run_at(&server, &format!("not allowed {n}"), location);
        assert!(uri.starts_with(location), "it is kept and answered as it was given");
        for (method, path, body) in [
            ("GET", format!("/api/2.0/mlflow/artifacts/list?run_id={run}"), None),
            ("GET", format!("/get-artifact?run_id={run}&path=x"), None),
            ("POST", format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=x"), Some("x".to_owned())),
            (
                "POST",
                "/api/2.0/mlflow/artifacts/presigned-download-url".to_owned(),
                Some(json!({"run_id": run, "path": "x"}).to_string()),
            ),
            (
                "POST",
                "/api/2.0/mlflow/artifacts/presigned-upload-url".to_owned(),
                Some(json!({"run_id": run, "path": "x"}).to_string()),
            ),
        ] {
            let (status, answer) = server.send(method, &path, body.as_deref());
            assert_eq!((status, &answer["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")), "{path} {answer}");
            let message = answer["message"].as_str().unwrap();
            assert!(message.contains(location) && message.contains("--artifact-allow"), "{message}");
        }
    }
    assert_eq!(objects.requests(), Vec::<String>::new(), "nothing was asked of the store");
    // A path cannot lead out of what is allowed.
    let (run, _) = run_at(&server, "allowed", "s3://artifacts/plinth");
    assert!(server.send("GET", &format!("/get-artifact?run_id={run}&path=../../blobs/x"), None).0 == 400);
}

#[test]
fn a_store_that_is_away_is_told_and_runs_go_on() {
    let objects = Objects::start();
    let mut setup = setup(&objects, &[]);
    setup.artifacts.request_ms_max = 1_000;
    setup.artifacts.retries_max = 1;
    let server = Server::start_set(setup, Some("s3://artifacts/plinth"), |_| {});
    let path = "/api/2.0/mlflow-artifacts/artifacts/1/x";
    assert_eq!(server.send("PUT", path, Some("x")).0, 200);
    drop(objects);
    let (status, answer) = server.send("PUT", path, Some("y"));
    assert_eq!((status, &answer["error_code"]), (503, &json!("TEMPORARILY_UNAVAILABLE")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("s3://artifacts/plinth"), "{answer}");
    server.run("0");
    assert_eq!(server.send("GET", path, None), (200, json!("x")), "the old content, from its copy");
}
