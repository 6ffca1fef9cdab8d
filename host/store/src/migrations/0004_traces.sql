-- Traces: what an application did for one request, as spans, with what people and judges say of it.

CREATE TABLE traces (
    trace_id TEXT PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    request_us BIGINT NOT NULL,
    duration_us BIGINT,
    state TEXT NOT NULL,
    client_request_id TEXT,
    request_preview TEXT,
    response_preview TEXT
);
CREATE INDEX traces_by_experiment ON traces (experiment_id, request_us);

CREATE TABLE trace_tags (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
) WITHOUT ROWID;
CREATE INDEX trace_tags_by_value ON trace_tags (key, value, trace_id) WHERE LENGTH(value) <= 250;

CREATE TABLE trace_metadata (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (trace_id, key)
) WITHOUT ROWID;
CREATE INDEX trace_metadata_by_value ON trace_metadata (key, value, trace_id) WHERE LENGTH(value) <= 250;

-- Runs and versions of prompts (NAME/VERSION) that a trace was linked to. They need not be there.
CREATE TABLE trace_runs (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    PRIMARY KEY (trace_id, run_id)
) WITHOUT ROWID;
CREATE INDEX trace_runs_by_run ON trace_runs (run_id, trace_id);

CREATE TABLE trace_prompts (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    prompt TEXT NOT NULL,
    PRIMARY KEY (trace_id, prompt)
) WITHOUT ROWID;
CREATE INDEX trace_prompts_by_prompt ON trace_prompts (prompt, trace_id);

-- Times are nanoseconds. The content is the whole span as JSON; usage and cost, in JSON too, are parts of it that are
-- added up.
CREATE TABLE spans (
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    span_id TEXT NOT NULL,
    parent_id TEXT,
    name TEXT NOT NULL,
    kind TEXT,
    status TEXT NOT NULL,
    start_ns BIGINT NOT NULL,
    end_ns BIGINT,
    content TEXT NOT NULL,
    usage TEXT,
    cost TEXT,
    PRIMARY KEY (trace_id, span_id)
);

-- The value, the error, the metadata are JSON. A value that is a number stands beside it as one.
CREATE TABLE assessments (
    assessment_id TEXT PRIMARY KEY,
    trace_id TEXT NOT NULL REFERENCES traces (trace_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    number DOUBLE PRECISION,
    error TEXT,
    source_type TEXT NOT NULL,
    source_id TEXT,
    rationale TEXT,
    span_id TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    overrides TEXT,
    valid BIGINT NOT NULL DEFAULT 1,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX assessments_by_trace ON assessments (trace_id, created_us);
CREATE INDEX assessments_by_name ON assessments (name, kind, trace_id);

-- Evaluation data sets: examples to judge an application by.
CREATE TABLE evaluation_datasets (
    dataset_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    schema TEXT,
    -- The number of its records.
    records BIGINT NOT NULL DEFAULT 0,
    digest TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    created_by TEXT,
    updated_by TEXT
);
CREATE INDEX evaluation_datasets_by_time ON evaluation_datasets (created_us);

CREATE TABLE evaluation_dataset_tags (
    dataset_id TEXT NOT NULL REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (dataset_id, key)
) WITHOUT ROWID;

-- Experiments that a data set is used in. An experiment may be named before it is there.
CREATE TABLE evaluation_dataset_experiments (
    dataset_id TEXT NOT NULL REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE,
    experiment_id TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (dataset_id, experiment_id)
) WITHOUT ROWID;
CREATE INDEX evaluation_dataset_experiments_by_experiment ON evaluation_dataset_experiments (experiment_id, dataset_id);

-- Inputs, outputs, expectations, tags and the source's data are JSON.
CREATE TABLE evaluation_records (
    record_id TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES evaluation_datasets (dataset_id) ON DELETE CASCADE,
    input_hash TEXT NOT NULL,
    inputs TEXT NOT NULL,
    outputs TEXT,
    expectations TEXT,
    tags TEXT NOT NULL,
    source_kind TEXT,
    source_data TEXT,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    created_by TEXT,
    updated_by TEXT,
    UNIQUE (dataset_id, input_hash)
);
CREATE INDEX evaluation_records_by_time ON evaluation_records (dataset_id, created_us, record_id);
