//! Figures with their targets.

use std::time::{Duration, Instant};

use anyhow::Result;

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    target: Target,
    /// What it was expected to be before it was measured.
    expected: Option<f64>,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Shown for the record.
    None,
}

impl Figures {
    pub(crate) fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, target: Target) {
        let what = what.into();
        // Told at once, too: a peer that gives up an hour later takes nothing with it.
        eprintln!("  {what}: {} {unit}", round(value));
        self.0.push(Figure { what, value, unit, target, expected: None });
    }

    /// The same, with what was expected.
    pub(crate) fn add_expected(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
        expected: f64,
    ) {
        self.add(what, value, unit, target);
        if let Some(last) = self.0.last_mut() {
            last.expected = Some(expected);
        }
    }

    /// Adds those of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Those with a target, as the rows of a table: what, expected, measured, wanted, and whether it is met.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("| | expected | measured | wanted | |\n|---|---|---|---|---|\n");
        for f in self.0.iter().filter(|f| !matches!(f.target, Target::None)) {
            let expected = f.expected.map_or(String::new(), |expected| format!("{} {}", round(expected), f.unit));
            let verdict = if f.target.met(f.value) == Some(true) { "met" } else { "**missed**" };
            let wanted = f.target.text().replace(">=", "≥").replace("<=", "≤");
            let measured = format!("{} {}", round(f.value), f.unit);
            table.push_str(&format!("| {} | {expected} | {measured} | {wanted} | {verdict} |\n", f.what));
        }
        table
    }

    /// Those that are shown for the record.
    pub(crate) fn record(&self) -> String {
        let mut table = String::from("| | measured |\n|---|---|\n");
        for f in self.0.iter().filter(|f| matches!(f.target, Target::None)) {
            table.push_str(&format!("| {} | {} {} |\n", f.what, round(f.value), f.unit));
        }
        table
    }

    pub(crate) fn print(&self, json: bool) -> Result<()> {
        if json {
            let list: Vec<_> = self
                .0
                .iter()
                .map(|f| {
                    serde_json::json!({"what": f.what, "value": f.value, "unit": f.unit,
                        "target": f.target.text(), "met": f.target.met(f.value), "expected": f.expected})
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&list)?);
            return Ok(());
        }
        let width = self.0.iter().map(|f| f.what.chars().count()).max().unwrap_or(0);
        for f in &self.0 {
            let verdict = match f.target.met(f.value) {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            println!("{:<width$}  {:>10} {:<6} {:<10} {verdict}", f.what, round(f.value), f.unit, f.target.text());
        }
        Ok(())
    }
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::None => String::new(),
        }
    }

    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(value >= bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::None => None,
        }
    }
}

fn round(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The median time of `runs` calls.
pub(crate) fn median(runs: usize, mut call: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[runs / 2]
}
