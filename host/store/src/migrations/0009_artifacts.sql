-- The bucket that holds the blobs of this catalog bears the same mark, so that no server keeps rows here and bytes there.

CREATE TABLE artifact_store (
    name TEXT PRIMARY KEY,
    mark TEXT NOT NULL
);
