"""What the quick way in gives of a document, the careful one gives too; and so it is with columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from fleetmdm.device import DeviceLimits, decode_facts, encode_facts, parse_device
from fleetmdm.device.quick import MAX_LESSONS, QuickReader
from fleetmdm.device.shapes import MAX_NAMES, plain_document
from fleetmdm.evaluate.columns import encode_column
from fleetmdm.evaluate.fact_path import MISSHAPEN, MISSING, NULL
from fleetmdm.evaluate.operators.kinds import same
from fleetmdm.evaluate.table import build_table
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


def learned(some: list[dict[str, Any]]) -> QuickReader:
    """A reader that knows how these documents look."""
    reader = QuickReader(NOW, LIMITS)
    found = (reader.read(msgspec.json.encode(one)) for one in some)
    reader.learn([one for one in found if one is not None])
    return reader


@given(st.lists(documents, max_size=4), documents)
def test_a_quick_document_is_the_careful_one(
    before: list[dict[str, Any]], document: dict[str, Any]
) -> None:
    quick = learned(before).read(msgspec.json.encode(document))
    if quick is None:
        assert QuickReader(NOW, LIMITS).read(msgspec.json.encode(document)) is None
        return
    device = parse_device(document, now=NOW, limits=LIMITS)
    assert (quick.device_id, quick.serial) == (device.device_id, device.serial)
    assert quick.last_seen == encode_time(device.last_seen)
    assert time_to_stamp(quick.last_seen) == encode_stamp(device.last_seen)
    assert quick.facts == encode_facts(device)
    assert decode_facts(quick.facts, device.last_seen) == device
    plain = plain_document(quick.document)
    assert plain["facts"] == device.facts
    assert plain["tags"] == list(device.tags)


def test_ordinary_documents_are_quick() -> None:
    reader = QuickReader(NOW, LIMITS)
    for tag in ("b", "A"):
        data = (
            b'{"device_id":"a","hostname":"h","os":"linux","os_version":"12","tags":["%b","a"],'
            b'"last_seen":"2026-03-01T10:00:00Z","facts":{"a":[1]}}'
        ) % tag.encode()
        found = reader.read(data)
        assert found is not None
        assert plain_document(found.document)["tags"] == sorted({tag.lower(), "a"})


facts = st.dictionaries(
    st.sampled_from("abc"),
    st.sampled_from(scalars) | st.dictionaries(st.sampled_from("de"), values, max_size=2),
)


MANY = {f"n{number}": number for number in range(MAX_NAMES + 1)}


@given(st.lists(facts, min_size=1, max_size=12), st.lists(facts, max_size=3))
@example([{"a": MANY}, {"a": MANY}, {"b": 1}, {"a": {"n1": 2}}], [])
@example([{"a": {"d": 1}}, {"a": {"d": 2}}, {}], [{"a": 1}])
def test_columns_of_shaped_documents_are_those_of_plain_ones(
    asked: list[dict[str, Any]], before: list[dict[str, Any]]
) -> None:
    texts = [
        msgspec.json.encode(
            {
                "device_id": "a",
                "hostname": "h",
                "os": "linux",
                "os_version": "12",
                "last_seen": "2026-03-01T10:00:00Z",
                "facts": one,
            },
            # An object that is kept whole shows its names in the order of the source.
            order="sorted",
        )
        for one in [*before, *asked]
    ]
    plain_reader, reader = QuickReader(NOW, LIMITS), QuickReader(NOW, LIMITS)
    plain = [one for one in map(plain_reader.read, texts) if one is not None]
    reader.learn(plain)
    shaped = [one for one in map(reader.read, texts) if one is not None]
    assert {type(one.document) for one in shaped} != {dict}
    assert [one.facts for one in shaped] == [one.facts for one in plain]
    first = len(before)
    assert build_table([one.document for one in shaped[first:]]) == build_table(
        [one.document for one in plain[first:]]
    )


def test_a_shape_takes_no_more_than_the_limits() -> None:
    limits = DeviceLimits(max_depth=2, max_text_chars=20, max_key_chars=10)
    text = (
        b'{"device_id":"a","hostname":"h","os":"linux","os_version":"12",'
        b'"last_seen":"2026-03-01T10:00:00Z","facts":%b}'
    )
    reader = QuickReader(NOW, limits)
    known = reader.read(text % b'{"a":{"b":1},"c":2}')
    assert known is not None
    reader.learn([known])
    for good in (b'{"a":{"b":"abc"}}', b'{"c":[1]}', b"{}"):
        found = reader.read(text % good)
        assert found is not None
        assert not isinstance(found.document, dict)
    bad = (
        b'{"a":{"b":"abcdefghijklmnopqrstu"}}',
        b'{"a":{"b":[1]}}',
        b'{"c":[[1]]}',
        b'{"c":9223372036854775808}',
        b'{"c":"\\ud800"}',
        b'{"c":"\xff"}',
        b'{"c":{"abcdefghijk":1}}',
        b'{"abcdefghijk":1}',
        b'{"a":{"b":1e999}}',
        b'{"c":NaN}',
    )
    for one in bad:
        assert reader.read(text % one) is None


def test_names_that_keep_changing_are_no_shape() -> None:
    reader = QuickReader(NOW, LIMITS)
    for number in range(3 * MAX_LESSONS):
        document = {
            "device_id": "a",
            "hostname": "h",
            "os": "linux",
            "os_version": "12",
            "last_seen": "2026-03-01T10:00:00Z",
            "facts": {f"name{number}": {"x": 1}},
        }
        found = reader.read(msgspec.json.encode(document))
        assert found is not None
        assert type(found.document) is dict
        reader.learn([found])


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
