-- Tags are an account's own: who sees a shared image does not see its owner's tags. Resources are named by their
-- identifiers, whose prefixes tell what they are; an identifier is never used twice, so a tag that is left over tags nothing.
CREATE TABLE tags (
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    resource TEXT NOT NULL,
    tag_key TEXT NOT NULL,
    tag_value TEXT NOT NULL,
    PRIMARY KEY (owner, resource, tag_key)
);
CREATE INDEX tags_by_key ON tags (owner, tag_key, tag_value, resource);

ALTER TABLE images ADD COLUMN family TEXT NOT NULL DEFAULT '';
ALTER TABLE images ADD COLUMN deprecated BIGINT NOT NULL DEFAULT 0;
-- The image whose fee this one carries besides its own: the one that it was made from, or that one's.
ALTER TABLE images ADD COLUMN fee_of TEXT;
CREATE INDEX images_of_family ON images (family, region) WHERE family <> '' AND state = 'normal';
CREATE INDEX images_being_copied ON images (origin_image) WHERE state = 'syncing';

-- What an instance of an image costs besides the instance, in ten-thousandths of the currency's unit.
CREATE TABLE image_fees (
    image TEXT NOT NULL PRIMARY KEY REFERENCES images (id),
    per_hour BIGINT NOT NULL,
    per_month BIGINT NOT NULL
);

ALTER TABLE key_pairs ADD COLUMN description TEXT NOT NULL DEFAULT '';
