-- Version 6: what is found is kept once and named by number, as a fleet has few findings that differ.
-- Nothing refers to a finding by a foreign key: forgetting one would read every result. Those that
-- no result names any more go with the runs that are pruned.

CREATE TABLE findings (
    number INTEGER PRIMARY KEY,
    data BLOB NOT NULL UNIQUE
) STRICT;

INSERT INTO findings (data) SELECT DISTINCT findings FROM results;

CREATE TABLE results_by_number (
    device INTEGER NOT NULL REFERENCES device_names,
    policy INTEGER NOT NULL REFERENCES policy_names,
    since_run INTEGER NOT NULL REFERENCES runs,
    until_run INTEGER REFERENCES runs,
    status TEXT NOT NULL,
    finding INTEGER NOT NULL,
    valid_until TEXT,
    PRIMARY KEY (device, policy, since_run)
) STRICT, WITHOUT ROWID;

INSERT INTO results_by_number
SELECT device, policy, since_run, until_run, status,
    (SELECT number FROM findings WHERE data = results.findings), valid_until
FROM results;

DROP TABLE results;

ALTER TABLE results_by_number RENAME TO results;

CREATE UNIQUE INDEX results_open ON results (device, policy) WHERE until_run IS NULL;
