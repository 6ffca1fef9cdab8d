//! Drives the built `plinth` binary as a user would: a project folder, a command line, a server on a free port.
//!
//! Knows nothing of the crates inside; everything it sees is stdout, stderr, exit codes, files and HTTP.
//!
//! Start at [`Project`]. A test that needs the binary or the components and does not find them fails and says which
//! command builds them: nothing is skipped.

mod browser;
pub mod guests;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, mpsc},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

pub use browser::{Browser, Page};

/// Longest wait for something that a process was asked to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

/// The built binary: beside the tests, or where `PLINTH_BIN` says.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("PLINTH_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let tests = std::env::current_exe().expect("a test has a path");
        tests.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").join("plinth")
    });
    assert!(path.exists(), "{} is missing: run `cargo build -p plinth-cli`, or `cargo xtask test`", path.display());
    path
}

/// The folder of built components.
pub fn plugins() -> PathBuf {
    let path = root().join("target/plugins");
    assert!(path.join("load-csv.wasm").exists(), "{} has no components: run `cargo xtask plugins`", path.display());
    path
}

/// The folder of MLflow's web interface, which `cargo xtask setup` puts into the user's cache.
pub fn mlflow_ui() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let versions = cache.expect("HOME is set").join("plinth/mlflow-ui");
    let folder = std::fs::read_dir(&versions).into_iter().flatten().flatten().map(|entry| entry.path());
    let folder = folder.filter(|folder| folder.join("index.html").exists()).max();
    folder.unwrap_or_else(|| panic!("{} has no web interface: run `cargo xtask setup`", versions.display()))
}

/// A project folder with the churn example in it, and a state directory of its own.
pub struct Project {
    folder: TempDir,
    /// The database of its catalog, if that is not in the folder.
    catalog: Option<String>,
    /// What else every command has in its environment.
    environment: Vec<(&'static str, String)>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl Project {
    /// The churn example: `plinth.yaml` and `data/`.
    pub fn churn() -> Self {
        let project = Self::empty();
        let example = root().join("examples/churn");
        std::fs::copy(example.join("plinth.yaml"), project.path("plinth.yaml")).expect("the example is there");
        std::fs::create_dir(project.path("data")).expect("a new folder");
        for entry in std::fs::read_dir(example.join("data")).expect("the example has data") {
            let entry = entry.expect("a readable folder");
            std::fs::copy(entry.path(), project.path("data").join(entry.file_name())).expect("a copy");
        }
        project
    }

    /// A folder with nothing in it.
    pub fn empty() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), catalog: None, environment: Vec::new() }
    }

    /// The same with its catalog in a database.
    pub fn with_catalog(url: &str) -> Self {
        Self { catalog: Some(url.to_owned()), ..Self::empty() }
    }

    /// The same with variables that every command has in its environment.
    pub fn with_environment(environment: Vec<(&'static str, String)>) -> Self {
        Self { environment, ..Self::empty() }
    }

    /// Sets a variable that every command from now on has in its environment.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// A path inside the project.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file of the project, and makes its folder.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a writable project");
        std::fs::write(path, content).expect("a writable project");
    }

    /// Replaces text in a file of the project; the text must be there.
    pub fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(relative)).expect("the file is there");
        assert!(text.contains(from), "{relative} does not contain `{from}`");
        self.write(relative, text.replacen(from, to, 1));
    }

    /// A command in the project folder, with nothing of the caller's environment that could change its answer.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).env("PLINTH_PLUGINS", plugins());
        for name in
            ["PLINTH_STATE_DIR", "PLINTH_CATALOG", "PLINTH_ARTIFACT_STORE", "PLINTH_URI", "RUST_LOG", "NO_COLOR"]
        {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        if let Some(url) = &self.catalog {
            command.env("PLINTH_CATALOG", url);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Done {
        self.command(arguments).output().expect("the binary starts").into()
    }

    /// Runs a command that must succeed, with `--json`, and reads what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}\n{}{}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", done.stdout))
    }

    /// Starts a server and waits until it says where it listens.
    pub fn serve(&self, model: &str) -> Server {
        self.serve_with(model, &[])
    }

    /// Starts a server with more arguments and waits until it says where it listens.
    pub fn serve_with(&self, model: &str, more: &[&str]) -> Server {
        self.listening(&[&["serve", model, "--port", "0"], more].concat())
    }

    /// Starts the tracking server and waits until it says where it listens.
    pub fn up(&self) -> Server {
        self.listening(&["up", "--port", "0"])
    }

    /// Starts the tracking server with more arguments and waits until it says where it listens.
    pub fn up_with(&self, more: &[&str]) -> Server {
        self.listening(&[&["up", "--port", "0"], more].concat())
    }

    /// Starts a server and waits until it says where it listens.
    pub fn listening(&self, arguments: &[&str]) -> Server {
        listening(self.command(arguments))
    }
}

/// Starts a server by a command and waits until it says where it listens.
pub fn listening(mut command: Command) -> Server {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut seen = String::new();
    let port = loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the server did not come up:\n{seen}"));
        seen.push_str(&line);
        seen.push('\n');
        if let Some(rest) = line.split("://127.0.0.1:").nth(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            break digits.parse().expect("a port");
        }
    };
    Server { child, port, lines: Mutex::new(lines), seen }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    /// Checks that the command failed as documented: exit code, stable code, and words that a user needs to see.
    #[track_caller]
    pub fn fails(&self, exit: i32, code: &str, words: &[&str]) {
        let all = format!("exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr);
        assert_eq!(self.code, Some(exit), "{all}");
        assert!(self.stderr.contains(&format!("[{code}]")), "no [{code}] in\n{all}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in\n{all}");
        }
    }

    /// Checks that the command succeeded.
    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        assert_eq!(self.code, Some(0), "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

/// A server under test; it is ended when this goes out of scope.
pub struct Server {
    child: Child,
    port: u16,
    /// Callers share a server between threads, and only its owner reads what it says.
    lines: Mutex<mpsc::Receiver<String>>,
    seen: String,
}

impl Server {
    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as the system does when there is no memory left, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server is ours");
        self.child.wait().expect("the server is ours");
    }

    /// Waits for a line on its stderr that contains `words`.
    pub fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.get_mut().expect("nobody panicked").recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the server never said `{words}`:\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    /// A GET: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        answer(agent().get(self.url(path)).call())
    }

    /// A POST of JSON: status and body.
    pub fn post(&self, path: &str, body: &Value) -> (u16, String) {
        self.post_text(path, "application/json", &body.to_string())
    }

    /// A POST of any text: status and body.
    pub fn post_text(&self, path: &str, content_type: &str, body: &str) -> (u16, String) {
        answer(agent().post(self.url(path)).header("content-type", content_type).send(body))
    }

    /// Any request with any body: status and body.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(agent().run(request.body(body).expect("a request")))
    }

    /// A POST of JSON: status, and what a header of the answer says.
    pub fn told(&self, path: &str, headers: &[(&str, &str)], body: &Value, header: &str) -> (u16, String) {
        let mut request = agent().post(self.url(path)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send(body.to_string()).expect("the server answers");
        let told = response.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or_default();
        (response.status().as_u16(), told.to_owned())
    }

    /// Asks it to end, as an operator would, and waits until it has; its last line. What was captured is then stored, if that
    /// could be.
    pub fn stop(mut self) -> String {
        signal(self.pid(), "TERM");
        let status = self.child.wait().expect("the server is ours");
        assert!(status.success(), "the server ended with {status} on SIGTERM");
        let lines = self.lines.get_mut().expect("nobody panicked");
        std::iter::from_fn(|| lines.recv_timeout(PATIENCE).ok()).last().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A POST of JSON to a server that may be killed meanwhile: its answer, if it came whole.
pub fn try_post(url: &str, body: &Value) -> Option<(u16, String)> {
    let sent = agent().post(url).header("content-type", "application/json").send(body.to_string());
    let mut response = sent.ok()?;
    Some((response.status().as_u16(), response.body_mut().read_to_string().ok()?))
}

/// Sends a signal by name to one process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()), "kill -{name} {pid} failed");
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    let mut response = result.expect("the server answers");
    (response.status().as_u16(), response.body_mut().read_to_string().expect("a text body"))
}
