//! Every endpoint, asked by those who may not: what they cannot read, and what they cannot change.

use std::collections::BTreeSet;

use plinth_tracking::{Resource, Role};
use serde_json::{Value, json};

use crate::server::Server;

/// What is in everything that is closed to some.
const SECRET: &str = "s3cret-of-another";

/// Endpoints that answer everybody, each with what they may see.
const NARROWED: [&str; 18] = [
    "GET /mlflow/experiments/search",
    "POST /mlflow/experiments/search",
    "POST /mlflow/experiments/search-datasets",
    "POST /mlflow/runs/search",
    "GET /mlflow/metrics/get-history-bulk",
    "GET /mlflow/metrics/get-history-bulk-interval",
    "GET /mlflow/registered-models/search",
    "GET /mlflow/model-versions/search",
    "POST /mlflow/logged-models/search",
    "POST /mlflow/traces",
    "GET /mlflow/traces",
    "POST /mlflow/traces/search",
    "GET /mlflow/traces/batchGet",
    "POST /mlflow/traces/batchGetInfos",
    "POST /mlflow/traces/calculate-filter-correlation",
    "GET /mlflow/users/current",
    "PATCH /mlflow/users/update-password",
    "POST /mlflow/traces/metrics",
];

/// A server with one of everything, closed to whoever has no role.
struct World {
    server: Server,
    root: String,
    run: String,
    model: String,
    trace: String,
}

impl World {
    fn new() -> Self {
        let server = Server::start_with(|config| {
            config.access = true;
            config.requests.per_second_max = 0;
        });
        let root = user(&server, "root", Role::Admin);
        let mut world = Self { server, root, run: String::new(), model: String::new(), trace: String::new() };
        let post = |path: &str, body: Value| -> Value {
            let (status, answer) = world.send(&world.root, "POST", &format!("/api/2.0/mlflow/{path}"), &body);
            assert_eq!(status, 200, "{path}: {answer}");
            serde_json::from_str(&answer).unwrap()
        };
        let tags = json!([{"key": "a", "value": SECRET}]);
        for name in [SECRET, "open"] {
            post("experiments/create", json!({"name": name, "tags": tags}));
        }
        let run = post("runs/create", json!({"experiment_id": "1", "run_name": SECRET, "tags": tags}));
        let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let metric = json!({"key": SECRET, "value": 1, "timestamp": 1});
        post("runs/log-batch", json!({"run_id": run, "metrics": [metric]}));
        let dataset = json!({"dataset": {"name": SECRET, "digest": "d", "source_type": "s", "source": SECRET}});
        post("runs/log-inputs", json!({"run_id": run, "datasets": [dataset]}));
        let model = post("logged-models", json!({"experiment_id": "1", "name": "m", "tags": tags}));
        let model = model["model"]["info"]["model_id"].as_str().unwrap().to_owned();
        post("registered-models/create", json!({"name": "theirs", "description": SECRET}));
        let source = format!("mlflow-artifacts:/1/{run}/artifacts");
        post(
            "model-versions/create",
            json!({"name": "theirs", "source": source, "run_id": run, "description": SECRET}),
        );
        post("registered-models/alias", json!({"name": "theirs", "alias": "champion", "version": "1"}));
        let trace = format!("tr-{}", "01".repeat(16));
        let info = json!({
            "trace_id": trace, "state": "OK", "request_time": "2026-01-01T00:00:00Z", "request_preview": SECRET,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}},
            "tags": {"a": SECRET},
        });
        post("traces", json!({"trace": {"trace_info": info}}));
        post("datasets/create", json!({"name": SECRET, "experiment_ids": ["1"]}));
        let file = format!("/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/x");
        assert_eq!(world.send(&world.root, "PUT", &file, &json!(SECRET)).0, 200);
        (world.run, world.model, world.trace) = (run, model, trace);
        world
    }

    fn send(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let body = (method != "GET").then_some(body.as_str());
        let (status, answer) = self.server.send_with(method, path, body, &[("authorization", who)]);
        (status, answer.to_string())
    }

    /// Every field that names something closed, of the type that endpoints want.
    fn fields(&self) -> Value {
        let info = json!({
            "trace_id": self.trace, "state": "ERROR", "request_time": "2026-01-01T00:00:00Z",
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}},
        });
        let mut fields = json!({
            "experiment_id": "1", "experiment_ids": ["1"], "experiment_name": SECRET, "new_name": "stolen",
            "run_id": self.run, "run_uuid": self.run, "run_ids": [self.run], "name": "theirs", "version": "1",
            "alias": "champion", "stage": "Production", "archive_existing_versions": false, "source": "models:/theirs/1",
            "model_id": self.model, "models": [{"model_id": self.model}], "trace_id": self.trace,
            "request_id": self.trace, "trace_ids": [self.trace], "request_ids": [self.trace], "key": "stolen",
            "value": "1", "timestamp": 1, "timestamp_ms": 1, "metric_key": SECRET, "status": "FINISHED"
        });
        let more = json!({
            "metrics": [{"key": "stolen", "value": 1, "timestamp": 1}], "tags": [{"key": "stolen", "value": "x"}],
            "params": [{"key": "stolen", "value": "x"}], "datasets": [], "path": "x", "expiration": 60,
            "model_json": "{\"artifact_path\": \"stolen\", \"flavors\": {}, \"utc_time_created\": 1, \"run_id\": 1}",
            "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}}],
            "filter_string1": "trace.status = 'OK'", "filter_string2": "trace.status = 'OK'",
            "prompt_versions": [{"name": "stolen", "version": "1"}], "trace": {"trace_info": info},
            "assessment": {"assessment_name": "stolen", "feedback": {"value": 1}}, "update_mask": "rationale",
            "username": "root", "password": "correct horse 2", "is_admin": true,
        });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    }

    /// A request to an endpoint with these fields: what was answered.
    fn ask(&self, who: &str, method: &str, path: &str, fields: &Value) -> (u16, String) {
        let path = [("{model_id}", self.model.as_str()), ("{trace_id}", &self.trace), ("{tag_key}", "a")]
            .iter()
            .fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
        let path = format!("/api/2.0{}", path.replace(['{', '}'], ""));
        let mut fields = fields.clone();
        if path.ends_with("get-history-bulk") {
            fields["run_id"] = json!([self.run]);
        }
        if method != "GET" {
            return self.send(who, method, &path, &fields);
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in fields.as_object().unwrap() {
            for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                let text = value.as_str().map(str::to_owned).or_else(|| Some(value.as_i64()?.to_string()));
                if let Some(text) = text {
                    query.append_pair(name, &text);
                }
            }
        }
        self.send(who, method, &format!("{path}?{}", query.finish()), &json!({}))
    }

    /// All that is closed, as its owner sees it.
    fn seen(&self) -> String {
        let (run, model, trace) = (&self.run, &self.model, &self.trace);
        let paths = [
            "experiments/get?experiment_id=1".to_owned(),
            format!("runs/get?run_id={run}"),
            format!("metrics/get-history?run_id={run}&metric_key={SECRET}"),
            format!("artifacts/list?run_id={run}"),
            format!("logged-models/{model}"),
            "registered-models/get?name=theirs".to_owned(),
            "model-versions/get?name=theirs&version=1".to_owned(),
            format!("traces/{trace}"),
            "experiments/search?max_results=100&view_type=ALL".to_owned(),
            "registered-models/search".to_owned(),
            "model-versions/search".to_owned(),
            "datasets/search".to_owned(),
            "users/list".to_owned(),
        ];
        let seen = paths.iter().map(|path| {
            let (status, answer) = self.send(&self.root, "GET", &format!("/api/2.0/mlflow/{path}"), &json!({}));
            assert_eq!(status, 200, "{path}: {answer}");
            answer
        });
        seen.collect::<Vec<_>>().join("\n")
    }
}

fn user(server: &Server, name: &str, role: Role) -> String {
    server.tracking.add_user(name, "correct horse", role, "test").unwrap();
    format!("Bearer {}", server.tracking.add_token(name, "", None, "test").unwrap().1)
}

#[test]
fn without_a_role_nothing_is_read_and_nothing_is_changed() {
    let world = World::new();
    let nobody = user(&world.server, "nobody", Role::None);
    let guest = user(&world.server, "guest", Role::None);
    world.server.tracking.grant("guest", &Resource::Experiment("2".into()), Role::Editor, "test").unwrap();
    let (before, fields) = (world.seen(), world.fields());
    let mut asked = BTreeSet::new();
    for (method, path) in plinth_api::endpoints() {
        let name = format!("{method} {path}");
        for who in [&nobody, &guest] {
            let (status, answer) = world.ask(who, method.as_str(), path, &fields);
            assert!(!answer.contains(SECRET), "{name}: {answer}");
            if NARROWED.contains(&name.as_str()) {
                assert!(matches!(status, 200 | 400 | 403), "{name}: {status} {answer}");
            } else {
                assert_eq!(status, 403, "{name}: {answer}");
            }
        }
        asked.insert(name);
    }
    assert!(asked.len() > 80, "{}", asked.len());
    let (run, model, trace) = (&world.run, &world.model, &world.trace);
    for (method, path) in [
        ("GET", format!("/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/x")),
        ("PUT", format!("/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/x")),
        ("DELETE", format!("/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/x")),
        ("GET", format!("/api/2.0/mlflow-artifacts/artifacts?path=1/{run}")),
        ("GET", format!("/api/2.0/mlflow-artifacts/presigned/1/{run}/artifacts/x")),
        ("POST", format!("/api/2.0/mlflow-artifacts/mpu/create/1/{run}/artifacts")),
        ("POST", format!("/api/2.0/mlflow-artifacts/mpu/complete/1/{run}/artifacts")),
        ("POST", format!("/api/2.0/mlflow-artifacts/mpu/abort/1/{run}/artifacts")),
        ("GET", format!("/get-artifact?run_id={run}&path=x")),
        ("GET", "/model-versions/get-artifact?name=theirs&version=1&path=x".to_owned()),
        ("POST", format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=y")),
        ("GET", format!("/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files?artifact_file_path=x")),
        ("GET", format!("/ajax-api/2.0/mlflow/get-trace-artifact?request_id={trace}")),
    ] {
        for who in [&nobody, &guest] {
            let (status, answer) = world.send(who, method, &path, &json!({"path": "x", "upload_id": "u", "parts": []}));
            assert_eq!(status, 403, "{method} {path}: {answer}");
        }
    }
    assert_eq!(world.seen(), before, "something was changed");
}

#[test]
fn what_is_closed_cannot_be_tied_to_what_is_open() {
    let world = World::new();
    let guest = user(&world.server, "guest", Role::None);
    let grant = |resource| world.server.tracking.grant("guest", &resource, Role::Editor, "test").unwrap();
    grant(Resource::Experiment("2".into()));
    world.server.tracking.create_model("mine", "", &[], "test").unwrap();
    grant(Resource::Model("mine".into()));
    let (run, model) = (&world.run, &world.model);
    let post = |path: &str, body: Value| world.send(&guest, "POST", &format!("/api/2.0/mlflow/{path}"), &body);
    let (_, mine) = post("runs/create", json!({"experiment_id": "2"}));
    let mine: Value = serde_json::from_str(&mine).unwrap();
    let mine = mine["run"]["info"]["run_id"].as_str().unwrap();
    let links = json!([{"model_id": model, "step": 1}]);
    let source = format!("mlflow-artifacts:/1/{run}/artifacts");
    for (path, body) in [
        ("runs/log-inputs", json!({"run_id": mine, "models": links})),
        ("runs/outputs", json!({"run_id": mine, "models": links})),
        ("logged-models", json!({"experiment_id": "2", "source_run_id": run})),
        ("model-versions/create", json!({"name": "mine", "source": source, "run_id": run})),
        ("model-versions/create", json!({"name": "mine", "source": format!("models:/{model}"), "model_id": model})),
        ("model-versions/create", json!({"name": "mine", "source": "models:/theirs/1"})),
        ("traces/link-to-run", json!({"run_id": mine, "trace_ids": [world.trace]})),
    ] {
        let (status, answer) = post(path, body);
        assert_eq!(status, 403, "{path}: {answer}");
    }
    // What names another's place and says it is one's own is no better.
    let (status, _) = post("model-versions/create", json!({"name": "mine", "source": source, "run_id": mine}));
    assert_eq!(status, 400);
}

#[test]
fn a_reader_changes_nothing_and_an_editor_decides_nothing() {
    let world = World::new();
    let reader = user(&world.server, "reader", Role::Reader);
    let editor = user(&world.server, "editor", Role::Editor);
    let (before, fields) = (world.seen(), world.fields());
    for (method, path) in plinth_api::endpoints() {
        world.ask(&reader, method.as_str(), path, &fields);
    }
    assert_eq!(world.seen(), before, "something was changed");
    for (method, path) in plinth_api::endpoints() {
        let decides = path.contains("transition-stage") || path.ends_with("/alias") && method != "GET";
        let manages = path.contains("/users/") && !path.ends_with("/current");
        if decides || manages {
            let (status, answer) = world.ask(&editor, method.as_str(), path, &fields);
            assert_eq!(status, 403, "{method} {path}: {answer}");
        }
    }
    assert_eq!(world.seen(), before, "something was changed");
}

#[test]
fn the_last_admin_stays_and_a_token_ends_when_it_is_revoked() {
    let world = World::new();
    let url = |what: &str| format!("/api/2.0/mlflow/users/{what}");
    for (method, path, body) in [
        ("PATCH", url("update-admin"), json!({"username": "root", "is_admin": false})),
        ("DELETE", url("delete"), json!({"username": "root"})),
    ] {
        let (status, answer) = world.send(&world.root, method, &path, &body);
        assert!(status == 400 && answer.contains("INVALID_STATE") && answer.contains("last admin"), "{answer}");
    }
    let tracking = &world.server.tracking;
    tracking.add_user("ann", "correct horse", Role::Admin, "test").unwrap();
    let (id, secret) = tracking.add_token("ann", "", None, "test").unwrap();
    let ann = format!("Bearer {secret}");
    assert_eq!(world.send(&ann, "GET", &url("current"), &json!({})).0, 200);
    tracking.revoke_token(&id, "test").unwrap();
    assert_eq!(world.send(&ann, "GET", &url("current"), &json!({})).0, 401);
    let basic = "Basic YW5uOmNvcnJlY3QgaG9yc2U=";
    assert_eq!(world.send(basic, "GET", &url("current"), &json!({})).0, 200);
    // A password that is remembered is forgotten with its user.
    assert_eq!(world.send(&world.root, "DELETE", &url("delete"), &json!({"username": "ann"})).0, 200);
    assert_eq!(world.send(basic, "GET", &url("current"), &json!({})).0, 401);
}

#[test]
fn guesses_are_slowed_down_and_names_cannot_be_told_by_time() {
    let server = Server::start_with(|config| {
        config.access = true;
        config.requests.passwords_per_minute_max = 40;
        config.requests.per_second_max = 3;
    });
    let token = user(&server, "ann", Role::Admin);
    let get = |authorization: &str| {
        let path = "/api/2.0/mlflow/users/current";
        let started = std::time::Instant::now();
        let (status, answer) = server.send_with("GET", path, None, &[("authorization", authorization)]);
        (status, answer, started.elapsed())
    };
    // `ann:wrong` and `eve:wrong`; the quickest of some, because others work on this machine too.
    let quickest = |who: &str| (0..8).map(|_| get(who)).inspect(|a| assert_eq!(a.0, 401)).map(|a| a.2).min().unwrap();
    let (known, unknown) = (quickest("Basic YW5uOndyb25n"), quickest("Basic ZXZlOndyb25n"));
    assert!(known < unknown * 3 && unknown < known * 3, "{known:?} {unknown:?}");
    let refused = (0..60).map(|_| get("Basic YW5uOndyb25n")).find(|answer| answer.0 != 401).unwrap();
    assert_eq!((refused.0, refused.1["error_code"].as_str()), (429, Some("REQUEST_LIMIT_EXCEEDED")));
    // Who has a token is not held up by another's guesses, but by their own haste.
    assert_eq!(get(&token).0, 200);
    assert!((0..1_000).any(|_| get(&token).0 == 429));
}
