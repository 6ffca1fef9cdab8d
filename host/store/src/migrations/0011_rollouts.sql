-- What a change of an endpoint was decided by.
ALTER TABLE endpoint_events ADD COLUMN evidence TEXT;

-- What became of single requests, told later by their ids; kept for a while.
CREATE TABLE endpoint_feedback (
    endpoint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version TEXT NOT NULL,
    reward DOUBLE PRECISION,
    value TEXT,
    time_us BIGINT NOT NULL,
    PRIMARY KEY (endpoint, request_id)
);
CREATE INDEX endpoint_feedback_by_time ON endpoint_feedback (endpoint, time_us);

-- What deployments have earned by rewards.
CREATE TABLE endpoint_rewards (
    endpoint TEXT NOT NULL,
    deployment TEXT NOT NULL,
    version TEXT NOT NULL,
    count BIGINT NOT NULL,
    total DOUBLE PRECISION NOT NULL,
    updated_us BIGINT NOT NULL,
    PRIMARY KEY (endpoint, deployment, version)
);
