//! Requests that come at a pace of their own, whether or not the server keeps up, and what becomes of each.
//!
//! One thread drives all connections and keeps the pace, without ever sleeping, so that a core is enough for a pace that
//! another core cannot serve, and a request leaves when it is due. How long an answer took counts from then: what had to
//! wait for a connection has waited as well. When the processor is taken away from this thread, nothing is due until it is
//! back: or the server would get at once what was meant to come at a distance, and would be blamed for both.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

/// How long answers that are missing at the end are waited for.
const GRACE: Duration = Duration::from_secs(35);
/// A gap between two looks at the clock that a loop does not make by itself.
pub(crate) const GAP: Duration = Duration::from_micros(200);
/// Connections that are looked at in one turn.
const EVENTS: usize = 256;

/// What became of the requests.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How long each answer 200 took, the shortest first.
    pub(crate) answered: Vec<Duration>,
    /// When each of them was due, from the start, and how long it took.
    moments: Vec<(Duration, Duration)>,
    /// How long each answer 503 took.
    pub(crate) refused: Vec<Duration>,
    /// The time that counts: from the first request to the end of the pace.
    pub(crate) lasted: Duration,
    /// How much of that the load had no processor.
    pub(crate) away: Duration,
    /// Answers 200 within that time.
    in_time: usize,
    /// Requests sent within that time.
    sent: usize,
    /// The longest that any answer took from when its request was sent.
    longest: Duration,
}

impl Outcome {
    /// Answers 200 a second.
    pub(crate) fn goodput(&self) -> f64 {
        self.in_time as f64 / self.lasted.as_secs_f64()
    }

    /// Requests sent a second: fewer than the pace if the load itself did not keep it.
    pub(crate) fn asked(&self) -> f64 {
        self.sent as f64 / self.lasted.as_secs_f64()
    }

    /// The time within which a share of the answers came, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        quantile(&self.answered, share).as_secs_f64() * 1e3
    }

    /// p99 / p50 of the requests that were due in the same window of time, in the median of all windows: what it is
    /// while nothing takes the processors away from the server.
    pub(crate) fn tail_in_windows(&self, window: Duration) -> f64 {
        let mut windows: BTreeMap<u128, Vec<Duration>> = BTreeMap::new();
        for (due, took) in &self.moments {
            windows.entry(due.as_nanos() / window.as_nanos().max(1)).or_default().push(*took);
        }
        let tail = |mut times: Vec<Duration>| {
            times.sort_unstable();
            quantile(&times, 0.99).as_secs_f64() / quantile(&times, 0.5).as_secs_f64()
        };
        let mut tails: Vec<f64> = windows.into_values().map(tail).collect();
        tails.sort_by(f64::total_cmp);
        tails.get(tails.len() / 2).copied().unwrap_or_default()
    }

    /// The longest that anybody waited for any answer, in milliseconds, from when the request was sent: where the load
    /// does not keep its pace, that is not the server's fault.
    pub(crate) fn longest_ms(&self) -> f64 {
        self.longest.as_secs_f64() * 1e3
    }
}

/// The time within which a share of sorted times lies.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// How far apart requests are due.
#[derive(Clone, Copy)]
pub(crate) enum Gaps {
    /// Always as far.
    Even,
    /// At random: a Poisson process, the same in every run.
    Random,
}

/// Sends `request` `rate` times a second in the mean over the connections that are free.
pub(crate) fn run(
    port: u16,
    request: &[u8],
    connections: usize,
    (rate, gaps): (f64, Gaps),
    lasting: Duration,
) -> Result<Outcome> {
    Load::open(port, request, connections, lasting)?.keep(moments(rate, gaps, lasting))
}

/// Sends it again as soon as it was answered, over each connection.
pub(crate) fn saturate(port: u16, request: &[u8], connections: usize, lasting: Duration) -> Result<Outcome> {
    Load::open(port, request, connections, lasting)?.saturate()
}

/// When requests are due, from the start.
fn moments(rate: f64, gaps: Gaps, lasting: Duration) -> impl Iterator<Item = Duration> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let apart = std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // From 0, exclusive, to 1.
        let uniform = ((state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        match gaps {
            Gaps::Even => 1.0 / rate,
            Gaps::Random => -uniform.ln() / rate,
        }
    });
    let sums = apart.scan(0.0, |due, gap| {
        *due += gap;
        Some(*due)
    });
    sums.take_while(move |due| *due <= lasting.as_secs_f64()).map(Duration::from_secs_f64)
}

/// A clock that is looked at all the time, and so sees when its processor was taken away.
struct Watch {
    start: Instant,
    last: Instant,
    away: Duration,
}

impl Watch {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, last: start, away: Duration::ZERO }
    }

    fn look(&mut self) -> Instant {
        let now = Instant::now();
        if now - self.last > GAP {
            self.away += now - self.last;
        }
        self.last = now;
        now
    }

    /// The moment that is so long after the start, not counting when nothing could be sent.
    fn after(&self, time: Duration) -> Instant {
        self.start + time + self.away
    }
}

/// All connections, and what becomes of what is sent over them.
struct Load<'a> {
    port: u16,
    request: &'a [u8],
    lasting: Duration,
    poll: Poll,
    connections: Vec<Connection>,
    /// Connections that have no request.
    idle: Vec<usize>,
    /// When requests were due that have no connection.
    waiting: VecDeque<Instant>,
    /// Requests that were sent and not answered.
    open: usize,
    watch: Watch,
    outcome: Outcome,
}

impl<'a> Load<'a> {
    fn open(port: u16, request: &'a [u8], connections: usize, lasting: Duration) -> Result<Self> {
        let poll = Poll::new()?;
        let open = (0..connections).map(|index| Connection::open(port, &poll, index)).collect::<Result<Vec<_>>>()?;
        let idle = (0..connections).collect();
        let (watch, outcome) = (Watch::new(), Outcome::default());
        let waiting = VecDeque::new();
        Ok(Self { port, request, lasting, poll, connections: open, idle, waiting, open: 0, watch, outcome })
    }

    /// Sends when it is due, whether or not answers come.
    fn keep(mut self, moments: impl Iterator<Item = Duration>) -> Result<Outcome> {
        let mut moments = moments.peekable();
        let mut events = Events::with_capacity(EVENTS);
        loop {
            while let Some(time) = moments.peek() {
                let now = self.watch.look();
                let due = self.watch.after(*time);
                if now < due {
                    break;
                }
                moments.next();
                match self.idle.pop() {
                    Some(index) => self.ask(index, due)?,
                    None => self.waiting.push_back(due),
                }
            }
            if moments.peek().is_none() && self.open == 0 && self.waiting.is_empty() {
                let lasted = self.lasting + self.watch.away;
                return Ok(self.outcome(lasted));
            }
            self.read(&mut events, |load, index| {
                match load.waiting.pop_front() {
                    Some(due) => load.ask(index, due)?,
                    None => load.idle.push(index),
                }
                Ok(())
            })?;
        }
    }

    /// Sends over each connection as soon as it is answered.
    fn saturate(mut self) -> Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS);
        while let Some(index) = self.idle.pop() {
            let now = self.watch.look();
            self.ask(index, now)?;
        }
        while self.open > 0 {
            self.read(&mut events, |load, index| {
                let now = load.watch.look();
                if now < load.until() { load.ask(index, now) } else { Ok(()) }
            })?;
        }
        // Nothing asked for more while the load was away.
        let lasted = self.lasting;
        Ok(self.outcome(lasted))
    }

    fn until(&self) -> Instant {
        self.watch.after(self.lasting)
    }

    fn outcome(mut self, lasted: Duration) -> Outcome {
        self.outcome.lasted = lasted;
        self.outcome.away = self.watch.away;
        self.outcome.answered.sort_unstable();
        self.outcome
    }

    fn ask(&mut self, index: usize, due: Instant) -> Result<()> {
        let sent = self.watch.look();
        self.outcome.sent += usize::from(sent <= self.until());
        self.open += 1;
        let connection = &mut self.connections[index];
        connection.asked = Some(Asked { due, sent, written: 0 });
        connection.write(self.request)
    }

    /// Reads what has come; `next` is what is done with a connection that got its answer.
    fn read(&mut self, events: &mut Events, mut next: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        match self.poll.poll(events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        let now = self.watch.look();
        if now > self.until() + GRACE {
            bail!("{} answers are missing {} s after the load", self.open, GRACE.as_secs());
        }
        for event in &*events {
            let Token(index) = event.token();
            let connection = &mut self.connections[index];
            if event.is_writable() {
                connection.write(self.request)?;
            }
            let Some(answer) = connection.read()? else { continue };
            let Some(Asked { due, sent, .. }) = connection.asked.take() else {
                bail!("an answer that nobody asked for");
            };
            if answer.last {
                *connection = Connection::open(self.port, &self.poll, index)?;
                // That may take long because of the server, which is not to be excused for it.
                self.watch.last = Instant::now();
            }
            self.open -= 1;
            self.told(answer.status, due, sent)?;
            next(self, index)?;
        }
        Ok(())
    }

    fn told(&mut self, status: u16, due: Instant, sent: Instant) -> Result<()> {
        let now = self.watch.look();
        let until = self.until();
        self.outcome.longest = self.outcome.longest.max(now - sent);
        match status {
            200 => {
                self.outcome.answered.push(now - due);
                self.outcome.moments.push((due.saturating_duration_since(self.watch.start), now - due));
                self.outcome.in_time += usize::from(now <= until);
            }
            503 => self.outcome.refused.push(now - due),
            other => bail!("an answer {other} under load"),
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    come: Vec<u8>,
    asked: Option<Asked>,
}

/// A request under way.
struct Asked {
    due: Instant,
    sent: Instant,
    written: usize,
}

impl Connection {
    fn open(port: u16, poll: &Poll, index: usize) -> Result<Self> {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, come: Vec::with_capacity(4_096), asked: None })
    }

    /// Writes as much of the request as there is room for.
    fn write(&mut self, request: &[u8]) -> Result<()> {
        let Some(asked) = &mut self.asked else { return Ok(()) };
        while asked.written < request.len() {
            match self.stream.write(&request[asked.written..]) {
                Ok(bytes) => asked.written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending a request under load"),
            }
        }
        Ok(())
    }

    /// The answer, once all of it is there.
    fn read(&mut self) -> Result<Option<Answer>> {
        let mut part = [0; 4_096];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => bail!("the server closed a connection under load"),
                Ok(bytes) => {
                    self.come.extend_from_slice(&part[..bytes]);
                    if let Some(answer) = Answer::of(&self.come)? {
                        self.come.clear();
                        return Ok(Some(answer));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).context("reading an answer under load"),
            }
        }
    }
}

struct Answer {
    status: u16,
    /// Whether the server closes the connection after it.
    last: bool,
}

impl Answer {
    /// Nothing until all of it is there.
    fn of(come: &[u8]) -> Result<Option<Self>> {
        let Some(end) = come.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&come[..end]).context("the head of an answer")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status line")?.parse()?;
        let (mut length, mut last, mut chunked) = (0_usize, false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("a content length")?;
            }
            last |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
            chunked |= name.eq_ignore_ascii_case("transfer-encoding");
        }
        let whole = if chunked { come.ends_with(b"\r\n0\r\n\r\n") } else { come.len() >= end + 4 + length };
        Ok(whole.then_some(Self { status, last }))
    }
}
