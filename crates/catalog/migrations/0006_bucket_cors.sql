-- Which pages of other origins may use a bucket, as JSON, in the order of its owner.
ALTER TABLE buckets ADD COLUMN cors TEXT NOT NULL DEFAULT '[]';
