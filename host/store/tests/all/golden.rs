//! Directories that released schemas have written, opened by today's code.
//!
//! `golden/schema-N` was written when N was the newest schema and never changes again. A release with a new schema
//! adds a directory: `PLINTH_WRITE_GOLDEN=1 cargo test -p plinth-store --test all newest_golden`, then a line in
//! [`GOLDEN`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use plinth_core::ContentHash;
use plinth_store::{
    Access, AuditEntry, Row, Store, StoreError, Tx, Value, append_audit, doctor, doctor_with, emit, verify_audit,
};

use crate::place::Place;

const GOLDEN: &[&str] = &["schema-1"];

const BYTES: &[u8] = b"a model, a table, a report";
const RUN: &str = "0197a0b0c0d0e0f00000000000000001";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn every_released_schema_opens_and_reads_as_it_was_written() {
    for name in GOLDEN {
        let dir = tempfile::tempdir().unwrap();
        copy(&golden(name), dir.path());
        let store = Store::open(dir.path(), Access::Writer { command: "test".into() }).unwrap();
        reads_as_written(&store, name);
        // A row that today's code adds finds its place.
        store.catalog().write::<_, StoreError>(|tx| append_audit(tx, &entry(3))).unwrap();
        assert_eq!(store.catalog().read(verify_audit).unwrap(), 3, "{name}");
        drop(store);
        // The doctor also compares the migrations that were applied with those that are built in.
        assert_eq!(doctor(dir.path(), false).unwrap(), [], "{name}");
    }
}

fn reads_as_written(store: &Store, name: &str) {
    assert_eq!(store.blobs().get(&ContentHash::of(BYTES)).unwrap(), BYTES, "{name}");
    store
        .catalog()
        .read::<_, StoreError>(|tx| {
            for (query, expected) in reads() {
                assert_eq!(tx.query(query, &[])?, [Row(expected)], "{name}: {query}");
            }
            assert_eq!(verify_audit(tx)?, 2, "{name}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_upgraded_directory_has_the_columns_of_a_new_one() {
    let fresh = tempfile::tempdir().unwrap();
    let expected = columns(&Store::open(fresh.path(), Access::Shared).unwrap());
    assert!(expected.len() > 15, "{expected:?}");
    for name in GOLDEN {
        let dir = tempfile::tempdir().unwrap();
        copy(&golden(name), dir.path());
        assert_eq!(columns(&Store::open(dir.path(), Access::Shared).unwrap()), expected, "{name}");
    }
}

#[test]
fn every_table_of_the_newest_schema_is_written_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Access::Shared).unwrap();
    fill(&store);
    for table in columns(&store).keys() {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let row = store.catalog().read::<_, StoreError>(|tx| tx.query_one(&sql, &[])).unwrap();
        assert!(row.unwrap().int(0).unwrap() > 0, "{table} is empty: nobody would notice that it cannot be read");
    }
    // On PostgreSQL the same statements fill and read the same tables.
    let elsewhere = Place::postgres();
    let postgres = elsewhere.open();
    fill(&postgres);
    assert_eq!(doctor_with(elsewhere.dir(), elsewhere.catalog(), false).unwrap().len(), 0);
    assert_eq!(names(&postgres_columns(&postgres)), names(&columns(&store)));
    if std::env::var_os("PLINTH_WRITE_GOLDEN").is_some() {
        write_golden();
    }
}

/// Fills a new directory with one row of each table, and reads what every released schema has.
fn fill(store: &Store) {
    assert_eq!(store.blobs().put(BYTES).unwrap(), ContentHash::of(BYTES));
    store.catalog().write(write).unwrap();
    reads_as_written(store, "today");
}

/// Name and type of every column, by table.
fn columns(store: &Store) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT t.name, c.name || ' ' || c.type FROM sqlite_master t, pragma_table_info(t.name) c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.name";
    let rows = store.catalog().read::<_, StoreError>(|tx| tx.query(sql, &[])).unwrap();
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        tables.entry(row.text(0).unwrap()).or_default().push(row.text(1).unwrap());
    }
    tables
}

/// The same on PostgreSQL.
fn postgres_columns(store: &Store) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT table_name, column_name || ' ' || data_type FROM information_schema.columns
               WHERE table_schema = current_schema() AND table_name <> 'changes'";
    let rows = store.catalog().read::<_, StoreError>(|tx| tx.query(sql, &[])).unwrap();
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        tables.entry(row.text(0).unwrap()).or_default().push(row.text(1).unwrap());
    }
    tables
}

/// Columns without their types.
fn names(columns: &BTreeMap<String, Vec<String>>) -> BTreeSet<(&str, &str)> {
    let name = |column: &'_ String| column.split(' ').next().unwrap_or_default().len();
    columns.iter().flat_map(|(table, list)| list.iter().map(move |c| (&**table, &c[..name(c)]))).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().expect("it was listed"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn entry(n: i64) -> AuditEntry {
    AuditEntry {
        time: n,
        principal: "ann".into(),
        action: "alias.set".into(),
        subject: "models:/churn@champion".into(),
        detail: "{\"to\":1}".into(),
    }
}

/// One row of each table, with what reading it has to give.
fn reads() -> Vec<(&'static str, Vec<Value>)> {
    let (text, blob) = (|text: &str| Value::from(text), Value::from(ContentHash::of(BYTES)));
    let int = Value::Int;
    vec![
        (
            "SELECT name, lifecycle, created_us FROM experiments WHERE experiment_id = '1'",
            vec![text("churn"), text("active"), int(10)],
        ),
        (
            "SELECT run_id, experiment_id, status, start_us, end_us FROM runs",
            vec![text(RUN), text("1"), text("FINISHED"), int(20), int(30)],
        ),
        ("SELECT key, value FROM params", vec![text("trees"), text("100")]),
        ("SELECT value, is_nan, step FROM metric_points WHERE key = 'f1'", vec![Value::Real(0.8125), int(0), int(7)]),
        ("SELECT is_nan, time_us FROM metric_points WHERE key = 'loss'", vec![int(1), int(21)]),
        ("SELECT value FROM latest_metrics WHERE key = 'worst'", vec![Value::Real(f64::INFINITY)]),
        ("SELECT key, value FROM run_tags", vec![text("läuft"), text("ja, 100 %")]),
        (
            "SELECT path, blob, bytes FROM files WHERE path LIKE '1/%'",
            vec![Value::from(format!("1/{RUN}/artifacts/report.html")), blob.clone(), int(26)],
        ),
        (
            "SELECT d.name, u.context FROM run_datasets u JOIN datasets d ON d.dataset_id = u.dataset_id",
            vec![text("events"), text("training")],
        ),
        ("SELECT name, description FROM models", vec![text("churn"), text("who leaves")]),
        ("SELECT version, run_id, spec FROM versions", vec![int(1), text(RUN), text("{\"label\":\"churn\"}")]),
        ("SELECT role, path, blob FROM version_files", vec![text("model"), text("model.onnx"), blob.clone()]),
        (
            "SELECT path, blob FROM files WHERE path LIKE 'models/%'",
            vec![text("models/churn/1/model.onnx"), blob.clone()],
        ),
        ("SELECT alias, version FROM aliases", vec![text("champion"), int(1)]),
        ("SELECT alias, principal, reason FROM approvals", vec![text("champion"), text("ann"), text("better")]),
        ("SELECT stage, outcome FROM stage_runs", vec![text("train"), text("{\"summary\":\"100 trees\"}")]),
        ("SELECT name, blob, bytes FROM stage_outputs", vec![text("model"), blob.clone(), int(26)]),
        ("SELECT owner, deadline_us FROM leases", vec![text("1@2 run"), int(40)]),
        ("SELECT path, stamp, blob FROM file_hashes", vec![text("churn.csv"), text("26 1.0"), blob.clone()]),
        ("SELECT model, version, rows, blob FROM captures", vec![text("churn"), int(1), int(64), blob]),
        ("SELECT current, verdict, report FROM checks", vec![text("new.csv"), text("drift"), text("{}")]),
        ("SELECT kind, payload, delivered_us FROM outbox", vec![text("alias.moved"), text("{\"to\":1}"), Value::Null]),
    ]
}

/// Writes what [`reads`] expects. Its statements are those of the newest schema.
fn write(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.all_runs_changed();
    let run = || Value::from(RUN);
    let blob = || Value::from(ContentHash::of(BYTES));
    let statements: Vec<(&str, Vec<Value>)> = vec![
        ("INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ('1', 'churn', 10, 10)", vec![]),
        ("INSERT INTO experiment_tags (experiment_id, key, value) VALUES ('1', 'team', 'growth')", vec![]),
        (
            "INSERT INTO runs (rid, run_id, experiment_id, name, status, source, user_name, start_us, end_us)
             VALUES (1, $1, '1', 'first', 'FINISHED', 'plinth.yaml', 'ann', 20, 30)",
            vec![run()],
        ),
        ("INSERT INTO params (rid, key, value) VALUES (1, 'trees', '100')", vec![]),
        (
            "INSERT INTO metric_points (rid, key, value, is_nan, step, time_us)
             VALUES (1, 'f1', 0.8125, 0, 7, 22), (1, 'loss', 0.0, 1, 0, 21), (1, 'worst', $1, 0, 0, 21)",
            vec![Value::Real(f64::INFINITY)],
        ),
        (
            "INSERT INTO latest_metrics (rid, key, value, is_nan, step, time_us) VALUES (1, 'worst', $1, 0, 0, 21)",
            vec![Value::Real(f64::INFINITY)],
        ),
        ("INSERT INTO run_tags (rid, key, value) VALUES (1, 'läuft', 'ja, 100 %')", vec![]),
        (
            "INSERT INTO files (path, blob, bytes, updated_us) VALUES ($1, $2, 26, 30)",
            vec![Value::from(format!("1/{RUN}/artifacts/report.html")), blob()],
        ),
        (
            "INSERT INTO datasets (dataset_id, experiment_id, name, digest, source_type, source)
             VALUES ('d', '1', 'events', 'd1', 'local', 'churn.csv')",
            vec![],
        ),
        ("INSERT INTO run_datasets (rid, dataset_id, context) VALUES (1, 'd', 'training')", vec![]),
        ("INSERT INTO run_models (rid, direction, model_id) VALUES (1, 'output', 'm-1')", vec![]),
        ("INSERT INTO facts (name, value) VALUES ('motto', 'x')", vec![]),
        (
            "INSERT INTO models (name, description, created_us, updated_us, last_version)
             VALUES ('churn', 'who leaves', 31, 31, 1)",
            vec![],
        ),
        ("INSERT INTO model_tags (model, key, value) VALUES ('churn', 'team', 'growth')", vec![]),
        (
            "INSERT INTO versions (model, version, run_id, spec, created_us, updated_us)
             VALUES ('churn', 1, $1, '{\"label\":\"churn\"}', 31, 31)",
            vec![run()],
        ),
        ("INSERT INTO version_tags (model, version, key, value) VALUES ('churn', 1, 'checked', 'yes')", vec![]),
        (
            "INSERT INTO version_files (model, version, role, path, blob, bytes)
             VALUES ('churn', 1, 'model', 'model.onnx', $1, 26)",
            vec![blob()],
        ),
        (
            "INSERT INTO files (path, blob, bytes, updated_us) VALUES ('models/churn/1/model.onnx', $1, 26, 31)",
            vec![blob()],
        ),
        ("INSERT INTO aliases (model, alias, version, updated_us) VALUES ('churn', 'champion', 1, 32)", vec![]),
        (
            "INSERT INTO approvals (model, version, alias, evidence, principal, reason, time_us)
             VALUES ('churn', 1, 'champion', 'e1', 'ann', 'better', 32)",
            vec![],
        ),
        (
            "INSERT INTO logged_models (model_id, experiment_id, name, status, created_us, updated_us)
             VALUES ('m-1', '1', 'model', 'LOGGED_MODEL_READY', 29, 29)",
            vec![],
        ),
        ("INSERT INTO logged_model_params (model_id, key, value) VALUES ('m-1', 'trees', '100')", vec![]),
        ("INSERT INTO logged_model_tags (model_id, key, value) VALUES ('m-1', 'k', 'v')", vec![]),
        (
            "INSERT INTO logged_model_metrics (model_id, run_id, key, time_us, step, value, is_nan)
             VALUES ('m-1', $1, 'f1', 22, 7, 0.8125, 0)",
            vec![run()],
        ),
        (
            "INSERT INTO traces (trace_id, experiment_id, request_us, duration_us, state)
             VALUES ('tr-1', '1', 40, 2, 'OK')",
            vec![],
        ),
        ("INSERT INTO trace_tags (trace_id, key, value) VALUES ('tr-1', 'k', 'v')", vec![]),
        ("INSERT INTO trace_runs (trace_id, run_id) VALUES ('tr-1', 'r')", vec![]),
        ("INSERT INTO trace_prompts (trace_id, prompt) VALUES ('tr-1', 'greet/1')", vec![]),
        ("INSERT INTO trace_metadata (trace_id, key, value) VALUES ('tr-1', 'mlflow.user', 'ann')", vec![]),
        (
            "INSERT INTO spans (trace_id, span_id, name, kind, status, start_ns, end_ns, content)
             VALUES ('tr-1', '01', 'predict', 'LLM', 'OK', 40000, 42000, '{}')",
            vec![],
        ),
        (
            "INSERT INTO assessments (assessment_id, trace_id, name, kind, value, source_type, source_id, created_us,
                updated_us) VALUES ('a-1', 'tr-1', 'good', 'feedback', 'true', 'HUMAN', 'ann', 43, 43)",
            vec![],
        ),
        (
            "INSERT INTO evaluation_datasets (dataset_id, name, digest, created_us, updated_us)
             VALUES ('ed', 'cases', 'd2', 44, 44)",
            vec![],
        ),
        ("INSERT INTO evaluation_dataset_tags (dataset_id, key, value) VALUES ('ed', 'k', 'v')", vec![]),
        (
            "INSERT INTO evaluation_dataset_experiments (dataset_id, experiment_id, created_us) VALUES ('ed', '1', 44)",
            vec![],
        ),
        (
            "INSERT INTO evaluation_records (record_id, dataset_id, input_hash, inputs, tags, created_us, updated_us)
             VALUES ('er', 'ed', 'h', '{}', '{}', 44, 44)",
            vec![],
        ),
        ("INSERT INTO uploads (upload_id, path, parts, created_us) VALUES ('u1', '1/r/artifacts/x', 2, 44)", vec![]),
        ("INSERT INTO upload_parts (upload_id, part, blob, bytes) VALUES ('u1', 1, $1, 26)", vec![blob()]),
        ("INSERT INTO artifact_store (name, mark) VALUES ('blobs', 'm')", vec![]),
        (
            "INSERT INTO endpoints (name, revision, spec, created_us, updated_us) VALUES ('churn', 1, '{}', 44, 44)",
            vec![],
        ),
        (
            "INSERT INTO endpoint_events (endpoint, seq, revision, time_us, principal, action, reason, spec)
             VALUES ('churn', 1, 1, 44, 'ann', 'create', '', '{}')",
            vec![],
        ),
        (
            "INSERT INTO endpoint_feedback (endpoint, request_id, deployment, version, reward, time_us)
             VALUES ('churn', 'q1', 'champion', '1', 0.5, 45)",
            vec![],
        ),
        (
            "INSERT INTO endpoint_rewards (endpoint, deployment, version, count, total, updated_us)
             VALUES ('churn', 'champion', '1', 1, 0.5, 45)",
            vec![],
        ),
        (
            "INSERT INTO webhooks (webhook_id, name, url, status, created_us, updated_us)
             VALUES ('w1', 'ci', 'https://example.com', 'ACTIVE', 44, 44)",
            vec![],
        ),
        ("INSERT INTO webhook_events (webhook_id, event, place) VALUES ('w1', 'model_version.created', 0)", vec![]),
        (
            "INSERT INTO webhook_deliveries (webhook_id, event_id, delivery_id, event, payload, state, event_us, next_us)
             VALUES ('w1', 1, 'd1', 'model_version.created', '{}', 'pending', 44, 44)",
            vec![],
        ),
        ("INSERT INTO users (name, password, role, created_us) VALUES ('ann', '$argon2id$x', 'admin', 45)", vec![]),
        ("INSERT INTO tokens (token_id, user_name, hash, created_us) VALUES ('t1', 'ann', 'h', 46)", vec![]),
        ("INSERT INTO grants (user_name, kind, resource, role) VALUES ('ann', 'experiment', '1', 'editor')", vec![]),
        (
            "INSERT INTO stage_runs (stage_key, pipeline, stage, outcome, run_id, started_us, finished_us, plinth)
             VALUES ('k1', 'churn', 'train', '{\"summary\":\"100 trees\"}', $1, 22, 29, '0.1.0')",
            vec![run()],
        ),
        ("INSERT INTO stage_outputs (stage_key, name, blob, bytes) VALUES ('k1', 'model', $1, 26)", vec![blob()]),
        ("INSERT INTO leases (stage_key, owner, deadline_us) VALUES ('k2', '1@2 run', 40)", vec![]),
        ("INSERT INTO file_hashes (path, stamp, blob) VALUES ('churn.csv', '26 1.0', $1)", vec![blob()]),
        (
            "INSERT INTO captures (blob, model, version, rows, from_us, to_us) VALUES ($1, 'churn', 1, 64, 33, 34)",
            vec![blob()],
        ),
        (
            "INSERT INTO checks (id, model, version, current, verdict, report, time_us)
             VALUES ('c1', 'churn', 1, 'new.csv', 'drift', '{}', 35)",
            vec![],
        ),
    ];
    for (sql, values) in statements {
        tx.execute(sql, &values)?;
    }
    emit(tx, 32, "alias.moved", "{\"to\":1}")?;
    append_audit(tx, &entry(1))?;
    append_audit(tx, &entry(2))
}

/// Writes `golden/schema-N` for the newest N; refuses to touch one that exists.
fn write_golden() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Access::Shared).unwrap();
    fill(&store);
    let newest = store
        .catalog()
        .read::<_, StoreError>(|tx| tx.query_one("SELECT MAX(version) FROM migrations", &[]))
        .unwrap()
        .expect("an aggregate has a row")
        .int(0)
        .unwrap();
    // The last connection folds the log into the catalog.
    drop(store);
    let target = golden(&format!("schema-{newest}"));
    assert!(!target.exists(), "{} exists: a released schema never changes", target.display());
    for part in ["blobs", "catalog.db"] {
        let (from, to) = (dir.path().join(part), target.join(part));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::create_dir_all(&target).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
}
