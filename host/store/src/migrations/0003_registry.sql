-- Registered models can be renamed and deleted with what belongs to them; versions carry what MLflow's clients file
-- with them; logged models are what a run makes before anything is registered.

CREATE TABLE models2 (
    name TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    -- The highest number that a version ever had: numbers are not given twice.
    last_version BIGINT NOT NULL DEFAULT 0
);
INSERT INTO models2 (name, description, created_us, updated_us, last_version)
    SELECT name, description, created_us, updated_us,
        (SELECT COALESCE(MAX(version), 0) FROM versions WHERE versions.model = models.name)
    FROM models;

CREATE TABLE model_tags (
    model TEXT NOT NULL REFERENCES models2 (name) ON UPDATE CASCADE ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

-- What a version is never changes: source, run, specification, files. What people say of it may: description, tags,
-- stage (MLflow's word; None, Staging, Production or Archived).
CREATE TABLE versions2 (
    model TEXT NOT NULL REFERENCES models2 (name) ON UPDATE CASCADE ON DELETE CASCADE,
    version BIGINT NOT NULL,
    run_id TEXT,
    spec TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    user_name TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL DEFAULT '',
    storage_location TEXT NOT NULL DEFAULT '',
    run_link TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'READY',
    status_message TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL DEFAULT 'None',
    model_id TEXT,
    PRIMARY KEY (model, version)
);
INSERT INTO versions2 (model, version, run_id, spec, created_us, updated_us, source, storage_location)
    SELECT model, version, run_id, spec, created_us, created_us, 'mlflow-artifacts:/models/' || model || '/' || version,
        'mlflow-artifacts:/models/' || model || '/' || version
    FROM versions;
CREATE INDEX versions_by_run ON versions2 (run_id);
-- What shares its files, such as a copy.
CREATE INDEX versions_by_storage ON versions2 (storage_location);

CREATE TABLE version_tags (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, version, key),
    FOREIGN KEY (model, version) REFERENCES versions2 (model, version) ON UPDATE CASCADE ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE version_files2 (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    role TEXT NOT NULL,
    path TEXT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (model, version, path),
    FOREIGN KEY (model, version) REFERENCES versions2 (model, version) ON UPDATE CASCADE ON DELETE CASCADE
);
INSERT INTO version_files2 (model, version, role, path, blob, bytes)
    SELECT model, version, role, path, blob, bytes FROM version_files;
CREATE INDEX version_files_by_blob ON version_files2 (blob);
-- The same files where MLflow's clients look for them.
INSERT INTO files (path, blob, bytes, updated_us)
    SELECT 'models/' || f.model || '/' || f.version || '/' || f.path, f.blob, f.bytes, v.created_us
    FROM version_files f JOIN versions v ON v.model = f.model AND v.version = f.version;

CREATE TABLE aliases2 (
    model TEXT NOT NULL REFERENCES models2 (name) ON UPDATE CASCADE ON DELETE CASCADE,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, version) REFERENCES versions2 (model, version) ON UPDATE CASCADE ON DELETE CASCADE
);
INSERT INTO aliases2 (model, alias, version, updated_us)
    SELECT model, alias, version, updated_us FROM aliases;

CREATE TABLE approvals2 (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    alias TEXT NOT NULL,
    evidence TEXT NOT NULL,
    principal TEXT NOT NULL,
    reason TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    PRIMARY KEY (model, version, alias),
    FOREIGN KEY (model, version) REFERENCES versions2 (model, version) ON UPDATE CASCADE ON DELETE CASCADE
);
INSERT INTO approvals2 (model, version, alias, evidence, principal, reason, time_us)
    SELECT model, version, alias, evidence, principal, reason, time_us FROM approvals;

DROP TABLE approvals;
DROP TABLE aliases;
DROP TABLE version_files;
DROP TABLE versions;
DROP TABLE models;
ALTER TABLE models2 RENAME TO models;
ALTER TABLE versions2 RENAME TO versions;
ALTER TABLE version_files2 RENAME TO version_files;
ALTER TABLE aliases2 RENAME TO aliases;
ALTER TABLE approvals2 RENAME TO approvals;

CREATE TABLE logged_models (
    model_id TEXT PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    artifact_location TEXT NOT NULL DEFAULT '',
    model_type TEXT NOT NULL DEFAULT '',
    source_run_id TEXT,
    status TEXT NOT NULL,
    status_message TEXT NOT NULL DEFAULT '',
    lifecycle TEXT NOT NULL DEFAULT 'active',
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX logged_models_by_experiment ON logged_models (experiment_id, created_us);

CREATE TABLE logged_model_params (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_tags (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
) WITHOUT ROWID;

-- Dataset name and digest are empty where none was told.
CREATE TABLE logged_model_metrics (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    dataset_name TEXT NOT NULL DEFAULT '',
    dataset_digest TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (model_id, key, dataset_name, dataset_digest, step, time_us, run_id)
) WITHOUT ROWID;
CREATE INDEX logged_model_metrics_by_value ON logged_model_metrics (key, value, model_id);
