//! What deployments may take of a server, and what becomes of more models than there is memory for.

use plinth_e2e::{Project, Server, try_post};
use serde_json::{Value, json};

use crate::serving::customer;

fn index(server: &Server) -> Vec<(String, String)> {
    let (status, told) = server.post("/v2/repository/index", &json!({}));
    assert_eq!(status, 200, "{told}");
    let told: Vec<Value> = serde_json::from_str(&told).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    told.iter().map(|one| (text(&one["name"]), text(&one["reason"]))).collect()
}

/// What the only deployment of an endpoint takes.
fn memory_bytes(server: &Server, endpoint: &str) -> u64 {
    let figures: Value = serde_json::from_str(&server.get(&format!("/endpoints/{endpoint}")).1).expect("JSON");
    figures["serving"]["deployments"][0]["memory_bytes"].as_u64().expect("a number")
}

const ASLEEP: &str = "asleep: it is loaded once it is asked";

#[test]
fn models_beyond_the_memory_budget_sleep_until_they_are_asked() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    for name in ["one", "three", "two"] {
        project.run(&["endpoint", "create", name, "models:/churn/1"]).succeeds();
    }
    // Endpoints of the same version, but each with its own: what is loaded in the same way is loaded once.
    for (name, rows) in [("one", "11"), ("two", "12"), ("three", "13")] {
        project.run(&["endpoint", "deploy", name, "models:/churn/1", "--batch-rows", rows]).succeeds();
    }
    let body = json!({"dataframe_records": [customer()]});
    let ask = |server: &Server, name: &str| server.post(&format!("/endpoints/{name}/invocations"), &body);
    let unbound = project.listening(&["serve", "--port", "0"]);
    let (status, answer) = ask(&unbound, "one");
    assert_eq!(status, 200, "{answer}");
    // The model is known by its own name too, and nobody asked for it.
    let awake = |(name, why): &(String, String)| why.is_empty() || (name == "churn" && why == "not loaded");
    assert!(index(&unbound).iter().all(awake), "{:?}", index(&unbound));
    let bytes = memory_bytes(&unbound, "one");
    assert!(bytes > 700_000, "a model of 140 kB with a component of 600 kB took {bytes} bytes");
    drop(unbound);

    // Room for one, or two: whichever is asked takes the place of the one that was not for longest.
    let budget = (bytes * 19 / 10).div_ceil(1 << 20).to_string();
    let server = project.listening(&["serve", "--port", "0", "--memory-budget", &budget]);
    let asleep = |server: &Server| {
        let all: Value = serde_json::from_str(&server.get("/endpoints").1).expect("JSON");
        all["asleep"].as_array().expect("a list").len()
    };
    let begun = asleep(&server);
    for name in ["three", "two", "one", "two", "three"] {
        assert_eq!(ask(&server, name), (200, answer.clone()), "{name}");
        assert_eq!(server.get(&format!("/v2/models/{name}/ready")).0, 200);
        let (status, about) = server.get(&format!("/v2/models/{name}"));
        assert!(status == 200 && about.contains(name), "{status} {about}");
    }
    assert!((1..=2).contains(&begun) && (1..=2).contains(&asleep(&server)));
    server.stop();

    // None of them fits: there would be nothing to ask.
    let words = ["endpoint `one` takes", "all models together may take 1 MiB", "--memory-budget"];
    project.run(&["serve", "--port", "0", "--memory-budget", "1"]).fails(10, "limit-exceeded", &words);
}

#[test]
fn a_sleeping_endpoint_is_described_and_counted_and_needs_no_waking_to_be_ready() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    for (name, rows) in [("a", "11"), ("b", "12"), ("c", "13"), ("d", "14")] {
        let model = ["endpoint", "create", name, "models:/churn/1", "--batch-rows", rows];
        project.run(&model).succeeds();
    }
    let unbound = project.listening(&["serve", "--port", "0"]);
    let most = memory_bytes(&unbound, "a") * 5 / 2;
    unbound.stop();
    project.write("plinth.toml", format!("[limits.serve]\nmodels-bytes-max = {most}\n"));
    let server = project.listening(&["serve", "--port", "0"]);
    let sleeping: Vec<String> =
        index(&server).into_iter().filter(|(_, why)| why == ASLEEP).map(|(name, _)| name).collect();
    assert!(!sleeping.is_empty(), "{:?}", index(&server));
    let first = &sleeping[0];
    assert_eq!(server.get(&format!("/v2/models/{first}/ready")).0, 200);
    assert_eq!(server.get(&format!("/v2/models/{first}/versions/1/ready")).0, 200);
    let (status, said) = server.get(&format!("/v2/models/{first}/versions/9/ready"));
    assert_eq!(status, 404, "{said}");
    assert!(said.contains(&format!("version 9 of `{first}` is not served; served: 1")), "{said}");
    let told: Value = serde_json::from_str(&server.get(&format!("/endpoints/{first}")).1).expect("JSON");
    assert_eq!((&told["asleep"], &told["serving"]), (&json!(true), &Value::Null));
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains(&format!("plinth_endpoints_asleep {}", sleeping.len())), "{metrics}");
    assert!(metrics.contains("plinth_model_memory_bytes{"), "{metrics}");
    // A request that names nobody is for the only one there is, and those that sleep are there.
    assert_eq!(server.post("/invocations", &json!({"dataframe_records": [customer()]})).0, 404);
}

#[test]
fn a_deployment_keeps_to_its_own_time_and_places_and_says_what_they_are() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let endpoint = |args: &[&str]| project.run(&[&["endpoint"], args].concat());
    endpoint(&["create", "churn", "models:/churn/1", "--name", "main"]).succeeds();
    let bounds = ["--concurrency", "1", "--queue", "7", "--timeout-ms", "900", "--batch-wait-us", "50"];
    endpoint(&[&["deploy", "churn", "models:/churn/1", "--name", "main"], &bounds[..]].concat()).succeeds();
    // What is not said again stays.
    let told = endpoint(&["deploy", "churn", "models:/churn/1", "--name", "main", "--batch-rows", "32"]);
    told.succeeds();
    assert!(told.stdout.contains("batches of 32, wait 50 us, 1 at once, 7 waiting, 900 ms"), "{}", told.stdout);
    let spec = project.json(&["endpoint", "status", "churn"]);
    let capacity = json!({"batch_rows_max": 32, "batch_wait_us": 50, "concurrency_max": 1, "queue_max": 7,
        "timeout_ms": 900});
    assert_eq!(spec["spec"]["deployments"][0]["capacity"], capacity, "{spec}");
    for (flag, value, most) in [("--concurrency", "0", "1024"), ("--batch-wait-us", "2000000", "1000000")] {
        let words = [value, most, "deployment `main`"];
        endpoint(&["deploy", "churn", "models:/churn/1", "--name", "main", flag, value]).fails(
            2,
            "bad-endpoint",
            &words,
        );
    }
    let server = project.listening(&["serve", "--port", "0"]);
    let body = json!({"dataframe_records": [customer()]});
    // Many at once through one place, some of which there is no room for: each is answered or told to come again.
    let url = server.url("/endpoints/churn/invocations");
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = || try_post(&url, &body).expect("an answer").0;
        let asking: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    assert!(answers.contains(&200) && answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    let config: Value = serde_json::from_str(&server.get("/v2/models/churn/config").1).expect("JSON");
    assert_eq!(config["instance_group"][0]["count"], 1, "{config}");
}

#[test]
fn an_output_transform_makes_the_answer_and_the_evaluation_is_of_the_model() {
    let project = Project::churn();
    let plain = project.json(&["run"]);
    let evaluated = |report: &Value| {
        report["stages"]
            .as_array()
            .expect("stages")
            .iter()
            .find_map(|stage| (stage["name"] == "evaluate").then(|| stage["metrics"]["roc_auc"].clone()))
    };
    let server = project.serve("models:/churn/1");
    let body = json!({"dataframe_records": [customer()]});
    let before = server.post("/invocations", &body).1;
    assert!(before.contains("probability"), "{before}");
    server.stop();

    // Callers get the risk in ten bands, and nothing else.
    project.edit(
        "plinth.yaml",
        "    trainer: ${params.trainer}\n",
        "    trainer: ${params.trainer}\n    output:\n      plugin: tabular\n      item: quantile-bin\n      \
         options: {columns: [probability_yes], bins: 10}\n",
    );
    let with = project.json(&["run"]);
    assert_eq!(evaluated(&plain), evaluated(&with));
    let server = project.serve("models:/churn/2");
    let (status, answer) = server.post("/invocations", &body);
    assert_eq!(status, 200, "{answer}");
    let told: Value = serde_json::from_str(&answer).expect("JSON");
    let band = told["predictions"][0]["probability_yes"].as_f64().expect("a band");
    assert!((0.0..10.0).contains(&band) && band.fract() == 0.0, "{answer}");
    let about = server.get("/v2/models/churn").1;
    assert!(about.contains("probability_yes"), "{about}");
    let parts = server.get("/metrics").1;
    assert!(parts.contains("output_hash=") && parts.contains("output_state_hash="), "{parts}");
    server.stop();

    // A transform that does not suit is told before anything is registered.
    project.edit("plinth.yaml", "columns: [probability_yes]", "columns: [probability_maybe]");
    project.run(&["run"]).fails(5, "unknown-column", &["probability_maybe"]);
}

#[test]
fn what_is_known_of_a_customer_need_not_be_sent() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let body = json!({"dataframe_records": [customer()]});
    let plain = project.serve("models:/churn/1");
    let answer = plain.post("/invocations", &body).1;
    plain.stop();

    // What is known of two customers; the calls of today are sent.
    let first = customer();
    let today = ["total_day_calls", "total_day_minutes"];
    let known: Vec<&String> =
        first.as_object().expect("an object").keys().filter(|name| !today.contains(&name.as_str())).collect();
    let cells = |customer: &str| {
        let cells = known.iter().map(|name| match &first[name.as_str()] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        std::iter::once(customer.to_owned()).chain(cells).collect::<Vec<_>>().join(",")
    };
    let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
    let table = |ids: &[&str]| {
        let rows: Vec<String> = ids.iter().map(|id| cells(id)).collect();
        format!("customer_id,{}\n{}\n", names.join(","), rows.join("\n"))
    };
    project.write("known.csv", table(&["17", "18"]));
    project.write("twice.csv", table(&["17", "17"]));
    let create = |file: &str| {
        let args = ["endpoint", "create", "churn", "models:/churn/1", "--name", "main"];
        project.run(&[&args[..], &["--lookup", file, "--entity", "customer_id"]].concat())
    };
    create("twice.csv").fails(5, "bad-table", &["customer_id 17 is in rows 0 and 1"]);
    let told = create("known.csv");
    told.succeeds();
    assert!(
        told.stdout.contains("main looks up, of 2 entities by customer_id: state, account_length"),
        "{}",
        told.stdout
    );

    let mut server = project.listening(&["serve", "--port", "0"]);
    let ask = |server: &Server, id: Value| {
        let row = json!({"customer_id": id, "total_day_calls": first["total_day_calls"],
            "total_day_minutes": first["total_day_minutes"]});
        server.post("/endpoints/churn/invocations", &json!({"dataframe_records": [row]}))
    };
    assert_eq!(ask(&server, json!(17)), (200, answer.clone()));
    // Of whom nothing is known: nulls, which this pipeline fills in.
    let (status, stranger) = ask(&server, json!(99));
    assert!(status == 200 && stranger != answer, "{status} {stranger}");
    let (status, refused) = ask(&server, json!("x"));
    assert!(status == 400 && refused.contains("customer_id"), "{status} {refused}");
    let missing = server.post("/endpoints/churn/invocations", &json!({"dataframe_records": [{"customer_id": 17}]}));
    assert!(missing.0 == 400 && missing.1.contains("total_day"), "{missing:?}");
    let about: Value = serde_json::from_str(&server.get("/v2/models/churn").1).expect("JSON");
    let inputs: Vec<&str> =
        about["inputs"].as_array().expect("inputs").iter().filter_map(|i| i["name"].as_str()).collect();
    assert_eq!(inputs, ["customer_id", "total_day_minutes", "total_day_calls"]);
    let (status, why) = server.post(
        "/endpoints/churn/invocations?explain=true",
        &json!({"dataframe_records": [
        {"customer_id": 17, "total_day_calls": 110, "total_day_minutes": 265.1}]}),
    );
    assert!(status == 200 && why.contains("number_customer_service_calls"), "{status} {why}");

    // What is captured is what the model saw, so that drift checks and replays need no table.
    server.kill();
    let server = project.listening(&["serve", "--port", "0"]);
    assert_eq!(ask(&server, json!(18)), (200, answer));
    server.stop();
    let captured =
        project.json(&["sql", "select \"input.account_length\", \"input.state\" from 'captures:/churn' limit 1"]);
    assert!(captured.to_string().contains("128") && captured.to_string().contains("KS"), "{captured}");
    project.run(&["gc", "--grace", "0s", "--older-than", "0s"]).succeeds();
    let server = project.listening(&["serve", "--port", "0"]);
    assert_eq!(ask(&server, json!(17)).0, 200);
    server.stop();
    let told = project.run(&["endpoint", "deploy", "churn", "models:/churn/1", "--name", "main", "--no-lookup"]);
    assert!(!told.succeeds().stdout.contains("looks up"), "{}", told.stdout);
}

#[test]
fn what_cannot_be_looked_up_is_told_to_whoever_deploys_it() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    project.write("known.csv", "customer_id,state,rank\n17,KS,1\n18,OH,2\n");
    project.write("foreign.csv", "customer_id,rank\n17,1\n");
    project.write("other.csv", "state,account_length\nKS,5\n");
    project.write("numbers.csv", "state,rank,account_length\n17,1,5\n");
    let deploy = |name: &str, more: &[&str]| {
        project.run(&[&["endpoint", "deploy", "churn", "models:/churn/1", "--name", name][..], more].concat())
    };
    project.run(&["endpoint", "create", "churn", "models:/churn/1", "--name", "main"]).succeeds();
    deploy("main", &["--lookup", "foreign.csv", "--entity", "customer_id"]).fails(
        5,
        "bad-table",
        &["no column of the model's", "account_length"],
    );
    // The model has the entity's own column, as text.
    deploy("main", &["--lookup", "other.csv", "--entity", "state"]).succeeds();
    deploy("main", &["--lookup", "numbers.csv", "--entity", "state"]).fails(5, "bad-table", &["state is int64"]);
    let told = deploy("main", &["--lookup", "known.csv", "--entity", "customer_id"]);
    assert!(told.succeeds().stderr.contains("models:/churn/1 takes none of these columns of the table: rank"));

    // Who comes beside it gets the same callers.
    let beside = deploy("canary", &["--weight", "10"]);
    assert!(beside.succeeds().stdout.contains("canary looks up, of 2 entities by customer_id"), "{}", beside.stdout);
    let route = |args: &[&str]| project.run(&[&["endpoint", "route", "churn"][..], args].concat());
    route(&["--sticky", "column:state"]).fails(2, "bad-endpoint", &["`state` is looked up by `customer_id`"]);
    route(&["--sticky", "column:customer_id"]).succeeds();
    route(&["main=50", "main=50"]).fails(2, "usage", &["`main` is named twice"]);
    route(&["main=99.999", "canary=0.001"]).fails(2, "bad-endpoint", &["canary=0.001", "a hundredth of a percent"]);
    deploy("main", &["--batch-wait-us", "5000", "--timeout-ms", "5"]).fails(2, "bad-endpoint", &["given up"]);

    let server = project.listening(&["serve", "--port", "0"]);
    let mut row = customer();
    row["customer_id"] = json!(99);
    row.as_object_mut().expect("an object").remove("state");
    let (status, answer) = server.post("/endpoints/churn/invocations", &json!({"dataframe_records": [row]}));
    assert_eq!(status, 200, "{answer}");
    let metrics = server.get("/metrics").1;
    // What makes the models warm does not count, and only who answered counts.
    let counts = metrics.lines().filter(|line| line.starts_with("plinth_looked_up_rows_total{"));
    let mut counts: Vec<(bool, &str)> =
        counts.map(|line| (line.contains("entity=\"unknown\""), line.rsplit(' ').next().unwrap_or_default())).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(false, "0"), (false, "0"), (true, "0"), (true, "1")], "{metrics}");
    let mut told: Value = serde_json::from_str(&server.get("/endpoints/churn").1).expect("JSON");
    let mut spec = told["spec"].take();
    spec["deployments"][0]["lookup"]["table"] = json!("0".repeat(64));
    let change = json!({"spec": spec, "revision": told["revision"]}).to_string();
    let sent = [("content-type", "application/json")];
    let (status, answer) = server.send("PUT", "/endpoints/churn", &sent, change.as_bytes());
    assert!(status == 400 && answer.contains("which is not stored here"), "{status} {answer}");

    // A shadow's rows are kept as the model saw them, too, and are told apart from those that were given.
    deploy("shadow", &["--shadow", "100"]).succeeds();
    route(&["main=100", "--shadow", "shadow=100"]).succeeds();
    row["customer_id"] = json!(17);
    let compared = |line: &str| {
        line.starts_with("plinth_shadow_requests_total{") && line.contains("\"compared\"") && !line.ends_with(" 0")
    };
    let seen = (0..200).any(|_| {
        assert_eq!(server.post("/endpoints/churn/invocations", &json!({"dataframe_records": [row]})).0, 200);
        std::thread::sleep(std::time::Duration::from_millis(25));
        server.get("/metrics").1.lines().any(compared)
    });
    assert!(seen, "{}", server.get("/metrics").1);
    server.stop();
    let kinds = "select shadow, count(*) = count(\"input.account_length\") as whole from 'captures:/churn' group by 1";
    let kinds = project.run(&["sql", kinds, "--json"]);
    let kinds: Vec<&str> = kinds.succeeds().stdout.lines().collect();
    assert!(kinds.len() == 2 && kinds.iter().all(|kind| kind.contains("\"whole\":true")), "{kinds:?}");
    project.run(&["replay", "churn", "models:/churn/1"]).succeeds();
}
