//! Debian's Chromium without a window, driven by its own protocol: JSON over two pipes, each message ended by a zero
//! byte. No port is opened, and the browser ends with the test.

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for an answer of the browser, and for a page to show what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: mpsc::Receiver<Value>,
    events: VecDeque<Value>,
    sent: u64,
    session: String,
    _profile: TempDir,
}

/// What a page did until it showed what it should.
#[derive(Debug, Default)]
pub struct Page {
    /// All its visible text.
    pub text: String,
    /// Requests that were refused or never answered, and what the console told as errors.
    pub wrong: Vec<String>,
    /// Requests that were answered.
    pub requests: usize,
}

impl Browser {
    /// Starts it; it must be installed.
    pub fn start() -> Self {
        let profile = TempDir::new().expect("a temporary folder");
        // The protocol is spoken on descriptors 3 and 4, which a shell can make of those that we can.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "chromium"])
            .args(["--headless=new", "--remote-debugging-pipe", "--window-size=1440,900", "--hide-scrollbars"])
            // As root and in containers, neither its sandbox nor much shared memory is to be had; it sees our pages only.
            .args(["--no-sandbox", "--disable-dev-shm-usage"])
            // Plots that want a graphics card are drawn by the processor.
            .args(["--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let to = child.stdin.take().expect("stdin is piped");
        let mut messages = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, from) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while messages.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let sent = serde_json::from_slice(&message).map(|value| sender.send(value));
                if !matches!(sent, Ok(Ok(()))) {
                    break;
                }
                message.clear();
            }
        });
        let mut browser =
            Self { child, to, from, events: VecDeque::new(), sent: 0, session: String::new(), _profile: profile };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Opens a page, waits until all the words are visible, `condition` (in JavaScript) holds, and nothing is on its way
    /// any more.
    pub fn open(&mut self, url: &str, words: &[&str], condition: &str) -> Page {
        // A page of its own each time: the application would keep what it knows from one to the next.
        self.call("Page.navigate", &json!({"url": "about:blank"}));
        self.take_events();
        self.events.clear();
        self.call("Page.navigate", &json!({"url": url}));
        let watch = format!(
            "new Promise(done => {{
                const words = {};
                const shown = () => document.body && words.every(w => document.body.innerText.includes(w));
                const look = () => {{ if (shown() && ({condition})) done(true); }};
                const changes = {{subtree: true, childList: true, characterData: true, attributes: true}};
                new MutationObserver(look).observe(document, changes);
                document.addEventListener('load', look, true);
                setTimeout(() => done(false), {});
                look();
            }})",
            json!(words),
            PATIENCE.as_millis()
        );
        let shown = self.evaluate(&watch);
        let mut page = self.settled();
        page.text = self.evaluate("document.body.innerText").as_str().unwrap_or_default().to_owned();
        if shown != Value::Bool(true) {
            page.wrong.push(format!("{words:?} never became visible, or not: {condition}"));
        }
        page
    }

    /// The page as a PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    /// What an expression is; of a promise, what it brings.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        self.call("Runtime.evaluate", &asked)["result"]["value"].take()
    }

    /// Waits until every request is answered, and sums up what happened.
    fn settled(&mut self) -> Page {
        let deadline = Instant::now() + PATIENCE;
        let (mut page, mut open) = (Page::default(), HashMap::new());
        loop {
            self.take_events();
            while let Some(event) = self.events.pop_front() {
                note(&event, &mut page, &mut open);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if open.is_empty() {
                return page;
            }
            match self.from.recv_timeout(left) {
                Ok(event) => self.events.push_back(event),
                Err(_) => {
                    page.wrong.extend(open.into_values().map(|request: String| format!("no answer: {request}")));
                    return page;
                }
            }
        }
    }

    fn take_events(&mut self) {
        self.events.extend(self.from.try_iter());
    }

    /// Sends a command and waits for its answer; what happens meanwhile is kept.
    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let written = write!(self.to, "{message}\0").and_then(|()| self.to.flush());
        written.expect("chromium runs: `cargo xtask setup` installs it");
        loop {
            let answer = self.from.recv_timeout(PATIENCE * 2);
            let mut answer =
                answer.unwrap_or_else(|_| panic!("chromium did not answer {method}: `cargo xtask setup` installs it"));
            if answer["id"] == self.sent {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push_back(answer);
        }
    }
}

/// Takes down what an event says of requests and errors. `open` holds requests without an answer, by their ids.
fn note(event: &Value, page: &mut Page, open: &mut HashMap<String, String>) {
    let told = &event["params"];
    let id = told["requestId"].as_str().unwrap_or_default().to_owned();
    match event["method"].as_str().unwrap_or_default() {
        "Network.requestWillBeSent" => {
            let (method, url) = (told["request"]["method"].as_str(), told["request"]["url"].as_str());
            let (method, url) = (method.unwrap_or_default(), url.unwrap_or_default());
            // The answers to a worker's script are told to the worker.
            if url.starts_with("http") && !url.ends_with(".worker.js") {
                open.insert(id, format!("{method} {url}"));
            }
        }
        "Network.responseReceived" => {
            let status = told["response"]["status"].as_u64().unwrap_or_default();
            if let Some(request) = open.get(&id) {
                page.requests += 1;
                if status >= 400 {
                    page.wrong.push(format!("{status}: {request}"));
                }
            }
        }
        "Network.loadingFinished" => drop(open.remove(&id)),
        "Network.loadingFailed" => {
            // What a page does not need any more, it gives up by itself.
            if let Some(request) = open.remove(&id).filter(|_| told["canceled"] != true) {
                page.wrong.push(format!("{}: {request}", told["errorText"]));
            }
        }
        "Runtime.exceptionThrown" => page.wrong.push(format!("exception: {}", told["exceptionDetails"])),
        "Runtime.consoleAPICalled" if told["type"] == "error" => {
            let text = told["args"].to_string();
            // A note of the browser's on its own pace, which the interface passes on.
            if !text.contains("ResizeObserver loop") {
                page.wrong.push(format!("console: {text}"));
            }
        }
        "Log.entryAdded" if told["entry"]["level"] == "error" => page.wrong.push(format!("log: {}", told["entry"])),
        _ => {}
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
