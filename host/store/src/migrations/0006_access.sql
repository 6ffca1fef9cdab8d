-- Who may do what. Passwords are kept as argon2 hashes, tokens as the blake3 of a long random secret.

CREATE TABLE users (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    role TEXT NOT NULL,
    created_us BIGINT NOT NULL
);

CREATE TABLE tokens (
    token_id TEXT PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE,
    note TEXT NOT NULL DEFAULT '',
    created_us BIGINT NOT NULL,
    expires_us BIGINT,
    used_us BIGINT
);

-- A role for one thing. The kind is 'experiment' or 'model'.
CREATE TABLE grants (
    user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (user_name, kind, resource)
);
