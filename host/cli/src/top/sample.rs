//! What a server's metrics say, and what changed between two looks at them.

use std::{collections::BTreeMap, time::Instant};

use prometheus_parse::{Scrape, Value};
use serde::Serialize;

/// Figures since the server started.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// By model and version.
    models: BTreeMap<(String, String), Model>,
    deployments: Vec<Deployed>,
    in_flight: f64,
    waiting: f64,
    shed: f64,
    lost: f64,
}

/// What one model version has done, whichever endpoints asked.
#[derive(Debug, Default, Clone)]
struct Model {
    requests: f64,
    failed: f64,
    rows: f64,
    /// Requests that took at most so many seconds.
    within: BTreeMap<Bound, f64>,
}

/// An upper bound of a bucket in nanoseconds; the last has none.
type Bound = u64;

#[derive(Debug)]
struct Deployed {
    endpoint: String,
    deployment: String,
    model: (String, String),
    weight: f64,
    /// Times its model was run, and the rows of those times.
    ran: [f64; 2],
}

/// What a server did in a stretch of time, and how it stands at its end.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    /// The length of the stretch.
    pub(super) seconds: f64,
    pub(super) requests_per_second: f64,
    pub(super) in_flight: f64,
    /// Requests that wait to be scored.
    pub(super) waiting: f64,
    pub(super) shed_per_second: f64,
    /// Rows for monitoring that were lost since the server started.
    pub(super) capture_rows_lost: f64,
    pub(super) deployments: Vec<Deployment>,
}

/// One deployment. Latencies and counts are those of its model version: one that two endpoints serve has one account.
#[derive(Debug, Serialize)]
pub(super) struct Deployment {
    pub(super) endpoint: String,
    pub(super) deployment: String,
    pub(super) model: String,
    pub(super) version: String,
    /// Percent of the endpoint's requests.
    pub(super) share: f64,
    pub(super) requests_per_second: f64,
    pub(super) failed_per_second: f64,
    pub(super) rows_per_second: f64,
    /// Rows that were scored together, on average.
    pub(super) rows_per_batch: Option<f64>,
    /// Milliseconds, interpolated within a bucket as Prometheus' `histogram_quantile` does.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

impl Sample {
    /// Reads the text of `/metrics`.
    pub(super) fn read(text: &str, at: Instant) -> Result<Self, String> {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).map_err(|error| format!("the answer is no metrics: {error}"))?;
        let mut sample = Self {
            at,
            models: BTreeMap::new(),
            deployments: Vec::new(),
            in_flight: 0.0,
            waiting: 0.0,
            shed: 0.0,
            lost: 0.0,
        };
        let mut ran = BTreeMap::<_, [f64; 2]>::new();
        let mut plinth = false;
        for line in &scrape.samples {
            let Some(name) = line.metric.strip_prefix("plinth_") else { continue };
            plinth = true;
            let label = |name: &str| line.labels.get(name).unwrap_or_default().to_owned();
            let value = match &line.value {
                Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => *value,
                Value::Histogram(buckets) if name == "request_seconds" => {
                    let model = sample.models.entry((label("model_name"), label("model_version"))).or_default();
                    model.within = buckets.iter().map(|bucket| (bound(bucket.less_than), bucket.count)).collect();
                    continue;
                }
                Value::Histogram(_) | Value::Summary(_) => continue,
            };
            let model = (label("model_name"), label("model_version"));
            match name {
                "requests_total" => {
                    let counted = sample.models.entry(model).or_default();
                    counted.requests += value;
                    if label("code").starts_with('5') {
                        counted.failed += value;
                    }
                }
                "rows_total" => sample.models.entry(model).or_default().rows += value,
                "requests_in_flight" => sample.in_flight = value,
                "requests_waiting" => sample.waiting = value,
                "requests_shed_total" => sample.shed = value,
                "capture_rows_total" if label("outcome") != "stored" => sample.lost += value,
                "batches_total" => ran.entry((label("endpoint"), label("deployment"))).or_default()[0] = value,
                "batch_rows_total" => ran.entry((label("endpoint"), label("deployment"))).or_default()[1] = value,
                "deployment_weight" => sample.deployments.push(Deployed {
                    endpoint: label("endpoint"),
                    deployment: label("deployment"),
                    model,
                    weight: value,
                    ran: [0.0; 2],
                }),
                _ => {}
            }
        }
        if !plinth {
            return Err("these are not the metrics of a plinth server".into());
        }
        for deployed in &mut sample.deployments {
            let key = (deployed.endpoint.clone(), deployed.deployment.clone());
            deployed.ran = ran.get(&key).copied().unwrap_or_default();
        }
        Ok(sample)
    }
}

/// Buckets are compared by their bounds, and floats have no order that a map takes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats saturates")]
fn bound(seconds: f64) -> Bound {
    (seconds * 1e9).round() as Bound
}

impl Rates {
    /// What happened between two looks. A server that restarted in between has done everything since.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.duration_since(before.at).as_secs_f64().max(1e-9);
        let rate = |before: f64, after: f64| since(before, after) / seconds;
        let none = Model::default();
        let old = |key: &(String, String)| before.models.get(key).unwrap_or(&none);
        let mut deployments = Vec::with_capacity(after.deployments.len());
        for deployed in &after.deployments {
            let (was, is) = (old(&deployed.model), after.models.get(&deployed.model).unwrap_or(&none));
            let of_endpoint = after.deployments.iter().filter(|other| other.endpoint == deployed.endpoint);
            let weights: f64 = of_endpoint.map(|other| other.weight).sum();
            let same =
                |other: &&Deployed| (&other.endpoint, &other.deployment) == (&deployed.endpoint, &deployed.deployment);
            let ran = before.deployments.iter().find(same).map_or([0.0; 2], |old| old.ran);
            let [batches, batch_rows] = [0, 1].map(|which| since(ran[which], deployed.ran[which]));
            let within: Vec<(Bound, f64)> = is
                .within
                .iter()
                .map(|(bound, count)| (*bound, since(was.within.get(bound).copied().unwrap_or_default(), *count)))
                .collect();
            deployments.push(Deployment {
                endpoint: deployed.endpoint.clone(),
                deployment: deployed.deployment.clone(),
                model: deployed.model.0.clone(),
                version: deployed.model.1.clone(),
                share: if weights > 0.0 { 100.0 * deployed.weight / weights } else { 0.0 },
                requests_per_second: rate(was.requests, is.requests),
                failed_per_second: rate(was.failed, is.failed),
                rows_per_second: rate(was.rows, is.rows),
                rows_per_batch: (batches > 0.0).then(|| batch_rows / batches),
                p50_ms: quantile(&within, 0.5),
                p99_ms: quantile(&within, 0.99),
            });
        }
        let all = |sample: &Sample| sample.models.values().map(|model| model.requests).sum::<f64>();
        Self {
            seconds,
            requests_per_second: rate(all(before), all(after)),
            in_flight: after.in_flight,
            waiting: after.waiting,
            shed_per_second: rate(before.shed, after.shed),
            capture_rows_lost: after.lost,
            deployments,
        }
    }
}

/// How far a counter came; one that fell began anew.
fn since(before: f64, after: f64) -> f64 {
    if after < before { after } else { after - before }
}

/// A quantile of what fell into buckets, in milliseconds; `None` where nothing did. What is past the last bound is told
/// as that bound.
fn quantile(within: &[(Bound, f64)], part: f64) -> Option<f64> {
    let all = within.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let wanted = part * all;
    let at = within.iter().position(|(_, count)| *count >= wanted)?;
    let (low, below) = if at == 0 { (0, 0.0) } else { within[at - 1] };
    let (high, count) = within[at];
    let ms = |bound: Bound| bound as f64 / 1e6;
    if high == Bound::MAX {
        return Some(ms(low));
    }
    let inside = if count > below { (wanted - below) / (count - below) } else { 1.0 };
    Some(ms(low) + (ms(high) - ms(low)) * inside)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(requests: u32, failed: u32, within: [u32; 3], batches: u32, shed: u32) -> String {
        let labels = r#"model_name="churn",model_version="3""#;
        let [first, second, all] = within;
        format!(
            "# HELP plinth_requests Scoring requests by status code.\n# TYPE plinth_requests counter\n\
             plinth_requests_total{{{labels},protocol=\"mlflow\",code=\"200\"}} {requests}\n\
             plinth_requests_total{{{labels},protocol=\"mlflow\",code=\"503\"}} {failed}\n\
             # TYPE plinth_request_seconds histogram\n# UNIT plinth_request_seconds seconds\n\
             plinth_request_seconds_sum{{{labels}}} 1.5\nplinth_request_seconds_count{{{labels}}} {all}\n\
             plinth_request_seconds_bucket{{le=\"0.001\",{labels}}} {first}\n\
             plinth_request_seconds_bucket{{le=\"0.002\",{labels}}} {second}\n\
             plinth_request_seconds_bucket{{le=\"+Inf\",{labels}}} {all}\n\
             # TYPE plinth_rows counter\nplinth_rows_total{{{labels}}} {}\n\
             # TYPE plinth_requests_in_flight gauge\nplinth_requests_in_flight 4\n\
             # TYPE plinth_requests_shed counter\nplinth_requests_shed_total {shed}\n\
             # TYPE plinth_deployment_weight gauge\n\
             plinth_deployment_weight{{endpoint=\"e\",deployment=\"a\",{labels}}} 30\n\
             plinth_deployment_weight{{endpoint=\"e\",deployment=\"b\",model_name=\"churn\",model_version=\"4\"}} 10\n\
             # TYPE plinth_batches counter\n\
             plinth_batches_total{{endpoint=\"e\",deployment=\"a\",{labels}}} {batches}\n\
             # TYPE plinth_batch_rows counter\n\
             plinth_batch_rows_total{{endpoint=\"e\",deployment=\"a\",{labels}}} {}\n# EOF\n",
            requests * 2,
            requests * 2
        )
    }

    fn between(before: &str, after: &str) -> Rates {
        let now = Instant::now();
        let before = Sample::read(before, now).unwrap();
        Rates::between(&before, &Sample::read(after, now + Duration::from_secs(2)).unwrap())
    }

    #[test]
    fn what_changed_is_told_by_the_second_and_the_deployment() {
        let rates = between(&text(100, 10, [50, 90, 100], 50, 0), &text(300, 14, [150, 270, 300], 100, 8));
        assert!((rates.requests_per_second - 102.0).abs() < 1e-9, "{rates:?}");
        assert!((rates.shed_per_second - 4.0).abs() < 1e-9 && (rates.in_flight - 4.0).abs() < 1e-9);
        let [a, b] = &rates.deployments[..] else { panic!("{rates:?}") };
        assert_eq!((&*a.endpoint, &*a.deployment, &*a.model, &*a.version), ("e", "a", "churn", "3"));
        assert!((a.share - 75.0).abs() < 1e-9 && (b.share - 25.0).abs() < 1e-9);
        assert!((a.failed_per_second - 2.0).abs() < 1e-9 && (a.rows_per_second - 200.0).abs() < 1e-9);
        assert_eq!(a.rows_per_batch, Some(8.0));
        // Half of 200 requests took at most a millisecond; 99 % are past the last bound.
        assert_eq!((a.p50_ms, a.p99_ms), (Some(1.0), Some(2.0)));
        assert_eq!((b.p50_ms, b.rows_per_batch), (None, None));
    }

    #[test]
    fn a_server_that_restarted_has_done_all_since() {
        let rates = between(&text(1_000, 0, [1_000; 3], 900, 7), &text(10, 0, [10; 3], 5, 0));
        assert!((rates.requests_per_second - 5.0).abs() < 1e-9, "{rates:?}");
        assert_eq!(rates.deployments[0].rows_per_batch, Some(4.0));
        assert!(rates.shed_per_second.abs() < 1e-9);
    }

    #[test]
    fn what_is_no_metrics_of_ours_is_said() {
        let error = Sample::read("<html></html>\n", Instant::now()).unwrap_err();
        assert!(error.contains("not the metrics of a plinth server"), "{error}");
        assert!(Sample::read("# TYPE up gauge\nup 1\n", Instant::now()).is_err());
    }
}
