-- What is to be paid for: a row for each time that an instance's machine ran, at one price. "INTEGER PRIMARY KEY" as for
-- the operations. Nothing is ever removed.
CREATE TABLE usage_records (
    number INTEGER PRIMARY KEY,
    instance TEXT NOT NULL REFERENCES instances (id),
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (id),
    -- Whose fee is paid, and who earns it.
    fee_image TEXT NOT NULL REFERENCES images (id),
    provider BIGINT NOT NULL REFERENCES accounts (uin),
    machine_per_hour BIGINT NOT NULL,
    image_per_hour BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE UNIQUE INDEX usage_records_open ON usage_records (instance) WHERE ended_at IS NULL;
CREATE INDEX usage_records_of_owner ON usage_records (owner, started_at);
CREATE INDEX usage_records_of_provider ON usage_records (provider, started_at) WHERE image_per_hour > 0;
CREATE INDEX usage_records_by_time ON usage_records (started_at);
