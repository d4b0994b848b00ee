-- What an inspection found in an image, or in the file that became none: JSON text, the service's own.
CREATE TABLE image_reports (
    image TEXT NOT NULL PRIMARY KEY REFERENCES images (id),
    report TEXT NOT NULL
);

ALTER TABLE images ADD COLUMN license TEXT NOT NULL DEFAULT 'tencent_cloud';
