//! Servers that are measured.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

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
                return Ok(Self { child, port });
            }
        }
        anyhow::bail!("a server ended before it said its port")
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
