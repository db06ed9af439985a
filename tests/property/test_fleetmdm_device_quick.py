"""What the quick way in gives of a document, the careful one gives too; and so it is with columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import DeviceLimits, decode_facts, encode_facts, parse_device
from fleetmdm.device.quick import QuickReader
from fleetmdm.evaluate.columns import encode_column
from fleetmdm.evaluate.fact_path import MISSHAPEN, MISSING, NULL
from fleetmdm.evaluate.operators.kinds import same
from fleetmdm.evaluate.table.cells import OBJECT, decode_cells, encode_cells, encode_values
from fleetmdm.rfc3339 import encode_time
from fleetmdm.store.codec import encode_stamp, time_to_stamp

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = DeviceLimits(max_tags=3, max_tag_chars=4)

identifiers = st.sampled_from(
    ["a", "web-1.example", "é", " a", "", "a\n", "x" * 64, "x" * 65, 7, None]
)
times = st.sampled_from(
    [
        "2026-03-01T10:00:00Z",
        "2026-03-01T10:00:00.000001Z",
        "2026-03-01T10:00:00.000000Z",
        "2026-03-01T10:00:00.5Z",
        "2026-03-01t10:00:00z",
        "2026-03-01T10:00:00+02:00",
        "2026-02-30T10:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-02T11:59:59Z",
        "2026-03-02T12:00:00Z",
        "2026-03-02T12:00:00.000001Z",
        "2027-03-01T10:00:00Z",
        "2026-03-01T10:00:00",
        "",
        5,
    ]
)
tags: st.SearchStrategy[Any] = st.one_of(
    st.lists(st.sampled_from(["a", "B", " b ", "b", "", "toolong", 1, True]), max_size=4),
    st.sampled_from([None, "a", {}]),
)
scalars: list[Any] = [None, True, False, 0, 1, 2, -(2**63), 0.0, -0.0, 1.0, 1.5, "", "1", "é", "x"]
values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(scalars),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)
documents = st.fixed_dictionaries(
    {"device_id": identifiers, "hostname": identifiers, "os": identifiers, "last_seen": times},
    optional={
        "os_version": st.sampled_from(["12", 12]),
        "serial": identifiers,
        "tags": tags,
        "facts": st.dictionaries(st.sampled_from("abc"), values) | st.just([]),
        "other": st.none(),
    },
)


@given(documents)
def test_a_quick_document_is_the_careful_one(document: dict[str, Any]) -> None:
    quick = QuickReader(NOW, LIMITS).read(msgspec.json.encode(document))
    if quick is None:
        return
    device = parse_device(document, now=NOW, limits=LIMITS)
    assert (quick.device_id, quick.serial) == (device.device_id, device.serial)
    assert quick.last_seen == encode_time(device.last_seen)
    assert time_to_stamp(quick.last_seen) == encode_stamp(device.last_seen)
    assert quick.facts == encode_facts(device)
    assert decode_facts(quick.facts, device.last_seen) == device
    assert quick.document["facts"] == device.facts
    assert quick.document["tags"] == list(device.tags)


def test_ordinary_documents_are_quick() -> None:
    reader = QuickReader(NOW, LIMITS)
    for tag in ("b", "A"):
        data = (
            b'{"device_id":"a","hostname":"h","os":"linux","os_version":"12","tags":["%b","a"],'
            b'"last_seen":"2026-03-01T10:00:00Z","facts":{"a":[1]}}'
        ) % tag.encode()
        found = reader.read(data)
        assert found is not None
        assert found.document["tags"] == sorted({tag.lower(), "a"})


cells = st.lists(
    values | st.sampled_from([MISSING, MISSHAPEN, OBJECT, NULL]), min_size=1, max_size=12
)


@given(cells | st.lists(st.sampled_from([*scalars[4:], MISSING]), min_size=1))
def test_values_written_in_one_pass_read_back_as_the_column_of_them(column: list[Any]) -> None:
    written = decode_cells(encode_values(list(column), list(map(type, column))))
    slowly = decode_cells(encode_cells(encode_column(column)))
    for place, value in enumerate(column):
        found = written.values[written.codes[place]]
        assert same(found, slowly.values[slowly.codes[place]])
        assert same(NULL if value is None else value, found)
