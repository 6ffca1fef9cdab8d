//! What moves traffic, through the built binary: shadows, canaries that go by themselves, rewards, and who may.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use plinth_e2e::{Done, Project, Server};
use serde_json::{Value, json};

/// Longest wait for something that a server does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// A project with linear models named `price`, each by what it adds and by what it multiplies `x`, and an endpoint that
/// the first of them answers.
pub(crate) fn priced(models: &[[f64; 2]]) -> Project {
    let project = Project::empty();
    register(&project, models);
    project
}

/// The same in a project that is there.
pub(crate) fn register(project: &Project, models: &[[f64; 2]]) {
    project.write("rows.csv", "x,y\n1.0,2.0\n2.0,0.5\n3.0,1.0\n");
    for [plus, times] in models {
        let columns = json!([{"column": "x", "value": times}, {"column": "y", "value": 0.0}]);
        project.write("model.json", json!({"intercept": plus, "coefficients": columns}).to_string());
        let register = ["model", "register", "price", "--component", "linear-model-rust", "--rows", "rows.csv"];
        project.run(&[&register[..], &["--artifact", "model.json"]].concat()).succeeds();
    }
    endpoint(project, &["create", "price", "models:/price/1", "--name", "champion"]).succeeds();
}

/// Registers a model that does its misdeed when `x` is 13, or always.
pub(crate) fn evil(project: &Project, item: &str, always: bool) {
    let options = if always { json!({}) } else { json!({"at": "predict", "when": 13.0}) };
    let register = ["model", "register", "evil", "--component", "evil-model", "--item", item];
    let columns = ["--column", "x=float64", "--column", "y=float64", "--options"];
    project.run(&[&register[..], &columns[..], &[&options.to_string()]].concat()).succeeds();
}

fn endpoint(project: &Project, args: &[&str]) -> Done {
    project.run(&[&["endpoint"], args].concat())
}

pub(crate) fn serve(project: &Project, more: &[&str]) -> Server {
    project.serve_with("--endpoint=price", more)
}

/// An answer with what its headers say of who gave it.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: BTreeMap<String, String>,
}

fn scoring_url(server: &Server) -> String {
    server.url("/endpoints/price/invocations")
}

fn ask_with(agent: &ureq::Agent, server: &Server, x: f64, headers: &[(&str, &str)]) -> Told {
    ask_at(agent, &scoring_url(server), x, headers)
}

fn ask_at(agent: &ureq::Agent, url: &str, x: f64, headers: &[(&str, &str)]) -> Told {
    let body = json!({"dataframe_split": {"columns": ["x", "y"], "data": [[x, 0.0]]}});
    let mut request = agent.post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send(body.to_string()).expect("the server answers");
    let told = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()));
    let headers = told.collect();
    Told { status: response.status().as_u16(), body: response.body_mut().read_to_string().expect("text"), headers }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

pub(crate) fn ask(server: &Server, x: f64, headers: &[(&str, &str)]) -> Told {
    ask_with(&agent(), server, x, headers)
}

impl Told {
    fn by(&self) -> &str {
        self.headers.get("x-deployment").map_or("", String::as_str)
    }
    fn prediction(&self) -> f64 {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        body["predictions"][0].as_f64().unwrap_or(f64::NAN)
    }
}

/// Asks without a pause on four connections until `done`; `check` sees every answer.
fn under_load(server: &Server, check: impl Fn(f64, &Told) + Sync, done: impl FnOnce()) -> u64 {
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let url = scoring_url(server);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (stop, asked, check, url) = (&stop, &asked, &check, &url);
            scope.spawn(move || {
                let agent = agent();
                let mut turn = thread;
                while !stop.load(Relaxed) {
                    turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let x = f64::from(turn >> 8) / f64::from(1 << 24);
                    check(x, &ask_at(&agent, url, x, &[]));
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        // Whatever becomes of it, the others end.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(done));
        stop.store(true, Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    asked.load(Relaxed)
}

fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} never came true");
        std::thread::yield_now();
    }
    began.elapsed()
}

fn live(server: &Server) -> Value {
    let (status, body) = server.get("/endpoints/price");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// The phase of the rollout that the catalog tells; `none` where there is none.
fn phase(server: &Server) -> String {
    live(server)["spec"]["rollout"]["phase"].as_str().unwrap_or("none").to_owned()
}

fn actions(project: &Project) -> Vec<String> {
    let log = project.json(&["endpoint", "logs", "price"]);
    let log = log.as_array().expect("a list");
    log.iter().rev().map(|event| event["action"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_canary_grows_by_itself_under_load_and_nobody_is_refused_or_answered_by_two_versions() {
    let project = priced(&[[0.0, 1.0], [0.001, 1.0]]);
    let server = serve(&project, &[]);
    let wrong = Mutex::new(Vec::new());
    let check = |x: f64, told: &Told| {
        let version = told.headers.get("x-model-version").map_or("", String::as_str);
        let wanted = if version == "2" { x + 0.001 } else { x };
        if told.status != 200 || (told.prediction() - wanted).abs() > 1e-9 {
            wrong.lock().expect("no panic").push(format!("{} by v{version}: {} for {x}", told.status, told.body));
        }
    };
    let asked = under_load(&server, check, || {
        let rollout = ["--canary", "10,50%,100", "--bake", "300ms", "--min-requests", "40"];
        let guards = ["--max-error-rate", "1%", "--max-p99-ms", "10000", "--max-score-drift", "0.2"];
        let gate = [
            "--gate",
            "threshold-gate-rust",
            "--gate-options",
            r#"{"thresholds": [{"metric": "error_rate", "max": 0.01}]}"#,
        ];
        let deploy = ["deploy", "price", "models:/price/2", "--name", "canary", "--alias", "best"];
        endpoint(&project, &[&deploy[..], &rollout, &guards, &gate].concat()).succeeds();
        until("the promotion", || live(&server)["spec"]["deployments"].as_array().is_some_and(|all| all.len() == 1));
        until("the canary as champion", || ask(&server, 1.0, &[]).by() == "canary");
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {asked}: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert_eq!(actions(&project), ["create", "rollout", "rollout-step", "rollout-step", "promote"]);
    let log = project.json(&["endpoint", "logs", "price"]);
    let evidence = &log[0]["evidence"];
    assert!(evidence["canary"]["requests"].as_u64() >= Some(40) && evidence["gate"].is_array(), "{evidence}");
    assert!(evidence["score_drift"]["psi"].as_f64() < Some(0.2), "{evidence}");
    assert_eq!(project.json(&["model", "show", "models:/price@best"])["version"], json!(2));
    project.run(&["audit", "verify"]).succeeds();
    // Back again: to before the rollout, not into the middle of it.
    endpoint(&project, &["rollback", "price"]).succeeds();
    until("the way back", || ask(&server, 1.0, &[]).by() == "champion");
    assert_eq!(phase(&server), "rolled-back");
}

/// Rolls out `model` with these guards until it is taken back: what the log says of it, and the statuses of all answers.
fn taken_back(project: &Project, model: &str, x: Option<f64>, guards: &[&str]) -> (String, BTreeMap<u16, u64>) {
    let server = serve(project, &[]);
    let statuses = Mutex::new(BTreeMap::new());
    let count = |_: f64, told: &Told| *statuses.lock().expect("no panic").entry(told.status).or_default() += 1;
    under_load(&server, count, || {
        let rollout = ["deploy", "price", model, "--name", "canary", "--canary", "20,100", "--bake", "1h"];
        endpoint(project, &[&rollout[..], &["--min-requests", "50"], guards].concat()).succeeds();
        until("the way back", || {
            if let Some(x) = x {
                ask(&server, x, &[]);
            }
            phase(&server) == "rolled-back"
        });
        // From now on nobody reaches it.
        until("the routes", || live(&server)["serving"]["deployments"][1]["weight_percent"] == json!(0.0));
        assert!((0..50).all(|_| ask(&server, 0.5, &[]).by() == "champion"));
    });
    assert_eq!(actions(project).last().map(String::as_str), Some("rollout-back"));
    let log = project.json(&["endpoint", "logs", "price"]);
    assert!(log[0]["evidence"]["canary"].is_object(), "{log}");
    (log[0]["reason"].as_str().unwrap_or_default().to_owned(), statuses.into_inner().expect("no panic"))
}

#[test]
fn a_canary_that_fails_is_taken_back() {
    let project = priced(&[[0.0, 1.0]]);
    evil(&project, "panic", false);
    // One in many requests brings it down, and only the canary.
    let (reason, statuses) = taken_back(&project, "models:/evil/1", Some(13.0), &["--max-error-rate", "2%"]);
    assert!(reason.starts_with("error rate: "), "{reason}");
    assert!(statuses.keys().all(|status| *status == 200), "{statuses:?}");
}

#[test]
fn a_canary_that_is_slow_or_answers_otherwise_or_displeases_its_gate_is_taken_back() {
    let project = priced(&[[0.0, 1.0], [0.7, 1.0]]);
    let (reason, statuses) = taken_back(&project, "models:/price/2", None, &["--max-score-drift", "0.2"]);
    assert!(reason.starts_with("score drift: ") && reason.contains("`prediction`"), "{reason}");
    assert!(statuses.keys().all(|status| *status == 200), "{statuses:?}");
    let (reason, _) = taken_back(&project, "models:/price/2", None, &["--max-p99-ms", "0.001"]);
    assert!(reason.starts_with("p99: "), "{reason}");
}

#[test]
fn a_gate_that_is_not_there_lets_nothing_through() {
    let project = priced(&[[0.0, 1.0], [0.001, 1.0]]);
    let server = serve(&project, &[]);
    under_load(
        &server,
        |_, told| assert_eq!(told.status, 200, "{}", told.body),
        || {
            let rollout =
                ["deploy", "price", "models:/price/2", "--canary", "50,100", "--bake", "10ms", "--gate", "gone"];
            endpoint(&project, &rollout).fails(6, "plugin-not-found", &["gone", "--force"]);
            endpoint(&project, &[&rollout[..], &["--min-requests", "5", "--force"]].concat()).succeeds();
            until("the way back", || phase(&server) == "rolled-back");
        },
    );
    let log = project.json(&["endpoint", "logs", "price"]);
    assert!(log[0]["reason"].as_str().unwrap_or_default().contains("gate: no answer"), "{log}");
}

#[test]
fn a_rollout_goes_on_where_it_was_after_a_kill_and_waits_for_its_approval() {
    let project = priced(&[[0.0, 1.0], [0.001, 1.0]]);
    let mut server = serve(&project, &[]);
    let good = |_: f64, told: &Told| assert_eq!(told.status, 200, "{}", told.body);
    let step = |server: &Server| live(server)["spec"]["rollout"]["step"].as_u64().unwrap_or(99);
    under_load(&server, good, || {
        let rollout = ["deploy", "price", "models:/price/2", "--name", "canary", "--canary", "10,50,90"];
        let how = ["--bake", "100ms", "--min-requests", "20", "--require-approval"];
        endpoint(&project, &[&rollout[..], &how].concat()).succeeds();
        until("the second step", || step(&server) >= 1);
        endpoint(&project, &["pause", "price"]).succeeds();
        endpoint(&project, &["route", "price", "champion=100"]).fails(7, "invalid-state", &["rolled out"]);
    });
    let paused = step(&server);
    let weights = live(&server)["spec"]["deployments"].clone();
    server.kill();
    let server = serve(&project, &[]);
    assert_eq!((step(&server), &live(&server)["spec"]["deployments"]), (paused, &weights), "the same routes");
    endpoint(&project, &["approve", "price"]).fails(7, "invalid-state", &["nothing to approve"]);
    under_load(&server, good, || {
        endpoint(&project, &["resume", "price"]).succeeds();
        until("the end of the steps", || phase(&server) == "awaiting-approval");
        until("both answer still", || ask(&server, 0.5, &[]).by() == "champion");
        let (status, body) = server.post("/endpoints/price/approve", &json!({"reason": "looks good"}));
        assert_eq!(status, 200, "{body}");
        until("the promotion", || live(&server)["serving"]["deployments"].as_array().is_some_and(|all| all.len() == 1));
    });
    let log = project.json(&["endpoint", "logs", "price"]);
    assert_eq!((&log[0]["action"], &log[0]["reason"]), (&json!("approve"), &json!("looks good")));
}

#[test]
fn a_shadow_that_hangs_or_panics_harms_nobody_and_one_that_answers_is_compared() {
    let project = priced(&[[0.0, 1.0], [0.25, 1.0]]);
    evil(&project, "infinite-loop", false);
    evil(&project, "panic", false);
    endpoint(&project, &["deploy", "price", "models:/price/2", "--name", "near", "--shadow", "100"]).succeeds();
    endpoint(&project, &["deploy", "price", "models:/evil/1", "--name", "hangs", "--shadow", "100"]).succeeds();
    endpoint(&project, &["deploy", "price", "models:/evil/2", "--name", "panics", "--shadow", "100"]).succeeds();
    let server = serve(&project, &[]);
    let slowest = (0..40).map(|turn| {
        let began = Instant::now();
        let told = ask(&server, if turn % 4 == 0 { 13.0 } else { f64::from(turn) }, &[]);
        assert_eq!((told.status, told.by()), (200, "champion"), "{}", told.body);
        began.elapsed()
    });
    // A call of the one that hangs is ended after a second; nobody waits for that.
    assert!(slowest.max() < Some(Duration::from_millis(900)), "somebody waited for a shadow");
    let shadow = |index: usize| live(&server)["serving"]["deployments"][index]["shadow"].clone();
    until("all copies", || (1..4).all(|index| shadow(index)["waiting"] == json!(0)));
    let near = shadow(1);
    let done = near["compared"].as_u64().unwrap_or_default() + near["dropped"].as_u64().unwrap_or_default();
    assert_eq!((done, &near["failed"]), (40, &json!(0)), "{near}");
    let output = &near["outputs"][0];
    assert_eq!((&output["differing_share"], &output["mean_difference"]), (&json!(1.0), &json!(0.25)), "{output}");
    for index in [2, 3] {
        assert!(shadow(index)["failed"].as_u64() >= Some(1), "{}", shadow(index));
    }
    let metrics = server.get("/metrics").1;
    for line in ["plinth_shadow_requests_total{endpoint=\"price\",deployment=\"near\"", "plinth_shadow_difference_mean"]
    {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    let text = endpoint(&project, &["status", "price", "--url", &server.url("")]);
    assert!(text.succeeds().stdout.contains("shadow near: "), "{}", text.stdout);
    server.stop();
}

#[test]
fn changes_take_effect_within_a_second_and_callers_stay_where_they_are() {
    let project = priced(&[[0.0, 1.0], [1.0, 1.0]]);
    endpoint(&project, &["deploy", "price", "models:/price/2", "--name", "second"]).succeeds();
    endpoint(&project, &["route", "price", "champion=70", "second=30", "--sticky", "header:x-user"]).succeeds();
    let mut server = serve(&project, &[]);
    let agent = agent();
    let by =
        |server: &Server, user: u32| ask_with(&agent, server, 1.0, &[("x-user", &user.to_string())]).by().to_owned();
    let first: Vec<String> = (0..1_000).map(|user| by(&server, user)).collect();
    let second = first.iter().filter(|by| *by == "second").count();
    // 300 expected; four standard deviations are 58.
    assert!((242..=358).contains(&second), "{second}");
    server.kill();
    let server = serve(&project, &[]);
    assert!((0..1_000).step_by(7).all(|user| by(&server, user) == first[user as usize]));
    // Who was with the one that grows stays there.
    endpoint(&project, &["route", "price", "champion=50", "second=50"]).succeeds();
    let changed = Instant::now();
    until("the change", || live(&server)["serving"]["deployments"][1]["weight_percent"] == json!(50.0));
    assert!(changed.elapsed() < Duration::from_secs(1), "{:?}", changed.elapsed());
    let moved = (0..1_000).filter(|user| first[*user as usize] == "second" && by(&server, *user) != "second").count();
    assert_eq!(moved, 0);
}

#[test]
fn rewards_decide_an_experiment_and_move_the_traffic_of_a_bandit() {
    let project = priced(&[[0.0, 1.0], [1.0, 1.0]]);
    endpoint(&project, &["deploy", "price", "models:/price/2", "--name", "second", "--weight", "50"]).succeeds();
    let mut server = serve(&project, &[]);
    let agent = agent();
    // The second earns twice as often; rewards come in lists.
    let play = |server: &Server, rounds: u32, from: u32| {
        let rewards: Vec<Value> = (from..from + rounds)
            .map(|turn| {
                let told = ask_with(&agent, server, 1.0, &[]);
                let good = turn.wrapping_mul(2_654_435_761) >> 16;
                let reward = f64::from(good % 10 < if told.by() == "second" { 8 } else { 4 });
                json!({"request_id": told.headers["x-request-id"], "reward": reward, "value": {"turn": turn}})
            })
            .collect();
        let (status, body) = server.post("/endpoints/price/feedback", &json!({"feedback": rewards}));
        assert_eq!(status, 200, "{body}");
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON")["taken"], json!(rounds), "{body}");
        rewards
    };
    let rewards = play(&server, 400, 0);
    // Told again, it counts once; of a request that never was, it is said.
    let (_, again) = server.post("/endpoints/price/feedback", &rewards[0]);
    assert!(again.contains("\"taken\":0") && again.contains("\"known_before\":1"), "{again}");
    let unknown = json!({"request_id": "never", "reward": 1.0});
    let (status, told) = server.post("/endpoints/price/feedback", &unknown);
    assert!(status == 404 && told.contains("request-not-found"), "{told}");
    for bad in [json!({"request_id": "x"}), json!({"reward": 1}), json!([]), json!({"request_id": "x", "rewards": 1})] {
        let (status, body) = server.post("/endpoints/price/feedback", &bad);
        assert!(status == 400 || bad == json!([]) && status == 200, "{bad}: {status} {body}");
    }
    let too_good = json!({"request_id": rewards[0]["request_id"], "reward": 1.5});
    assert_eq!(server.post("/endpoints/price/feedback", &too_good).0, 400);
    // What was told is joined with what was captured.
    endpoint(&project, &["feedback", "price", "--output", "told.parquet"]).succeeds();
    let told = r#"select count(*) as n, sum(reward) as good, count(distinct value) as turns from 'told.parquet'"#;
    let told = project.run(&["sql", told, "--format", "csv"]);
    let good: f64 = rewards.iter().filter_map(|one| one["reward"].as_f64()).sum();
    assert_eq!(told.succeeds().stdout, format!("n,good,turns\n400,{good:?},400\n"));
    endpoint(&project, &["feedback", "nobody"]).fails(6, "endpoint-not-found", &["nobody"]);
    let second = project.json(&["endpoint", "status", "price"])["experiment"]["deployments"][1].clone();
    let verdict = second["verdict"].as_str().unwrap_or_default();
    assert!(verdict.starts_with("enough evidence: second is better than champion by +0."), "{second}");

    endpoint(&project, &["route", "price", "--policy", "thompson", "--sticky", "header:x-user"]).fails(
        2,
        "bad-endpoint",
        &["thompson"],
    );
    endpoint(&project, &["route", "price", "--policy", "thompson"]).succeeds();
    let share =
        |server: &Server| live(server)["serving"]["deployments"][1]["weight_percent"].as_f64().unwrap_or_default();
    until("the bandit", || share(&server) > 95.0);
    // What was earned outlives the server.
    server.kill();
    let server = serve(&project, &[]);
    assert!(share(&server) > 95.0, "{}", share(&server));
    play(&server, 30, 1_000);
    // And so does who answered, where it was captured.
    let old = json!({"request_id": ask(&server, 1.0, &[]).headers["x-request-id"], "reward": 1.0});
    server.stop();
    let server = serve(&project, &[]);
    let (status, body) = server.post("/endpoints/price/feedback", &old);
    assert!(status == 200 && body.contains("\"taken\":1"), "{status} {body}");
    let second = (0..100).filter(|_| ask_with(&agent, &server, 1.0, &[]).by() == "second").count();
    assert!(second > 80, "{second}");
}

#[test]
fn who_may_do_what() {
    let project = priced(&[[0.0, 1.0], [1.0, 1.0]]);
    assert_eq!(project.run(&["serve", "--insecure", "--require-auth"]).code, Some(2));
    let mut tokens = BTreeMap::new();
    for role in ["reader", "editor", "approver", "admin"] {
        project.write("password", "a long enough password\n");
        project.run(&["user", "add", role, "--role", role, "--password-file", "password"]).succeeds();
        let made = project.json(&["token", "create", role]);
        tokens.insert(role, made["token"].as_str().expect("a token").to_owned());
    }
    let server = serve(&project, &["--require-auth"]);
    let send = |method: &str, path: &str, role: &str, body: Value| {
        let bearer = tokens.get(role).map(|token| format!("Bearer {token}")).unwrap_or_default();
        let mut headers = vec![("content-type", "application/json")];
        if !bearer.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        server.send(method, path, &headers, body.to_string().as_bytes())
    };
    let row = || json!({"dataframe_split": {"columns": ["x", "y"], "data": [[1.0, 0.0]]}});
    assert_eq!(server.get("/health").0, 200);
    for path in ["/metrics", "/endpoints", "/endpoints/price", "/v2/models/price"] {
        assert_eq!(server.get(path).0, 401, "{path}");
        assert_eq!(send("GET", path, "reader", json!({})).0, 200, "{path}");
    }
    assert_eq!(server.post("/invocations", &row()).0, 401);
    assert_eq!(server.send("POST", "/invocations", &[("authorization", "Bearer plinth_wrong")], b"{}").0, 401);
    assert_eq!(send("POST", "/invocations", "reader", row()).0, 200);
    let spec: Value = serde_json::from_str(&send("GET", "/endpoints/price", "reader", json!({})).1).expect("JSON");
    let mut spec = spec["spec"].clone();
    spec["deployments"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"name": "second", "model": "models:/price/2", "weight": 50.0}));
    let put = json!({"spec": spec, "reason": "more"});
    assert_eq!(send("PUT", "/endpoints/price", "reader", put.clone()).0, 403);
    assert_eq!(send("PUT", "/endpoints/price", "editor", put).0, 200);
    let other =
        json!({"name": "other", "spec": {"deployments": [{"name": "a", "model": "models:/price/1", "weight": 1.0}]}});
    assert_eq!(send("POST", "/endpoints", "editor", other).0, 201);
    let promote = json!({"deployment": "second"});
    assert_eq!(send("POST", "/endpoints/price/promote", "editor", promote.clone()).0, 403);
    assert_eq!(send("POST", "/endpoints/price/promote", "approver", promote).0, 200);
    assert_eq!(send("POST", "/endpoints/price/rollback", "editor", json!({})).0, 200);
    assert_eq!(send("DELETE", "/endpoints/other", "approver", json!({})).0, 403);
    assert_eq!(send("DELETE", "/endpoints/other", "admin", json!({})).0, 200);
    assert_eq!(send("DELETE", "/endpoints/other", "admin", json!({})).0, 404);
    let log = project.json(&["endpoint", "logs", "price"]);
    let by: Vec<&str> =
        log.as_array().expect("a list").iter().filter_map(|event| event["principal"].as_str()).collect();
    assert_eq!(by[..3], ["editor", "approver", "editor"]);
    // A grant for a model is for endpoints of that model, and does not let its owner have another one served.
    project.run(&["user", "grant", "reader", "editor", "--model", "price"]).succeeds();
    std::thread::sleep(Duration::from_secs(1));
    let put = |model: &str| {
        let spec = json!({"deployments": [{"name": "a", "model": model, "weight": 1.0}]});
        send("PUT", "/endpoints/price", "reader", json!({"spec": spec}))
    };
    assert_eq!(put("models:/price/2").0, 200);
    let (status, answer) = put("models:/secret/1");
    assert!(status == 403 && answer.contains("permission-denied"), "{status} {answer}");
    let editor = json!({"spec": {"deployments": [{"name": "a", "model": "models:/secret/1", "weight": 1.0}]}});
    assert_eq!(send("PUT", "/endpoints/price", "editor", editor).0, 404);
    // Nor by going back to when it was.
    let register = ["model", "register", "hidden", "--component", "linear-model-rust", "--rows", "rows.csv"];
    project.run(&[&register[..], &["--artifact", "model.json"]].concat()).succeeds();
    let revision = || project.json(&["endpoint", "status", "price"])["revision"].as_u64().expect("a revision");
    let priced = revision();
    let hidden = json!({"spec": {"deployments": [{"name": "a", "model": "models:/hidden/1", "weight": 1.0}]}});
    assert_eq!(send("PUT", "/endpoints/price", "editor", hidden).0, 200);
    let hidden = revision();
    let cheap = json!({"spec": {"deployments": [{"name": "a", "model": "models:/price/1", "weight": 1.0}]}});
    assert_eq!(send("PUT", "/endpoints/price", "editor", cheap).0, 200);
    // The server knows soon that it serves nothing but prices again.
    until("the new revision", || send("POST", "/endpoints/price/pause", "reader", json!({})).0 != 403);
    for back in [json!({}), json!({"to": hidden})] {
        let (status, answer) = send("POST", "/endpoints/price/rollback", "reader", back);
        assert!(status == 403 && answer.contains("permission-denied"), "{status} {answer}");
    }
    assert_eq!(send("POST", "/endpoints/price/rollback", "reader", json!({"to": priced})).0, 200);
    // A page of another site must not talk a browser into it, whoever is asked.
    let site = [("content-type", "application/json"), ("origin", "https://evil.example")];
    let open = serve(&project, &[]);
    assert_eq!(open.send("POST", "/endpoints/price/rollback", &site, b"{}").0, 403);
    assert_eq!(open.send("POST", "/endpoints/price/rollback", &[("sec-fetch-site", "cross-site")], b"{}").0, 403);
    assert_eq!(open.post("/endpoints/price/pause", &json!({})).0, 409);
}
