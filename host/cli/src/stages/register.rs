//! `kind: register`: a new version of a registered model, with everything that serving and drift checks need.

use std::{collections::BTreeMap, sync::Arc};

use plinth_core::{Code, Coded, ContentHash, codes, refs::name_problem};
use plinth_pipeline::{
    InputRef, KeyPart, Output, Pipeline, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome,
    StagePlan, StageSpec,
};
use plinth_table::{Reservoir, Table};
use plinth_tracking::{AliasMove, FileRole, NewVersion, VersionFile};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    documents::{EvaluationDocument, GateDocument, LoadDocument, ModelDocument, PipelineDocument, VersionDocument},
    evaluate::{beside, whole},
    gate::training_rows,
};
use crate::{host::Host, models::principal, scorer};

/// What the name of every prediction column of a profile starts with.
pub(crate) const PREDICTION: &str = "output.";
/// Decides which rows a profile holds.
const PROFILE_SEED: u64 = 0;

pub(crate) struct Register(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The model to register.
    model: String,
    /// Its evaluation.
    evaluation: String,
    /// The gate that let it through.
    gate: String,
    /// Name of the registered model.
    name: String,
    /// The alias that moves to the new version.
    alias: Option<String>,
}

impl StageHandler for Register {
    fn kind(&self) -> &'static str {
        "register"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        for (key, name) in [("name", Some(&config.name)), ("alias", config.alias.as_ref())] {
            if let Some(reason) = name.and_then(|name| name_problem(name)) {
                return Err(stage.invalid(&[key], reason));
            }
        }
        Ok(StagePlan {
            inputs: vec![
                InputRef::new("model", config.model),
                InputRef::new("evaluation", config.evaluation),
                InputRef::new("gate", config.gate),
            ],
            params: json!({"name": config.name, "alias": config.alias}),
            outputs: vec!["version"],
        })
    }

    fn key_parts(&self, _stage: &StageContext<'_>) -> Result<Vec<KeyPart>, StageFailure> {
        // Held back is another result than let through: the first leaves the alias where it is.
        Ok(if self.0.holds_aliases() {
            vec![KeyPart { name: "alias held".into(), hash: ContentHash::of(b"held") }]
        } else {
            Vec::new()
        })
    }

    fn stands(&self, outcome: &StageOutcome) -> Result<bool, StageFailure> {
        // An alias that somebody moved since stays where it is; a version that was deleted is registered again.
        let (Some(name), Some(version)) = (outcome.details["name"].as_str(), outcome.details["version"].as_u64())
        else {
            return Ok(true);
        };
        match self.0.tracking().model(name) {
            Err(error) if error.code() == codes::MODEL_NOT_FOUND => Ok(false),
            found => Ok(found?.versions.contains(&version)),
        }
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        let config: Config = stage.stage.config()?;
        let model_blob = stage.input("model").blob;
        let model: ModelDocument = self.0.read_json(&model_blob)?;
        let evaluation: EvaluationDocument = self.0.read_json(&stage.input("evaluation").blob)?;
        let gate: GateDocument = self.0.read_json(&stage.input("gate").blob)?;
        if evaluation.model != model_blob || gate.evaluation != stage.input("evaluation").blob {
            return Err(NotJudged.into());
        }
        let document = VersionDocument {
            format: 1,
            model_document: model_blob,
            evaluation: stage.input("evaluation").blob,
            evidence: stage.input("gate").blob,
            judged_against: gate.baseline.clone(),
            metrics: whole(&evaluation.metrics),
            positive: evaluation.positive.clone(),
            pipeline: pipeline_document(stage.pipeline),
            model,
        };
        let files = self.files(stage, &document)?;
        let kept: Vec<Output> = files
            .iter()
            .filter(|file| matches!(file.role, FileRole::Profile | FileRole::TrainingRows))
            .map(|file| Output { name: file.role.name().to_owned(), blob: file.hash, bytes: file.bytes })
            .collect();
        let version = match self.registered(&config.name, &document)? {
            Some(version) => version,
            None => {
                let run_id = Some(stage.run_id.to_owned());
                self.0.tracking().register(&config.name, &NewVersion { run_id, spec: json!(document), files })?
            }
        };
        let moved = config.alias.as_deref().filter(|_| !self.0.holds_aliases());
        if let Some(alias) = moved {
            self.0.tracking().set_alias(&AliasMove {
                model: &config.name,
                alias,
                version,
                principal: &principal(),
                reason: "its gate let it through",
                evidence: Some(&document.evidence.to_hex()),
            })?;
        }
        let output = self.0.write_json("version", &json!({"name": config.name, "version": version, "alias": moved}))?;
        let alias = match (moved, &config.alias) {
            (Some(alias), _) => format!(", {alias} now"),
            (None, Some(alias)) => format!("; {alias} waits for an approval"),
            (None, None) => String::new(),
        };
        Ok(StageOutcome {
            // Outputs too, so that a blob that is lost is made again with the stage.
            outputs: std::iter::once(output).chain(kept).collect(),
            summary: format!("models:/{}/{version}{alias}", config.name),
            details: json!({"name": config.name, "version": version, "alias": moved}),
            metrics: BTreeMap::from([("version".into(), version as f64)]),
        })
    }
}

impl Register {
    /// The number of a version that is the same: left by a process that died between registering and filing.
    fn registered(&self, name: &str, document: &VersionDocument) -> Result<Option<u64>, StageFailure> {
        let model = match self.0.tracking().model(name) {
            Ok(model) => model,
            Err(error) if error.code() == codes::MODEL_NOT_FOUND => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for &version in model.versions.iter().rev() {
            let reference = plinth_core::refs::ModelRef::Version { name: name.to_owned(), version };
            let spec = self.0.tracking().resolve(&reference)?.spec;
            if spec["model_document"] == json!(document.model_document) && spec["evidence"] == json!(document.evidence)
            {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    fn files(&self, stage: &StageContext<'_>, document: &VersionDocument) -> Result<Vec<VersionFile>, StageFailure> {
        let transform = &document.model.transform;
        let table = self.0.table_of(&transform.fitted_on)?;
        let rows = training_rows(table.batches()?, &transform.signature, transform.label.as_deref(), table.schema())?;
        let rows = self.0.put("training-rows", &rows)?;
        let profile = self.profile(stage, &document.model, &table)?;
        let blobs = self.0.store().blobs();
        let file = |role, path: &str, hash: ContentHash| {
            Ok::<_, StageFailure>(VersionFile { role, path: path.to_owned(), hash, bytes: blobs.size(&hash)? })
        };
        let mut files = vec![
            file(FileRole::Model, "model.onnx", document.model.onnx)?,
            file(FileRole::Component, "transform.wasm", transform.component)?,
            file(FileRole::State, "transform.state", transform.state)?,
            file(FileRole::Profile, "profile.parquet", profile.blob)?,
            file(FileRole::TrainingRows, "training-rows.u64", rows.blob)?,
            file(FileRole::Other, "model.json", document.model_document)?,
            file(FileRole::Other, "evaluation.json", document.evaluation)?,
            file(FileRole::Other, "checks.json", document.evidence)?,
        ];
        if let Some(output) = &document.model.output {
            files.push(file(FileRole::Other, "output.wasm", output.component)?);
            files.push(file(FileRole::Other, "output.state", output.state)?);
        }
        Ok(files)
    }

    /// A sample of the raw training rows with what the model says about them: the reference of drift checks.
    fn profile(&self, stage: &StageContext<'_>, model: &ModelDocument, table: &Table) -> Result<Output, StageFailure> {
        let rows_max = usize::try_from(self.0.limits().table.profile_rows_max).unwrap_or(usize::MAX);
        let mut sample = Reservoir::new(table.schema().clone(), rows_max, PROFILE_SEED);
        for batch in table.batches()? {
            stage.cancel.check()?;
            sample.push(&batch?)?;
        }
        let rows = sample.finish()?;
        let scorer = scorer::of_model(&self.0, model, &self.0.sessions(1), scorer::Use::Batch)?;
        let predictions = scorer.score(&scorer.signature().coerce(&rows)?)?;
        let rows = beside(&rows, &predictions)?;
        self.0.write_table("profile", rows.schema(), |write| write(&rows))
    }
}

fn pipeline_document(pipeline: &Pipeline) -> PipelineDocument {
    let load = pipeline.stages.iter().find(|stage| stage.kind == "load");
    let text = |key: &str| load.and_then(|stage| stage.config.get(key)?.as_str()).unwrap_or_default().to_owned();
    let options = load.and_then(|stage| stage.config.get("options")?.as_object().cloned()).unwrap_or_default();
    // Retraining brings its own source.
    let source = load.map(|stage| format!("{}.source=", stage.name));
    let others = |setting: &&String| !source.as_ref().is_some_and(|source| setting.starts_with(source));
    PipelineDocument {
        file: absolute(pipeline.path()),
        params: pipeline.params.clone(),
        settings: pipeline.settings.iter().filter(others).cloned().collect(),
        load: LoadDocument { plugin: text("plugin"), options },
    }
}

fn absolute(path: &str) -> String {
    std::fs::canonicalize(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// What a register stage says it made.
pub(crate) fn registered_version(details: &Value) -> Option<(String, u64)> {
    Some((details["name"].as_str()?.to_owned(), details["version"].as_u64()?))
}

#[derive(Debug, thiserror::Error)]
#[error("the gate, the evaluation and the model do not belong together")]
struct NotJudged;

impl Coded for NotJudged {
    fn code(&self) -> Code {
        codes::BAD_PIPELINE
    }
    fn hint(&self) -> Option<String> {
        Some("name the model that was evaluated, its evaluation, and the gate that judged that evaluation".into())
    }
}
