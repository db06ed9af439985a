-- Version 1: everything is an interval from the start.
--
-- A revision is one change of inventory or policies. A row with `since_revision` A and
-- `until_revision` B is in force at revision R when A <= R and (B is null or B > R). A run pins one
-- revision, so what it judged stays readable. Results are intervals over runs in the same way.
-- Names that repeat in a million rows are numbers here; times are UTC text of fixed width, so that
-- they sort.

CREATE TABLE properties (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('created', 'ingested', 'retired', 'policies')),
    detail TEXT NOT NULL
) STRICT;

CREATE TABLE device_names (
    device INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE policy_names (
    policy INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE sources (
    source INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- What a source says of a device, without the time it was seen.
CREATE TABLE documents (
    device INTEGER NOT NULL REFERENCES device_names,
    source INTEGER NOT NULL REFERENCES sources,
    since_revision INTEGER NOT NULL REFERENCES revisions,
    until_revision INTEGER REFERENCES revisions,
    facts_hash BLOB NOT NULL CHECK (length(facts_hash) = 32),
    facts BLOB NOT NULL,
    UNIQUE (device, source, since_revision)
) STRICT;

-- When the source saw the device; kept apart because it changes daily and the facts do not.
CREATE TABLE sightings (
    device INTEGER NOT NULL REFERENCES device_names,
    source INTEGER NOT NULL REFERENCES sources,
    since_revision INTEGER NOT NULL REFERENCES revisions,
    until_revision INTEGER REFERENCES revisions,
    last_seen TEXT NOT NULL,
    PRIMARY KEY (device, source, since_revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE policies (
    policy INTEGER NOT NULL REFERENCES policy_names,
    since_revision INTEGER NOT NULL REFERENCES revisions,
    until_revision INTEGER REFERENCES revisions,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    source BLOB NOT NULL,
    PRIMARY KEY (policy, since_revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE leaves (
    leaf INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

CREATE TRIGGER leaves_keep BEFORE UPDATE ON leaves
BEGIN
    SELECT raise(ABORT, 'the ledger is append-only');
END;

CREATE TRIGGER leaves_stay BEFORE DELETE ON leaves
BEGIN
    SELECT raise(ABORT, 'the ledger is append-only');
END;

-- Also stops INSERT OR REPLACE, which fires no delete trigger.
CREATE TRIGGER leaves_append BEFORE INSERT ON leaves
WHEN NEW.leaf IS NOT (SELECT coalesce(max(leaf) + 1, 0) FROM leaves)
BEGIN
    SELECT raise(ABORT, 'the ledger is append-only');
END;

CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL,
    as_of TEXT NOT NULL,
    revision INTEGER NOT NULL REFERENCES revisions,
    devices INTEGER NOT NULL,
    policies INTEGER NOT NULL,
    counts TEXT NOT NULL,
    policy_counts TEXT NOT NULL,
    tool_version TEXT NOT NULL,
    policy_set_hash TEXT NOT NULL,
    inventory_root TEXT NOT NULL,
    result_root TEXT NOT NULL,
    leaf INTEGER NOT NULL REFERENCES leaves
) STRICT;

-- Verdicts that are neither pass nor notapplicable.
CREATE TABLE results (
    device INTEGER NOT NULL REFERENCES device_names,
    policy INTEGER NOT NULL REFERENCES policy_names,
    since_run INTEGER NOT NULL REFERENCES runs,
    until_run INTEGER REFERENCES runs,
    status TEXT NOT NULL,
    findings BLOB NOT NULL,
    valid_until TEXT,
    PRIMARY KEY (device, policy, since_run)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX results_open ON results (device, policy) WHERE until_run IS NULL;
