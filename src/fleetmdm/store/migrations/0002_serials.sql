-- Version 2: the serial numbers that current documents claim, so that two devices which claim the
-- same one are found without reading every document. It can be made again from the documents.

CREATE TABLE serials (
    device INTEGER NOT NULL REFERENCES device_names,
    source INTEGER NOT NULL REFERENCES sources,
    serial TEXT NOT NULL,
    PRIMARY KEY (device, source)
) STRICT, WITHOUT ROWID;

CREATE INDEX serials_by_serial ON serials (serial, device);

INSERT INTO serials (device, source, serial)
SELECT device, source, json_extract(CAST(facts AS TEXT), '$.serial') FROM documents
WHERE until_revision IS NULL AND json_extract(CAST(facts AS TEXT), '$.serial') IS NOT NULL;
