-- Version 3: assignments, and what people sign for (waivers, attestations), as intervals over
-- revisions like everything else; what a run was told besides its moment; which runs were pruned.

-- The kinds of a revision are the program's words and grow with it, so that they are not listed.
CREATE TABLE revisions_of_any_kind (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (length(kind) > 0),
    detail TEXT NOT NULL
) STRICT;

INSERT INTO revisions_of_any_kind SELECT revision, at, kind, detail FROM revisions;

DROP TABLE revisions;

ALTER TABLE revisions_of_any_kind RENAME TO revisions;

CREATE TABLE assignments (
    policy INTEGER NOT NULL REFERENCES policy_names,
    kind TEXT NOT NULL CHECK (kind IN ('device', 'tag', 'where')),
    value TEXT NOT NULL,
    since_revision INTEGER NOT NULL REFERENCES revisions,
    until_revision INTEGER REFERENCES revisions,
    PRIMARY KEY (policy, kind, value, since_revision)
) STRICT, WITHOUT ROWID;

-- The document is what was approved, in canonical JSON; the leaf hashes it. A statement that is
-- revoked keeps its row; its name is never used again.
CREATE TABLE statements (
    statement INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('waiver', 'attestation')),
    name TEXT NOT NULL,
    policy INTEGER NOT NULL REFERENCES policy_names,
    since_revision INTEGER NOT NULL REFERENCES revisions,
    until_revision INTEGER REFERENCES revisions,
    document BLOB NOT NULL,
    revocation BLOB,
    leaf INTEGER NOT NULL REFERENCES leaves,
    UNIQUE (kind, name)
) STRICT;

-- What a run was told: settings that its effective states depend on.
ALTER TABLE runs ADD COLUMN only_assigned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN stale_after_s INTEGER NOT NULL DEFAULT 0;

-- A pruned run stays only as the beginning or the end of an interval that is still needed.
ALTER TABLE runs ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
