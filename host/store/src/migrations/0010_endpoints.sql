-- What is served under which names. Every change makes a new revision; the specification of each is kept.

CREATE TABLE endpoints (
    name TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);

-- What became of endpoints, also of those that are gone. An event with a specification is a change.
CREATE TABLE endpoint_events (
    endpoint TEXT NOT NULL,
    seq BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    time_us BIGINT NOT NULL,
    principal TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    spec TEXT,
    PRIMARY KEY (endpoint, seq)
);
