//! How values look, to people and in JSON.

use plinth_core::Micros;
use plinth_tracking::{Latest, Metric, Run, RunSummary};
use serde_json::{Map, Value, json};

use crate::models::day;

/// A number in JSON; what JSON has no number for is written as MLflow writes it.
pub(super) fn number(value: f64) -> Value {
    match value {
        value if value.is_finite() => json!(value),
        value if value.is_nan() => json!("NaN"),
        value if value > 0.0 => json!("Infinity"),
        _ => json!("-Infinity"),
    }
}

/// A number for a person: six digits are enough to tell runs apart.
pub(super) fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs();
    if value == value.trunc() && size < 1e12 {
        return format!("{value}");
    }
    if (1e-4..1e9).contains(&size) {
        let digits = 5 - (size.log10().floor() as i32).clamp(-4, 5);
        let text = format!("{value:.*}", digits as usize);
        return if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    }
    format!("{value:.5e}")
}

/// Pairs as a JSON object.
pub(super) fn object<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>())
}

/// Tags as a JSON object.
pub(super) fn tags(tags: &[(String, String)]) -> Value {
    object(tags.iter().map(|(key, value)| (key, value)))
}

/// Tags for a person, but for those that MLflow's clients keep for themselves.
pub(super) fn own_tags<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<String> {
    let own = tags.into_iter().filter(|(key, _)| !key.starts_with("mlflow."));
    own.map(|(key, value)| format!("{key}={value}")).collect()
}

pub(super) fn latest(metric: &Latest) -> Value {
    json!({"key": metric.key, "value": number(metric.value), "time": metric.time, "step": metric.step})
}

pub(super) fn point(metric: &Metric) -> Value {
    json!({"key": metric.key, "value": number(metric.value), "time": metric.time, "step": metric.step})
}

/// A run with everything it logged.
pub(super) fn run(run: &Run) -> Value {
    let mut value = json!(run);
    value["metrics"] = run.metrics.iter().map(latest).collect();
    value
}

/// How long a run took, or `-` while it goes on.
pub(super) fn took(run: &RunSummary) -> String {
    match run.end {
        Some(end) => span(end - run.start),
        None => "-".into(),
    }
}

pub(super) fn span(micros: Micros) -> String {
    crate::run::seconds(std::time::Duration::from_micros(micros.unsigned_abs()))
}

pub(super) fn when(time: Option<Micros>) -> String {
    time.map_or_else(|| "-".to_owned(), day)
}

pub(super) fn status(run: &RunSummary) -> String {
    run.status.name().to_lowercase()
}

/// `12 B`, `3.4 MB`
pub(super) fn bytes(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// A heading and lines below it; nothing if there is no line.
pub(super) fn part(title: &str, lines: impl IntoIterator<Item = String>) -> String {
    let lines: String = lines.into_iter().map(|line| format!("  {line}\n")).collect();
    if lines.is_empty() { lines } else { format!("{title}\n{lines}") }
}

/// At most so many characters of the first line.
pub(super) fn head(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(most).collect();
    if short.len() < text.trim_end().len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_but_tell_values_apart() {
        let shown = [0.0, 3.0, -2.5, 0.123_456_789, 12_345.678_9, 0.000_123_456_789, 1e-9, 1e20, 999_999.96];
        let shown: Vec<String> = shown.into_iter().map(short).collect();
        let expected = ["0", "3", "-2.5", "0.123457", "12345.7", "0.000123457", "1.00000e-9", "1.00000e20", "1000000"];
        assert_eq!(shown, expected);
        assert_eq!(short(f64::NAN), "NaN");
    }

    #[test]
    fn what_is_no_number_in_json_is_text() {
        assert_eq!(
            [number(f64::NAN), number(f64::NEG_INFINITY), number(0.5)],
            [json!("NaN"), json!("-Infinity"), json!(0.5)]
        );
    }
}
