//! What MLflow's clients read: runs, experiments and their parts as JSON. Times are milliseconds.

use plinth_core::Micros;
use plinth_tracking::{DatasetInput, Experiment, Metric, ModelLink, Run, RunSummary};
use serde::{Serialize, Serializer};

pub(super) fn millis(time: Micros) -> i64 {
    time.div_euclid(1_000)
}

/// A number as protobuf's JSON has it: NaN and infinities as text.
pub(super) fn number<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    if value.is_nan() {
        to.serialize_str("NaN")
    } else if value.is_infinite() {
        to.serialize_str(if *value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        to.serialize_f64(*value)
    }
}

#[derive(Serialize)]
pub(super) struct Pair<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// Tags of an experiment, a model, a version.
pub(super) fn pairs(tags: &[(String, String)]) -> Vec<Pair<'_>> {
    tags.iter().map(|(key, value)| Pair { key, value }).collect()
}

#[derive(Serialize)]
pub(super) struct ExperimentWire<'a> {
    experiment_id: &'a str,
    name: &'a str,
    artifact_location: String,
    lifecycle_stage: &'static str,
    last_update_time: i64,
    creation_time: i64,
    /// The one there is.
    workspace: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
}

impl<'a> ExperimentWire<'a> {
    pub(super) fn of(experiment: &'a Experiment) -> Self {
        let artifact_location = match experiment.artifact_location.as_str() {
            "" => format!("mlflow-artifacts:/{}", experiment.experiment_id),
            given => given.to_owned(),
        };
        Self {
            experiment_id: &experiment.experiment_id,
            name: &experiment.name,
            artifact_location,
            lifecycle_stage: experiment.lifecycle.name(),
            last_update_time: millis(experiment.updated),
            creation_time: millis(experiment.created),
            workspace: "default",
            tags: pairs(&experiment.tags),
        }
    }
}

#[derive(Serialize)]
pub(super) struct RunInfoWire<'a> {
    run_id: &'a str,
    run_uuid: &'a str,
    run_name: &'a str,
    experiment_id: &'a str,
    user_id: &'a str,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: String,
    lifecycle_stage: &'static str,
}

impl<'a> RunInfoWire<'a> {
    pub(super) fn of(run: &'a RunSummary) -> Self {
        Self {
            run_id: &run.run_id,
            run_uuid: &run.run_id,
            run_name: &run.name,
            experiment_id: &run.experiment_id,
            user_id: &run.user,
            status: run.status.name(),
            start_time: millis(run.start),
            end_time: run.end.map(millis),
            artifact_uri: artifact_uri(run),
            lifecycle_stage: run.lifecycle.name(),
        }
    }
}

/// Where a run's artifacts are, as clients name it.
pub(super) fn artifact_uri(run: &RunSummary) -> String {
    match run.artifact_location.as_str() {
        "" => format!("mlflow-artifacts:/{}/{}/artifacts", run.experiment_id, run.run_id),
        given => given.to_owned(),
    }
}

#[derive(Serialize)]
pub(super) struct MetricWire<'a> {
    key: &'a str,
    #[serde(serialize_with = "number")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
}

impl<'a> MetricWire<'a> {
    pub(super) fn of(metric: &'a Metric) -> Self {
        Self { key: &metric.key, value: metric.value, timestamp: millis(metric.time), step: metric.step, run_id: None }
    }

    pub(super) fn of_run(metric: &'a Metric, run_id: &'a str) -> Self {
        Self { run_id: Some(run_id), ..Self::of(metric) }
    }
}

#[derive(Serialize)]
struct RunDataWire<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricWire<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct RunInputsWire<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_inputs: Vec<DatasetInputWire<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_inputs: Vec<ModelInputWire<'a>>,
}

#[derive(Serialize)]
struct ModelInputWire<'a> {
    model_id: &'a str,
}

#[derive(Serialize)]
struct RunOutputsWire<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    model_outputs: &'a [ModelLink],
}

#[derive(Serialize)]
struct DatasetInputWire<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    dataset: DatasetWire<'a>,
}

#[derive(Serialize)]
struct DatasetWire<'a> {
    name: &'a str,
    digest: &'a str,
    source_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
}

impl<'a> DatasetInputWire<'a> {
    fn of(dataset: &'a DatasetInput) -> Self {
        Self {
            tags: pairs(&dataset.tags),
            dataset: DatasetWire {
                name: &dataset.name,
                digest: &dataset.digest,
                source_type: &dataset.source_type,
                source: &dataset.source,
                schema: dataset.schema.as_deref(),
                profile: dataset.profile.as_deref(),
            },
        }
    }
}

#[derive(Serialize)]
pub(super) struct RunWire<'a> {
    info: RunInfoWire<'a>,
    data: RunDataWire<'a>,
    inputs: RunInputsWire<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<RunOutputsWire<'a>>,
}

impl<'a> RunWire<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        let metrics = run.metrics.iter().map(|metric| MetricWire {
            key: &metric.key,
            value: metric.value,
            timestamp: millis(metric.time),
            step: metric.step,
            run_id: None,
        });
        Self {
            info: RunInfoWire::of(&run.summary),
            data: RunDataWire {
                metrics: metrics.collect(),
                params: run.params.iter().map(|(key, value)| Pair { key, value }).collect(),
                tags: run.tags.iter().map(|(key, value)| Pair { key, value }).collect(),
            },
            inputs: RunInputsWire {
                dataset_inputs: run.datasets.iter().map(DatasetInputWire::of).collect(),
                model_inputs: run.models_in.iter().map(|link| ModelInputWire { model_id: &link.model_id }).collect(),
            },
            outputs: Some(RunOutputsWire { model_outputs: &run.models_out }),
        }
    }

    /// A run that was started a moment ago, which has no outputs yet.
    pub(super) fn started(run: &'a Run) -> Self {
        Self { outputs: None, ..Self::of(run) }
    }
}
