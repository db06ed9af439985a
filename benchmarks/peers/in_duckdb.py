"""The policies in DuckDB: documents as JSON in a table, one SELECT, the states into another table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import duckdb

from peers.rules import POLICIES, Check

_KINDS: Final = {
    "bool": "'BOOLEAN'",
    "number": "'UBIGINT', 'BIGINT', 'DOUBLE'",
    "text": "'VARCHAR'",
    "moment": "'VARCHAR'",
    "list": "'ARRAY'",
    "sized": "'VARCHAR', 'ARRAY', 'OBJECT'",
}
_CASTS: Final = {
    "bool": "TRY_CAST({text} AS BOOLEAN)",
    "number": "TRY_CAST({text} AS DOUBLE)",
    "text": "{text}",
    "moment": "TRY_CAST({text} AS TIMESTAMPTZ)",
    "list": "TRY_CAST({json} AS VARCHAR[])",
    "sized": "1",
    "any": "1",
}
_SIZE: Final = (
    "CASE {type} WHEN 'ARRAY' THEN json_array_length({json})"
    " WHEN 'OBJECT' THEN len(json_keys({json})) ELSE length({text}) END"
)


def load(source: Path) -> duckdb.DuckDBPyConnection:
    """The documents of an NDJSON file in a table."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE documents AS SELECT json FROM read_ndjson_objects(?)", [str(source)]
    )
    return connection


def check(connection: duckdb.DuckDBPyConnection) -> None:
    """Judge every document; the states go into the table `states`."""
    columns = [
        f'least({", ".join(map(_case, checks))}) AS "{name}"' for name, checks in POLICIES.items()
    ]
    connection.execute(
        f"CREATE OR REPLACE TABLE states AS SELECT json ->> '$.device_id' AS device_id,"  # noqa: S608 - made of the rules beside it
        f" {', '.join(columns)} FROM documents"
    )


def states(connection: duckdb.DuckDBPyConnection) -> dict[str, list[int]]:
    """By device, the code of its state under each policy."""
    rows = connection.execute("SELECT * FROM states").fetchall()
    return {row[0]: list(row[1:]) for row in rows}


def _case(one: Check) -> str:
    path = f"'$.facts.{one.path}'"
    words = {
        "json": f"(json -> {path})",
        "text": f"(json ->> {path})",
        "type": f"json_type(json, {path})",
    }
    missing = 0 if one.kind == "any" else 2
    wrong = "" if one.kind == "any" else f" WHEN {words['type']} NOT IN ({_KINDS[one.kind]}) THEN 1"
    condition = _with(one.sql, _CASTS[one.kind].format(**words), _SIZE.format(**words))
    return (
        f"CASE WHEN coalesce({words['type']}, 'NULL') = 'NULL' THEN {missing}{wrong}"
        f" WHEN {condition} THEN 3 ELSE 0 END"
    )


def _with(sql: str, value: str, size: str) -> str:
    return re.sub(r"\bv\b", lambda _: value, re.sub(r"\bsize\b", lambda _: size, sql))
