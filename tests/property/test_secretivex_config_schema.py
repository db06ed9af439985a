"""The published schema of the configuration and its loader agree on which files are valid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clikit.config import parse_config
from secretivex.config import ConfigInput
from secretivex.config.rows.policy import POLICY_SETTINGS, RATE_SETTINGS, RULE_SETTINGS
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.schema import config_schema
from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.errors import SecretiveError
from secretivex.loading import make_setup

SCHEMA = jsonschema.Draft202012Validator(config_schema())

VALUES = st.one_of(
    st.sampled_from([True, False, 0, 1, 2, 4096, -1, 10**9, 1.5, "", "x", "full", "file", []]),
    st.lists(st.sampled_from(["a", "b", 1]), max_size=2),
    st.dictionaries(st.sampled_from(["a", "type"]), st.just("file"), max_size=1),
)


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "metrics_listen": st.sampled_from(["127.0.0.1:9464", "/run/metrics.sock"]),
    "profile": st.sampled_from(["PSSH", " low_memory ", "high-fanout", "fast"]),
    "text": st.just("/tmp/x"),
    "path": st.just("/tmp/x"),
    "bool": st.booleans(),
    "numbers": st.lists(st.sampled_from([0, 2, 1.5, True]), min_size=1, max_size=2),
}


def fitting(row: AgentSetting) -> st.SearchStrategy[Any]:
    """Values around what a row takes."""
    if row.choices:
        return st.sampled_from([*row.choices, "none of them"])
    if row.kind == "int":
        low, high = int(row.minimum or 0), int(row.maximum or 2**31)
        return st.sampled_from([low - 1, low, low + 1, high - 1, high, high + 1])
    return FITTING.get(row.key, FITTING.get(row.kind, st.just([])))


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
PLAIN = tuple(row for row in SETTINGS if row.kind not in {"table", "tables"})
RULE = st.builds(
    lambda effect, table, rate: {"effect": effect, **table, **({"rate": rate} if rate else {})},
    st.sampled_from(["deny", "allow", "confirm", "pin", "none of them"]),
    table_of(RULE_SETTINGS),
    st.one_of(st.none(), table_of(RATE_SETTINGS)),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Few keys at a time, so that many documents are valid."""
    rows = draw(st.lists(st.sampled_from(PLAIN), max_size=3, unique_by=lambda row: row.key))
    document: dict[str, Any] = draw(
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
        if draw(st.booleans()):
            policy = {**document.pop("policy"), "rules": draw(st.lists(RULE, max_size=2))}
            document["policy"] = policy
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


@settings(max_examples=250, deadline=None)
@given(documents())
def test_what_the_loader_takes_is_valid_by_the_schema(document: dict[str, Any]) -> None:
    taken, _ = is_taken(document)
    if taken:
        SCHEMA.validate(document)


BEYOND = (
    *("fingerprint", "blob", "pattern", "comment", "key type", "name of an environment variable"),
    *("a file needs its name", "names no program", "the store has no module_path", "URI"),
    *("only on", "more than one", "the store names no path", "RFC 7512", "available on"),
    *(
        "contradicts workers",
        "names the token",
        "no address of a TPM",
        "comes from pin_env already",
    ),
    *("comes from pin_file already", "comes from pin_command already", "whole number, not 1."),
    *("whole path", "is not known", "signature algorithm", "not a public key", "is no day"),
    *("span of hours", "no offset", "no moment", "no hours or days", "no flags", "no such number"),
    *("a rate of", "says nothing", "is taken", "is blank", "is no store", "never matches"),
)
"""Words of refusals that no schema can make."""


@settings(max_examples=250, deadline=None)
@given(documents())
def test_what_the_schema_takes_the_loader_takes_too(document: dict[str, Any]) -> None:
    if SCHEMA.is_valid(document):
        taken, reason = is_taken(document)
        assert taken or any(word in reason for word in BEYOND), reason


PLACES: dict[str, tuple[tuple[AgentSetting, ...], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "": (PLAIN, lambda table: table),
    "policy": (POLICY_SETTINGS, lambda table: {"policy": table}),
    "rule": (RULE_SETTINGS, lambda table: {"policy": {"rules": [{"effect": "deny", **table}]}}),
    "rate": (
        RATE_SETTINGS,
        lambda table: {
            "policy": {"rules": [{"effect": "deny", "rate": {"over": 1, "per_s": 1, **table}}]}
        },
    ),
    **{
        name: (
            store.settings,
            lambda table, name=name: {"stores": [{"type": name, **table}]},  # type: ignore[misc]
        )
        for name, store in STORE_TYPES.items()
    },
}
ODD: tuple[Any, ...] = (
    True,
    0,
    -1,
    1,
    5,
    2**60,
    1.5,
    "",
    " ",
    "x",
    [],
    ["a"],
    [1],
    [True],
    {},
    {"a": 1},
    [{}],
)


@pytest.mark.parametrize("place", PLACES)
def test_of_every_key_in_every_table_both_take_and_refuse_the_same(place: str) -> None:
    rows, document_of = PLACES[place]
    for row in rows:
        bounds = [bound for bound in (row.minimum, row.maximum) if bound is not None]
        near = [int(bound) + step for bound in bounds for step in (-1, 0, 1)]
        for value in (*ODD, *near, *row.choices):
            document = document_of({row.key: value})
            taken, reason = is_taken(document)
            valid = SCHEMA.is_valid(document)
            beyond = any(word in reason for word in BEYOND)
            assert taken == valid or (valid and beyond), (document, reason)
    assert not is_taken(document_of({"no_such_key": 1}))[0]
    assert not SCHEMA.is_valid(document_of({"no_such_key": 1}))


LISTENED = (
    *("127.0.0.1:1", "127.9.9.9:65535", "localhost:80", ":80", "[::1]:80", "/x", "unix:/x", "~/x"),
    *(
        "$HOME/x",
        "unix:x",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:080",
        "127.0.0.1",
        "::1:80",
    ),
    *("[127.0.0.1]:80", "[0:0:0:0:0:0:0:1]:80", "0.0.0.0:80", "unix:", "unix: ", "x", "", " "),
    *(
        "127.0.0.256:80",
        "127.0.0.01:80",
        "127.1:80",
        "example.com:80",
        "\u0661:80",
        "127.0.0.1:\u0661",
    ),
)


@pytest.mark.parametrize("where", LISTENED)
def test_both_take_the_same_addresses_for_metrics(where: str) -> None:
    document = {"metrics_listen": where}
    assert is_taken(document)[0] == SCHEMA.is_valid(document)


def test_the_schema_is_one_and_takes_the_file_that_ships() -> None:
    import tomllib

    jsonschema.Draft202012Validator.check_schema(config_schema())
    sample = Path(__file__).resolve().parents[2] / "packaging" / "agent.toml"
    SCHEMA.validate(tomllib.loads(sample.read_text()))
