CREATE TABLE entries (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL,
    said  TEXT NOT NULL,
    at    INTEGER NOT NULL -- milliseconds since the Unix epoch
) STRICT;
