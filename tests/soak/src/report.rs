//! What a run showed, and whether it was as it should be.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{driver::profile, load::Load};

/// How much the host may have grown over the second half of a run, by the line through what it had in its pauses.
const GROWTH_MIB_MAX: f64 = 32.0;

/// The same of a run of less than two minutes: by then not every guest has come by, and what is made once is still made.
const GROWTH_AT_FIRST_MIB_MAX: f64 = 128.0;

/// What the host had at one moment.
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// Whether it was being abused; else the guests had a pause.
    pub(crate) abused: bool,
    pub(crate) calls: u64,
    pub(crate) instances: u64,
    /// Linear memories of guests.
    pub(crate) guest_mib: f64,
    pub(crate) captured: u64,
    pub(crate) rss_mib: f64,
    pub(crate) threads: u64,
    pub(crate) files: u64,
}

/// A run.
pub(crate) struct Report<'a> {
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) load: &'a Load,
    pub(crate) samples: Vec<Sample>,
    /// Every misdeed as the host tells it.
    pub(crate) told: Value,
}

impl Report<'_> {
    /// The moments in which nobody misbehaved: the first is before all abuse.
    fn pauses(&self) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| !sample.abused).collect()
    }

    /// How much the host grew over the second half of the run, by the line through its pauses. In the first half what
    /// is made once is made: compiled code is mapped, pools and the allocator's arenas grow to what the work needs.
    fn growth_mib(&self) -> f64 {
        let points: Vec<(f64, f64)> = self
            .pauses()
            .iter()
            .filter(|sample| sample.at * 2 >= self.duration)
            .map(|sample| (sample.at.as_secs_f64(), sample.rss_mib))
            .collect();
        growth(&points)
    }

    /// What is not as it should be.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (requests, failed) = (self.load.requests.load(Ordering::Relaxed), self.load.failed.load(Ordering::Relaxed));
        if requests == 0 || failed > 0 {
            wrong.push(format!("{failed} of {requests} good requests failed"));
            wrong.extend(self.load.failures.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        for deed in self.deeds() {
            let must: Vec<&str> = deed["must"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for (end, times) in deed["ended"].as_object().into_iter().flatten() {
                if !must.contains(&end.as_str()) {
                    wrong.push(format!("{} ended {times} times in {end}, not in {}", named(deed), must.join(" or ")));
                }
            }
        }
        if self.calls() == 0 {
            wrong.push("no misdeed was committed".into());
        }
        let growth = self.growth_mib();
        let is_short = self.duration < Duration::from_secs(120);
        let growth_max = if is_short { GROWTH_AT_FIRST_MIB_MAX } else { GROWTH_MIB_MAX };
        if growth > growth_max {
            wrong.push(format!("the host grew by {growth:.0} MiB, more than {growth_max:.0}"));
        }
        let pauses = self.pauses();
        if let (Some(second), Some(last)) = (pauses.get(1), pauses.last()) {
            for (what, before, after) in [
                ("threads", second.threads, last.threads),
                ("open files", second.files, last.files),
                ("instances", second.instances, last.instances),
            ] {
                // A few come and go with connections and callers.
                if after > before + 8 {
                    wrong.push(format!("{after} {what} at the end, {before} in the first pause"));
                }
            }
        }
        wrong
    }

    fn deeds(&self) -> impl Iterator<Item = &Value> {
        self.told.as_array().into_iter().flatten()
    }

    fn calls(&self) -> u64 {
        self.deeds()
            .flat_map(|deed| deed["ended"].as_object().into_iter().flatten())
            .filter_map(|(_, n)| n.as_u64())
            .sum()
    }

    /// Everything, for other programs.
    pub(crate) fn json(&self) -> Value {
        let sample = |sample: &Sample| {
            json!({
                "at_s": sample.at.as_secs_f64(), "abused": sample.abused, "misdeeds": sample.calls,
                "rss_mib": sample.rss_mib, "guest_mib": sample.guest_mib, "instances": sample.instances,
                "threads": sample.threads, "files": sample.files, "captured_rows": sample.captured,
            })
        };
        json!({
            "seed": self.seed, "seconds": self.duration.as_secs(), "profile": profile(),
            "good": {
                "requests": self.load.requests.load(Ordering::Relaxed),
                "failed": self.load.failed.load(Ordering::Relaxed),
                "p50_us": self.load.percentile(0.5), "p99_us": self.load.percentile(0.99),
                "max_us": self.load.percentile(1.0),
            },
            "misdeeds": self.calls(), "growth_mib": self.growth_mib(), "wrong": self.wrong(),
            "host": self.samples.iter().map(sample).collect::<Vec<_>>(),
            "deeds": self.told,
        })
    }

    /// The same, for people.
    pub(crate) fn print(&self) {
        println!("\n| guest | way | ended in | misdeeds | times |\n|---|---|---|---:|---:|");
        let mut rows: BTreeMap<(String, String, String), (u64, u64)> = BTreeMap::new();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for deed in self.deeds() {
            for (end, times) in deed["ended"].as_object().into_iter().flatten() {
                let code = end.split(':').next().unwrap_or_default().to_owned();
                let row = rows.entry((text(&deed["guest"]), text(&deed["way"]), code)).or_default();
                *row = (row.0 + 1, row.1 + times.as_u64().unwrap_or_default());
            }
        }
        for ((guest, way, code), (deeds, times)) in rows {
            println!("| `{guest}` | {way} | `{code}` | {deeds} | {times} |");
        }
        let idle = self.deeds().filter(|deed| deed["ended"].as_object().is_none_or(serde_json::Map::is_empty)).count();
        println!("\n{} misdeeds were committed {} times, {idle} of them never\n", self.deeds().count(), self.calls());
        println!("| after | resident | guests' memory | instances | threads | files | misdeeds so far |");
        println!("|---:|---:|---:|---:|---:|---:|---:|");
        for sample in self.pauses() {
            println!(
                "| {:.0} s | {:.1} MiB | {:.1} MiB | {} | {} | {} | {} |",
                sample.at.as_secs_f64(),
                sample.rss_mib,
                sample.guest_mib,
                sample.instances,
                sample.threads,
                sample.files,
                sample.calls
            );
        }
        let most = self.samples.iter().map(|sample| sample.rss_mib).fold(0.0, f64::max);
        println!("\nat most {most:.0} MiB while abused; grew by {:.1} MiB in the second half", self.growth_mib());
        let ms = |share| f64::from(self.load.percentile(share)) / 1_000.0;
        println!(
            "{} good requests, {} failed; answered within {:.1} ms (half), {:.1} ms (99 of 100), {:.1} ms (all)",
            self.load.requests.load(Ordering::Relaxed),
            self.load.failed.load(Ordering::Relaxed),
            ms(0.5),
            ms(0.99),
            ms(1.0)
        );
    }
}

fn named(deed: &Value) -> String {
    let text = |name: &str| deed[name].as_str().unwrap_or_default();
    format!("`{}` of {} ({} {})", text("item"), text("guest"), text("way"), text("at"))
}

/// The rise, from the first point to the last, of the line of least squares.
fn growth(points: &[(f64, f64)]) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return 0.0 };
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if spread > 0.0 { together / spread * (last.0 - first.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_line() {
        assert!((growth(&[(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]) - 4.0).abs() < 1e-9);
        assert!(growth(&[(0.0, 10.0), (1.0, 90.0), (2.0, 10.0)]).abs() < 1e-9, "one peak is no growth");
        assert!(growth(&[]).abs() < 1e-9 && growth(&[(1.0, 5.0)]).abs() < 1e-9);
    }

    #[test]
    fn a_failed_request_an_unknown_end_and_growth_are_wrong() {
        let sample = |at: u64, rss_mib: f64| Sample {
            at: Duration::from_secs(at),
            abused: false,
            calls: 1,
            instances: 1,
            guest_mib: 0.0,
            captured: 0,
            rss_mib,
            threads: 10,
            files: 10,
        };
        let load = Load::default();
        load.requests.store(5, Ordering::Relaxed);
        let told = json!([{"guest": "evil", "way": "apply", "at": "", "item": "panic", "must": ["plugin-trap"],
            "ended": {"plugin-trap": 3}}]);
        let samples = vec![sample(0, 10.0), sample(1, 100.0), sample(2, 101.0)];
        let mut report = Report { seed: 1, duration: Duration::from_secs(2), load: &load, samples, told };
        assert_eq!(report.wrong(), [""; 0]);
        // As much in a long run is too much.
        for (at, sample) in (1..).zip(&mut report.samples) {
            (sample.at, sample.rss_mib) = (Duration::from_secs(at * 50), 50.0 + at as f64 * 40.0);
        }
        report.duration = Duration::from_secs(150);
        assert_eq!(report.wrong(), ["the host grew by 40 MiB, more than 32"]);
        report.samples = vec![sample(0, 10.0), sample(1, 100.0), sample(2, 101.0)];
        report.duration = Duration::from_secs(2);
        report.told[0]["ended"]["ok"] = 1.into();
        report.samples.push(sample(3, 300.0));
        report.samples[3].files = 100;
        load.failed.store(1, Ordering::Relaxed);
        assert_eq!(report.wrong().len(), 4, "{:?}", report.wrong());
    }
}
