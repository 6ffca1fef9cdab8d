-- Runs get a number, so that what belongs to a run is found and joined by eight bytes. The latest value of each metric
-- stands by itself, with an index on its value: searches over many runs read no history.

ALTER TABLE experiments ADD COLUMN artifact_location TEXT NOT NULL DEFAULT '';

CREATE TABLE experiment_tags (
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (experiment_id, key)
) WITHOUT ROWID;

CREATE TABLE runs2 (
    rid INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    source TEXT NOT NULL,
    user_name TEXT NOT NULL,
    start_us BIGINT,
    end_us BIGINT,
    lifecycle TEXT NOT NULL DEFAULT 'active',
    deleted_us BIGINT
);
INSERT INTO runs2 (run_id, experiment_id, name, status, source, user_name, start_us, end_us, lifecycle)
    SELECT run_id, experiment_id, name, status, source, user_name, start_us, end_us, lifecycle
    FROM runs ORDER BY start_us, run_id;

CREATE TABLE params2 (
    rid BIGINT NOT NULL REFERENCES runs2 (rid) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (rid, key)
) WITHOUT ROWID;
INSERT INTO params2 (rid, key, value)
    SELECT runs2.rid, params.key, params.value FROM params JOIN runs2 ON runs2.run_id = params.run_id;

CREATE TABLE run_tags2 (
    rid BIGINT NOT NULL REFERENCES runs2 (rid) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (rid, key)
) WITHOUT ROWID;
INSERT INTO run_tags2 (rid, key, value)
    SELECT runs2.rid, run_tags.key, run_tags.value FROM run_tags JOIN runs2 ON runs2.run_id = run_tags.run_id;

-- A NaN has the value 0 and is_nan = 1. A point that is logged again is the same point.
CREATE TABLE metric_points (
    rid BIGINT NOT NULL REFERENCES runs2 (rid) ON DELETE CASCADE,
    key TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    PRIMARY KEY (rid, key, time_us, step, value, is_nan)
) WITHOUT ROWID;
INSERT INTO metric_points (rid, key, time_us, step, value, is_nan)
    SELECT DISTINCT runs2.rid, metrics.key, metrics.time_us, metrics.step, metrics.value, metrics.is_nan
    FROM metrics JOIN runs2 ON runs2.run_id = metrics.run_id;

-- The latest is the last by step, then by time, then by value.
CREATE TABLE latest_metrics (
    rid BIGINT NOT NULL REFERENCES runs2 (rid) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    step BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    PRIMARY KEY (rid, key)
) WITHOUT ROWID;
INSERT INTO latest_metrics (rid, key, value, is_nan, step, time_us)
    SELECT rid, key, value, is_nan, step, time_us FROM (
        SELECT rid, key, value, is_nan, step, time_us,
            ROW_NUMBER() OVER (PARTITION BY rid, key ORDER BY step DESC, time_us DESC, is_nan, value DESC) AS place
        FROM metric_points
    ) AS placed WHERE place = 1;
CREATE INDEX latest_metrics_by_value ON latest_metrics (key, is_nan, value, rid);

-- Files of runs, logged models and experiments: a path below the artifact root, such as
-- `1/0123…/artifacts/model/model.onnx`, names a blob.
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO files (path, blob, bytes, updated_us)
    SELECT runs2.experiment_id || '/' || artifacts.run_id || '/artifacts/' || artifacts.path, artifacts.blob,
        artifacts.bytes, COALESCE(runs2.end_us, runs2.start_us)
    FROM artifacts JOIN runs2 ON runs2.run_id = artifacts.run_id;
CREATE INDEX files_by_blob ON files (blob);

CREATE TABLE datasets (
    dataset_id TEXT PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT,
    profile TEXT,
    UNIQUE (experiment_id, name, digest)
);
INSERT INTO datasets (dataset_id, experiment_id, name, digest, source_type, source)
    SELECT MIN(inputs.run_id || '-' || inputs.name), runs2.experiment_id, inputs.name, inputs.digest, 'local',
        MIN(inputs.source)
    FROM inputs JOIN runs2 ON runs2.run_id = inputs.run_id
    GROUP BY runs2.experiment_id, inputs.name, inputs.digest;

-- What a run read: data sets, with tags such as the context they were read in.
CREATE TABLE run_datasets (
    rid BIGINT NOT NULL REFERENCES runs2 (rid) ON DELETE CASCADE,
    dataset_id TEXT NOT NULL REFERENCES datasets (dataset_id) ON DELETE CASCADE,
    tags TEXT NOT NULL DEFAULT '[]',
    context TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (rid, dataset_id)
) WITHOUT ROWID;
INSERT INTO run_datasets (rid, dataset_id, tags, context)
    SELECT runs2.rid, datasets.dataset_id, '[]', inputs.context
    FROM inputs JOIN runs2 ON runs2.run_id = inputs.run_id
    JOIN datasets ON datasets.experiment_id = runs2.experiment_id AND datasets.name = inputs.name
        AND datasets.digest = inputs.digest;
CREATE INDEX run_datasets_by_dataset ON run_datasets (dataset_id, rid);

-- Logged models that a run read (direction 'input') or made ('output').
CREATE TABLE run_models (
    rid BIGINT NOT NULL REFERENCES runs2 (rid) ON DELETE CASCADE,
    direction TEXT NOT NULL,
    model_id TEXT NOT NULL,
    step BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (rid, direction, model_id, step)
) WITHOUT ROWID;

DROP TABLE inputs;
DROP TABLE artifacts;
DROP TABLE metrics;
DROP TABLE run_tags;
DROP TABLE params;
DROP TABLE runs;
ALTER TABLE runs2 RENAME TO runs;
ALTER TABLE params2 RENAME TO params;
ALTER TABLE run_tags2 RENAME TO run_tags;

CREATE INDEX runs_by_experiment ON runs (experiment_id, start_us);
-- Long values are looked at one by one; an index of them would be larger than what it finds.
CREATE INDEX params_by_value ON params (key, value, rid) WHERE LENGTH(value) <= 250;
CREATE INDEX run_tags_by_value ON run_tags (key, value, rid) WHERE LENGTH(value) <= 250;

-- What the state directory knows of itself, such as the head of the audit log.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
