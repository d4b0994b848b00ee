-- A collaborator of a main account. No account has the number of a sub-account.
CREATE TABLE sub_accounts (
    uin BIGINT NOT NULL PRIMARY KEY,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX sub_accounts_name ON sub_accounts (owner, name);

ALTER TABLE api_keys ADD COLUMN sub_account BIGINT REFERENCES sub_accounts (uin);
CREATE INDEX api_keys_of_sub_account ON api_keys (sub_account) WHERE sub_account IS NOT NULL;

ALTER TABLE accounts ADD COLUMN email TEXT;
ALTER TABLE accounts ADD COLUMN phone TEXT;

-- An account's newest application for the permission to import; earlier ones are in the operation log.
CREATE TABLE import_applications (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES accounts (uin),
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    decided_at BIGINT,
    answer TEXT NOT NULL
);

-- Who of the account's people; plain numbers, since the log outlives sub-accounts.
ALTER TABLE operations ADD COLUMN sub_account BIGINT;

-- Whether an account's owner is told by e-mail and by short messages.
ALTER TABLE accounts ADD COLUMN notify_email BIGINT NOT NULL DEFAULT 1;
ALTER TABLE accounts ADD COLUMN notify_sms BIGINT NOT NULL DEFAULT 1;

-- What people are told. "INTEGER PRIMARY KEY" as for the operations.
CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES accounts (uin),
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX messages_of_account ON messages (account, number);

-- A message on one way to its reader.
CREATE TABLE deliveries (
    message BIGINT NOT NULL REFERENCES messages (number),
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (message, channel)
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'pending';
