-- Times are microseconds since 1970-01-01T00:00:00Z. Identifiers and hashes are hexadecimal text, JSON is text.

CREATE TABLE migrations (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_us BIGINT NOT NULL
);

CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    time_us BIGINT NOT NULL,
    principal TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
);

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    time_us BIGINT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    delivered_us BIGINT
);

CREATE TABLE experiments (
    experiment_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    lifecycle TEXT NOT NULL DEFAULT 'active',
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ('0', 'Default', 0, 0);

CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    source TEXT NOT NULL,
    user_name TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT,
    lifecycle TEXT NOT NULL DEFAULT 'active'
);
CREATE INDEX runs_by_experiment ON runs (experiment_id, start_us);

CREATE TABLE params (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);

-- A NaN has no value and is_nan = 1.
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    step BIGINT NOT NULL,
    time_us BIGINT NOT NULL
);
CREATE INDEX metrics_by_run ON metrics (run_id, key, step, time_us);

CREATE TABLE run_tags (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);

CREATE TABLE artifacts (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (run_id, path)
);

CREATE TABLE inputs (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source TEXT NOT NULL,
    context TEXT NOT NULL,
    PRIMARY KEY (run_id, name, digest)
);

CREATE TABLE models (
    name TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);

-- A version never changes after it was made; aliases move, versions do not.
CREATE TABLE versions (
    model TEXT NOT NULL REFERENCES models (name),
    version BIGINT NOT NULL,
    run_id TEXT,
    spec TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (model, version)
);

CREATE TABLE version_files (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    role TEXT NOT NULL,
    path TEXT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (model, version, path),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
);

CREATE TABLE aliases (
    model TEXT NOT NULL REFERENCES models (name),
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
);

CREATE TABLE approvals (
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    alias TEXT NOT NULL,
    evidence TEXT NOT NULL,
    principal TEXT NOT NULL,
    reason TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    PRIMARY KEY (model, version, alias),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
);

CREATE TABLE stage_runs (
    stage_key TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    stage TEXT NOT NULL,
    outcome TEXT NOT NULL,
    run_id TEXT NOT NULL,
    started_us BIGINT NOT NULL,
    finished_us BIGINT NOT NULL,
    plinth TEXT NOT NULL
);

CREATE TABLE stage_outputs (
    stage_key TEXT NOT NULL REFERENCES stage_runs (stage_key) ON DELETE CASCADE,
    name TEXT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (stage_key, name)
);

-- Who is working on a stage. A lease ends at its deadline, or with its process.
CREATE TABLE leases (
    stage_key TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    deadline_us BIGINT NOT NULL
);

-- What a file's content hash was when the file had this size, time and number.
CREATE TABLE file_hashes (
    path TEXT PRIMARY KEY,
    stamp TEXT NOT NULL,
    blob TEXT NOT NULL
);

CREATE TABLE captures (
    blob TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    from_us BIGINT NOT NULL,
    to_us BIGINT NOT NULL
);
CREATE INDEX captures_by_model ON captures (model, version, from_us);

CREATE TABLE checks (
    id TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    version BIGINT NOT NULL,
    current TEXT NOT NULL,
    verdict TEXT NOT NULL,
    report TEXT NOT NULL,
    time_us BIGINT NOT NULL
);
CREATE INDEX checks_by_model ON checks (model, time_us);
