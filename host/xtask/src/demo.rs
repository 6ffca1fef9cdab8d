//! `cargo xtask demo`: the product's main job from nothing, each step as a user would type it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{plugins, repo::Repo, shell, test};

pub(crate) const HELP: &str = "demo

Installs what is missing, builds the components and the `plinth` binary, then walks a real model through its whole
life in a folder of its own below target/.";

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    anyhow::ensure!(arguments.is_empty(), "demo takes no argument `{}`", arguments[0]);
    test::prepare(repo)?;
    story(&Stage::prepare(repo)?)
}

/// The steps, in order.
fn story(stage: &Stage) -> Result<()> {
    let start = Instant::now();
    stage.step(
        "A forest is trained on 5,000 customers. It misses too many who leave, and the gate stops it (exit code 3).",
        &["run", "-p", "trainer=random-forest"],
        3,
    )?;
    stage.step("Gradient boosting on the same data passes the gate and becomes the champion.", &["run"], 0)?;
    stage.step("Nothing changed, so nothing runs.", &["run"], 0)?;
    stage.step("The registry knows every byte of it.", &["model", "show", "churn"], 0)?;

    let server = stage.serve("models:/churn@champion")?;
    let customer = stage.first_customer()?;
    server.ask("A raw customer row is scored by the very transform that the model was trained with.", &customer)?;

    let current = "data/mlc_churn_sorted_cur.csv";
    stage.step(
        "Months later customers talk more by day. The drift tests notice (exit code 4).",
        &["monitor", "check", "churn", "--current", current, "--report", "drift.html"],
        4,
    )?;
    let retrain = ["monitor", "check", "churn", "--current", current, "--retrain", "--approve"];
    let during = server.under_load(&customer, || {
        stage.step(
            "It is trained again on the new data, judged against the champion, and takes over while requests go on.",
            &retrain,
            0,
        )?;
        server.wait_for_version(2)
    })?;
    println!("\n{} requests were answered while the champion changed; {} failed.", during.answered, during.failed);
    anyhow::ensure!(during.failed == 0 && during.answered > 0, "a request failed while the champion changed");
    server.ask("The same customer, scored by the new champion.", &customer)?;
    drop(server);

    println!(
        "\nDone in {:.0} s, in {}. The server has been stopped. Try next, in that folder:
  plinth run --set split.fraction=0.3            only what depends on the split runs again
  plinth run list                                everything that happened is recorded
  plinth serve models:/churn/1                   any version can be served
  plinth plugin inspect tabular                  what a component offers, asks for and is granted
and open drift.html in a browser. The binary is {}.",
        start.elapsed().as_secs_f64(),
        stage.project.display(),
        stage.plinth.display()
    );
    Ok(())
}

/// Where the demo plays: the built binary and a project folder of its own.
struct Stage {
    plinth: PathBuf,
    plugins: PathBuf,
    project: PathBuf,
}

impl Stage {
    /// A fresh copy of the churn example, so that the demo starts from nothing every time.
    fn prepare(repo: &Repo) -> Result<Self> {
        let project = repo.target().join("demo");
        if project.exists() {
            std::fs::remove_dir_all(&project).with_context(|| format!("cannot empty {}", project.display()))?;
        }
        copy(&repo.path("examples/churn"), &project)?;
        Ok(Self { plinth: repo.target().join("debug/plinth"), plugins: plugins::folder(repo), project })
    }

    /// Shows a title and the command, runs it with its output on the screen, and checks how it ended.
    fn step(&self, title: &str, arguments: &[&str], expected: i32) -> Result<()> {
        println!("\n── {title}\n$ plinth {}", arguments.join(" "));
        let mut command = Command::new(&self.plinth);
        command.args(arguments).current_dir(&self.project).env("PLINTH_PLUGINS", &self.plugins);
        let status = command.status().with_context(|| format!("cannot start `{}`", shell::line(&command)))?;
        if status.code() != Some(expected) {
            bail!("`plinth {}` ended with {status}; {expected} was expected", arguments.join(" "));
        }
        Ok(())
    }
}

impl Stage {
    /// Starts a server in the background and waits until it listens.
    fn serve(&self, model: &str) -> Result<Server> {
        println!("\n── It is served.\n$ plinth serve {model} --port 0 &");
        let mut command = Command::new(&self.plinth);
        command.args(["serve", model, "--port", "0"]).current_dir(&self.project).env("PLINTH_PLUGINS", &self.plugins);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start the server")?;
        let mut lines = BufReader::new(child.stderr.take().context("the server's stderr")?).lines();
        for line in lines.by_ref() {
            let line = line?;
            println!("{line}");
            let port: String =
                line.split("127.0.0.1:").skip(1).flat_map(str::chars).take_while(char::is_ascii_digit).collect();
            if let Ok(port) = port.parse() {
                // Its later lines belong on the screen too, between those of other commands.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("[server] {line}")));
                return Ok(Server { child, port });
            }
        }
        bail!("the server ended before it listened: {}", child.wait()?)
    }

    /// The first row of the table as a client has it: without its identifiers and without the answer.
    fn first_customer(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.project.join("data/mlc_churn_events.csv"))?;
        let mut lines = text.lines().map(|line| line.split(','));
        let (header, row) = (lines.next().context("a header")?, lines.next().context("a row")?);
        let leave_out = ["customer_id", "event_timestamp", "created_timestamp", "churn"];
        let cells: Vec<String> = header
            .zip(row)
            .filter(|(name, _)| !leave_out.contains(name))
            .map(|(name, cell)| match cell.parse::<f64>() {
                Ok(_) => format!("\"{name}\": {cell}"),
                Err(_) => format!("\"{name}\": \"{cell}\""),
            })
            .collect();
        Ok(format!("{{\"dataframe_records\": [{{{}}}]}}", cells.join(", ")))
    }
}

/// The server of the demo; it ends with this value.
struct Server {
    child: Child,
    port: u16,
}

/// What happened under load.
struct Load {
    answered: u32,
    failed: u32,
}

impl Server {
    /// Shows a request and its answer.
    fn ask(&self, title: &str, body: &str) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/invocations", self.port);
        println!("\n── {title}\n$ curl -s {url} -H 'content-type: application/json' -d '{body}'");
        let (status, answer) = self.request("POST", "/invocations", body)?;
        println!("{answer}");
        anyhow::ensure!(status == 200, "the server answered {status}");
        Ok(())
    }

    /// Does `work` while one client asks without pause.
    fn under_load(&self, body: &str, work: impl FnOnce() -> Result<()>) -> Result<Load> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut load = Load { answered: 0, failed: 0 };
                while !stop.load(Ordering::Relaxed) {
                    match self.request("POST", "/invocations", body) {
                        Ok((200, _)) => load.answered += 1,
                        _ => load.failed += 1,
                    }
                    // A steady trickle: the two cores are needed for training.
                    std::thread::sleep(Duration::from_millis(5));
                }
                load
            });
            let done = work();
            stop.store(true, Ordering::Relaxed);
            let load = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
            done.map(|()| load)
        })
    }

    /// Waits until the server says that it serves a version.
    fn wait_for_version(&self, version: u32) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if self.request("GET", "/v2/models/churn", "")?.1.contains(&format!("\"{version}\"")) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server did not take up version {version}")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
        Ok((status, body.to_owned()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}
