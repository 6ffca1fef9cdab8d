//! Trace and log settings: kept, checked, and told again. The level of the log takes effect at once, and so does what is
//! said of traces where there is a collector; elsewhere that is only kept.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde_json::{Map, Value, json};
use tracing::level_filters::LevelFilter;

use super::messages::{LogChoice, LogSetting, LogSettings, Texts};
use crate::{error::ApiError, spans::Sampling};

/// How much is logged, and who changes it.
pub struct LogControl {
    /// What is logged to begin with.
    pub level: LevelFilter,
    /// Logs this much from now on.
    pub set: Box<dyn Fn(LevelFilter) + Send + Sync>,
}

/// What callers may look at and change.
pub(crate) struct Settings {
    trace: Mutex<Trace>,
    /// Whether a caller ever said anything of traces: until then requests need not look.
    steered: AtomicBool,
    /// What a collector is told of unless callers say otherwise; none if there is no collector.
    traced: Option<Sampling>,
    log: Mutex<Log>,
    control: Option<LogControl>,
}

/// Settings of traces by name; each model may have its own.
#[derive(Default)]
struct Trace {
    all: BTreeMap<String, Vec<String>>,
    models: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Trace {
    /// What callers said: of the model, else of all.
    fn said(&self, model: &str, name: &str) -> Option<&[String]> {
        let own = self.models.get(model).and_then(|own| own.get(name));
        own.or_else(|| self.all.get(name)).map(Vec::as_slice)
    }
}

const TRACE: [(&str, &str); 6] = [
    ("log_frequency", "0"),
    ("trace_count", "-1"),
    ("trace_file", ""),
    ("trace_level", "OFF"),
    ("trace_mode", "triton"),
    ("trace_rate", "1000"),
];

#[derive(Clone)]
struct Log {
    info: bool,
    warning: bool,
    error: bool,
    verbose: u32,
    format: String,
}

/// New values of trace settings; none sets one back.
pub(crate) type TraceChanges = Vec<(String, Option<Vec<String>>)>;

impl Settings {
    pub(crate) fn new(control: Option<LogControl>, traced: Option<Sampling>) -> Self {
        let level = control.as_ref().map_or(LevelFilter::INFO, |control| control.level);
        let log = Log {
            info: level >= LevelFilter::INFO,
            warning: level >= LevelFilter::WARN,
            error: level >= LevelFilter::ERROR,
            verbose: u32::from(level >= LevelFilter::DEBUG) + u32::from(level >= LevelFilter::TRACE),
            format: "default".into(),
        };
        Self { trace: Mutex::default(), steered: AtomicBool::new(false), traced, log: Mutex::new(log), control }
    }

    fn traces(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a setting is unless a caller changed it.
    fn usual(&self, name: &str, without: &str) -> String {
        match (name, self.traced) {
            ("trace_mode", Some(_)) => "opentelemetry".into(),
            ("trace_level", Some(sampling)) if sampling.share > 0.0 || sampling.by_parent => "TIMESTAMPS".into(),
            // The nearest whole number; a rate of 0 draws none.
            ("trace_rate", Some(sampling)) if sampling.share > 0.0 => format!("{:.0}", sampling.share.recip()),
            ("trace_rate", Some(_)) => "0".into(),
            _ => without.into(),
        }
    }

    /// Which requests to a model a collector is told of; none if of none.
    pub(crate) fn sampling(&self, model: &str, usual: Sampling) -> Option<Sampling> {
        if !self.steered.load(Relaxed) {
            return Some(usual);
        }
        let trace = self.traces();
        let said = |name: &str| trace.said(model, name).and_then(|values| values.first());
        if said("trace_level").is_some_and(|level| level == "OFF")
            || said("trace_count").is_some_and(|left| left == "0")
        {
            return None;
        }
        let rate = said("trace_rate").and_then(|rate| rate.parse::<u32>().ok());
        let share = rate.map_or(usual.share, |rate| if rate == 0 { 0.0 } else { f64::from(rate).recip() });
        Some(Sampling { share, ..usual })
    }

    /// Takes one from the traces that are left, if callers said how many; false if none is.
    pub(crate) fn take_trace(&self, model: &str) -> bool {
        if !self.steered.load(Relaxed) {
            return true;
        }
        let mut trace = self.traces();
        let own = trace.models.get(model).is_some_and(|own| own.contains_key("trace_count"));
        let trace = &mut *trace;
        let place = if own { trace.models.get_mut(model) } else { Some(&mut trace.all) };
        let Some(count) = place.and_then(|place| place.get_mut("trace_count")) else { return true };
        match count.first().and_then(|count| count.parse::<i64>().ok()) {
            Some(0) => false,
            Some(left @ 1..) => {
                *count = vec![(left - 1).to_string()];
                true
            }
            _ => true,
        }
    }

    /// Trace settings, of a model or of all.
    pub(crate) fn trace(&self, model: Option<&str>) -> BTreeMap<String, Texts> {
        let trace = self.traces();
        let value = |(name, default): &(&str, &str)| {
            let set = trace.said(model.unwrap_or_default(), name);
            let value = set.map_or_else(|| vec![self.usual(name, default)], <[String]>::to_vec);
            ((*name).to_owned(), Texts { value })
        };
        TRACE.iter().map(value).collect()
    }

    /// Changes trace settings: all of them, or none if one is wrong.
    pub(crate) fn set_trace(&self, model: Option<&str>, changes: TraceChanges) -> Result<(), ApiError> {
        for (name, values) in &changes {
            check_trace(name, values.as_deref())?;
            if self.traced.is_some() {
                check_spans(name, values.as_deref().unwrap_or_default())?;
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.steered.store(true, Relaxed);
        let mut trace = self.traces();
        let trace = &mut *trace;
        let place = match model {
            Some(model) => trace.models.entry(model.to_owned()).or_default(),
            None => &mut trace.all,
        };
        for (name, values) in changes {
            match values {
                Some(values) => place.insert(name, values),
                None => place.remove(&name),
            };
        }
        Ok(())
    }

    /// Log settings.
    pub(crate) fn log(&self) -> Map<String, Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let value = json!({
            "log_file": "", "log_info": log.info, "log_warning": log.warning, "log_error": log.error,
            "log_verbose_level": log.verbose, "log_format": log.format,
        });
        let Value::Object(settings) = value else { unreachable!("it is written as one") };
        settings
    }

    /// Changes log settings: all of them, or none if one is wrong.
    pub(crate) fn set_log(&self, changes: &Map<String, Value>) -> Result<(), ApiError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = log.clone();
        for (name, value) in changes {
            let wrong = |wanted: &str| ApiError::bad(format!("log setting `{name}` is {value}, not {wanted}"));
            let truth = || value.as_bool().ok_or_else(|| wrong("true or false"));
            match name.as_str() {
                "log_info" => next.info = truth()?,
                "log_warning" => next.warning = truth()?,
                "log_error" => next.error = truth()?,
                "log_verbose_level" => {
                    let level = value.as_u64().and_then(|level| u32::try_from(level).ok());
                    next.verbose = level.ok_or_else(|| wrong("a whole number from 0"))?;
                }
                "log_format" => match value.as_str() {
                    Some(format @ ("default" | "ISO8601")) => next.format = format.to_owned(),
                    _ => return Err(wrong("default or ISO8601")),
                },
                "log_file" if value == "" => {}
                "log_file" => {
                    return Err(ApiError::bad("log setting `log_file` cannot be changed: the log goes to stderr"));
                }
                _ => {
                    let known = ["log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"];
                    let hint = plinth_core::did_you_mean(name, known);
                    return Err(ApiError::bad(format!("there is no log setting `{name}`; {hint}")));
                }
            }
        }
        if let Some(control) = &self.control {
            (control.set)(next.level());
        }
        *log = next;
        Ok(())
    }

    /// The same as a message.
    pub(crate) fn log_message(&self) -> LogSettings {
        let setting = |value: Value| LogSetting {
            choice: match value {
                Value::Bool(value) => Some(LogChoice::Bool(value)),
                Value::Number(number) => {
                    Some(LogChoice::Uint32(number.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(u32::MAX)))
                }
                Value::String(text) => Some(LogChoice::Text(text)),
                _ => None,
            },
        };
        LogSettings { settings: self.log().into_iter().map(|(name, value)| (name, setting(value))).collect() }
    }
}

impl Log {
    /// The least that shows all that is wanted.
    fn level(&self) -> LevelFilter {
        match self {
            Self { verbose: 2.., .. } => LevelFilter::TRACE,
            Self { verbose: 1, .. } => LevelFilter::DEBUG,
            Self { info: true, .. } => LevelFilter::INFO,
            Self { warning: true, .. } => LevelFilter::WARN,
            Self { error: true, .. } => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        }
    }
}

/// Whether a trace setting is one, and its values are of its kind.
fn check_trace(name: &str, values: Option<&[String]>) -> Result<(), ApiError> {
    let Some((name, _)) = TRACE.iter().find(|(known, _)| *known == name) else {
        let hint = plinth_core::did_you_mean(name, TRACE.iter().map(|(known, _)| *known));
        return Err(ApiError::bad(format!("there is no trace setting `{name}`; {hint}")));
    };
    let Some(values) = values else { return Ok(()) };
    let wrong = |wanted: &str| Err(ApiError::bad(format!("trace setting `{name}` is {values:?}, not {wanted}")));
    let one = match values {
        [one] => Some(one.as_str()),
        _ => None,
    };
    match *name {
        "trace_level" => {
            let known = |level: &String| ["OFF", "TIMESTAMPS", "TENSORS"].contains(&level.as_str());
            if values.is_empty() || !values.iter().all(known) {
                return wrong("OFF, TIMESTAMPS or TENSORS");
            }
        }
        "trace_rate" | "log_frequency" if one.is_none_or(|one| one.parse::<u32>().is_err()) => {
            return wrong("a whole number from 0");
        }
        "trace_count" if one.and_then(|one| one.parse::<i64>().ok()).is_none_or(|count| count < -1) => {
            return wrong("a whole number from -1");
        }
        "trace_mode" if !matches!(one, Some("triton" | "opentelemetry")) => return wrong("triton or opentelemetry"),
        "trace_file" if one.is_none() => return wrong("the name of a file"),
        _ => {}
    }
    Ok(())
}

/// Whether spans that go to a collector can be as a setting wants them.
fn check_spans(name: &str, values: &[String]) -> Result<(), ApiError> {
    let wrong = match name {
        "trace_level" => values.iter().any(|level| level == "TENSORS"),
        "trace_mode" => values.iter().any(|mode| mode != "opentelemetry"),
        "trace_file" => values.iter().any(|file| !file.is_empty()),
        _ => false,
    };
    if !wrong {
        return Ok(());
    }
    let message = format!(
        "trace setting `{name}` cannot be {values:?}: this server sends times, without tensors, to a collector of \
         OpenTelemetry"
    );
    Err(ApiError::bad(message))
}

/// Trace settings as HTTP writes them: the level is a list, the others are single texts.
pub(crate) fn trace_json(settings: BTreeMap<String, Texts>) -> Value {
    let value = |(name, texts): (String, Texts)| match name.as_str() {
        "trace_level" => (name, Value::from(texts.value)),
        _ => (name, Value::from(texts.value.into_iter().next().unwrap_or_default())),
    };
    Value::Object(settings.into_iter().map(value).collect())
}

/// Changes of trace settings as HTTP writes them.
pub(crate) fn trace_changes(body: Map<String, Value>) -> Result<TraceChanges, ApiError> {
    let change = |(name, value): (String, Value)| {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(ApiError::bad(format!("trace setting `{name}` is {other}, not a text"))),
        };
        let values = match &value {
            Value::Null => None,
            Value::Array(values) => Some(values.iter().map(text).collect::<Result<Vec<_>, _>>()?),
            value => Some(vec![text(value)?]),
        };
        Ok((name, values))
    };
    body.into_iter().map(change).collect()
}

/// Changes of log settings as messages write them.
pub(crate) fn log_changes(message: LogSettings) -> Map<String, Value> {
    let value = |setting: LogSetting| match setting.choice {
        None => Value::Null,
        Some(LogChoice::Bool(value)) => value.into(),
        Some(LogChoice::Uint32(value)) => value.into(),
        Some(LogChoice::Text(value)) => value.into(),
    };
    message.settings.into_iter().map(|(name, setting)| (name, value(setting))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &Settings, model: Option<&str>, changes: &[(&str, Option<&str>)]) -> Result<(), ApiError> {
        let change = |(name, value): &(&str, Option<&str>)| ((*name).into(), value.map(|value| vec![value.to_owned()]));
        settings.set_trace(model, changes.iter().map(change).collect())
    }

    #[test]
    fn what_callers_say_of_traces_decides_what_a_collector_is_told_of() {
        let usual = Sampling { by_parent: true, share: 0.01 };
        let settings = Settings::new(None, Some(usual));
        let told = settings.trace(None);
        let value = |name: &str| told[name].value.join(" ");
        assert_eq!(
            ["trace_level", "trace_mode", "trace_rate", "trace_count"].map(value),
            ["TIMESTAMPS", "opentelemetry", "100", "-1"]
        );
        assert_eq!(settings.sampling("m", usual), Some(usual));

        set(&settings, Some("m"), &[("trace_rate", Some("4"))]).unwrap();
        assert_eq!(settings.sampling("m", usual), Some(Sampling { share: 0.25, ..usual }));
        assert_eq!(settings.sampling("other", usual), Some(usual));
        set(&settings, None, &[("trace_level", Some("OFF"))]).unwrap();
        assert_eq!((settings.sampling("m", usual), settings.sampling("other", usual)), (None, None));
        set(&settings, Some("m"), &[("trace_level", Some("TIMESTAMPS")), ("trace_count", Some("2"))]).unwrap();
        assert_eq!([0; 3].map(|_| settings.take_trace("m")), [true, true, false]);
        assert_eq!(settings.trace(Some("m"))["trace_count"].value, ["0"]);
        assert_eq!(settings.sampling("m", usual), None);
        assert!(settings.take_trace("other"), "only what was said of it is used up");

        for (name, value) in [("trace_level", "TENSORS"), ("trace_mode", "triton"), ("trace_file", "/tmp/trace")] {
            let error = set(&settings, None, &[(name, Some(value))]).unwrap_err();
            assert!(error.message().contains(name) && error.message().contains(value), "{error:?}");
        }
        set(&Settings::new(None, None), None, &[("trace_level", Some("TENSORS"))]).unwrap();
    }
}
