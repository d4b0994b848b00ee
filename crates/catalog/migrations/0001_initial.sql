-- Times are milliseconds since 1970-01-01T00:00:00Z; truth values are 0 and 1; documents are JSON text.
-- Only the types and clauses that SQLite and PostgreSQL share are used, except where a line says so.

CREATE TABLE accounts (
    uin BIGINT NOT NULL PRIMARY KEY,
    app_id BIGINT NOT NULL UNIQUE,
    nickname TEXT NOT NULL,
    role TEXT NOT NULL,
    may_import BIGINT NOT NULL,
    limits TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX accounts_one_operator ON accounts (role) WHERE role = 'operator';

CREATE TABLE api_keys (
    secret_id TEXT NOT NULL PRIMARY KEY,
    secret_key TEXT NOT NULL,
    uin BIGINT NOT NULL REFERENCES accounts (uin),
    enabled BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX api_keys_of_account ON api_keys (uin);

CREATE TABLE key_pairs (
    id TEXT NOT NULL PRIMARY KEY,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX key_pairs_name ON key_pairs (owner, name);

-- Tasks are referred to by plain text, since a task and what it makes are inserted in either order.
CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    image TEXT,
    instance TEXT,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    region TEXT NOT NULL,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    fence BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    checkpoint TEXT NOT NULL,
    stage TEXT NOT NULL,
    bytes_done BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    bytes_per_second BIGINT NOT NULL,
    cancel_requested BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    failure_code TEXT,
    failure_message TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX tasks_unfinished ON tasks (created_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX tasks_of_owner ON tasks (owner, created_at DESC, id);
CREATE INDEX tasks_by_age ON tasks (created_at DESC, id);
CREATE INDEX tasks_of_image ON tasks (image) WHERE image IS NOT NULL;
CREATE INDEX tasks_of_instance ON tasks (instance) WHERE instance IS NOT NULL;

CREATE TABLE images (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    origin TEXT NOT NULL,
    origin_instance TEXT,
    origin_image TEXT,
    origin_region TEXT,
    os_name TEXT NOT NULL,
    platform TEXT NOT NULL,
    architecture TEXT NOT NULL,
    boot_mode TEXT NOT NULL,
    cloud_init BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    task TEXT NOT NULL,
    failure_code TEXT,
    failure_message TEXT,
    created_at BIGINT NOT NULL
);
-- A failed or deleted image gives its name back.
CREATE UNIQUE INDEX images_name ON images (owner, region, name)
    WHERE kind = 'custom' AND state IN ('creating', 'importing', 'syncing', 'normal');
CREATE INDEX images_of_owner ON images (owner, region, kind, created_at DESC, id, state) WHERE state <> 'deleted';
CREATE INDEX images_for_all ON images (region, kind, created_at DESC, id, state, owner)
    WHERE state <> 'deleted' AND kind <> 'custom';

CREATE TABLE image_shares (
    image TEXT NOT NULL REFERENCES images (id),
    account BIGINT NOT NULL REFERENCES accounts (uin),
    shared_at BIGINT NOT NULL,
    PRIMARY KEY (image, account)
);
CREATE INDEX image_shares_with ON image_shares (account, image);

CREATE TABLE image_operations (
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    region TEXT NOT NULL,
    day BIGINT NOT NULL,
    operations BIGINT NOT NULL,
    PRIMARY KEY (owner, region, day)
);

CREATE TABLE packs (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    scope TEXT NOT NULL,
    state TEXT NOT NULL,
    task TEXT NOT NULL REFERENCES tasks (id),
    stored_bytes BIGINT NOT NULL,
    chunk_count BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    since BIGINT NOT NULL
);
CREATE INDEX packs_of_scope ON packs (region, scope, state);

CREATE TABLE manifests (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    state TEXT NOT NULL,
    task TEXT NOT NULL REFERENCES tasks (id),
    size_bytes BIGINT NOT NULL,
    data_bytes BIGINT NOT NULL,
    stored_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    since BIGINT NOT NULL
);
CREATE INDEX manifests_of_region ON manifests (region, state);

-- References to packs: a manifest's last until it is forgotten, a task's until it has ended.
CREATE TABLE manifest_packs (
    manifest TEXT NOT NULL REFERENCES manifests (id),
    pack TEXT NOT NULL REFERENCES packs (id),
    used_bytes BIGINT NOT NULL,
    PRIMARY KEY (manifest, pack)
);
CREATE INDEX manifest_packs_by_pack ON manifest_packs (pack);

CREATE TABLE task_packs (
    task TEXT NOT NULL REFERENCES tasks (id),
    pack TEXT NOT NULL REFERENCES packs (id),
    PRIMARY KEY (task, pack)
);
CREATE INDEX task_packs_by_pack ON task_packs (pack);

CREATE TABLE task_manifests (
    task TEXT NOT NULL REFERENCES tasks (id),
    manifest TEXT NOT NULL REFERENCES manifests (id),
    PRIMARY KEY (task, manifest)
);
CREATE INDEX task_manifests_by_manifest ON task_manifests (manifest);

-- The disks of a deleted image stay, so that their snapshot ids are not used again; their manifests may be gone.
CREATE TABLE image_disks (
    snapshot TEXT NOT NULL PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id),
    position BIGINT NOT NULL,
    disk_usage TEXT NOT NULL,
    manifest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL
);
CREATE UNIQUE INDEX image_disks_position ON image_disks (image, position);
CREATE INDEX image_disks_by_manifest ON image_disks (manifest);

CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    zone TEXT NOT NULL,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (id),
    base_manifest TEXT NOT NULL,
    system_disk TEXT NOT NULL UNIQUE,
    system_disk_bytes BIGINT NOT NULL,
    instance_type TEXT NOT NULL,
    private_address TEXT NOT NULL,
    ssh_port BIGINT,
    ordinal BIGINT NOT NULL,
    settings TEXT NOT NULL,
    operation TEXT NOT NULL,
    operation_state TEXT NOT NULL,
    operation_request_id TEXT NOT NULL,
    operation_failure_code TEXT,
    operation_failure_message TEXT,
    task TEXT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX instances_ordinal ON instances (ordinal) WHERE state <> 'terminated';
CREATE INDEX instances_of_owner ON instances (owner, region, created_at DESC, id, state);
CREATE INDEX instances_by_base ON instances (base_manifest) WHERE state <> 'terminated';

-- "INTEGER PRIMARY KEY" numbers the rows in SQLite; PostgreSQL says "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY".
CREATE TABLE operations (
    number INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    account BIGINT NOT NULL,
    secret_id TEXT,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    region TEXT,
    request_id TEXT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX operations_of_account ON operations (account, number);
CREATE INDEX operations_on_subject ON operations (subject, number);

CREATE TABLE client_tokens (
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    action TEXT NOT NULL,
    token TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    answer TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (owner, action, token)
);
CREATE INDEX client_tokens_by_age ON client_tokens (at);
