"""The policies in Polars: documents as text in a column, each path taken out once, one `select`.

JSON paths in Polars give text whatever stood there, so an object is told by its brace; in this fleet
that is what a fact of the wrong type is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from peers.rules import ERROR, FALSE, POLICIES, TRUE, UNKNOWN, Check

_TYPED: Final = {
    "bool": lambda text: text == "true",
    "number": lambda text: text.cast(pl.Float64, strict=False),
    "text": lambda text: text,
    "moment": lambda text: text.str.to_datetime("%Y-%m-%dT%H:%M:%S%#z", strict=False),
    "list": lambda text: text.str.json_decode(pl.List(pl.String)),
}


def load(source: Path) -> pl.DataFrame:
    """The documents of an NDJSON file, a line each."""
    return pl.DataFrame({"json": source.read_text().splitlines()})


def check(frame: pl.DataFrame) -> pl.DataFrame:
    """The code of each device's state under each policy."""
    paths = sorted({one.path for checks in POLICIES.values() for one in checks})
    taken = [pl.col("json").str.json_path_match(f"$.facts.{path}").alias(path) for path in paths]
    name = pl.col("json").str.json_path_match("$.device_id").alias("device_id")
    states = [
        pl.min_horizontal(*map(_state, checks)).alias(name) for name, checks in POLICIES.items()
    ]
    return frame.lazy().select(name, *taken).select("device_id", *states).collect()


def states(frame: pl.DataFrame) -> dict[str, list[int]]:
    """By device, the code of its state under each policy."""
    return {row[0]: list(row[1:]) for row in frame.iter_rows()}


def _state(one: Check) -> pl.Expr:
    text = pl.col(one.path)
    code = {name: pl.lit(value, pl.Int8) for name, value in _CODES.items()}
    if one.kind == "any":
        return pl.when(text.is_null()).then(code["false"]).otherwise(code["true"])
    odd = text.str.starts_with("{")
    if one.kind == "sized":
        # An object has a size too; here it has one member.
        size = _sized(one, text)
        return (
            pl.when(text.is_null())
            .then(code["unknown"])
            .when(odd)
            .then(code["true" if one.path == "users.administrators" else "false"])
            .when(size)
            .then(code["true"])
            .otherwise(code["false"])
        )
    plain = pl.when(~odd).then(text)
    return (
        pl.when(text.is_null())
        .then(code["unknown"])
        .when(odd)
        .then(code["error"])
        .when(one.polars(_TYPED[one.kind](plain)))
        .then(code["true"])
        .otherwise(code["false"])
    )


def _sized(one: Check, text: pl.Expr) -> pl.Expr:
    plain = pl.when(~text.str.starts_with("{")).then(text)
    kind = "list" if one.path == "users.administrators" else "text"
    return one.polars(_TYPED[kind](plain))


_CODES: Final = {"false": FALSE, "error": ERROR, "unknown": UNKNOWN, "true": TRUE}
