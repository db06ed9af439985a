"""Whatever a configuration holds, it is understood or refused by name; nothing else comes out."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clikit.config import ConfigError, ConfigFile, parse_config
from secretivex.config import ConfigInput
from secretivex.config.rows.policy import POLICY_SETTINGS
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.settings import SETTINGS
from secretivex.errors import SecretiveError
from secretivex.loading import AgentSetup, make_setup
from secretivex.policy_keys import EntryError, parse_fingerprint, parse_key_blob

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["~", "~/x", "$HOME/x", "${NO}", "\0", "file", "pkcs11", "pssh", "full"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=6,
)


def tables(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.one_of(st.sampled_from(keys), st.text(max_size=8)), VALUES)


STORES = tables(["type", *(row.key for kind in STORE_TYPES.values() for row in kind.settings)])
FILES = st.builds(
    lambda top, stores, policy: {
        **top,
        **({"stores": stores} if stores else {}),
        **({"policy": policy} if policy else {}),
    },
    tables([row.key for row in SETTINGS]),
    st.lists(STORES, max_size=3),
    tables([row.key for row in POLICY_SETTINGS]),
)
ENVIRONS = st.dictionaries(
    st.sampled_from([row.env or f"SECRETIVE_{row.key.upper()}" for row in SETTINGS]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10),
    max_size=2,
)


def parse(values: dict[str, Any]) -> ConfigFile:
    return parse_config(json.dumps(values).encode(), name="agent.json", syntax="json")


def outcome(values: dict[str, Any], environ: dict[str, str]) -> AgentSetup | SecretiveError:
    given_ = ConfigInput({}, {"HOME": "/home/a", **environ}, parse(values), 2, Path("/"))
    try:
        return make_setup(given_)
    except SecretiveError as error:
        return error


@given(FILES, ENVIRONS)
def test_fuzz_any_configuration_is_understood_or_refused(
    values: dict[str, Any], environ: dict[str, str]
) -> None:
    found = outcome(values, environ)
    if isinstance(found, SecretiveError):
        assert found.details["problems"]
        for problem in found.details["problems"]:
            assert problem["where"]
            assert problem["reason"]
            assert problem["hint"]


@given(FILES, st.text(min_size=1, max_size=8))
def test_fuzz_a_key_that_nobody_knows_is_always_refused(values: dict[str, Any], key: str) -> None:
    name = f"x-{key}"
    found = outcome({**values, name: 1}, {})
    assert isinstance(found, SecretiveError)
    assert name in {problem["key"] for problem in found.details["problems"]}


@given(st.binary(max_size=200))
def test_fuzz_any_bytes_are_a_file_or_a_failure(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(data, name="agent.toml", syntax="toml")
    with contextlib.suppress(ConfigError):
        parse_config(data, name="agent.json", syntax="json")


@given(st.one_of(st.text(max_size=120), st.text("SHA256:512=+/abcABC", max_size=100)))
def test_fuzz_any_policy_entry_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(EntryError):
        assert parse_fingerprint(text).startswith(("SHA256:", "SHA512:"))
    with contextlib.suppress(EntryError):
        assert parse_key_blob(text)
