//! Webhooks: MLflow's protocol, delivery to a real receiver, and where they must not lead.

use std::{
    io::Write,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    receiver::{Came, Receiver, status},
    server::Server,
};

/// A server on which this machine may be told, and that does not rest long.
fn server() -> Server {
    Server::start_within(
        |config| config.webhooks.loopback = true,
        |limits| {
            limits.webhooks.backoff_ms = 20;
            limits.webhooks.backoff_ms_max = 2_000;
            limits.webhooks.request_ms_max = 5_000;
        },
    )
}

/// Events as requests name them.
fn events(names: &[&str]) -> Vec<Value> {
    let event = |name: &&str| {
        let (entity, action) = name.split_once('.').unwrap();
        json!({"entity": entity.to_uppercase(), "action": action.to_uppercase()})
    };
    names.iter().map(event).collect()
}

/// A new webhook's id.
fn hook(server: &Server, url: &str, names: &[&str], more: &Value) -> String {
    let mut body = json!({"name": "w", "url": url, "events": events(names)});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    server.post("webhooks", &body)["webhook"]["webhook_id"].as_str().unwrap().to_owned()
}

fn model(server: &Server, name: &str) {
    server.post("registered-models/create", &json!({"name": name}));
}

/// The log of a webhook once its newest entry is over.
fn log(server: &Server, hook: &str) -> Vec<Value> {
    log_beyond(server, hook, 0)
}

/// The same once it has more than so many entries: an event becomes a delivery a moment after its change.
fn log_beyond(server: &Server, hook: &str, entries: usize) -> Vec<Value> {
    let start = std::time::Instant::now();
    loop {
        let log = server.get(&format!("webhooks/{hook}/deliveries"));
        let log = log["deliveries"].as_array().unwrap();
        if log.len() > entries && log.iter().all(|entry| entry["state"] != "pending") {
            return log.clone();
        }
        assert!(start.elapsed().as_secs() < 30, "{log:?}");
        std::thread::yield_now();
    }
}

fn signed(came: &Came, secret: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{}.{}.{}", came.delivery(), came.headers["x-mlflow-timestamp"], came.body).as_bytes());
    came.headers["x-mlflow-signature"] == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn webhooks_are_made_shown_changed_and_deleted_and_never_show_their_secret() {
    let server = server();
    let body = json!({
        "name": "ci", "url": "https://example.com/hook", "description": "d", "secret": "hush", "status": "DISABLED",
        "events": events(&["model_version.created", "prompt.created"]),
    });
    let made = server.post("webhooks", &body)["webhook"].clone();
    let id = made["webhook_id"].as_str().unwrap();
    assert_eq!(made["events"], json!(events(&["model_version.created", "prompt.created"])));
    assert_eq!((&made["status"], &made["description"]), (&json!("DISABLED"), &json!("d")));
    assert_eq!(server.get(&format!("webhooks/{id}"))["webhook"], made);
    let (code, changed) =
        server.send("PATCH", &format!("/api/2.0/mlflow/webhooks/{id}"), Some(r#"{"name": "n", "description": ""}"#));
    let changed = &changed["webhook"];
    assert_eq!((code, &changed["name"], &changed["url"]), (200, &json!("n"), &made["url"]));
    assert_eq!(changed.get("description"), None);
    // In milliseconds, which is all that clients see.
    assert!(changed["last_updated_timestamp"].as_i64() > made["last_updated_timestamp"].as_i64());
    for n in 0..4 {
        let more = json!({"name": format!("n{n}")});
        hook(&server, "https://example.com", &["prompt.created"], &more);
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("webhooks?max_results=2&page_token={token}"));
        assert!(!page.to_string().contains("hush"));
        seen.extend(page["webhooks"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap().to_owned()));
        match page["next_page_token"].as_str() {
            Some(next) => token = next.replace('=', "%3D"),
            None => break,
        }
    }
    assert_eq!(seen, ["n3", "n2", "n1", "n0", "n"]);
    for prefix in ["/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"] {
        assert_eq!(server.send("GET", &format!("{prefix}/mlflow/webhooks/{id}"), None).0, 200, "{prefix}");
    }
    assert_eq!(server.send("DELETE", &format!("/api/2.0/mlflow/webhooks/{id}"), None), (200, json!({})));
    for method in ["GET", "PATCH", "DELETE"] {
        let refused = server.refused(method, &format!("webhooks/{id}"), &json!({"name": "x"}));
        assert_eq!(refused, (404, "RESOURCE_DOES_NOT_EXIST".into(), format!("Webhook with ID {id} not found.")));
    }
}

#[test]
fn what_makes_no_webhook_is_refused() {
    let server = server();
    let good = json!({"name": "w", "url": "https://example.com", "events": events(&["prompt.created"])});
    let cases = [
        ("name", json!("-w"), "Webhook name '-w' is invalid."),
        ("name", json!(""), "Missing value for required parameter 'name'."),
        ("name", json!(1), "Invalid value 1 for parameter 'name'"),
        ("url", json!("   "), "Webhook URL cannot be empty or just whitespace"),
        ("url", json!("ftp://example.com"), "Invalid webhook URL scheme: 'ftp'. Allowed schemes are"),
        ("url", json!("http://[invalid"), "Invalid webhook URL 'http://[invalid'"),
        ("url", json!(format!("https://example.com/{}", "x".repeat(3_000))), "Webhook URL is longer than"),
        ("events", json!([]), "Missing value for required parameter 'events'."),
        ("events", json!([{"entity": "PROMPT", "action": "SET"}]), "Invalid action 'set' for entity 'prompt'."),
        ("events", json!([{"entity": "NOTHING", "action": "SET"}]), "Invalid value"),
        ("events", json!([{"entity": 99, "action": 1}]), "Invalid value"),
        ("events", json!([7]), "event.entity"),
        ("status", json!("ASLEEP"), "Invalid webhook status"),
        ("secret", json!("s".repeat(2_000)), "'secret' exceeds the maximum length"),
    ];
    for (field, value, told) in cases {
        let mut body = good.clone();
        body[field] = value;
        let (code, name, message) = server.refused("POST", "webhooks", &body);
        assert_eq!((code, name.as_str()), (400, "INVALID_PARAMETER_VALUE"), "{body}");
        assert!(message.contains(told), "{body}: {message}");
    }
    for most in ["-1", "1001"] {
        assert_eq!(server.refused("GET", &format!("webhooks?max_results={most}"), &Value::Null).0, 400);
    }
    assert_eq!(server.get("webhooks"), json!({}));
}

#[test]
fn every_event_of_the_registry_is_told_with_its_data() {
    let server = server();
    let receiver = Receiver::start();
    let all: Vec<&str> =
        plinth_tracking::WEBHOOK_EVENTS.into_iter().filter(|event| *event != "budget_policy.exceeded").collect();
    hook(&server, &receiver.url("/all"), &all, &json!({"secret": "s3cret"}));
    let next = |event: &str, data: Value| {
        let came = receiver.next();
        let body = came.json();
        let (entity, action) = event.split_once('.').unwrap();
        assert_eq!((&body["entity"], &body["action"]), (&json!(entity), &json!(action)), "{body}");
        assert_eq!(body["data"], data, "{event}");
        assert!(body["timestamp"].as_str().unwrap().ends_with("+00:00"), "{body}");
        assert_eq!(came.headers["content-type"], "application/json");
        assert!(signed(&came, "s3cret") && !signed(&came, "other"), "{came:?}");
    };
    let tags = |prompt: bool| {
        let mut tags = vec![json!({"key": "k", "value": "v"})];
        if prompt {
            tags.push(json!({"key": "mlflow.prompt.is_prompt", "value": "true"}));
            tags.push(json!({"key": "mlflow.prompt.text", "value": "Hi {{name}}"}));
        }
        tags
    };
    for (prompt, source) in [(false, "s3://bucket/m"), (true, "prompt-template")] {
        let name = if prompt { "greet" } else { "churn" };
        let event = |model: &str, of_prompt: &str| if prompt { of_prompt.to_owned() } else { model.to_owned() };
        let body = json!({"name": name, "description": "about", "tags": tags(prompt)});
        server.post("registered-models/create", &body);
        let data = json!({"name": name, "tags": {"k": "v"}, "description": "about"});
        next(&event("registered_model.created", "prompt.created"), data);
        let body = json!({"name": name, "source": source, "tags": tags(prompt), "description": "first"});
        server.post("model-versions/create", &body);
        let mut data = json!({"name": name, "version": "1", "tags": {"k": "v"}, "description": "first"});
        if prompt {
            data["template"] = json!("Hi {{name}}");
        } else {
            (data["source"], data["run_id"]) = (json!(source), Value::Null);
        }
        next(&event("model_version.created", "prompt_version.created"), data);
        let tag = json!({"name": name, "version": "1", "key": "t", "value": "x"});
        server.post("model-versions/set-tag", &tag);
        next(&event("model_version_tag.set", "prompt_version_tag.set"), tag.clone());
        let gone = json!({"name": name, "version": "1", "key": "t"});
        server.send("DELETE", "/api/2.0/mlflow/model-versions/delete-tag", Some(&gone.to_string()));
        next(&event("model_version_tag.deleted", "prompt_version_tag.deleted"), gone);
        let alias = json!({"name": name, "alias": "champion", "version": "1"});
        server.post("registered-models/alias", &alias);
        next(&event("model_version_alias.created", "prompt_alias.created"), alias);
        let gone = json!({"name": name, "alias": "champion"});
        server.send("DELETE", "/api/2.0/mlflow/registered-models/alias", Some(&gone.to_string()));
        next(&event("model_version_alias.deleted", "prompt_alias.deleted"), gone);
        // Of models MLflow has no such events.
        let tag = json!({"name": name, "key": "t", "value": "x"});
        server.post("registered-models/set-tag", &tag);
        let gone = json!({"name": name, "key": "t"});
        server.send("DELETE", "/api/2.0/mlflow/registered-models/delete-tag", Some(&gone.to_string()));
        if prompt {
            next("prompt_tag.set", tag);
            next("prompt_tag.deleted", gone);
        }
    }
    assert!(receiver.quiet());
}

#[test]
fn a_test_sends_an_example_and_tells_the_answer() {
    let server = server();
    let receiver = Receiver::start();
    let id = hook(&server, &receiver.url("/x"), &["model_version.created", "prompt_tag.set"], &json!({"secret": "s"}));
    let test = |body: &Value| server.post(&format!("webhooks/{id}/test"), body)["result"].clone();
    assert_eq!(test(&json!({})), json!({"success": true, "response_status": 200, "response_body": "thanks"}));
    let came = receiver.next();
    assert_eq!((came.json()["data"]["source"].as_str(), signed(&came, "s")), (Some("models:/123"), true));
    for event in plinth_tracking::WEBHOOK_EVENTS {
        test(&json!({"event": events(&[event])[0]}));
        let body = receiver.next().json();
        assert_eq!(format!("{}.{}", body["entity"].as_str().unwrap(), body["action"].as_str().unwrap()), event);
        assert!(body["data"].as_object().is_some_and(|data| data.len() > 1), "{body}");
    }
    receiver.answers(|_, stream| status(stream, "404 Not Found", "", "nobody here"));
    assert_eq!(test(&json!({})), json!({"success": false, "response_status": 404, "response_body": "nobody here"}));
    receiver.answers(|_, stream| status(stream, "302 Found", "location: http://localhost:1/\r\n", ""));
    assert_eq!(test(&json!({}))["success"], false);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let id = hook(&server, &format!("http://localhost:{dead}/"), &["prompt.created"], &json!({}));
    let result = server.post(&format!("webhooks/{id}/test"), &json!({}))["result"].clone();
    assert_eq!((&result["success"], result.get("response_status")), (&json!(false), None));
    assert!(result["error_message"].as_str().unwrap().starts_with("Failed to test webhook: "), "{result}");
}

#[test]
fn what_fails_for_a_while_is_tried_again_with_the_same_id_and_what_fails_for_good_is_not() {
    let server = server();
    let receiver = Receiver::start();
    let id = hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({"secret": "s"}));
    let tries = AtomicUsize::new(0);
    receiver.answers(move |_, stream| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => status(stream, "500 Internal Server Error", "", "oops"),
        1 => status(stream, "429 Too Many Requests", "retry-after: 1\r\n", ""),
        // Hangs up.
        2 => {}
        3 => status(stream, "204 No Content", "", ""),
        _ => status(stream, "401 Unauthorized", "", "no"),
    });
    model(&server, "a");
    let first = receiver.next();
    receiver.next();
    let limited = std::time::Instant::now();
    let third = receiver.next();
    assert!(limited.elapsed().as_millis() >= 900, "the receiver asked for a second");
    let fourth = receiver.next();
    assert_eq!((third.delivery(), fourth.delivery()), (first.delivery(), first.delivery()));
    assert!(fourth.body == first.body && signed(&fourth, "s"));
    let entry = log(&server, &id)[0].clone();
    assert_eq!((&entry["state"], &entry["attempts"], &entry["status"]), (&json!("delivered"), &json!(4), &json!(204)));
    assert_eq!(entry["delivery_id"], first.delivery());
    model(&server, "b");
    assert_ne!(receiver.next().delivery(), first.delivery());
    let entry = log(&server, &id)[0].clone();
    assert_eq!((&entry["state"], &entry["attempts"], &entry["status"]), (&json!("failed"), &json!(1), &json!(401)));
    assert_eq!(entry["response"], "no");
    assert!(receiver.quiet());
}

#[test]
fn attempts_are_bounded_and_the_next_event_follows() {
    let server = Server::start_within(
        |config| config.webhooks.loopback = true,
        |limits| (limits.webhooks.backoff_ms, limits.webhooks.attempts_max) = (1, 3),
    );
    let receiver = Receiver::start();
    receiver.answers(|came, stream| match came.json()["data"]["name"].as_str() {
        Some("bad") => status(stream, "503 Service Unavailable", "", ""),
        _ => status(stream, "200 OK", "", ""),
    });
    let id = hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({}));
    model(&server, "bad");
    model(&server, "good");
    let came: Vec<_> = (0..4).map(|_| receiver.next().json()["data"]["name"].clone()).collect();
    assert_eq!(came, ["bad", "bad", "bad", "good"]);
    let log = log(&server, &id);
    assert_eq!(
        (&log[0]["state"], &log[1]["state"], &log[1]["attempts"]),
        (&json!("delivered"), &json!("failed"), &json!(3))
    );
}

#[test]
fn each_webhook_gets_its_events_in_order_and_none_waits_for_another() {
    let server = server();
    let (slow, quick) = (Receiver::start(), Receiver::start());
    // Answers once everything else has come to the other.
    let barrier = Arc::new(Barrier::new(2));
    let held = Arc::clone(&barrier);
    let first = AtomicUsize::new(0);
    slow.answers(move |_, stream| {
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            held.wait();
        }
        status(stream, "200 OK", "", "");
    });
    for receiver in [&slow, &quick] {
        hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({}));
    }
    let names: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    names.iter().for_each(|name| model(&server, name));
    let told = |receiver: &Receiver| receiver.next().json()["data"]["name"].as_str().unwrap().to_owned();
    for name in &names {
        assert_eq!(told(&quick), *name);
    }
    assert_eq!(told(&slow), names[0]);
    assert!(slow.quiet(), "the second event waits for the first");
    barrier.wait();
    for name in &names[1..] {
        assert_eq!(told(&slow), *name);
    }
}

#[test]
fn a_giant_answer_an_endless_one_and_a_silent_receiver_hold_nothing_up() {
    let server = Server::start_within(
        |config| config.webhooks.loopback = true,
        |limits| {
            (limits.webhooks.request_ms_max, limits.webhooks.attempts_max) = (500, 1);
        },
    );
    let receiver = Receiver::start();
    let id = hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({}));
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    receiver.answers(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n");
        let chunk = vec![b'x'; 1 << 16];
        // Until the other side has had enough.
        while stream.write_all(&chunk).is_ok() {
            count.fetch_add(chunk.len(), Ordering::SeqCst);
        }
    });
    model(&server, "giant");
    assert_eq!(log(&server, &id)[0]["state"], "delivered");
    assert_eq!(log(&server, &id)[0]["response"].as_str().unwrap().len(), 1_000);
    let result = server.post(&format!("webhooks/{id}/test"), &json!({}))["result"].clone();
    assert_eq!(result["response_body"].as_str().unwrap().len(), 64 << 10);
    // What fits the system's buffers, not ten gigabytes.
    assert!(written.load(Ordering::SeqCst) < 100 << 20, "{written:?}");
    // A byte now and then keeps no request alive past its time; nor does silence, nor an endless head.
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nx: ", ""] {
        receiver.answers(move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"x").is_ok() && stream.flush().is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let before = log(&server, &id).len();
        model(&server, &format!("slow{}", head.len()));
        let entry = log_beyond(&server, &id, before)[0].clone();
        // Whose head came whole has taken the event.
        let state = if head.ends_with("\r\n\r\n") { "delivered" } else { "failed" };
        assert_eq!(entry["state"], state, "{head:?}: {entry}");
    }
}

#[test]
fn a_redirection_is_not_followed() {
    let server = server();
    let (receiver, inner) = (Receiver::start(), Receiver::start());
    let location = inner.url("/inner");
    receiver.answers(move |_, stream| {
        status(stream, "307 Temporary Redirect", &format!("location: {location}\r\n"), "");
    });
    let id = hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({}));
    model(&server, "a");
    receiver.next();
    let entry = log(&server, &id)[0].clone();
    assert_eq!((&entry["state"], &entry["status"]), (&json!("failed"), &json!(307)));
    assert!(inner.quiet());
}

/// URLs that lead where nobody but the server can go.
const PRIVATE: [&str; 46] = [
    "http://127.0.0.1/",
    "http://127.0.0.1:22/",
    "https://127.0.0.1/",
    "http://127.8.8.8/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://%31%32%37.0.0.1/",
    "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
    "http://localhost/",
    "http://LOCALHOST:80/",
    "http://localhost./",
    "http://x.localhost/",
    "http://localhost.localdomain/",
    "http://0.0.0.0/",
    "http://0/",
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]:80/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254:80/",
    "http://2852039166/",
    "http://168.63.129.16/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://198.18.0.1/",
];

/// URLs that are none for a webhook, wherever they lead.
const MALFORMED: [&str; 18] = [
    "file:///etc/passwd",
    "gopher://example.com:70/_x",
    "dict://example.com/",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "example.com/hook",
    "//example.com/hook",
    "http:example.com",
    "http:/example.com",
    "http:///example.com",
    "http://",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://exa\tmple.com/",
    "http://example.com/\r\nx-header: y",
    "http://[::1%25eth0]/",
];

#[test]
fn nothing_but_public_addresses_is_reached_where_callers_may_be_anywhere() {
    let server = Server::start();
    let good = hook(&server, "https://example.com/hook", &["prompt.created"], &json!({}));
    for url in PRIVATE.iter().chain(&MALFORMED) {
        let body = json!({"name": "w", "url": url, "events": events(&["prompt.created"])});
        let (code, name, message) = server.refused("POST", "webhooks", &body);
        assert_eq!((code, name.as_str()), (400, "INVALID_PARAMETER_VALUE"), "{url}: {message}");
        let (code, _, _) = server.refused("PATCH", &format!("webhooks/{good}"), &json!({"url": url}));
        assert_eq!(code, 400, "{url}");
    }
    assert_eq!(server.get(&format!("webhooks/{good}"))["webhook"]["url"], "https://example.com/hook");
}

#[test]
fn where_this_machine_may_be_told_everything_else_stays_closed() {
    let server = server();
    let own = [
        "http://127.0.0.1",
        "https://127.0.0.1",
        "http://localhost",
        "http://LOCALHOST",
        "http://[::1]",
        "http://[0:0:0:0:0:0:0:1]",
    ];
    for url in PRIVATE.iter().chain(&MALFORMED) {
        let host = url.trim_end_matches('/').trim_end_matches(":80").trim_end_matches(":22").trim_end_matches('.');
        if own.contains(&host) && *url != "http://127.0.0.1./" {
            continue;
        }
        let body = json!({"name": "w", "url": url, "events": events(&["prompt.created"])});
        assert_eq!(server.refused("POST", "webhooks", &body).0, 400, "{url}");
    }
}

#[test]
fn what_was_allowed_when_a_webhook_was_made_is_looked_at_again_when_it_is_told() {
    let receiver = Receiver::start();
    let server = Server::start();
    // As if made by a server that allowed it.
    let new = plinth_tracking::NewWebhook {
        name: "w".into(),
        url: receiver.url("/x"),
        events: vec!["registered_model.created".into()],
        ..plinth_tracking::NewWebhook::default()
    };
    let id = server.tracking.create_webhook(&new, "ann").unwrap().webhook_id;
    model(&server, "a");
    let entry = log(&server, &id)[0].clone();
    assert_eq!((&entry["state"], &entry["attempts"]), (&json!("failed"), &json!(1)));
    assert!(entry["error"].as_str().unwrap().contains("non-public"), "{entry}");
    let result = server.post(&format!("webhooks/{id}/test"), &json!({}))["result"].clone();
    assert_eq!(result["success"], false);
    assert!(receiver.quiet());
}

#[test]
fn an_allowed_receiver_is_told_whatever_its_address() {
    let receiver = Receiver::start();
    let host = receiver.url("").trim_start_matches("http://").to_owned();
    let server = Server::start_with(|config| config.webhooks.allow = vec![host.parse().unwrap()]);
    hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({}));
    model(&server, "a");
    assert_eq!(receiver.next().path, "/x");
    let body = json!({"name": "w", "url": "http://localhost:1/", "events": events(&["prompt.created"])});
    assert_eq!(server.refused("POST", "webhooks", &body).0, 400);
}

#[test]
fn only_admins_manage_webhooks() {
    let server = Server::start_with(|config| config.access = true);
    for (name, role) in [("root", plinth_tracking::Role::Admin), ("ed", plinth_tracking::Role::Approver)] {
        server.tracking.add_user(name, "long enough", role, "test").unwrap();
    }
    let body = json!({"name": "w", "url": "https://example.com", "events": events(&["prompt.created"])}).to_string();
    let sent = |user: &str, method: &str, path: &str| {
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:long enough")));
        let body = (method != "GET").then_some(body.as_str());
        server.send_with(method, &format!("/api/2.0/mlflow/webhooks{path}"), body, &[("authorization", &authorization)])
    };
    let id = sent("root", "POST", "").1["webhook"]["webhook_id"].as_str().unwrap().to_owned();
    let calls = [
        ("POST", String::new()),
        ("GET", String::new()),
        ("GET", format!("/{id}")),
        ("PATCH", format!("/{id}")),
        ("POST", format!("/{id}/test")),
        ("GET", format!("/{id}/deliveries")),
        ("DELETE", format!("/{id}")),
    ];
    for (method, path) in &calls {
        assert_eq!(sent("ed", method, path).0, 403, "{method} {path}");
        assert_eq!(server.send(method, &format!("/api/2.0/mlflow/webhooks{path}"), None).0, 401, "{method} {path}");
    }
    assert_eq!(sent("root", "GET", &format!("/{id}")).0, 200);
}

#[test]
fn what_another_process_did_is_told_too_and_two_servers_tell_it_once() {
    let server = server();
    let receiver = Receiver::start();
    hook(&server, &receiver.url("/x"), &["registered_model.created"], &json!({}));
    let second = server.twin();
    let now = server.tracking.now();
    let other = second.tracking.store();
    other
        .catalog()
        .write::<_, plinth_store::StoreError>(|tx| {
            for n in 0..20 {
                let payload = json!({"name": n}).to_string();
                plinth_store::emit(tx, now, "registered_model.created", &payload)?;
            }
            Ok(())
        })
        .unwrap();
    for n in 0..20 {
        assert_eq!(receiver.next().json()["data"]["name"], n);
    }
    drop((second, server));
    assert!(receiver.quiet());
}
