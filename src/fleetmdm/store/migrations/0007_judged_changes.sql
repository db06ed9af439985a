-- Version 7: what the newest run found on single devices is kept beside the blocks, which would
-- otherwise be written again as a whole for each device in them. Later rows go before earlier ones.

CREATE TABLE judged_changes (
    item INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
