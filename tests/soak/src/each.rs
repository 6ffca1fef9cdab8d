//! Every misdeed by itself, one after the other in one process, and what is true after each.
//!
//! The soak asks whether a host lives through all of them at once; here each is looked at alone. It must end in the very
//! words that `misdeeds.txt` has for it, twice. Afterwards the neighbours, the same plugin in five languages on the same
//! engine, answer what they answered before; no instance is left that was not there, and no byte of a guest's memory; no
//! file is open and no thread runs that did not; and this process has the memory back that it had.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use plinth_core::{Coded, ContentHash, PluginLimits};
use plinth_ext::{Batch, ExtError, Fitted, Problem, Step};
use plinth_plugin::{Grants, Host};

use crate::{
    deeds::Deed,
    guests::Guests,
    host::{self, engine},
    lent::rows,
};

/// How much more memory this process may have after one misdeed than before it: what the allocator keeps.
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// The same after all of them, beside what it had when each had been committed once.
const KEPT_IN_ALL_BYTES_MAX: u64 = 4 << 20;

/// Longer texts are told by their length and hash.
const TEXT_BYTES_MAX: usize = 700;

/// What a run is asked for.
pub(crate) struct Plan {
    pub(crate) components: Vec<PathBuf>,
    pub(crate) neighbours: Vec<PathBuf>,
    /// Where compiled components are kept from run to run.
    pub(crate) cache: PathBuf,
    pub(crate) expected: PathBuf,
    /// Writes the file of what is expected instead.
    pub(crate) write: bool,
}

/// A plugin engine on which misdeeds are committed, with neighbours.
struct Place {
    host: Host,
    limits: PluginLimits,
    neighbours: Vec<Neighbour>,
}

/// A plugin that does its work, and what it must answer.
struct Neighbour {
    name: String,
    fitted: Arc<dyn Fitted>,
    rows: Batch,
    answer: Batch,
}

/// What is there between two misdeeds.
#[derive(Debug, Clone, Copy)]
struct Moment {
    instances: u32,
    guest_bytes: u64,
    resident_bytes: u64,
    files: usize,
    threads: u64,
}

/// Commits every misdeed twice; whether all was as it should be.
pub(crate) fn run(plan: &Plan) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    // A deadline may end only what has no other end: otherwise it would depend on the machine which of two comes first.
    let soon = PluginLimits { call_ms_max: 500, online_call_ms_max: 500, ..unhurried() };
    let (unhurried, soon) = (Place::new(plan, unhurried())?, Place::new(plan, soon)?);
    let begun = Instant::now();
    let (mut told, mut wrong) = (String::new(), Vec::new());
    let (mut first, mut most) = (0, 0);
    for round in 0..2 {
        // What they are lent begins empty: some keep keys.
        let guests = |place: &Place| {
            let folder = folder.path().join(format!("{}-{round}", place.limits.call_ms_max));
            Guests::new(&place.host, &plan.components, &folder, &place.limits)
        };
        let (with_time, in_haste) = (guests(&unhurried)?, guests(&soon)?);
        let mut here = String::new();
        for (deed, the_same) in with_time.deeds.iter().zip(&in_haste.deeds) {
            let (place, guests, deed) =
                if ends_by_the_clock(deed) { (&soon, &in_haste, the_same) } else { (&unhurried, &with_time, deed) };
            let what = format!("{} {} {} {}", guests.name(deed), deed.way.name(), deed.at, deed.item);
            let before = place.moment()?;
            let mut discarded = true;
            let end = guests.commit(deed, |answer| {
                // What it was made for, such as a fitted transform, is still there.
                discarded = answer.is_ok() || orderly(answer) || place.host.usage().instances <= before.instances;
            });
            if !discarded {
                wrong.push(format!("after {what}: its instance is kept"));
            }
            // In the first round what is made once is made: slots of memory are touched, and what a guest's first words to
            // stderr need is started.
            let back = place.back(before, round == 0);
            wrong.extend(back.into_iter().map(|wrong| format!("after {what}: {wrong}")));
            wrong.extend(place.unharmed().into_iter().map(|wrong| format!("after {what}: {wrong}")));
            writeln!(here, "{what}\n{}", in_words(&end))?;
            most = most.max(before.resident_bytes);
        }
        let at_the_end = unhurried.moment()?.resident_bytes;
        if round == 0 {
            (first, told) = (at_the_end, here);
            continue;
        }
        if here != told {
            wrong.push(format!("the second time it was\n{here}"));
        }
        if at_the_end > first + KEPT_IN_ALL_BYTES_MAX {
            wrong.push(format!("{at_the_end} bytes are resident after all of them, {first} before"));
        }
        println!(
            "{} misdeeds twice in {:.0} s: {} MiB resident after the first time, {} after the second, {} at the most \
             between two",
            with_time.deeds.len(),
            begun.elapsed().as_secs_f64(),
            first >> 20,
            at_the_end >> 20,
            most >> 20
        );
    }
    if plan.write {
        fs::write(&plan.expected, &told)?;
    }
    let expected = fs::read_to_string(&plan.expected).with_context(|| plan.expected.display().to_string())?;
    wrong.extend(differences(&expected, &told));
    wrong.iter().for_each(|wrong| println!("WRONG: {wrong}"));
    println!("{}", if wrong.is_empty() { "sound" } else { "not sound" });
    Ok(wrong.is_empty())
}

/// Whether a guest said no in an orderly way, after which its instance is sound.
fn orderly(answer: &Result<String, ExtError>) -> bool {
    matches!(answer, Err(ExtError::Problem { .. }))
}

/// Nothing here ends by the clock or by the rate of its calls, which are the machine's.
fn unhurried() -> PluginLimits {
    PluginLimits {
        call_ms_max: 300_000,
        online_call_ms_max: 300_000,
        host_calls_per_second_max: u64::MAX,
        ..host::limits()
    }
}

/// Whether a misdeed has no other end: a loop, whether or not it calls the host.
fn ends_by_the_clock(deed: &Deed) -> bool {
    deed.ends.contains(&"plugin-deadline") && !deed.ends.contains(&"ok") && !deed.ends.contains(&"plugin-memory")
}

/// The end of a misdeed as the snapshot has it, every line of it indented.
fn in_words(end: &Result<String, ExtError>) -> String {
    let told = match end {
        Ok(answer) => format!("ok {}", short(answer)),
        Err(error) => {
            let mut told = format!("{}: {}", error.code(), short(&of_every_build(&error.to_string())));
            if let Some(hint) = error.hint() {
                told.push_str("\nhint: ");
                told.push_str(&hint);
            }
            if let ExtError::Problem { problem, .. } = error {
                let Problem { retryable, row, column, .. } = problem;
                told.push_str(&format!("\nretryable: {retryable}, row: {row:?}, column: {column:?}"));
            }
            told
        }
    };
    told.trim_end().lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// A text, or its beginning, its length and its hash.
fn short(text: &str) -> String {
    match text.len() {
        0..=TEXT_BYTES_MAX => text.to_owned(),
        bytes => {
            let cut = text.floor_char_boundary(TEXT_BYTES_MAX / 2);
            format!("{}… ({bytes} bytes, {})", &text[..cut], ContentHash::of(text.as_bytes()))
        }
    }
}

/// Without what another build of a guest's allocator and runtime says otherwise: how much memory it wanted when it was
/// refused, and Go's addresses after the words of a panic.
fn of_every_build(message: &str) -> String {
    let message = message.split_once("goroutine ").map_or(message, |(before, _)| before.trim_end());
    let Some((before, after)) = message.split_once(" wanted ") else { return message.to_owned() };
    format!("{before} wanted some{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Where two snapshots differ, line by line.
fn differences(expected: &str, told: &str) -> Vec<String> {
    if expected == told {
        return Vec::new();
    }
    let count = |text: &str| text.lines().count();
    let mut wrong = vec![format!("{} lines where {} are expected", count(told), count(expected))];
    let pairs = expected.lines().zip(told.lines()).enumerate().filter(|(_, (expected, told))| expected != told);
    wrong.extend(pairs.take(20).map(|(line, (expected, told))| format!("line {}: {told}\nnot {expected}", line + 1)));
    wrong
}

impl Place {
    fn new(plan: &Plan, limits: PluginLimits) -> Result<Self> {
        let host = engine(plan.cache.clone(), &limits);
        let neighbours =
            plan.neighbours.iter().map(|path| Neighbour::new(&host, path)).collect::<Result<Vec<Neighbour>>>()?;
        ensure!(!neighbours.is_empty(), "no neighbour");
        Ok(Self { host, limits, neighbours })
    }

    fn moment(&self) -> Result<Moment> {
        let usage = self.host.usage();
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of the status")?;
            Ok(line.split_whitespace().next().context("a number")?.parse()?)
        };
        Ok(Moment {
            instances: usage.instances,
            guest_bytes: usage.memory_bytes,
            resident_bytes: field("RssAnon:")? << 10,
            files: fs::read_dir("/proc/self/fd")?.count(),
            threads: field("Threads:")?,
        })
    }

    /// What is not as it was before. Threads and memory may take a moment to go.
    fn back(&self, before: Moment, first: bool) -> Option<String> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let after = match self.moment() {
                Ok(after) => after,
                Err(error) => return Some(format!("{error:#}")),
            };
            let guests = |moment: Moment| (moment.instances, moment.guest_bytes);
            let process = (after.files, after.threads) == (before.files, before.threads)
                && after.resident_bytes <= before.resident_bytes + KEPT_BYTES_MAX;
            if guests(after) == guests(before) && (first || process) {
                return None;
            }
            if Instant::now() > until {
                return Some(format!("{after:?}, before it {before:?}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The neighbours that do not answer what they answered.
    fn unharmed(&self) -> Vec<String> {
        let answers = self.neighbours.iter().map(|neighbour| (neighbour, neighbour.fitted.apply(&neighbour.rows)));
        let wrong = answers.filter_map(|(neighbour, answer)| match answer {
            Ok(answer) if answer == neighbour.answer => None,
            Ok(_) => Some(format!("{} answers something else", neighbour.name)),
            Err(error) => Some(format!("{}: {error}", neighbour.name)),
        });
        wrong.collect()
    }
}

impl Neighbour {
    fn new(host: &Host, component: &Path) -> Result<Self> {
        let plugin = host.load_file(component, &Grants::none())?;
        let transform = plugin.online_transform()?;
        let item = transform.items().first().context("an item")?.name.clone();
        let rows = rows()?.project(&[0, 1]);
        let mut fitting = transform.start(&item, rows.schema(), "{}")?;
        let state = loop {
            fitting.update(&rows)?;
            if let Step::Done(state) = fitting.end_pass()? {
                break state;
            }
        };
        drop(fitting);
        let fitted = transform.load(&item, &state, rows.schema())?;
        let answer = fitted.apply(&rows)?;
        if answer == rows {
            bail!("{} changes nothing", component.display());
        }
        Ok(Self { name: plugin.name().to_owned(), fitted, rows, answer })
    }
}
