//! Where `plinth serve` sends spans: what the configuration says, and OpenTelemetry's variables of the environment.

use std::time::Duration;

use plinth_api::{Sampling, SpanConfig};
use plinth_core::codes;

use crate::{config::Settings, output::Failure};

/// What is sent where; nothing unless there is a collector. `warn` is told of what the environment asks for and is not
/// there: a variable that is meant for all programs of a machine keeps none of them from serving.
///
/// # Errors
/// A part of the requests that is none.
pub(crate) fn config(
    settings: &Settings,
    env: impl Fn(&str) -> Option<String>,
    warn: impl Fn(String),
) -> Result<Option<SpanConfig>, Failure> {
    let serve = &settings.config.serve;
    let share = serve.trace_share;
    if !(0.0..=1.0).contains(&share) {
        let message = format!("`serve.trace-share` is {share}");
        return Err(Failure::new(codes::BAD_CONFIG, message).hint("it is a part of the requests, from 0 to 1"));
    }
    let env = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let base = Some(serve.otlp_endpoint.trim_end_matches('/')).filter(|base| !base.is_empty());
    let endpoint = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| base.map(|base| format!("{base}/v1/traces")));
    let Some(endpoint) = endpoint else { return Ok(None) };
    if env("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    match env("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            warn(format!("OTEL_TRACES_EXPORTER is `{other}`, and only otlp and none are known: no spans are sent"));
            return Ok(None);
        }
    }
    let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    if let Some((name, value)) = protocol.iter().find_map(|name| env(name).map(|value| (name, value)))
        && value != "http/protobuf"
    {
        warn(format!("{name} is `{value}`, and spans are sent by http/protobuf alone: none are sent"));
        return Ok(None);
    }
    let usual = Sampling { by_parent: true, share };
    let sampling = env("OTEL_TRACES_SAMPLER").map(|name| (sampler(&name, env("OTEL_TRACES_SAMPLER_ARG")), name));
    let sampling = match sampling {
        None => usual,
        Some((Some(sampling), _)) => sampling,
        Some((None, name)) => {
            warn(format!(
                "OTEL_TRACES_SAMPLER is `{name}`, which is not known, or its OTEL_TRACES_SAMPLER_ARG is no part from 0 \
                 to 1: the caller decides, else serve.trace-share"
            ));
            usual
        }
    };
    let flush_max = Duration::from_millis(settings.config.limits.serve.span_flush_ms_max);
    Ok(Some(SpanConfig { endpoint, sampling, flush_max }))
}

/// A sampler by OpenTelemetry's name for it.
fn sampler(name: &str, argument: Option<String>) -> Option<Sampling> {
    let (by_parent, root) = match name.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, name),
    };
    let share = match root {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match argument {
            None => 1.0,
            Some(text) => text.parse().ok().filter(|share| (0.0..=1.0).contains(share))?,
        },
        _ => return None,
    };
    Some(Sampling { by_parent, share })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::config::tests::global;

    /// What a file and an environment say, and the warnings.
    fn told(file: &str, env: &[(&str, &str)]) -> (Result<Option<SpanConfig>, Failure>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plinth.toml"), file).unwrap();
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let settings = Settings::load(&global(), dir.path(), env).unwrap();
        let warned = RefCell::new(Vec::new());
        let config = config(&settings, env, |warning| warned.borrow_mut().push(warning));
        (config, warned.into_inner())
    }

    fn config_of(file: &str, env: &[(&str, &str)]) -> Option<SpanConfig> {
        told(file, env).0.unwrap_or_else(|_| panic!("no configuration"))
    }

    const FILE: &str = "[serve]\notlp-endpoint = \"http://file:4318/\"\ntrace-share = 0.25\n";

    #[test]
    fn a_collector_is_where_the_environment_or_the_file_says() {
        assert_eq!(config_of("", &[]), None);
        let file = config_of(FILE, &[]).unwrap();
        assert_eq!(file.endpoint, "http://file:4318/v1/traces");
        assert_eq!(file.sampling, Sampling { by_parent: true, share: 0.25 });
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318/otlp");
        assert_eq!(config_of(FILE, &[base]).unwrap().endpoint, "http://env:4318/otlp/v1/traces");
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://exact/here");
        assert_eq!(config_of(FILE, &[base, exact]).unwrap().endpoint, "http://exact/here");
        for off in [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")] {
            let (config, warned) = told(FILE, &[off]);
            assert_eq!((config.ok().unwrap(), warned.len()), (None, 0), "{off:?}");
        }
    }

    #[test]
    fn what_is_not_spoken_is_said_and_keeps_nobody_from_serving() {
        for wrong in [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_EXPORTER", "zipkin")] {
            let (config, warned) = told(FILE, &[wrong]);
            assert_eq!(config.ok().unwrap(), None);
            assert!(matches!(&warned[..], [one] if one.contains(wrong.0) && one.contains(wrong.1)), "{warned:?}");
        }
        assert!(config_of(FILE, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).is_some());
        let (config, _) = told("[serve]\ntrace-share = 2.0\n", &[]);
        assert!(config.err().unwrap().message.contains("serve.trace-share"));
    }

    #[test]
    fn samplers_have_their_usual_names() {
        let of = |name, argument: &str| {
            let env = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            let (config, warned) = told(FILE, &env);
            let Sampling { by_parent, share } = config.ok().unwrap().unwrap().sampling;
            (by_parent, share, warned.len())
        };
        assert_eq!(of("always_on", ""), (false, 1.0, 0));
        assert_eq!(of("always_off", ""), (false, 0.0, 0));
        assert_eq!(of("traceidratio", "0.5"), (false, 0.5, 0));
        assert_eq!(of("parentbased_always_off", ""), (true, 0.0, 0));
        assert_eq!(of("parentbased_traceidratio", "0.1"), (true, 0.1, 0));
        for (name, argument) in [("parentbased_traceidratio", "2"), ("xray", "")] {
            assert_eq!(of(name, argument), (true, 0.25, 1), "{name}");
        }
    }
}
