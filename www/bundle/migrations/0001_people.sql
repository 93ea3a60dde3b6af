CREATE TABLE people (
    name     TEXT PRIMARY KEY,
    title    TEXT NOT NULL,
    markdown TEXT NOT NULL,
    revision INTEGER NOT NULL,
    updated  INTEGER NOT NULL -- milliseconds since the Unix epoch
) STRICT;
