-- Who is told of events, and what became of telling them.

-- The secret signs what is sent; it is never shown again.
CREATE TABLE webhooks (
    webhook_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    url TEXT NOT NULL,
    secret TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);
CREATE INDEX webhooks_by_age ON webhooks (created_us, webhook_id);

-- Kinds of the outbox that a webhook is told of, in the order in which they were named.
CREATE TABLE webhook_events (
    webhook_id TEXT NOT NULL REFERENCES webhooks (webhook_id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    place BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, event)
);
CREATE INDEX webhook_events_by_event ON webhook_events (event);

-- One event for one webhook: 'pending' until it is 'delivered' or 'failed'. A webhook gets its events in the order of
-- their numbers in the outbox. One that is being sent has its next attempt after the time that sending may take, so
-- that it is sent again should the sender be killed.
CREATE TABLE webhook_deliveries (
    webhook_id TEXT NOT NULL REFERENCES webhooks (webhook_id) ON DELETE CASCADE,
    event_id BIGINT NOT NULL,
    delivery_id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    -- Empty once it is over.
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    event_us BIGINT NOT NULL,
    next_us BIGINT NOT NULL,
    finished_us BIGINT,
    -- Of the last attempt.
    status_code BIGINT,
    error TEXT NOT NULL DEFAULT '',
    response TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (webhook_id, event_id)
);
CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (webhook_id, state, event_id);

-- Events that nobody has looked at yet, in order; and those that were looked at, by when.
CREATE INDEX outbox_by_delivery ON outbox (delivered_us, id);
