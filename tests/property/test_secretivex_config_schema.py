"""The published schema of the configuration and its loader agree on which files are valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from clikit.config import parse_config
from secretivex.config import ConfigInput
from secretivex.config.schema import config_schema
from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.config.table_settings import POLICY_SETTINGS, STORE_TYPES
from secretivex.errors import SecretiveError
from secretivex.loading import make_setup

SCHEMA = jsonschema.Draft202012Validator(config_schema())

VALUES = st.one_of(
    st.sampled_from([True, False, 0, 1, 2, 4096, -1, 10**9, 1.5, "", "x", "full", "file", []]),
    st.lists(st.sampled_from(["a", "b", 1]), max_size=2),
    st.dictionaries(st.sampled_from(["a", "type"]), st.just("file"), max_size=1),
)


def fitting(row: AgentSetting) -> st.SearchStrategy[Any]:
    """Values around what a row takes."""
    if row.choices:
        return st.sampled_from([*row.choices, "none of them"])
    if row.kind == "int":
        low, high = int(row.minimum or 0), int(row.maximum or 2**31)
        return st.sampled_from([low - 1, low, low + 1, high - 1, high, high + 1])
    if row.key == "metrics_listen":
        return st.sampled_from(["127.0.0.1:9464", "/run/metrics.sock"])
    if row.kind in {"text", "path"}:
        return st.just("/tmp/x")
    return st.booleans() if row.kind == "bool" else st.just([])


def table_of(rows: tuple[AgentSetting, ...]) -> st.SearchStrategy[dict[str, Any]]:
    one = {row.key: st.one_of(fitting(row), VALUES) for row in rows}
    return st.fixed_dictionaries({}, optional={**one, "no_such_key": VALUES})


STORE = st.one_of(
    *(
        table_of(store.settings).map(lambda table, name=store.name: {"type": name, **table})  # type: ignore[misc]
        for store in STORE_TYPES.values()
    ),
    VALUES,
)
PLAIN = tuple(
    row for row in SETTINGS if row.kind not in {"table", "tables"} and row.key != "worker_threads"
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Few keys at a time, so that many documents are valid."""
    rows = draw(st.lists(st.sampled_from(PLAIN), max_size=3, unique_by=lambda row: row.key))
    document = draw(
        st.fixed_dictionaries({row.key: st.one_of(fitting(row), VALUES) for row in rows})
    )
    if draw(st.booleans()):
        document["stores"] = draw(st.lists(STORE, max_size=2))
    if draw(st.booleans()):
        rows = draw(
            st.lists(st.sampled_from(POLICY_SETTINGS), max_size=2, unique_by=lambda r: r.key)
        )
        document["policy"] = draw(
            st.fixed_dictionaries({row.key: st.one_of(fitting(row), VALUES) for row in rows})
        )
    return document


def is_taken(document: dict[str, Any]) -> tuple[bool, str]:
    """Whether the loader takes it, and what it says if not."""
    file = parse_config(json.dumps(document).encode(), name="/tmp/agent.json", syntax="json")
    environ = {"HOME": "/tmp", "XDG_RUNTIME_DIR": "/tmp"}
    try:
        make_setup(ConfigInput({}, environ, file, 4, Path("/tmp")))
    except SecretiveError as error:
        return False, error.message
    return True, ""


@settings(max_examples=400, deadline=None)
@given(documents())
def test_what_the_loader_takes_is_valid_by_the_schema(document: dict[str, Any]) -> None:
    taken, _ = is_taken(document)
    if taken:
        SCHEMA.validate(document)


BEYOND = (
    *("fingerprint", "blob", "pattern", "comment", "key type", "name of an environment variable"),
    *("a file needs its name", "names no program", "the store has no module_path", "URI"),
    *("only on", "more than one", "the store names no path", "RFC 7512", "available on"),
)
"""Words of refusals that no schema can make."""


@settings(max_examples=400, deadline=None)
@given(documents())
def test_what_the_schema_takes_the_loader_takes_too(document: dict[str, Any]) -> None:
    if SCHEMA.is_valid(document):
        taken, reason = is_taken(document)
        assert taken or any(word in reason for word in BEYOND), reason


def test_the_schema_is_one_and_takes_the_file_that_ships() -> None:
    import tomllib

    jsonschema.Draft202012Validator.check_schema(config_schema())
    sample = Path(__file__).resolve().parents[2] / "packaging" / "agent.toml"
    SCHEMA.validate(tomllib.loads(sample.read_text()))
