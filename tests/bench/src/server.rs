//! Servers that are measured.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::load;

/// How long a server gets to answer for the first time, and to end when it is asked to.
const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(10);

/// Where a server says its port.
#[derive(Clone, Copy)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// From its start to its first answer, if that was waited for.
    pub(crate) ready: Duration,
    /// Where it runs, if it has a folder of its own.
    pub(crate) folder: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts a server and waits until it says its port: the last number of a line.
    pub(crate) fn start(command: &mut Command, says_on: Channel) -> Result<Self> {
        command.stdout(Stdio::piped());
        if matches!(says_on, Channel::Stderr) {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        }
        let mut child = command.spawn()?;
        let lines: Box<dyn BufRead + Send> = match says_on {
            Channel::Stdout => Box::new(BufReader::new(child.stdout.take().context("stdout")?)),
            Channel::Stderr => Box::new(BufReader::new(child.stderr.take().context("stderr")?)),
        };
        let mut lines = lines.lines();
        for line in lines.by_ref() {
            let line = line?;
            let text = line.split("127.0.0.1:").last().unwrap_or_default();
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(port) = digits.parse() {
                // What it says later is of no interest, but the pipe must not fill.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, port, ready: Duration::ZERO, folder: None });
            }
        }
        bail!("a server ended before it said its port")
    }

    /// Starts a server that has to be told its port, in a new folder, and waits until it answers.
    pub(crate) fn start_on(
        command: impl Fn(u16, &Path) -> Command,
        answers: impl Fn(u16) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Free a moment ago; such a server cannot be asked to choose.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = command(port, folder.path());
        let said = folder.path().join("said");
        let log = File::create(&said)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder.path());
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut server = Self { child, port, ready: Duration::ZERO, folder: Some(folder) };
        while let Err(error) = answers(port) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended with {status}: {}", std::fs::read_to_string(&said).unwrap_or_default());
            }
            if start.elapsed() > START {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                bail!("{command:?} does not answer as it should: {error:#}; it said: {said}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        server.ready = start.elapsed();
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in MiB: what it has to itself, and all of it at its peak.
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).context("the server is gone")?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        Ok((field("RssAnon:"), field("VmHWM:")))
    }

    pub(crate) fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let started = load::descendants(self.pid()).unwrap_or_default();
        // Asked first, so that a parent ends its workers.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < END && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Some parents do not.
        for pid in started.into_iter().filter(|pid| *pid != self.child.id()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
