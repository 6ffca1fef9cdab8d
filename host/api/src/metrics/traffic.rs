//! What deployments did for endpoints, and what shadows found.

use std::fmt;

use plinth_serve::{OutputDifference, Routes};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::names;

type Labels = Vec<(String, String)>;

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, routes: &Routes) -> fmt::Result {
    let (mut requests, mut shadows, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for endpoint in routes.endpoints() {
        for target in endpoint.targets() {
            let with = |label: &str, value: &str| {
                let mut labels = names(endpoint.name(), target).to_vec();
                labels.push((label.to_owned(), value.to_owned()));
                labels
            };
            let seen = target.traffic().seen();
            for (outcome, count) in [("answered", seen.answered), ("refused", seen.refused), ("error", seen.faults)] {
                requests.push((with("outcome", outcome), count));
            }
            let Some(shadow) = target.traffic().shadow() else { continue };
            for (outcome, count) in
                [("compared", shadow.compared), ("failed", shadow.failed), ("dropped", shadow.dropped)]
            {
                shadows.push((with("outcome", outcome), count));
            }
            outputs.extend(shadow.outputs.into_iter().map(|output| (with("output", &output.name), output)));
        }
    }
    counters(encoder, "deployment_requests", "Requests that a deployment was asked, for each endpoint", requests)?;
    counters(encoder, "shadow_requests", "Copies of requests that a shadow was asked, or could not be", shadows)?;
    let help = "Part of the rows that a shadow answers otherwise than was answered";
    gauges(encoder, "shadow_differing_ratio", help, &outputs, |output| Some(output.share()))?;
    let help = "Mean absolute difference between what a shadow answers and what was answered";
    gauges(encoder, "shadow_difference_mean", help, &outputs, OutputDifference::mean)?;
    let help = "Largest absolute difference between what a shadow answers and what was answered";
    gauges(encoder, "shadow_difference_max", help, &outputs, |output| output.mean().map(|_| output.max))
}

fn counters(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: Vec<(Labels, u64)>) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    outputs: &[(Labels, OutputDifference)],
    value: impl Fn(&OutputDifference) -> Option<f64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, output) in outputs {
        if let Some(value) = value(output) {
            ConstGauge::new(value).encode(family.encode_family(labels)?)?;
        }
    }
    Ok(())
}
