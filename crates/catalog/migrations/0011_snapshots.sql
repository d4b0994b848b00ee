-- Snapshots of disks. Those that were made with an image are its disks, and go with it (of_image); source_image says what
-- is on a system disk. A deleted snapshot keeps its row, so that its identifier is not used again.
CREATE TABLE snapshots (
    id TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL,
    zone TEXT,
    owner BIGINT NOT NULL REFERENCES accounts (uin),
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    disk_usage TEXT NOT NULL,
    disk TEXT,
    manifest TEXT,
    size_bytes BIGINT NOT NULL,
    source_image TEXT REFERENCES images (id),
    of_image TEXT REFERENCES images (id),
    task TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX snapshots_of_owner ON snapshots (owner, region, created_at DESC, id, state);
CREATE INDEX snapshots_by_manifest ON snapshots (manifest) WHERE manifest IS NOT NULL AND state <> 'deleted';
CREATE INDEX snapshots_of_image ON snapshots (of_image) WHERE of_image IS NOT NULL;
CREATE INDEX snapshots_of_disk ON snapshots (disk) WHERE disk IS NOT NULL;

INSERT INTO snapshots (id, region, zone, owner, name, state, disk_usage, disk, manifest, size_bytes, source_image,
        of_image, task, created_at)
    SELECT d.snapshot, i.region, NULL, i.owner, i.name, CASE i.state WHEN 'deleted' THEN 'deleted' ELSE 'normal' END,
        d.disk_usage, NULL, d.manifest, d.size_bytes, i.id, i.id, i.task, i.created_at
    FROM image_disks d JOIN images i ON i.id = d.image;

-- Which snapshots are an image's disks, the system disk first.
CREATE TABLE disks_of_images (
    image TEXT NOT NULL REFERENCES images (id),
    position BIGINT NOT NULL,
    snapshot TEXT NOT NULL REFERENCES snapshots (id),
    PRIMARY KEY (image, position)
);
INSERT INTO disks_of_images (image, position, snapshot) SELECT image, position, snapshot FROM image_disks;
DROP TABLE image_disks;
ALTER TABLE disks_of_images RENAME TO image_disks;
CREATE INDEX image_disks_by_snapshot ON image_disks (snapshot);
