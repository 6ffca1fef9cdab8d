//! `kind: split`: rows to learn from, and rows held out to judge by.

use std::sync::Arc;

use plinth_pipeline::{
    InputRef, PipelineError, StageContext, StageFailure, StageHandler, StageOutcome, StagePlan, StageSpec,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::thousands;
use crate::host::Host;

pub(crate) struct Split(pub(crate) Arc<Host>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The table to split.
    data: String,
    /// `time` holds out the latest rows, `seed` random ones.
    by: By,
    /// The column that tells the time; needed by `time`.
    time_column: Option<String>,
    /// Share of rows that is held out.
    fraction: f64,
    /// Decides which rows `seed` holds out.
    #[serde(default)]
    seed: u64,
    /// A column whose values get the same share on both sides; for `seed`.
    stratify: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    Time,
    Seed,
}

impl StageHandler for Split {
    fn kind(&self) -> &'static str {
        "split"
    }

    fn version(&self) -> u32 {
        1
    }

    fn plan(&self, stage: &StageSpec) -> Result<StagePlan, PipelineError> {
        let config: Config = stage.config()?;
        if !(config.fraction > 0.0 && config.fraction < 1.0) {
            let message = format!("`fraction` is {}, which is not a share between 0 and 1", config.fraction);
            return Err(stage.invalid(&["fraction"], &message));
        }
        // Only what the chosen way looks at decides the result.
        let params = match config.by {
            By::Time => {
                let column =
                    config.time_column.ok_or_else(|| stage.invalid(&["by"], "`by: time` needs a `time-column`"))?;
                json!({"by": "time", "column": column, "fraction": config.fraction})
            }
            By::Seed => {
                json!({"by": "seed", "fraction": config.fraction, "seed": config.seed, "stratify": config.stratify})
            }
        };
        Ok(StagePlan { inputs: vec![InputRef::new("data", config.data)], params, outputs: vec!["train", "test"] })
    }

    fn run(&self, stage: &StageContext<'_>) -> Result<StageOutcome, StageFailure> {
        let config: Config = stage.stage.config()?;
        let table = self.0.table(stage.input("data"))?;
        let split = match (config.by, config.time_column.as_deref()) {
            (By::Time, column) => plinth_table::Split::by_time(&table, column.unwrap_or_default(), config.fraction)?,
            (By::Seed, _) => {
                plinth_table::Split::by_seed(&table, config.fraction, config.seed, config.stratify.as_deref())?
            }
        };
        // Each side is a pass of its own: one open file and one row group in memory at a time.
        let side = |name: &str, held_out: bool| {
            self.0.write_table(name, table.schema(), |write| {
                let mut offset = 0;
                for batch in table.batches()? {
                    stage.cancel.check()?;
                    let batch = batch?;
                    let (train, test) = split.cut(&batch, offset)?;
                    offset += batch.num_rows();
                    write(if held_out { &test } else { &train })?;
                    (stage.progress)(offset as u64, Some(table.rows()));
                }
                Ok(())
            })
        };
        let outputs = vec![side("train", false)?, side("test", true)?];
        let (all, held_out) = (split.rows() as u64, split.held_out_rows() as u64);
        Ok(StageOutcome {
            outputs,
            summary: format!("{} rows to learn from, {} held out", thousands(all - held_out), thousands(held_out)),
            details: Value::Null,
            ..StageOutcome::default()
        })
    }
}
