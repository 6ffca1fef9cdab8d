//! Runs to search: made up from a number, the same each time, and written to a state directory in large transactions.

use std::path::Path;

use anyhow::{Context, Result};
use plinth_store::{Access, Store, StoreError, Tx, Value};

/// The experiment that all runs are in.
pub(crate) const EXPERIMENT: &str = "7";
/// The run with the long history, and its metric.
pub(crate) const LONG_RUN: &str = "00000000000000000000000000000001";
pub(crate) const LONG_METRIC: &str = "loss";

/// Runs that are written at once.
const AT_ONCE: u64 = 5_000;
/// How many values each parameter takes.
const VALUES: [u64; 10] = [2, 10, 100, 1_000, 100_000, 5, 7, 20, 50, 1_000_000];
const START_US: i64 = 1_700_000_000_000_000;

/// One run's content.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: &'static str,
    pub(crate) user: String,
    pub(crate) start_us: i64,
    pub(crate) metrics: Vec<(String, f64)>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) tags: Vec<(String, String)>,
}

/// The run of a number: ten metrics (one of them NaN now and then, one missing in a third, two never small together),
/// ten parameters, and a few tags.
pub(crate) fn run(number: u64) -> Made {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11
    };
    let mut unit = || random() as f64 / (1_u64 << 53) as f64;
    let mut metrics: Vec<(String, f64)> = (0..10).map(|k| (format!("m{k}"), unit())).collect();
    metrics[7].1 = 1.0 - metrics[6].1;
    if number.is_multiple_of(50) {
        metrics[8].1 = f64::NAN;
    }
    if number.is_multiple_of(3) {
        metrics.pop();
    }
    let params = VALUES.iter().enumerate().map(|(k, values)| (format!("p{k}"), (random() % values).to_string()));
    let (name, user) = (format!("run-{number}"), format!("u{}", number % 20));
    let rare = if number.is_multiple_of(1_000) { "rare" } else { "common" };
    let tags = [("mlflow.runName", name.as_str()), ("mlflow.user", user.as_str()), (rare, "yes")];
    Made {
        params: params.collect(),
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        id: format!("{:032x}", u128::from(number) << 64 | u128::from(state | 2)),
        status: if number.is_multiple_of(10) { "FAILED" } else { "FINISHED" },
        start_us: START_US + number as i64 * 1_000_000,
        name,
        user,
        metrics,
    }
}

/// Writes so many runs to a new state directory, and one with a history of so many points.
pub(crate) fn fill(dir: &Path, runs: u64, points: u64) -> Result<()> {
    let store = Store::open(dir, Access::Shared)?;
    let write = |work: &mut dyn FnMut(&mut dyn Tx) -> Result<(), StoreError>| store.catalog().write(work);
    write(&mut |tx| {
        let sql = "INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ($1, 'searched', 1, 1)";
        tx.execute(sql, &[EXPERIMENT.into()])?;
        let rid = insert(tx, LONG_RUN, "8", "long", "FINISHED", "", START_US)?;
        tx.run_changed(rid);
        for step in 0..points as i64 {
            let sql =
                "INSERT INTO metric_points (rid, key, time_us, step, value, is_nan) VALUES ($1, $2, $3, $4, $5, 0)";
            let value = Value::Real(1.0 / (1.0 + step as f64));
            tx.execute(sql, &[rid.into(), LONG_METRIC.into(), Value::Int(START_US + step), Value::Int(step), value])?;
        }
        Ok(())
    })?;
    for first in (0..runs).step_by(AT_ONCE as usize) {
        write(&mut |tx| (first..runs.min(first + AT_ONCE)).try_for_each(|number| write_run(tx, &run(number))))
            .with_context(|| format!("writing runs from {first}"))?;
    }
    Ok(())
}

fn insert(
    tx: &mut dyn Tx,
    id: &str,
    experiment: &str,
    name: &str,
    status: &str,
    user: &str,
    start: i64,
) -> Result<i64, StoreError> {
    tx.execute(
        "INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ($1, 'searched ' || $1, 1, 1)
         ON CONFLICT DO NOTHING",
        &[experiment.into()],
    )?;
    let sql = "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name, start_us, end_us)
               VALUES ($1, $2, $3, $4, '', $5, $6, $7) RETURNING rid";
    let head = [id, experiment, name, status, user].map(Value::from);
    let times = [Value::Int(start), Value::Int(start + 500_000)];
    tx.query_one(sql, &[&head[..], &times[..]].concat())?.map_or(Ok(0), |row| row.int(0))
}

fn write_run(tx: &mut dyn Tx, run: &Made) -> Result<(), StoreError> {
    let rid = insert(tx, &run.id, EXPERIMENT, &run.name, run.status, &run.user, run.start_us)?;
    tx.run_changed(rid);
    for (table, pairs) in [("params", &run.params), ("run_tags", &run.tags)] {
        let sql = format!("INSERT INTO {table} (rid, key, value) VALUES ($1, $2, $3)");
        for (key, value) in pairs {
            tx.execute(&sql, &[rid.into(), key.into(), value.into()])?;
        }
    }
    for (key, value) in &run.metrics {
        let (value, nan) = if value.is_nan() { (0.0, true) } else { (*value, false) };
        let point = [rid.into(), key.into(), Value::Real(value), nan.into(), Value::Int(run.start_us)];
        for table in ["latest_metrics", "metric_points"] {
            let sql =
                format!("INSERT INTO {table} (rid, key, value, is_nan, step, time_us) VALUES ($1, $2, $3, $4, 10, $5)");
            tx.execute(&sql, &point)?;
        }
    }
    Ok(())
}
