//! Plugins between people: a real OCI registry on loopback, signatures, the lock file, grants.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use plinth_e2e::{Project, plugins};
use serde_json::Value;
use tempfile::TempDir;

/// Debian's `docker-registry`, which is the CNCF's Distribution.
struct Registry {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            data.display()
        );
        std::fs::write(&config, text).expect("a writable folder");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| {
            panic!(
                "docker-registry cannot be run ({error}): run `cargo xtask setup`, or `apt-get install docker-registry`"
            )
        });
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("listening on ")?.1.split(['"', ' ']).next()?.to_owned()))
            .expect("the registry says where it listens");
        // Whatever it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, address, _folder: folder }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An author's folder with a component in it.
fn author() -> Project {
    let project = Project::empty();
    std::fs::copy(plugins().join("clip.wasm"), project.path("clip.wasm")).expect("built");
    project
}

fn json(project: &Project, arguments: &[&str]) -> Value {
    let done = project.run(&[arguments, &["--json"]].concat());
    assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
    serde_json::from_str(&done.stdout).expect("JSON")
}

#[test]
fn a_plugin_goes_through_a_registry_and_is_what_the_lock_file_says() {
    let registry = Registry::start();
    let author = author();
    let pushed = json(&author, &["plugin", "push", "./clip.wasm", &registry.at("team/clip:1")]);
    // A user who has it from nowhere else: under a name that no folder has.
    let user = Project::empty();
    user.write("rows.csv", "x\n7.5\n");
    let pulled = json(&user, &["plugin", "pull", &registry.at("team/clip:1"), "--name", "mine"]);
    assert_eq!((&pulled[0]["digest"], &pulled[0]["hash"]), (&pushed["digest"], &pushed["hash"]));
    let run = ["plugin", "run", "mine", "rows.csv", "--option", "min=0", "--option", "max=1"];
    assert_eq!(user.run(&run).stdout, "x\n1.0\n");
    // The tag moves; the lock file does not.
    std::fs::copy(plugins().join("tabular.wasm"), author.path("clip.wasm")).expect("built");
    json(&author, &["plugin", "push", "./clip.wasm", &registry.at("team/clip:1")]);
    std::fs::remove_dir_all(user.path(".plinth/plugins")).expect("it was pulled");
    assert_eq!(json(&user, &["plugin", "pull"]), pulled);
    // Another file in its place is not run.
    std::fs::copy(plugins().join("tabular.wasm"), user.path(".plinth/plugins/mine.wasm")).expect("a copy");
    user.run(&run).fails(7, "plugin-changed", &["mine"]);
    json(&user, &["plugin", "pull"]);
    assert_eq!(user.run(&run).code, Some(0));
}

#[test]
fn only_signed_plugins_run_where_that_is_wanted() {
    let registry = Registry::start();
    let author = author();
    let unsigned = registry.at("team/clip:unsigned");
    json(&author, &["plugin", "push", "./clip.wasm", &unsigned]);
    let signed = json(&author, &["plugin", "sign", "./clip.wasm", "--key", "key.pem", "--new-key"]);
    let key = signed["key"].as_str().expect("a key").to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(author.path("key.pem")).expect("a key").permissions(),
    );
    assert_eq!(mode & 0o077, 0, "nobody else may read the key");
    author.run(&["plugin", "sign", "./clip.wasm", "--key", "key.pem", "--new-key"]).fails(
        7,
        "already-exists",
        &["key.pem"],
    );
    author.run(&["plugin", "verify", "./clip.wasm"]).fails(8, "plugin-untrusted", &[&key, "[trust]"]);
    json(&author, &["plugin", "verify", "./clip.wasm", "--key", &key]);
    let reference = registry.at("team/clip:1");
    json(&author, &["plugin", "push", "./clip.wasm", &reference]);

    let user = Project::empty();
    user.write("rows.csv", "x\n7.5\n");
    user.write("plinth.toml", format!("[trust]\nkeys = [\"{key}\"]\nrequired = true\n"));
    user.run(&["plugin", "pull", &unsigned]).fails(8, "plugin-untrusted", &["is not signed"]);
    assert!(!user.path(".plinth/plugins/clip.wasm").exists());
    json(&user, &["plugin", "pull", &reference]);
    let verified = json(&user, &["plugin", "verify", "clip"]);
    assert_eq!(verified["key"], key.as_str());
    // The reader of the rows is nobody's that is trusted.
    let run = ["plugin", "run", "clip", "rows.csv", "--option", "min=0", "--option", "max=1"];
    user.run(&run).fails(8, "plugin-untrusted", &["load-csv", "not signed"]);
    // One byte more, and the signature is of something else.
    let path = author.path("clip.wasm");
    let mut bytes = std::fs::read(&path).expect("the component");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("writable");
    author.run(&["plugin", "verify", "./clip.wasm", "--key", &key]).fails(
        8,
        "plugin-untrusted",
        &["not what was signed"],
    );
    // Nor is a key of somebody else's.
    user.write("plinth.toml", format!("[trust]\nkeys = [\"ed25519:{}=\"]\nrequired = true\n", "A".repeat(43)));
    user.run(&["plugin", "pull", &reference]).fails(8, "plugin-untrusted", &[&key]);
    // What was pulled before that was wanted is pinned by plinth.lock, which tells nobody whom to trust.
    let early = Project::empty();
    early.write("rows.csv", "x\n7.5\n");
    json(&early, &["plugin", "pull", &unsigned]);
    assert_eq!(early.run(&run).code, Some(0));
    early.write("plinth.toml", format!("[trust]\nkeys = [\"{key}\"]\nrequired = true\n"));
    early.run(&run).fails(8, "plugin-untrusted", &["clip", "not signed"]);
}

#[test]
fn what_a_registry_refuses_is_told_apart() {
    let registry = Registry::start();
    let author = author();
    author.run(&["plugin", "pull", &registry.at("team/none:1")]).fails(6, "plugin-not-found", &["team/none:1"]);
    author.run(&["plugin", "pull", "127.0.0.1:1/team/clip:1"]).fails(12, "registry-unavailable", &["127.0.0.1:1"]);
    author.run(&["plugin", "pull", "clip"]).fails(2, "bad-reference", &["clip", "HOST/NAME:TAG"]);
    author.run(&["plugin", "pull"]).fails(2, "usage", &["plinth.lock"]);
    author.write("text.wasm", "not a component");
    author.run(&["plugin", "push", "./text.wasm", &registry.at("team/text:1")]).fails(9, "not-a-component", &["text"]);
    // Larger than this user takes.
    json(&author, &["plugin", "push", "./clip.wasm", &registry.at("team/clip:1")]);
    let user = Project::empty();
    user.write("plinth.toml", "[limits.plugin]\ncomponent-bytes-max = 1000\n");
    user.run(&["plugin", "pull", &registry.at("team/clip:1")]).fails(10, "plugin-too-large", &["1000"]);
}

#[test]
fn grants_are_written_and_nothing_else_is_touched() {
    let project = Project::empty();
    project.write("plinth.toml", "# ours\ndevice = \"cpu\" # not the GPU\n\n[plugins.embed]\ngrant = [\"kv\"]\n");
    let granted = json(
        &project,
        &[
            "plugin",
            "grant",
            "embed",
            "http",
            "secrets",
            "--host",
            "api.example.com",
            "--method",
            "POST",
            "--secret",
            "key=env:KEY",
        ],
    );
    assert_eq!(granted["granted"], serde_json::json!(["kv", "http", "secrets"]));
    json(&project, &["plugin", "grant", "embed", "kv", "--revoke"]);
    let text = std::fs::read_to_string(project.path("plinth.toml")).expect("the file");
    for line in [
        "# ours\ndevice = \"cpu\" # not the GPU\n",
        "grant = [\"http\", \"secrets\"]",
        "http = { hosts = [\"api.example.com\"], methods = [\"POST\"] }",
        "secrets = { key = \"env:KEY\" }",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    project.run(&["plugin", "grant", "embed", "htpp"]).fails(2, "usage", &["htpp", "`http`"]);
    project.run(&["plugin", "grant", "embed", "secrets", "--secret", "key"]).fails(2, "usage", &["key", "NAME=VALUE"]);
    assert_eq!(std::fs::read_to_string(project.path("plinth.toml")).expect("the file"), text);
    // What http was for goes with it: to allow it again is to say anew for which hosts.
    json(&project, &["plugin", "grant", "embed", "http", "--revoke"]);
    json(&project, &["plugin", "grant", "embed", "http"]);
    let text = std::fs::read_to_string(project.path("plinth.toml")).expect("the file");
    assert!(!text.contains("api.example.com") && text.contains("secrets = { key"), "{text}");
    let unknown = project.run(&["plugin", "grant", "embd", "kv"]);
    assert!(unknown.succeeds().stderr.contains("there is no plugin `embd` yet"), "{}", unknown.stderr);
}
