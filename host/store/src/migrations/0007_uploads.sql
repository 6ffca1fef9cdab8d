-- Files that come in parts: each part is a blob, and the file is put together when the client says that it is whole.

CREATE TABLE uploads (
    upload_id TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    parts BIGINT NOT NULL,
    created_us BIGINT NOT NULL
);

CREATE TABLE upload_parts (
    upload_id TEXT NOT NULL REFERENCES uploads (upload_id) ON DELETE CASCADE,
    part BIGINT NOT NULL,
    blob TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (upload_id, part)
) WITHOUT ROWID;
CREATE INDEX upload_parts_by_blob ON upload_parts (blob);
