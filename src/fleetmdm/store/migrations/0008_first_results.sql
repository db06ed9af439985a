-- Version 8: the rows that a store's first run begins, packed by block: a fleet's first check has one for
-- every verdict that is kept, and as columns they cost a hundredth of what they cost as rows. They hold
-- from that run on. One that ends or lasts longer becomes a row of `results`; its bit in
-- `first_gone` then says that it counts no more where it was.

CREATE TABLE first_results (
    block INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs,
    rows BLOB NOT NULL
) STRICT;

CREATE TABLE first_gone (
    block INTEGER PRIMARY KEY REFERENCES first_results ON DELETE CASCADE,
    gone BLOB NOT NULL
) STRICT;

-- Blocks have 4096 devices from here on, 1024 before: with four times as many, what a leaf costs for each
-- block is paid a quarter as often. What is derived by block is made again by whoever needs it next.
DELETE FROM fact_columns;
DELETE FROM fact_blocks;
DELETE FROM judged_changes;
DELETE FROM judged_parts;
DELETE FROM judged_blocks;
DELETE FROM judged;
