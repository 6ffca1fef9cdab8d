//! Requests that come at a pace of their own, whether or not the server keeps up, and what becomes of each.
//!
//! One thread drives all connections and keeps the pace, without ever sleeping, so that a core is enough for a pace that
//! another core cannot serve, and a request leaves when it is due. How long an answer took counts from then: what had to
//! wait for a connection has waited as well.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, select};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::{LocalSet, yield_now},
};

/// How long answers that are missing at the end are waited for.
const GRACE: Duration = Duration::from_secs(35);

/// What became of the requests.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How long each answer 200 took, the shortest first.
    pub(crate) answered: Vec<Duration>,
    /// When each of them was due, from the start, and how long it took.
    moments: Vec<(Duration, Duration)>,
    /// How long each answer 503 took.
    pub(crate) refused: Vec<Duration>,
    /// From the first request to the end of the pace.
    pub(crate) lasted: Duration,
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
    drive(port, request, connections, lasting, Some((rate, gaps)))
}

/// Sends it again as soon as it was answered, over each connection.
pub(crate) fn saturate(port: u16, request: &[u8], connections: usize, lasting: Duration) -> Result<Outcome> {
    drive(port, request, connections, lasting, None)
}

fn drive(
    port: u16,
    request: &[u8],
    connections: usize,
    lasting: Duration,
    pace: Option<(f64, Gaps)>,
) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let open = (0..connections).map(|_| Connection::open(port));
        let open = join_all(open).await.into_iter().collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let line = Rc::new(RefCell::new(Line::new(start, lasting)));
        let mut wakers = Vec::new();
        let served = open.into_iter().enumerate().map(|(index, mut connection)| {
            let (wake, mut woken) = mpsc::unbounded_channel::<Instant>();
            wakers.push(wake);
            let (line, request) = (Rc::clone(&line), request.to_vec());
            tokio::task::spawn_local(async move {
                let closed = pace.is_none();
                let mut next = closed.then(Instant::now);
                loop {
                    let waiting = line.borrow_mut().waiting.pop_front();
                    let due = match next.take().or(waiting) {
                        Some(due) => due,
                        None => {
                            line.borrow_mut().idle.push(index);
                            match woken.recv().await {
                                Some(due) => due,
                                None => return Ok::<_, anyhow::Error>(()),
                            }
                        }
                    };
                    let sent = Instant::now();
                    line.borrow_mut().sending(sent);
                    let status = connection.ask(&request).await?;
                    line.borrow_mut().told(status, due, sent)?;
                    if closed {
                        if Instant::now() >= line.borrow().until {
                            return Ok(());
                        }
                        next = Some(Instant::now());
                    }
                }
            })
        });
        let served: Vec<_> = served.collect();
        let kept = {
            let line = Rc::clone(&line);
            async move {
                let Some((rate, gaps)) = pace else { return };
                for due in moments(start, rate, gaps, lasting) {
                    while Instant::now() < due {
                        // Answers are read meanwhile.
                        yield_now().await;
                    }
                    let mut line = line.borrow_mut();
                    match line.idle.pop() {
                        // A connection's task ends only after its waker.
                        Some(index) => drop(wakers[index].send(due)),
                        None => line.waiting.push_back(due),
                    }
                }
            }
        };
        kept.await;
        let all = Box::pin(async {
            for one in served {
                one.await.context("a connection of the load")??;
            }
            Ok::<_, anyhow::Error>(())
        });
        within(GRACE, all).await?;
        let mut outcome = std::mem::take(&mut line.borrow_mut().outcome);
        outcome.lasted = lasting;
        outcome.answered.sort_unstable();
        Ok(outcome)
    })
}

async fn within(limit: Duration, work: Pin<Box<impl Future<Output = Result<()>>>>) -> Result<()> {
    match select(work, Box::pin(tokio::time::sleep(limit))).await {
        futures_util::future::Either::Left((done, _)) => done,
        futures_util::future::Either::Right(_) => bail!("answers are missing {} s after the load", limit.as_secs()),
    }
}

/// When requests are due.
fn moments(start: Instant, rate: f64, gaps: Gaps, lasting: Duration) -> impl Iterator<Item = Instant> {
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
    sums.take_while(move |due| *due <= lasting.as_secs_f64()).map(move |due| start + Duration::from_secs_f64(due))
}

/// What the connections share.
struct Line {
    /// Requests that are due and have no connection.
    waiting: VecDeque<Instant>,
    /// Connections that have no request.
    idle: Vec<usize>,
    start: Instant,
    until: Instant,
    outcome: Outcome,
}

impl Line {
    fn new(start: Instant, lasting: Duration) -> Self {
        let until = start + lasting;
        Self { waiting: VecDeque::new(), idle: Vec::new(), start, until, outcome: Outcome::default() }
    }

    fn sending(&mut self, at: Instant) {
        self.outcome.sent += usize::from(at <= self.until);
    }

    fn told(&mut self, status: u16, due: Instant, sent: Instant) -> Result<()> {
        let now = Instant::now();
        self.outcome.longest = self.outcome.longest.max(now - sent);
        match status {
            200 => {
                self.outcome.answered.push(now - due);
                self.outcome.moments.push((due.saturating_duration_since(self.start), now - due));
                self.outcome.in_time += usize::from(now <= self.until);
            }
            503 => self.outcome.refused.push(now - due),
            other => bail!("an answer {other} under load"),
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    port: u16,
    come: Vec<u8>,
}

impl Connection {
    async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, port, come: Vec::with_capacity(4_096) })
    }

    /// Sends a request and reads the whole answer; its status.
    async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.try_write(&request[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error).context("sending a request under load"),
            }
        }
        self.come.clear();
        loop {
            match self.stream.try_read_buf(&mut self.come) {
                Ok(0) => bail!("the server closed a connection under load"),
                Ok(_) => {
                    if let Some(answer) = Answer::of(&self.come)? {
                        if answer.last {
                            *self = Self::open(self.port).await?;
                        }
                        return Ok(answer.status);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.stream.readable().await?;
                    // The others have their turn too.
                    yield_now().await;
                }
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
        let (mut length, mut last) = (0_usize, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("a content length")?;
            }
            last |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
        }
        Ok((come.len() >= end + 4 + length).then_some(Self { status, last }))
    }
}
