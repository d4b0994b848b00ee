-- Data disks. A system disk is a part of its instance's row. A disk without a base started empty.
CREATE TABLE disks (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    zone TEXT NOT NULL,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    base_manifest TEXT,
    snapshot TEXT,
    instance TEXT REFERENCES instances (id),
    slot BIGINT,
    delete_with_instance BIGINT NOT NULL,
    task TEXT,
    failure_code TEXT,
    failure_message TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX disks_of_owner ON disks (owner, region, created_at DESC, id, state);
CREATE UNIQUE INDEX disks_of_instance ON disks (instance, slot) WHERE instance IS NOT NULL;
CREATE INDEX disks_by_base ON disks (base_manifest) WHERE base_manifest IS NOT NULL AND state <> 'terminated';
