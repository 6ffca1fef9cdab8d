//! A bounded load over keep-alive connections, and what it cost the server.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What a load cost.
pub(crate) struct Cost {
    /// Requests answered.
    pub(crate) requests: usize,
    /// CPU time of the server and the processes it started, user and system.
    pub(crate) cpu: Duration,
    /// Wall-clock time.
    pub(crate) wall: Duration,
    /// How long each answer took, the shortest first.
    times: Vec<Duration>,
}

impl Cost {
    /// From what was measured, in any order.
    pub(crate) fn of(mut times: Vec<Duration>, cpu: Duration, wall: Duration) -> Self {
        times.sort_unstable();
        Self { requests: times.len(), cpu, wall, times }
    }

    pub(crate) fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// What both cost together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.times.extend(other.times);
        self.times.sort_unstable();
        Self {
            requests: self.requests + other.requests,
            cpu: self.cpu + other.cpu,
            wall: self.wall + other.wall,
            times: self.times,
        }
    }

    /// The time within which a share of the answers came, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let at = (self.times.len() as f64 * share) as usize;
        self.times.get(at.min(self.times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// Posts `body` to `path` so many times over so many connections, and reads the server's CPU time before and after.
pub(crate) fn run(server: u32, port: u16, path: &str, body: &str, connections: usize, each: usize) -> Result<Cost> {
    let request = request(port, "POST", path, body);
    run_with(server, port, connections, each, &|_, _| request.clone())
}

/// Does so with several bodies in turn; each connection starts with another one.
pub(crate) fn mixed(
    server: u32,
    port: u16,
    path: &str,
    bodies: &[String],
    connections: usize,
    each: usize,
) -> Result<Cost> {
    let requests: Vec<Vec<u8>> = bodies.iter().map(|body| request(port, "POST", path, body)).collect();
    run_with(server, port, connections, each, &|connection, turn| {
        requests[(connection * requests.len() / connections + turn) % requests.len()].clone()
    })
}

/// Gets a path so many times over one connection.
pub(crate) fn get(server: u32, port: u16, path: &str, times: usize) -> Result<Cost> {
    run_with(server, port, 1, times, &|_, _| request(port, "GET", path, ""))
}

/// Sends a request again and again over so many connections, for so long.
pub(crate) fn run_for(server: u32, port: u16, request: &[u8], connections: usize, lasting: Duration) -> Result<Cost> {
    let before = cpu_time(server)?;
    let start = Instant::now();
    let times = each_connection(connections, |_| {
        let mut connection = Connection::open(port)?;
        let mut times = Vec::new();
        while start.elapsed() < lasting {
            let asked = Instant::now();
            connection.ask(request)?;
            times.push(asked.elapsed());
        }
        Ok(times)
    })?;
    let wall = start.elapsed();
    Ok(Cost::of(times, cpu_time(server)? - before, wall))
}

/// The same with a request of its own for each connection and turn.
pub(crate) fn run_with(
    server: u32,
    port: u16,
    connections: usize,
    each: usize,
    make: &(dyn Fn(usize, usize) -> Vec<u8> + Sync),
) -> Result<Cost> {
    let before = cpu_time(server)?;
    let start = Instant::now();
    let times = each_connection(connections, |connection| one_connection(port, each, &|turn| make(connection, turn)))?;
    let wall = start.elapsed();
    Ok(Cost::of(times, cpu_time(server)? - before, wall))
}

/// Has a thread for each connection; what they all measured.
fn each_connection(connections: usize, run: impl Fn(usize) -> Result<Vec<Duration>> + Sync) -> Result<Vec<Duration>> {
    let run = &run;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|connection| scope.spawn(move || run(connection))).collect();
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.join().map_err(|_| anyhow::anyhow!("a load connection panicked"))??);
        }
        Ok(times)
    })
}

/// A request as it goes over the wire.
pub(crate) fn request(port: u16, method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One request on a connection of its own; its answer.
pub(crate) fn once(port: u16, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::open(port)?;
    connection.ask(&request(port, method, path, body))?;
    Ok(connection.body)
}

fn one_connection(port: u16, times: usize, make: &dyn Fn(usize) -> Vec<u8>) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(port)?;
    (0..times)
        .map(|turn| {
            let request = make(turn);
            let start = Instant::now();
            connection.ask(&request)?;
            Ok(start.elapsed())
        })
        .collect()
}

struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        // MLflow takes minutes for sixteen searches of 100,000 runs.
        stream.set_read_timeout(Some(Duration::from_secs(1_200)))?;
        let reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        Ok(Self { stream, reader, line: String::new(), body: Vec::new() })
    }

    fn next_line(&mut self) -> Result<&str> {
        self.line.clear();
        if self.reader.read_line(&mut self.line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(self.line.trim_end())
    }

    fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request)?;
        let status = self.next_line()?.to_owned();
        let (mut length, mut chunked) = (0_usize, false);
        loop {
            let header = self.next_line()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
        }
        self.body.clear();
        if chunked {
            loop {
                let size = usize::from_str_radix(self.next_line()?, 16).context("the size of a chunk")?;
                let at = self.body.len();
                self.body.resize(at + size, 0);
                self.reader.read_exact(&mut self.body[at..])?;
                self.next_line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.body.resize(length, 0);
            self.reader.read_exact(&mut self.body)?;
        }
        if !status.contains(" 200 ") {
            bail!("{status}: {}", String::from_utf8_lossy(&self.body[..self.body.len().min(500)]));
        }
        Ok(())
    }
}

/// User and system time that a process and its descendants have used so far, to a hundredth of a second.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let tree = tree(pid)?;
    if !tree.contains_key(&pid) {
        bail!("the server is gone");
    }
    Ok(Duration::from_millis(tree.values().sum::<u64>() * 10))
}

/// A process and those that it started, and those that they did.
pub(crate) fn descendants(pid: u32) -> Result<Vec<u32>> {
    Ok(tree(pid)?.into_keys().collect())
}

/// The same with the time that each used, in hundredths of a second.
fn tree(pid: u32) -> Result<HashMap<u32, u64>> {
    let mut parents = HashMap::new();
    let mut ticks = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that ends meanwhile is no longer of interest.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        // The process's name, in parentheses, may hold spaces; the parent is the 2nd field after it, utime and stime
        // are the 12th and 13th.
        let after_name = stat.rsplit_once(')').context("an odd /proc/PID/stat")?.1;
        let fields: Vec<u64> = after_name.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        parents.insert(id, fields[1] as u32);
        ticks.insert(id, fields[11] + fields[12]);
    }
    let below = |mut id: u32| loop {
        if id == pid {
            return true;
        }
        match parents.get(&id) {
            Some(&parent) if parent != id => id = parent,
            _ => return false,
        }
    };
    Ok(ticks.into_iter().filter(|(id, _)| below(*id)).collect())
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the server is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.split_whitespace().next().context("VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}
