-- Version 4: what makes a check cheap. All of it is derived: facts by column can be made again from
-- the documents, and what was judged by judging again. Devices are kept together in blocks of 1024
-- by their numbers.

-- The documents of a block's devices at one revision: names and hashes of those that have only one.
CREATE TABLE fact_blocks (
    block INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL REFERENCES revisions,
    devices BLOB NOT NULL
) STRICT;

CREATE TABLE fact_columns (
    block INTEGER NOT NULL REFERENCES fact_blocks ON DELETE CASCADE,
    name TEXT NOT NULL,
    cells BLOB NOT NULL,
    PRIMARY KEY (block, name)
) STRICT;

-- What the newest run found, silent states included, and what it was asked; at most one row.
CREATE TABLE judged (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    run INTEGER NOT NULL,
    revision INTEGER NOT NULL REFERENCES revisions,
    question TEXT NOT NULL
) STRICT;

-- Microseconds since 1970: nothing in the block was judged later than `since`, and time alone
-- changes nothing in it before `until`. `rows` is the hash of the rows it left, where it is known.
CREATE TABLE judged_blocks (
    block INTEGER PRIMARY KEY,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    rows BLOB NOT NULL
) STRICT;

CREATE TABLE judged_parts (
    block INTEGER NOT NULL REFERENCES judged_blocks ON DELETE CASCADE,
    part TEXT NOT NULL CHECK (part IN ('codes', 'ends', 'results', 'inventory')),
    data BLOB NOT NULL,
    PRIMARY KEY (block, part)
) STRICT;

-- How the run's roots were made; those before this version: over lists of unsalted leaves.
ALTER TABLE runs ADD COLUMN roots INTEGER NOT NULL DEFAULT 1;

-- To find what changed between two revisions.
CREATE INDEX documents_since ON documents (since_revision, device);
CREATE INDEX documents_until ON documents (until_revision, device)
WHERE until_revision IS NOT NULL;
CREATE INDEX sightings_since ON sightings (since_revision, device);
