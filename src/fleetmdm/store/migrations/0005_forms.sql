-- Version 5: policies as they were read, so that they need not be read again. Derived from their sources
-- by a version of the language; what is missing or of another version is made again.

CREATE TABLE policy_forms (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    version INTEGER NOT NULL,
    form BLOB NOT NULL
) STRICT, WITHOUT ROWID;
