-- What buckets hold. The bytes are files of the region's directory: one for each part.
CREATE TABLE buckets (
    name TEXT NOT NULL PRIMARY KEY,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    region TEXT NOT NULL,
    -- Kept up with the rows below, so that an account's bytes are known without reading them all.
    objects BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX buckets_of_owner ON buckets (owner, name);

-- Keys are in the order of their bytes, which is SQLite's own; PostgreSQL says COLLATE "C".
CREATE TABLE objects (
    id TEXT NOT NULL PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES buckets (name),
    object_key TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    etag TEXT NOT NULL,
    crc64 TEXT NOT NULL,
    description TEXT NOT NULL,
    modified_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX objects_by_key ON objects (bucket, object_key);

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES buckets (name),
    object_key TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX uploads_of_bucket ON uploads (bucket, object_key, id);
CREATE INDEX uploads_by_age ON uploads (created_at);

-- A part belongs to an object or to an upload, never to both.
CREATE TABLE parts (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    object TEXT REFERENCES objects (id),
    upload TEXT REFERENCES uploads (id),
    number BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    md5 TEXT NOT NULL,
    crc64 TEXT NOT NULL,
    stored_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX parts_of_object ON parts (object, number) WHERE object IS NOT NULL;
CREATE UNIQUE INDEX parts_of_upload ON parts (upload, number) WHERE upload IS NOT NULL;
