"""Ingest on any bytes: documents survive any cut and form, and nothing but refusals comes of junk."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device, encode_device, facts_hash, parse_device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.read import Refused, read_devices
from fleetmdm.ingest.split import Piece, split_documents

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
facts = st.dictionaries(text, values, max_size=4)


def document(number: int, given_facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "device_id": f"d{number}",
        "hostname": "h",
        "os": "linux",
        "os_version": "12",
        "last_seen": "2026-03-01T10:00:00Z",
        "facts": given_facts,
    }


def write(documents: list[dict[str, Any]], form: str) -> bytes:
    if form == "array":
        return json.dumps(documents).encode()
    if form == "indented array":
        return json.dumps(documents, indent=1, ensure_ascii=False).encode()
    if form == "lines":
        return b"".join(msgspec.json.encode(one) + b"\n" for one in documents)
    return "\n\n".join(json.dumps(one, indent=2) for one in documents).encode()


@given(
    st.lists(facts, min_size=1, max_size=4),
    st.sampled_from(["array", "indented array", "lines", "in a row"]),
    st.integers(1, 64),
)
def test_documents_survive_every_form_and_every_cut(
    given_facts: list[dict[str, Any]], form: str, size: int
) -> None:
    data = write([document(n, one) for n, one in enumerate(given_facts)], form)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    items = list(read_devices(lambda: chunks, name="f", now=NOW))
    assert [item.facts for item in items if isinstance(item, Device)] == given_facts


@given(st.binary(max_size=200), st.integers(1, 32))
def test_junk_gives_refusals_and_nothing_else(data: bytes, size: int) -> None:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    items = list(read_devices(lambda: chunks, name="f", now=NOW))
    assert all(isinstance(item, Refused) for item in items)


@given(st.text('[]{},"\\: \n1a', max_size=60), st.integers(1, 16))
def test_a_cut_does_not_change_what_is_found(text: str, size: int) -> None:
    data = text.encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    whole = list(split_documents([data], max_document_bytes=1000))
    assert list(split_documents(chunks, max_document_bytes=1000)) == whole
    assert all(item.data for item in whole if isinstance(item, Piece))


@given(st.recursive(values | st.floats(), lambda inner: st.dictionaries(text, inner)))
def test_parsing_refuses_or_gives_what_can_be_encoded(value: Any) -> None:
    for given_value in (value, document(1, value)):
        with suppress(FleetError):
            device = parse_device(given_value, now=NOW)
            again = parse_device(msgspec.json.decode(encode_device(device)), now=NOW)
            assert facts_hash(again) == facts_hash(device)
