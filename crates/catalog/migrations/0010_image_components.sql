-- What guests of an image get at their first boot: names of packages (JSON text), and a script.
CREATE TABLE image_components (
    image TEXT NOT NULL PRIMARY KEY REFERENCES images (id),
    packages TEXT NOT NULL,
    script TEXT
);
