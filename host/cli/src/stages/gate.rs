//! `kind: gate`: may this model go on? A plugin judges; an error, a trap and a timeout count as no.
//!
//! The baseline is the version behind an alias, scored again on the candidate's held-out rows. Rows that the baseline
//! was trained on would flatter it, so both are compared on the others only; with too few of those there is no
//! comparison, which is a warning.

use std::{collections::HashSet, sync::Arc};

use arrow_array::BooleanArray;
use plinth_core::{Code, Coded, ContentHash, codes, refs::ModelRef};
use plinth_ext::{Batch, Check, CheckOutcome, Evidence, Metric, Schema, Subject, Tables};
use plinth_pipeline::{
    InputRef, KeyPart, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageSpec,
};
use plinth_score::Signature;
use plinth_table::{Table, row_hashes};
use plinth_tracking::{FileRole, ModelVersion};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    documents::{EvaluationDocument, GateDocument, ModelDocument, VersionDocument},
    evaluate::{Measure, measure},
    judge, options_text, summary, thousands,
};
use crate::{
    host::{Host, HostError, Lent, PluginRef},
    scorer,
};

pub(crate) struct Gate(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The evaluation to judge.
    evaluation: String,
    /// The model version in place, such as `models:/churn@champion`.
    baseline: Option<String>,
    /// Fewest held-out rows on which a comparison means something.
    #[serde(default = "rows_min")]
    comparable_rows_min: u64,
    /// A gate plugin.
    plugin: String,
    /// Which of its gates, if it has several.
    item: Option<String>,
    #[serde(default)]
    options: Map<String, Value>,
}

fn rows_min() -> u64 {
    100
}

impl StageHandler for Gate {
    fn kind(&self) -> &'static str {
        "gate"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        if let Some(Err(error)) = config.baseline.as_deref().map(str::parse::<ModelRef>) {
            return Err(stage.invalid(&["baseline"], &error.to_string()));
        }
        Ok(StagePlan {
            inputs: vec![InputRef::new("evaluation", config.evaluation)],
            params: json!({
                "baseline": config.baseline, "comparable-rows-min": config.comparable_rows_min,
                "item": config.item, "options": config.options,
            }),
            outputs: vec!["checks"],
        })
    }

    fn key_parts(&self, stage: &StageContext<'_>) -> Result<Vec<KeyPart>, StageFailure> {
        let config: Config = stage.stage.config()?;
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        let mut parts = vec![KeyPart { name: "plugin".into(), hash: self.0.components.hash(stage.cache, &plugin)? }];
        if config.baseline.is_some() {
            let evaluation: EvaluationDocument = self.0.read_json(&stage.input("evaluation").blob)?;
            if let Some(opponent) = self.opponent(&config, &evaluation)? {
                parts.push(KeyPart { name: "baseline".into(), hash: ContentHash::of(opponent.reference().as_bytes()) });
            }
        }
        Ok(parts)
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        let config: Config = stage.stage.config()?;
        let evaluation_blob = stage.input("evaluation").blob;
        let evaluation: EvaluationDocument = self.0.read_json(&evaluation_blob)?;
        let model: ModelDocument = self.0.read_json(&evaluation.model)?;
        let plugin = PluginRef::new(stage.pipeline, &config.plugin);
        let (gate, item) = self.0.components.gate(&plugin, config.item.as_deref())?;
        let tables: Arc<dyn Tables> = Arc::new(Lent::new([
            ("data", self.0.table_of(&evaluation.data)?),
            ("predictions", self.0.table_of(&evaluation.predictions)?),
        ]));
        let baseline = self.opponent(&config, &evaluation)?;
        let compared = match &baseline {
            Some(version) => Some(self.compare(stage, &config, &evaluation, &model, version)?),
            None => None,
        };

        let candidate = Subject {
            reference: format!("candidate of pipeline {}", stage.pipeline.name),
            metrics: evaluation.metrics.clone(),
            tags: vec![("trainer".into(), model.trainer.clone())],
        };
        let judged = Judged { gate: &*gate, item: &item, options: options_text(&config.options), tables };
        let mut checks = match &compared {
            None => judged.checks(&candidate, None)?,
            Some(compared) => {
                let mut checks = compared.checks(&judged, &candidate)?;
                checks.push(compared.note(config.comparable_rows_min));
                checks
            }
        };
        // The order of a gate's checks is its own; what failed is read first.
        checks.sort_by_key(|check| check.outcome != CheckOutcome::Fail);
        judge(&checks)?;
        let document = GateDocument {
            evaluation: evaluation_blob,
            baseline: baseline.map(|version| version.reference()),
            comparable_rows: compared.map(|compared| compared.rows),
            checks,
        };
        let output = self.0.write_json("checks", &json!(document))?;
        Ok(StageOutcome {
            outputs: vec![output],
            summary: summary(&document.checks),
            details: json!({ "checks": document.checks }),
            ..StageOutcome::default()
        })
    }
}

/// The check that stands for a gate that could not answer.
const BROKEN: &str = "the gate itself";

/// A gate with everything but the evidence.
struct Judged<'a> {
    gate: &'a dyn plinth_ext::Gate,
    item: &'a str,
    options: String,
    tables: Arc<dyn Tables>,
}

impl Judged<'_> {
    fn checks(&self, candidate: &Subject, baseline: Option<&Subject>) -> Result<Vec<Check>, StageFailure> {
        let evidence = Evidence { candidate: candidate.clone(), baseline: baseline.cloned() };
        match self.gate.evaluate(self.item, &evidence, &self.options, self.tables.clone()) {
            Ok(checks) => Ok(checks),
            // Wrong options are the user's to fix; anything else means no.
            Err(error) if error.code() == codes::BAD_OPTIONS => Err(error.into()),
            Err(error) => Ok(vec![broken(&error)]),
        }
    }
}

/// Candidate and baseline on the rows that are fair to both.
struct Compared {
    /// The version in place.
    baseline: String,
    /// Held-out rows that it was not trained on.
    rows: u64,
    /// Held-out rows.
    of: u64,
    /// The candidate's measurements and the baseline's on those rows; none with too few rows.
    metrics: Option<(Vec<Metric>, Vec<Metric>)>,
}

impl Compared {
    /// A candidate is judged by itself on all held-out rows, and against the baseline on the fair ones. Which checks
    /// are of the second kind only the gate knows: they are those that come out otherwise with a baseline.
    fn checks(&self, judged: &Judged<'_>, candidate: &Subject) -> Result<Vec<Check>, StageFailure> {
        let alone = judged.checks(candidate, None)?;
        let Some((mine, theirs)) = &self.metrics else { return Ok(alone) };
        let fair = Subject { metrics: mine.clone(), ..candidate.clone() };
        let baseline = Subject { reference: self.baseline.clone(), metrics: theirs.clone(), tags: Vec::new() };
        let with = judged.checks(&fair, Some(&baseline))?;
        let marked = judged.checks(candidate, Some(&baseline))?;
        let fell = |checks: &[Check]| checks.iter().any(|check| check.name == BROKEN);
        if alone.len() != with.len() || with.len() != marked.len() || fell(&with) || fell(&marked) {
            // It checks other things once there is a baseline: then everything it says counts.
            let broken = marked.into_iter().filter(|check| check.name == BROKEN);
            return Ok(alone.into_iter().chain(with).chain(broken).collect());
        }
        let chosen = alone.into_iter().zip(with.into_iter().zip(marked));
        Ok(chosen.map(|(alone, (with, marked))| if marked == alone { alone } else { with }).collect())
    }

    fn note(&self, rows_min: u64) -> Check {
        let enough = self.metrics.is_some();
        let left_out = self.of - self.rows;
        Check {
            name: format!("rows to compare with {}", self.baseline),
            outcome: if enough { CheckOutcome::Pass } else { CheckOutcome::Fail },
            observed: format!("{} of {} held-out rows", thousands(self.rows), thousands(self.of)),
            expected: format!("at least {rows_min}"),
            reason: match (enough, left_out) {
                (false, _) => "too few rows that the baseline was not trained on: hold out more, or lower \
                               `comparable-rows-min`"
                    .into(),
                (true, 0) => String::new(),
                (true, n) => format!("{} rows that the baseline was trained on were left out", thousands(n)),
            },
        }
    }
}

impl Gate {
    /// The version in place; none before the first is registered, or once all are deleted. An alias or a version that is
    /// missing although others exist is a slip of the pen, and must not switch the comparison off.
    fn baseline(&self, config: &Config) -> Result<Option<ModelVersion>, StageFailure> {
        let Some(text) = &config.baseline else { return Ok(None) };
        let reference = text.parse::<ModelRef>()?;
        let tracking = self.0.tracking();
        let model = match tracking.model(reference.name()) {
            Err(error) if error.code() == codes::MODEL_NOT_FOUND => return Ok(None),
            found => found?,
        };
        if model.versions.is_empty() {
            return Ok(None);
        }
        Ok(Some(tracking.resolve(&reference)?))
    }

    /// Whom to compare with: the version in place or, when that is the candidate itself, the one that it was judged
    /// against when it came.
    fn opponent(&self, config: &Config, evaluation: &EvaluationDocument) -> Result<Option<ModelVersion>, StageFailure> {
        let Some(champion) = self.baseline(config)? else { return Ok(None) };
        let document = read_document(&champion)?;
        if document.model_document != evaluation.model {
            return Ok(Some(champion));
        }
        document.judged_against.map(|name| Ok(self.0.tracking().resolve(&name.parse::<ModelRef>()?)?)).transpose()
    }

    fn compare(
        &self,
        stage: &StageContext<'_>,
        config: &Config,
        evaluation: &EvaluationDocument,
        model: &ModelDocument,
        version: &ModelVersion,
    ) -> Result<Compared, StageFailure> {
        let theirs = read_document(version)?.model;
        let table = self.0.table_of(&evaluation.data)?;
        let seen = self.seen(version)?;
        let label = theirs.transform.label.as_deref();
        let unseen = fair_rows(&table, &theirs.transform.signature, label, &seen)?;
        let rows = unseen.iter().filter(|unseen| **unseen).count() as u64;
        let mut compared = Compared { baseline: version.reference(), rows, of: table.rows(), metrics: None };
        if rows < config.comparable_rows_min {
            return Ok(compared);
        }
        let mask = BooleanArray::from(unseen);
        let measured = |model: &ModelDocument| -> Result<Vec<Metric>, StageFailure> {
            let scorer = scorer::of_model(&self.0, model, &self.0.sessions(1), scorer::Use::Batch)?;
            let what = Measure {
                model,
                positive: evaluation.positive.as_deref(),
                slices: &[],
                slice_rows_min: 0,
                rows: Some(&mask),
            };
            Ok(measure(&self.0, stage, &scorer, &table, &what)?.metrics)
        };
        compared.metrics = Some((measured(model)?, measured(&theirs)?));
        Ok(compared)
    }

    /// Hashes of the rows that a version was trained on.
    fn seen(&self, version: &ModelVersion) -> Result<HashSet<u64>, StageFailure> {
        let bytes = self.0.store().blobs().get(&version.file(FileRole::TrainingRows)?.hash)?;
        Ok(bytes.chunks_exact(8).map(|hash| u64::from_le_bytes(hash.try_into().expect("chunks of eight"))).collect())
    }
}

/// For each row of a table, whether a model has not seen it: told by the columns that the model knows.
fn fair_rows(
    table: &Table,
    signature: &Signature,
    label: Option<&str>,
    seen: &HashSet<u64>,
) -> Result<Vec<bool>, StageFailure> {
    let known = known_columns(signature, label, table.schema())?;
    let mut unseen = Vec::new();
    for batch in table.batches()? {
        unseen.extend(row_hashes(&known.coerce(&batch?)?).iter().map(|hash| !seen.contains(hash)));
    }
    Ok(unseen)
}

/// Hashes of a table's rows over the columns that a model knows, label included; sorted, eight bytes each.
pub(super) fn training_rows(
    batches: impl Iterator<Item = Result<Batch, plinth_table::TableError>>,
    signature: &Signature,
    label: Option<&str>,
    schema: &Schema,
) -> Result<Vec<u8>, StageFailure> {
    let known = known_columns(signature, label, schema)?;
    let mut hashes = Vec::new();
    for batch in batches {
        hashes.extend(row_hashes(&known.coerce(&batch?)?));
    }
    hashes.sort_unstable();
    hashes.dedup();
    Ok(hashes.into_iter().flat_map(u64::to_le_bytes).collect())
}

/// The signature with the label at its end: identifiers and times, which make every row unique, stay out.
fn known_columns(signature: &Signature, label: Option<&str>, schema: &Schema) -> Result<Signature, StageFailure> {
    let mut fields = signature.columns().fields().to_vec();
    if let Some(label) = label {
        fields.push(schema.fields()[schema.require(label)?].clone());
    }
    Ok(Signature::new(Schema::new(fields)?))
}

fn read_document(version: &ModelVersion) -> Result<VersionDocument, StageFailure> {
    scorer::document(version).map_err(|failure| HostError::from(failure).into())
}

fn broken(error: &(impl Coded + ?Sized)) -> Check {
    let code: Code = error.code();
    Check {
        name: BROKEN.into(),
        outcome: CheckOutcome::Fail,
        observed: format!("{error} [{code}]"),
        expected: "an answer".into(),
        reason: "a gate that cannot answer lets nothing through".into(),
    }
}
