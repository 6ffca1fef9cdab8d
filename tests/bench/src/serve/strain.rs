//! What happens near saturation and beyond it.
//!
//! Overload is of requests that are dear to answer: half of a machine cannot send three times as many requests of one
//! row as the other half can answer.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    halves::Halves,
    models::{Folder, INFER, PREDICT, bare, forest_file, infer_body, plain_body},
};
use crate::{
    Place,
    figures::{Figures, Target},
    load,
    paced::{self, GAP, Gaps},
};

/// Connections of the load that the server keeps up with.
const CONNECTIONS: usize = 64;
/// Connections of the load that it does not keep up with: more than it takes requests at once.
const CROWD: usize = 1_500;
/// Rows of requests that take much longer to answer than to refuse.
const HEAVY: usize = 256;
/// How often overload is measured.
const ROUNDS: usize = 5;
/// A window in which the machine more often than not takes no processor away; some hundred requests are due in it.
const WINDOW: Duration = Duration::from_millis(200);
/// How long a caller is thought to wait: twice what `limits.serve.queue-ms-max` is as it comes.
const DEADLINE_MS: f64 = 2_000.0;

/// What the page says of it.
pub(super) const HOW: &str = "\
Requests come when they are \
due, whether or not answers do, and a wait counts from that moment. They come at even distances, \
where p99 has its bar, and once more at random: of those that come at random to a server that takes the same time for each and is busy \
for 70 % of the time, 1 of 100 waits 4.3 times as long as the median (M/D/1). Saturation is what 64 \
connections get answered that ask again at once; overload comes over 1,500 connections, more than the server takes \
requests at once (`limits.serve.requests-in-flight-max`), of 256 rows each: half of a machine cannot send three times as \
many requests of one row as the other half answers. Who is refused gets 503 at once. What is answered is told of the mean \
of what saturation is before and after, in the median of five rounds.

Requests come before what is kept of them: while threads score, the thread that captures works for a tenth of the \
time, for a sixth if an eighth of its queue is full, and for a quarter if half of it is, unless somebody waits for long. \
Rows that find no room in the queue are dropped and counted. So a part of the goodput under overload is paid for with \
rows that are not kept; the table says how many.

On the server's half a loop of the lowest priority (`SCHED_IDLE`) runs beside, which makes room at once for anything else: \
the owner of a virtual machine may take milliseconds to give a processor back that had nothing to do.

When the processor is taken away from the load, nothing is due until it is back: or the server would get at once what was \
meant to come at a distance.

How far p99 lies from p50 is as much the machine's doing as the server's: when a processor is taken away from a server \
that is busy for 70 % of the time, those wait that come meanwhile, and those that come while it catches up, two or three \
times as long; and when it runs at less than 70 % of its pace, nobody could keep up. So the bare server is measured in the \
same way, and a loop that does nothing but look at the clock tells how often the machine was away and how its pace \
changed; in the median of short windows most of it is not seen. A server that scores together what came together has \
more to do for each request at 70 % than at saturation, so it is busy for more than 70 % of the time.\n";

/// p99 at 70 % of saturation, and what is answered under three times of it.
pub(super) fn measure(
    place: &Place,
    halves: &Halves,
    folder: &Folder,
    library: &Path,
    figures: &mut Figures,
) -> Result<()> {
    let (share, longest, slowest) = halves.instead_of_serving(|| Ok(away(place.lasting(6.0))))?;
    figures.add("the processor is away from a loop that only looks at the clock", share * 100.0, "%", Target::None);
    figures.add("the longest that it is away", longest.as_secs_f64() * 1e3, "ms", Target::None);
    figures.add("its pace in its slowest 0.2 s, of its best", slowest * 100.0, "%", Target::None);
    let _awake = halves.awake()?;
    halves.load(|| on_half(place, halves, folder, library, figures))
}

fn on_half(place: &Place, halves: &Halves, folder: &Folder, library: &Path, figures: &mut Figures) -> Result<()> {
    let bare = bare(halves, &forest_file(place), library)?;
    let least = near_saturation(
        place,
        bare.port,
        &load::request(bare.port, "POST", PREDICT, &plain_body()),
        "bare server",
        figures,
    )?;
    drop(bare);
    let server = folder.serve(folder.plinth_on(halves), &["models:/forest/1".to_owned()])?;
    let request = |rows| load::request(server.port, "POST", INFER, &infer_body(rows));
    let captured = Captured::of(server.port)?;
    let ours = near_saturation(place, server.port, &request(1), "Plinth", figures)?;
    let dropped = captured.dropped_since(server.port)?;
    figures.add("1 row, at saturation and at 70 % of it, captured rows that were dropped", dropped, "%", Target::None);
    figures.add_expected("at 70 % of saturation, p99 / p50", ours, "x", Target::AtMost(4.0), 3.5);
    figures.add("at 70 % of saturation, p99 / p50, of the bare server's", ours / least, "x", Target::None);
    let what = format!("{HEAVY} rows");
    overload(place, server.port, &request(HEAVY), &what, figures)
}

/// p99 / p50 at 70 % of what the server can do, with requests at even distances.
fn near_saturation(place: &Place, port: u16, request: &[u8], who: &str, figures: &mut Figures) -> Result<f64> {
    let most = saturation(place, port, request, &format!("1 row, {who}"), figures)?;
    let mut ratios = Vec::new();
    for (gaps, how) in [(Gaps::Even, "at even distances"), (Gaps::Random, "at random")] {
        let busy = paced::run(port, request, CONNECTIONS, (most * 0.7, gaps), place.lasting(8.0))?;
        ensure!(!busy.answered.is_empty(), "nothing was answered at 70 % of saturation");
        ensure!(busy.refused.is_empty(), "{} requests were refused at 70 % of saturation", busy.refused.len());
        let away = busy.away.as_secs_f64() / busy.lasted.as_secs_f64();
        ensure!(away < 0.1, "the load had no processor for {:.0} % of the time", away * 100.0);
        let mut add = |what: &str, value: f64, unit| {
            figures.add(format!("at 70 % of saturation, {how}, {what}, {who}"), value, unit, Target::None);
        };
        add("the load had no processor", away * 100.0, "%");
        add("p50", busy.quantile_ms(0.5), "ms");
        add("p99", busy.quantile_ms(0.99), "ms");
        add("p99 / p50 in the median of windows of 0.2 s", busy.tail_in_windows(WINDOW), "x");
        ratios.push(busy.quantile_ms(0.99) / busy.quantile_ms(0.5));
    }
    Ok(ratios[0])
}

/// The share of the time that a loop on one processor does not run, the longest time, and how many looks it takes in its
/// slowest window, of those in its best.
fn away(lasting: Duration) -> (f64, Duration, f64) {
    let start = Instant::now();
    let (mut last, mut all, mut longest) = (start, Duration::ZERO, Duration::ZERO);
    let (mut looks, mut windows) = (0_u64, Vec::new());
    while last - start < lasting {
        let now = Instant::now();
        if now - last > GAP {
            all += now - last;
            longest = longest.max(now - last);
        }
        last = now;
        looks += 1;
        if now - start > WINDOW * (windows.len() as u32 + 1) {
            windows.push(std::mem::take(&mut looks) as f64);
        }
    }
    let (least, most) = windows.iter().fold((f64::MAX, 1.0_f64), |(least, most), n| (least.min(*n), most.max(*n)));
    (all.as_secs_f64() / lasting.as_secs_f64(), longest, least / most)
}

/// Answers a second of connections that ask again at once.
fn saturation(place: &Place, port: u16, request: &[u8], what: &str, figures: &mut Figures) -> Result<f64> {
    paced::saturate(port, request, CONNECTIONS, place.lasting(1.0))?;
    let most = paced::saturate(port, request, CONNECTIONS, place.lasting(4.0))?.goodput();
    ensure!(most > 0.0, "nothing was answered at saturation with {what}");
    figures.add(format!("saturation of half of the processors, {what}"), most, "1/s", Target::None);
    Ok(most)
}

/// What is still answered beyond saturation. Several times, each time between two looks at what saturation is: it changes
/// with the machine from one second to the next, by more than what is asked about.
fn overload(place: &Place, port: u16, request: &[u8], what: &str, figures: &mut Figures) -> Result<()> {
    let most = || Ok::<_, anyhow::Error>(paced::saturate(port, request, CONNECTIONS, place.lasting(2.0))?.goodput());
    paced::saturate(port, request, CONNECTIONS, place.lasting(1.0))?;
    let (mut asked, mut kept, mut longest) = (Vec::new(), Vec::new(), 0.0_f64);
    let (mut dropped, mut dropped_between) = (Vec::new(), Vec::new());
    let mut before = most()?;
    for _ in 0..ROUNDS {
        ensure!(before > 0.0, "nothing was answered at saturation with {what}");
        let captured = Captured::of(port)?;
        let beyond = paced::run(port, request, CROWD, (before * 3.0, Gaps::Random), place.lasting(5.0))?;
        dropped.push(captured.dropped_since(port)?);
        let captured = Captured::of(port)?;
        let after = most()?;
        dropped_between.push(captured.dropped_since(port)?);
        let between = f64::midpoint(before, after);
        asked.push(beyond.asked() / between);
        kept.push(beyond.goodput() / between * 100.0);
        longest = longest.max(beyond.longest_ms());
        before = after;
    }
    let median = |list: &mut [f64]| {
        list.sort_by(f64::total_cmp);
        list[list.len() / 2]
    };
    let at = format!("at saturation, {what}, captured rows that were dropped");
    figures.add(at, median(&mut dropped_between), "%", Target::None);
    let what = format!("under 3x overload, {what}");
    figures.add(format!("{what}, captured rows that were dropped"), median(&mut dropped), "%", Target::None);
    figures.add(format!("{what}, asked of saturation"), median(&mut asked), "x", Target::None);
    figures.add_expected(
        format!("{what}, goodput of its maximum"),
        median(&mut kept),
        "%",
        Target::AtLeast(90.0),
        93.0,
    );
    figures.add(format!("{what}, goodput in the worst of {ROUNDS} rounds"), kept[0], "%", Target::None);
    figures.add_expected(format!("{what}, longest wait"), longest, "ms", Target::AtMost(DEADLINE_MS), 1_800.0);
    Ok(())
}

/// Rows that a server has captured, and those for which there was no room.
struct Captured {
    kept: f64,
    dropped: f64,
}

impl Captured {
    fn of(port: u16) -> Result<Self> {
        let answer = String::from_utf8(load::once(port, "GET", "/metrics", "")?)?;
        let count = |outcome: &str| {
            let start = format!("plinth_capture_rows_total{{outcome=\"{outcome}\"}}");
            let line = answer.lines().find_map(|line| line.strip_prefix(&start)?.trim().parse::<f64>().ok());
            line.with_context(|| format!("no {start} among the metrics"))
        };
        let waiting =
            answer.lines().find_map(|line| line.strip_prefix("plinth_capture_waiting_rows ")?.parse::<f64>().ok());
        ensure!(count("failed")? == 0.0, "captured rows could not be stored");
        Ok(Self { kept: count("stored")? + waiting.unwrap_or_default(), dropped: count("dropped")? })
    }

    /// The part of those since then that was dropped, in percent.
    fn dropped_since(&self, port: u16) -> Result<f64> {
        let now = Self::of(port)?;
        let (kept, dropped) = (now.kept - self.kept, now.dropped - self.dropped);
        Ok(dropped / (kept + dropped).max(1.0) * 100.0)
    }
}
