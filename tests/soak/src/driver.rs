//! The driver: makes the model, starts the host, sends good requests, watches, and ends all of it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Plan, guests,
    load::{self, CALLERS, Load, Question},
    report::{Report, Sample},
};

/// Threads that misbehave in the host.
const ABUSERS: u64 = 4;

/// Different good requests.
const QUESTIONS: usize = 200;

/// How often it is said how far a run is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Runs a plan; whether all was as it should be.
pub(crate) fn run(plan: &Plan) -> Result<bool> {
    println!("seed {}, {} s, {}", plan.seed, plan.duration.as_secs(), profile());
    let folder = tempfile::tempdir()?;
    let version = trained(plan, folder.path())?;
    let questions = Arc::new(questions(plan, folder.path())?);
    println!("{} good requests, answered by the real `plinth serve`", questions.len());

    let mut host = Host::start(plan, folder.path(), &version)?;
    println!("{} misdeeds on {ABUSERS} threads, {CALLERS} callers", host.misdeeds);
    let load = Load::default();
    let samples = std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (load, questions, port) = (&load, &questions, host.port);
            scope.spawn(move || load.run(port, questions, caller));
        }
        let watched = watch(plan, &mut host, &load);
        load.stop();
        watched
    })?;
    let told = host.end()?;
    let report = Report { seed: plan.seed, duration: plan.duration, load: &load, samples, told };
    report.print();
    if let Some(path) = &plan.json {
        fs::write(path, format!("{:#}\n", report.json())).with_context(|| path.display().to_string())?;
    }
    let wrong = report.wrong();
    wrong.iter().for_each(|wrong| println!("WRONG: {wrong}"));
    println!("{}", if wrong.is_empty() { "sound" } else { "not sound" });
    Ok(wrong.is_empty())
}

/// Whether what was built was built to be fast.
pub(crate) const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// Lets the host be abused for as long as the plan says, with a pause ten times to see what is left of it all.
fn watch(plan: &Plan, host: &mut Host, load: &Load) -> Result<Vec<Sample>> {
    let start = Instant::now();
    let mut samples = vec![host.sample(start, false)?];
    let every = plan.duration / 10;
    let mut told = Instant::now();
    host.ask("go")?;
    for round in 1..=10 {
        while start.elapsed() < every * round {
            std::thread::sleep(Duration::from_millis(100).min(every));
            ensure!(host.is_alive()?, "the host died");
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let sample = host.sample(start, true)?;
                println!(
                    "{:>4.0} s  {} good requests, {} failed, {} misdeeds, {:.0} MiB, {} instances",
                    sample.at.as_secs_f64(),
                    load.requests.load(Ordering::Relaxed),
                    load.failed.load(Ordering::Relaxed),
                    sample.calls,
                    sample.rss_mib,
                    sample.instances,
                );
                samples.push(sample);
            }
        }
        host.ask("pause")?;
        samples.push(host.sample(start, false)?);
        host.ask("go")?;
    }
    Ok(samples)
}

/// The version that the real binary trains of the example.
fn trained(plan: &Plan, folder: &Path) -> Result<Value> {
    copy(&plan.example, folder)?;
    let plinth = |arguments: &[&str]| {
        let mut command = Command::new(&plan.plinth);
        command.args(arguments).current_dir(folder).env("PLINTH_PLUGINS", &plan.plugins).stdin(Stdio::null());
        command
    };
    let run = plinth(&["run"]).output()?;
    ensure!(run.status.success(), "`plinth run` failed\n{}", String::from_utf8_lossy(&run.stderr));
    let shown = plinth(&["model", "show", "models:/churn@champion", "--json"]).output()?;
    serde_json::from_slice(&shown.stdout).context("`plinth model show`")
}

/// Rows of the example's table, one or several at a time, and what the real server answers.
fn questions(plan: &Plan, folder: &Path) -> Result<Vec<Question>> {
    let mut serve = Command::new(&plan.plinth);
    serve.args(["serve", "models:/churn@champion", "--port", "0"]).current_dir(folder);
    serve.env("PLINTH_PLUGINS", &plan.plugins).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut serve = Ended(serve.spawn()?);
    let mut lines = BufReader::new(serve.0.stderr.take().context("the server's stderr")?).lines();
    let port = loop {
        let line = lines.next().context("the server ended before it listened")??;
        let after = line.split("127.0.0.1:").nth(1).unwrap_or_default();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        if let Ok(port) = digits.parse() {
            break port;
        }
    };
    let drain = std::thread::spawn(move || lines.for_each(drop));
    let text = fs::read_to_string(folder.join("data/mlc_churn_events.csv"))?;
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<&str>>());
    let header = rows.next().context("a header")?;
    let rows: Vec<Value> = rows.take(QUESTIONS).map(|row| customer(&header, &row)).collect();
    let agent = load::agent();
    let mut questions = Vec::new();
    for (index, _) in rows.iter().enumerate() {
        // One row most of the time, and many now and then.
        let many = if index % 10 == 9 { 20 } else { 1 };
        let asked: Vec<&Value> = rows.iter().cycle().skip(index).take(many).collect();
        let body = json!({ "dataframe_records": asked }).to_string();
        let (status, answer) = load::ask(&agent, &load::url(port), &body)?;
        ensure!(status == 200, "the real server answers {status}: {}", String::from_utf8_lossy(&answer));
        questions.push(Question { body, answer });
    }
    drop(serve);
    let _ = drain.join();
    Ok(questions)
}

/// A row as a client has it.
fn customer(header: &[&str], row: &[&str]) -> Value {
    let leave_out = ["customer_id", "event_timestamp", "created_timestamp", "churn"];
    let cells = header.iter().zip(row).filter(|(name, _)| !leave_out.contains(name));
    let value = |cell: &str| {
        let whole = cell.parse::<i64>().map(Value::from);
        whole.or_else(|_| cell.parse::<f64>().map(Value::from)).unwrap_or_else(|_| Value::from(cell))
    };
    Value::Object(cells.map(|(name, cell)| ((*name).to_owned(), value(cell))).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        let name = path.file_name().context("a name")?;
        match kind?.is_dir() {
            true if name == ".plinth" => {}
            true => copy(&path, &to.join(name))?,
            false => fs::copy(&path, to.join(name)).map(drop)?,
        }
    }
    Ok(())
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The host, seen from outside.
struct Host {
    process: Ended,
    words: ChildStdin,
    answers: std::io::Lines<BufReader<ChildStdout>>,
    port: u16,
    misdeeds: u64,
}

impl Host {
    fn start(plan: &Plan, folder: &Path, version: &Value) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("host").arg(version.to_string()).arg(folder.join(".plinth/blobs")).arg(folder.join("abuse"));
        command.arg(plan.seed.to_string()).arg(ABUSERS.to_string());
        command.args(guests::in_rust(&plan.plugins));
        command.args(&plan.guests).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Ended(command.spawn()?);
        let words = process.0.stdin.take().context("the host's stdin")?;
        let answers = BufReader::new(process.0.stdout.take().context("the host's stdout")?).lines();
        let mut host = Self { process, words, answers, port: 0, misdeeds: 0 };
        let begun = host.answer()?;
        host.port = u16::try_from(begun["port"].as_u64().context("the port")?)?;
        host.misdeeds = begun["misdeeds"].as_u64().context("the misdeeds")?;
        Ok(host)
    }

    fn is_alive(&mut self) -> Result<bool> {
        Ok(self.process.0.try_wait()?.is_none())
    }

    fn answer(&mut self) -> Result<Value> {
        let line = self.answers.next().context("the host ended without an answer")??;
        serde_json::from_str(&line).context(line)
    }

    /// Tells the host what to do; what it says of itself then.
    fn ask(&mut self, word: &str) -> Result<Value> {
        writeln!(self.words, "{word}")?;
        self.answer()
    }

    /// What the host has at this moment, while it is abused or in a pause.
    fn sample(&mut self, start: Instant, abused: bool) -> Result<Sample> {
        let said = self.ask("look")?;
        let process = format!("/proc/{}", self.process.0.id());
        let status = fs::read_to_string(format!("{process}/status")).context("the host is gone")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        Ok(Sample {
            at: start.elapsed(),
            abused,
            calls: said["calls"].as_u64().unwrap_or_default(),
            instances: said["instances"].as_u64().unwrap_or_default(),
            guest_mib: said["guest_bytes"].as_f64().unwrap_or_default() / f64::from(1 << 20),
            captured: said["captured"].as_u64().unwrap_or_default(),
            rss_mib: field("VmRSS:") as f64 / 1024.0,
            threads: field("Threads:"),
            files: fs::read_dir(format!("{process}/fd"))?.count() as u64,
        })
    }

    /// Ends it, and waits until it has; how every misdeed ended.
    fn end(mut self) -> Result<Value> {
        writeln!(self.words, "end")?;
        let told = self.answer()?;
        let Self { mut process, words, .. } = self;
        drop(words);
        let ended = process.0.wait()?;
        ensure!(ended.success(), "the host ended with {ended}");
        Ok(told)
    }
}
