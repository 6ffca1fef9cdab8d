//! Records a pipeline run in tracking: parameters, metrics, artifacts, inputs, how it ended.
//!
//! A run exists only if something had to run; then stages whose results were known are recorded with it too, so that
//! a run shows everything its outcome stands on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plinth_core::{Coded, codes};
use plinth_pipeline::{Pipeline, PipelineError, Report, StageFailure, StageReport};
use plinth_tracking::{Batch, CONTEXT_TAG, DatasetInput, Metric, NewRun, Status, TrackingError};
use serde_json::Value;

use crate::{host::Host, output::Failure};

pub(crate) struct Recorder<'a> {
    host: Arc<Host>,
    pipeline: &'a Pipeline,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run_id: Option<String>,
    /// Stages that were known before the first one had to run.
    early: Vec<StageReport>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(host: Arc<Host>, pipeline: &'a Pipeline) -> Self {
        Self { host, pipeline, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the run.
    pub(crate) fn begin(&self) -> Result<String, StageFailure> {
        let tracking = self.host.tracking();
        self.bury()?;
        let experiment = tracking.experiment(&self.pipeline.experiment)?;
        let new = NewRun {
            name: self.pipeline.name.clone(),
            source: self.pipeline.path().to_owned(),
            user: std::env::var("USER").unwrap_or_default(),
            start: None,
            tags: vec![("plinth.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        };
        let run_id = tracking.start_run(&experiment.experiment_id, &new)?;
        for params in self.params().chunks(self.host.limits().tracking.batch_params_max.max(1) as usize) {
            tracking.log(&run_id, &Batch { params: params.to_vec(), ..Batch::default() })?;
        }
        let early = {
            let mut state = self.state();
            state.run_id = Some(run_id.clone());
            std::mem::take(&mut state.early)
        };
        for stage in &early {
            self.log(&run_id, stage)?;
        }
        Ok(run_id)
    }

    /// The pipeline's parameters by name, and every plain setting of its stages as `STAGE.KEY`.
    fn params(&self) -> Vec<(String, String)> {
        let value_chars_max = self.host.limits().tracking.param_value_chars_max as usize;
        let text = |value: &Value| match value {
            Value::String(text) => text.chars().take(value_chars_max).collect(),
            other => other.to_string().chars().take(value_chars_max).collect::<String>(),
        };
        let own = self.pipeline.params.iter().map(|(name, value)| (name.clone(), text(value)));
        let settings = self.pipeline.stages.iter().flat_map(|stage| {
            stage.config.iter().map(|(key, value)| (format!("{}.{key}", stage.name), text(value))).collect::<Vec<_>>()
        });
        own.chain(settings).collect()
    }

    /// Records a stage.
    pub(crate) fn finished(&self, stage: &StageReport) {
        let run_id = {
            let mut state = self.state();
            match &state.run_id {
                Some(run_id) => run_id.clone(),
                None => {
                    state.early.push(stage.clone());
                    return;
                }
            }
        };
        if let Err(error) = self.log(&run_id, stage) {
            tracing::warn!(%error, stage = %stage.name, "a stage was not recorded with its run");
        }
    }

    fn log(&self, run_id: &str, stage: &StageReport) -> Result<(), TrackingError> {
        let tracking = self.host.tracking();
        let time = tracking.now();
        // With one evaluation, its metrics are the run's metrics.
        let evaluations = self.pipeline.stages.iter().filter(|other| other.kind == "evaluate").count();
        let plain = stage.kind == "evaluate" && evaluations == 1;
        let metrics: Vec<Metric> = stage
            .outcome
            .metrics
            .iter()
            .map(|(name, value)| Metric {
                key: if plain { name.clone() } else { format!("{}.{name}", stage.name) },
                value: *value,
                time,
                step: 0,
                model: None,
            })
            .collect();
        let how = if stage.cached { "cached" } else { "ran" };
        let tags = vec![
            (format!("plinth.stage.{}", stage.name), how.to_owned()),
            (format!("plinth.stage.{}.key", stage.name), stage.key.to_hex()),
        ];
        for metrics in metrics.chunks(self.host.limits().tracking.batch_metrics_max.max(1) as usize) {
            tracking.log(run_id, &Batch { metrics: metrics.to_vec(), ..Batch::default() })?;
        }
        tracking.log(run_id, &Batch { tags, ..Batch::default() })?;
        // Tables that are only on their way from one stage to the next are found by the stage's key.
        let passing = matches!(stage.kind.as_str(), "load" | "validate" | "split" | "features");
        let table = |name: &str| matches!(name, "rows" | "train" | "test");
        let kept = stage.outcome.outputs.iter().filter(|output| !(passing && table(&output.name)));
        for output in kept {
            tracking.log_artifact(run_id, &format!("{}/{}", stage.name, output.name), output.blob, output.bytes)?;
        }
        if stage.kind == "load" {
            let source = self.pipeline.stage(&stage.name).and_then(|spec| spec.config.get("source"));
            let digest = stage.outcome.outputs.first().map(|output| output.blob.to_hex()).unwrap_or_default();
            let dataset = DatasetInput {
                name: stage.name.clone(),
                digest: digest.chars().take(self.host.limits().tracking.dataset_digest_chars_max as usize).collect(),
                source_type: "local".into(),
                source: source.and_then(Value::as_str).unwrap_or_default().to_owned(),
                schema: None,
                profile: None,
                tags: vec![(CONTEXT_TAG.to_owned(), "training".to_owned())],
            };
            tracking.log_inputs(run_id, &[dataset], &[])?;
        }
        Ok(())
    }

    /// Marks the runs of processes that died, wherever they were: this process holds the writer's lock, so no other
    /// pipeline is alive in this state directory.
    fn bury(&self) -> Result<(), StageFailure> {
        let dead = self.host.tracking().running_with_tag("plinth.version")?;
        dead.iter().for_each(|run_id| self.abandoned(run_id));
        Ok(())
    }

    /// Marks the run of a process that died.
    pub(crate) fn abandoned(&self, run_id: &str) {
        if let Err(error) = self.host.tracking().end_run(run_id, Status::Killed) {
            tracing::warn!(%error, run.id = %run_id, "an abandoned run was not marked");
        }
    }

    /// Ends the run, if there is one; the evidence of a gate that said no is kept with it.
    pub(crate) fn end(&self, result: &Result<Report, PipelineError>) -> Result<(), Failure> {
        let Some(run_id) = self.state().run_id.clone() else { return Ok(()) };
        let tracking = self.host.tracking();
        let status = match result {
            Ok(_) => Status::Finished,
            Err(error) if error.code() == codes::INTERRUPTED => Status::Killed,
            Err(error) => {
                // On a full disk the run cannot be closed either; the first error is the one to tell.
                if error.code() == codes::DISK_FULL {
                    let _ = tracking.end_run(&run_id, Status::Failed);
                    return Ok(());
                }
                let message = error.to_string().chars().take(5_000).collect();
                let tags =
                    vec![("plinth.error".into(), error.code().name().into()), ("plinth.message".into(), message)];
                tracking.log(&run_id, &Batch { tags, ..Batch::default() })?;
                if let PipelineError::Stage { stage, failure } = error
                    && let Some(details) = &failure.details
                {
                    let bytes = details.to_string();
                    let blob = self.host.store().blobs().put(bytes.as_bytes())?;
                    tracking.log_artifact(&run_id, &format!("{stage}/failure.json"), blob, bytes.len() as u64)?;
                }
                Status::Failed
            }
        };
        Ok(tracking.end_run(&run_id, status)?)
    }
}
