-- Who sells images, or wants to: an account's newest application.
CREATE TABLE providers (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES accounts (uin),
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    decided_at BIGINT,
    answer TEXT NOT NULL
);

-- What is sold, was sold, or is to be. Nothing is removed: the rows are the history of reviews.
CREATE TABLE listings (
    id TEXT NOT NULL PRIMARY KEY,
    provider BIGINT NOT NULL REFERENCES accounts (uin),
    region TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES images (id),
    market_image TEXT REFERENCES images (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    per_hour BIGINT NOT NULL,
    per_month BIGINT NOT NULL,
    state TEXT NOT NULL,
    submitted_at BIGINT NOT NULL,
    decided_at BIGINT,
    answer TEXT NOT NULL
);
CREATE UNIQUE INDEX listings_submitted ON listings (image) WHERE state = 'submitted';
CREATE UNIQUE INDEX listings_published ON listings (market_image) WHERE state = 'published';
CREATE INDEX listings_of_region ON listings (region, state, submitted_at);
