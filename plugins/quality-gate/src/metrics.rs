//! The gate `metrics`: thresholds, and comparison with the one in place.

use plinth_sdk::{
    Gate, Problem,
    gate::{Check, Evidence, Metric, Subject},
    options::nearest,
};

use crate::{
    rule::{Bounds, Finding, Severity},
    words::{count, list, number, rows},
};

/// Is the candidate good enough, and no worse than the one in place?
pub struct Metrics;

/// The rules. One at least must be there.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[derive(Default)]
pub struct Options {
    thresholds: Vec<Threshold>,
    against_baseline: Vec<AgainstBaseline>,
}

/// A metric within bounds.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Threshold {
    metric: String,
    above: Option<f64>,
    min: Option<f64>,
    below: Option<f64>,
    max: Option<f64>,
    /// A slice such as `state=KS`, or `*` for each of them; without it the whole.
    slice: Option<String>,
    /// Rows that a slice needs to be judged.
    #[serde(default = "rows_min")]
    rows_min: u64,
    #[serde(default)]
    severity: Severity,
    reason: Option<String>,
}

/// A metric no worse than the baseline's.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AgainstBaseline {
    metric: String,
    /// By how much it may be worse; below 0, by how much it must be better.
    #[serde(default)]
    margin: f64,
    better: Option<Better>,
    #[serde(default)]
    severity: Severity,
    reason: Option<String>,
}

/// Which way is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Better {
    Higher,
    Lower,
}

fn rows_min() -> u64 {
    30
}

impl Gate for Metrics {
    const NAME: &'static str = "metrics";
    const SUMMARY: &'static str =
        "Metrics within thresholds, on the whole and by slice, and no worse than the baseline";
    const OPTIONS: &'static str = r#"{
  "type": "object",
  "properties": {
    "thresholds": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "metric": {"type": "string", "description": "such as f1"},
          "above": {"type": "number", "description": "more than this"},
          "min": {"type": "number", "description": "at least this"},
          "below": {"type": "number", "description": "less than this"},
          "max": {"type": "number", "description": "at most this"},
          "slice": {"type": "string", "description": "a slice such as state=KS, or * for each; without it the whole"},
          "rows-min": {"type": "integer", "minimum": 0, "default": 30, "description": "slices with fewer rows are not judged"},
          "severity": {"enum": ["fail", "warn"], "default": "fail"},
          "reason": {"type": "string", "description": "why it matters; shown where it is not met"}
        },
        "required": ["metric"],
        "additionalProperties": false
      }
    },
    "against-baseline": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "metric": {"type": "string"},
          "margin": {"type": "number", "default": 0, "description": "by how much it may be worse; below 0, by how much it must be better"},
          "better": {"enum": ["higher", "lower"], "description": "without it: lower for losses, errors and times, else higher"},
          "severity": {"enum": ["fail", "warn"], "default": "fail"},
          "reason": {"type": "string", "description": "why it matters; shown where it is not met"}
        },
        "required": ["metric"],
        "additionalProperties": false
      }
    }
  },
  "additionalProperties": false
}"#;
    type Options = Options;

    fn evaluate(evidence: &Evidence, options: Options) -> Result<Vec<Check>, Problem> {
        if options.thresholds.is_empty() && options.against_baseline.is_empty() {
            let message = "no rule: give `thresholds` or `against-baseline`, else everything would pass";
            return Err(Problem::bad_input("bad-options", message));
        }
        let mut checks = Vec::new();
        for rule in &options.thresholds {
            let finding = threshold(&evidence.candidate, rule)?;
            checks.push(finding.check(rule.severity, rule.reason.as_deref()));
        }
        for rule in &options.against_baseline {
            let finding = against_baseline(evidence, rule)?;
            checks.push(finding.check(rule.severity, rule.reason.as_deref()));
        }
        Ok(checks)
    }
}

fn threshold(candidate: &Subject, rule: &Threshold) -> Result<Finding, Problem> {
    let Threshold { above, min, below, max, .. } = *rule;
    let bounds = Bounds { above, min, below, max }.check(&format!("threshold of `{}`", rule.metric))?;
    let mut name = format!("{} {}", rule.metric, bounds.signs());
    let expected = bounds.words();
    Ok(match rule.slice.as_deref() {
        Some("*") => every_slice(candidate, rule, bounds),
        slice => {
            if let Some(slice) = slice {
                name = format!("{name} in {slice}");
            }
            let Some(metric) = candidate.metric(&rule.metric, slice) else {
                return Ok(not_measured(candidate, &rule.metric, slice, name, expected));
            };
            match metric.n {
                Some(n) if slice.is_some() && n < rule.rows_min => Finding {
                    name,
                    holds: true,
                    observed: format!("{}, on {}", bounds.show(metric.value), rows(n)),
                    expected,
                    reason: format!("not judged: a slice needs {}", rows(rule.rows_min)),
                },
                _ => single(metric, bounds, name, expected),
            }
        }
    })
}

fn single(metric: &Metric, bounds: Bounds, name: String, expected: String) -> Finding {
    let holds = bounds.hold(metric.value);
    let mut observed = bounds.show(metric.value);
    if let (Some(n), Some(_)) = (metric.n, &metric.slice) {
        observed = format!("{observed}, on {}", rows(n));
    }
    let reason = match bounds.short_by(metric.value) {
        Some(0.0) => "exactly on a bound that is not included".into(),
        Some(gap) => format!("off by {}", number(gap)),
        None if holds => String::new(),
        None => "the metric is undefined here, so it cannot be judged".into(),
    };
    Finding { name, holds, observed, expected, reason }
}

/// One check over all slices that are large enough.
fn every_slice(candidate: &Subject, rule: &Threshold, bounds: Bounds) -> Finding {
    let name = format!("{} {} in every slice", rule.metric, bounds.signs());
    let expected = format!("{} in every slice", bounds.words());
    let slices: Vec<(&str, &Metric)> = candidate
        .metrics
        .iter()
        .filter(|metric| metric.name == rule.metric)
        .filter_map(|metric| metric.slice.as_deref().map(|slice| (slice, metric)))
        .collect();
    if slices.is_empty() {
        let reason = "name columns to slice by where the candidate is evaluated".into();
        return Finding { name, holds: false, observed: "no slice was measured".into(), expected, reason };
    }
    let (judged, small): (Vec<_>, Vec<_>) =
        slices.iter().copied().partition(|(_, metric)| metric.n.is_none_or(|n| n >= rule.rows_min));
    let note = match small.len() {
        0 => String::new(),
        n => format!("{n} slice{} under {} not judged", if n == 1 { "" } else { "s" }, rows(rule.rows_min)),
    };
    let failed: Vec<String> = judged
        .iter()
        .filter(|(_, metric)| !bounds.hold(metric.value))
        .map(|(slice, metric)| format!("{slice}: {}", bounds.show(metric.value)))
        .collect();
    let observed = if judged.is_empty() {
        format!("{} slices, all of them small", count(slices.len() as u64))
    } else if failed.is_empty() {
        format!("all {} slices hold", count(judged.len() as u64))
    } else {
        format!("{} of {} slices do not: {}", failed.len(), judged.len(), list(&failed).replace('`', ""))
    };
    Finding { name, holds: failed.is_empty(), observed, expected, reason: note }
}

fn against_baseline(evidence: &Evidence, rule: &AgainstBaseline) -> Result<Finding, Problem> {
    if !rule.margin.is_finite() {
        let message = format!("`margin` of `{}` is {}; it must be a number", rule.metric, rule.margin);
        return Err(Problem::bad_input("bad-options", message));
    }
    let better = rule.better.unwrap_or_else(|| usual(&rule.metric));
    let (sign, worse) = match better {
        Better::Higher => (">=", "below"),
        Better::Lower => ("<=", "above"),
    };
    let mut name = format!("{} {sign} baseline", rule.metric);
    if rule.margin != 0.0 {
        let gives = (rule.margin > 0.0) == (better == Better::Higher);
        name = format!("{name} {} {}", if gives { "-" } else { "+" }, number(rule.margin.abs()));
    }
    let allowance = match rule.margin {
        0.0 => format!("not {worse} the baseline"),
        margin if margin > 0.0 => format!("at most {} {worse} the baseline", number(margin)),
        margin => format!("at least {} better than the baseline", number(-margin)),
    };
    let Some(metric) = evidence.candidate.metric(&rule.metric, None) else {
        return Ok(not_measured(&evidence.candidate, &rule.metric, None, name, allowance));
    };
    let Some(baseline) = &evidence.baseline else {
        let observed = number(metric.value);
        let reason = "there is no baseline yet, so there is nothing to be worse than".to_owned();
        let holds = !metric.value.is_nan();
        let reason = if holds { reason } else { "the metric is undefined here, so it cannot be judged".into() };
        return Ok(Finding { name, holds, observed, expected: allowance, reason });
    };
    let Some(old) = baseline.metric(&rule.metric, None).filter(|old| !old.value.is_nan()) else {
        let observed = format!("{}; the baseline {} has no value", number(metric.value), baseline.reference);
        let reason = "measure the baseline on the same rows".into();
        return Ok(Finding { name, holds: false, observed, expected: allowance, reason });
    };
    let bounds = match better {
        Better::Higher => Bounds { min: Some(old.value - rule.margin), ..Bounds::default() },
        Better::Lower => Bounds { max: Some(old.value + rule.margin), ..Bounds::default() },
    };
    // Otherwise 0.82 would not be within 0.02 of 0.84.
    let slack = 1e-12 * old.value.abs().max(metric.value.abs());
    let nudged = if better == Better::Higher { metric.value + slack } else { metric.value - slack };
    let holds = bounds.hold(nudged);
    let expected = format!("{} ({} has {})", bounds.words(), baseline.reference, number(old.value));
    let reason = match (holds, bounds.short_by(metric.value)) {
        (true, _) => String::new(),
        (false, Some(gap)) => format!("worse than allowed by {}", number(gap)),
        (false, None) => "the metric is undefined here, so it cannot be judged".into(),
    };
    Ok(Finding { name, holds, observed: bounds.show(metric.value), expected, reason })
}

/// Losses, errors and times are better low.
fn usual(metric: &str) -> Better {
    let metric = metric.to_lowercase();
    let words: Vec<&str> = metric.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    const LOW: [&str; 16] = [
        "loss",
        "logloss",
        "error",
        "rmse",
        "mse",
        "mae",
        "mape",
        "smape",
        "rmsle",
        "brier",
        "ece",
        "latency",
        "time",
        "fpr",
        "fnr",
        "perplexity",
    ];
    if words.iter().any(|word| LOW.contains(word)) { Better::Lower } else { Better::Higher }
}

fn not_measured(candidate: &Subject, metric: &str, slice: Option<&str>, name: String, expected: String) -> Finding {
    let reason = match slice {
        Some(slice) if candidate.metric(metric, None).is_some() => {
            let known = candidate.metrics.iter().filter(|m| m.name == metric).filter_map(|m| m.slice.as_deref());
            format!("`{metric}` was measured, but not in `{slice}`{}", nearest(slice, known))
        }
        _ => {
            let names = || candidate.metrics.iter().filter(|m| m.slice.is_none()).map(|m| m.name.as_str());
            let near = nearest(metric, names());
            let near =
                if near.is_empty() { format!("; there are {}", list(&names().collect::<Vec<_>>())) } else { near };
            format!("no metric `{metric}`{near}")
        }
    };
    Finding { name, holds: false, observed: "not measured".into(), expected, reason }
}
