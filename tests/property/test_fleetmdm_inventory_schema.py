"""The published schema and the parser agree on which documents are valid."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import DeviceLimits, parse_device
from fleetmdm.device.schema import BEYOND_SCHEMA, inventory_schema
from fleetmdm.errors import FleetError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = DeviceLimits(
    max_depth=4,
    max_values=20,
    max_key_chars=4,
    max_text_chars=12,
    max_identifier_chars=6,
    max_tags=2,
    max_tag_chars=4,
)
SCHEMA = jsonschema.Draft202012Validator(inventory_schema(LIMITS))

text = st.text(max_size=14) | st.sampled_from(["a", "a\n", " a", "a b", "", "\u3000", "x" * 7])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
moments = st.sampled_from(
    [
        "2026-01-31T08:00:00Z",
        "2026-01-31 08:00:00.123+02:00",
        "2026-02-31T08:00:00Z",
        "2026-01-31",
        "2026-01-31T08:00:00Z\n",
        "2999-01-31T08:00:00z",
        "2026-01-31T08:00:00",
    ]
)
fine = {
    "device_id": st.just("a"),
    "hostname": st.just("b"),
    "os": st.just("c"),
    "os_version": st.just("d"),
    "last_seen": st.just("2026-01-31T08:00:00Z"),
}
odd = dict.fromkeys(fine, text | values) | {
    "last_seen": moments | text,
    "serial": st.none() | text | values,
    "facts": st.dictionaries(text, values, max_size=3) | values,
    "tags": st.lists(text, max_size=3) | values,
    "other": values,
}


@st.composite
def documents(draw: st.DrawFn) -> Any:
    document = {name: draw(value) for name, value in fine.items()}
    for name in draw(st.sets(st.sampled_from(sorted(odd)), max_size=2)):
        document[name] = draw(odd[name])
    for name in draw(st.sets(st.sampled_from(sorted(fine)), max_size=1)):
        if draw(st.booleans()):
            document.pop(name)
    return document


def reason(document: Any) -> str | None:
    try:
        parse_device(document, now=NOW, limits=LIMITS)
    except FleetError as error:
        found: str = error.details["reason"]
        return found
    return None


@given(documents() | values)
def test_the_schema_takes_what_the_parser_takes_and_little_else(document: Any) -> None:
    found = reason(document)
    if SCHEMA.is_valid(document):
        assert found is None or found in BEYOND_SCHEMA or blank_tag(document, found)
    else:
        assert found is not None


def blank_tag(document: Any, found: str) -> bool:
    """A tag with a control character is refused under the reason of a blank one."""
    tags = document.get("tags", [])
    return found == "blank" and any(not tag.strip().isprintable() for tag in tags)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(inventory_schema())
