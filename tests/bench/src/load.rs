//! A bounded load over keep-alive connections, and what it cost the server.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What a load cost.
pub(crate) struct Cost {
    /// Requests answered.
    pub(crate) requests: usize,
    /// The server process's CPU time, user and system.
    pub(crate) cpu: Duration,
    /// Wall-clock time.
    pub(crate) wall: Duration,
}

impl Cost {
    pub(crate) fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }
}

/// Posts `body` to `path` so many times over so many connections, and reads the server's CPU time before and after.
pub(crate) fn run(server: u32, port: u16, path: &str, body: &str, connections: usize, each: usize) -> Result<Cost> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = cpu_time(server)?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(|| one_connection(port, &request, each))).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a load connection panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let wall = start.elapsed();
    Ok(Cost { requests: connections * each, cpu: cpu_time(server)? - before, wall })
}

fn one_connection(port: u16, request: &str, times: usize) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    let mut body = Vec::new();
    for _ in 0..times {
        stream.write_all(request.as_bytes())?;
        line.clear();
        reader.read_line(&mut line)?;
        let status = line.clone();
        let mut length = 0_usize;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        if !status.contains(" 200 ") {
            bail!("{}: {}", status.trim(), String::from_utf8_lossy(&body));
        }
    }
    Ok(())
}

/// User and system time that a process has used so far, to a hundredth of a second.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server is gone")?;
    // The process's name, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields after it.
    let after_name = stat.rsplit_once(')').context("an odd /proc/PID/stat")?.1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}
