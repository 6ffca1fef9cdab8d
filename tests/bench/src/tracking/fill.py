"""Fills the database of an MLflow server by SQL: its own interface would take an hour for the same rows.

fill.py DATABASE EXPERIMENT RUNS POINTS: runs as `rows.rs` makes them, and the id of a run with a history.
"""

import sqlite3
import sys

database, experiment, runs, points = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(database, timeout=60)


def value(run, metric):
    return (run * 7919 + metric * 104729) % 10007 / 10007


def add_run(id, number):
    db.execute(
        "INSERT INTO runs (run_uuid, name, user_id, status, start_time, lifecycle_stage, artifact_uri, experiment_id)"
        " VALUES (?, ?, 'bench', 'RUNNING', ?, 'active', 'mlflow-artifacts:/x', ?)",
        (id, f"run {number}", 1000 + number, int(experiment)),
    )
    db.execute("INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.runName', ?, ?)", (f"run {number}", id))


for run in range(runs):
    id = f"{run:032x}"
    add_run(id, run)
    metrics = [(f"m{k}", value(run, k), id) for k in range(10)]
    db.executemany("INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 1, 0, 0, ?)", metrics)
    db.executemany("INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 1, 0, 0, ?)", metrics)
    params = [(f"p{k}", f"v{(run + k) % 10}", id) for k in range(10)]
    db.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", params)

history = "f" * 32
add_run(history, 0)
rows = [("loss", at / 7, at, at, history) for at in range(points)]
db.executemany("INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)", rows)
db.execute(
    "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)", rows[-1]
)
db.commit()
print(history)
