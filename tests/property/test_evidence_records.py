"""The quick ways to write and to read records agree with the plain ones, on whatever comes."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device, decode_facts, encode_facts
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import Field, encode_record, encode_value
from fleetmdm.evidence.records.flatten import flatten
from fleetmdm.evidence.records.layout import KEYS, read_leaves
from fleetmdm.evidence.records.maker import RecordMaker
from fleetmdm.evidence.records.places import PlaceBook, join_parts, quiet
from fleetmdm.evidence.records.reading import LineReader, Taken, parse_record
from fleetmdm.evidence.records.values import RecordError, encode_text, uncarry
from fleetmdm.evidence.redact import Profile, Redaction, classify, fits, is_open, leaks

KEY = bytes(32)
NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
FLEET = FleetKeys(bytes(range(32)))

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 2**63 - 1, 0.0, -0.0, 1.0, 0.1, 1e300]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _texts,
    st.sampled_from(["web-01", "", "\\", '"', "\x00", "\x7f", "ü", "\u2028", "{", "}],[", "1"]),
)
_names = st.one_of(
    _texts,
    st.sampled_from(['":', '":{"', "{", "[", '":1,"', '},"a":', "\\", '\\":', "\n", "facts"]),
)
_values = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)
    ),
    max_leaves=8,
)
_paths = st.one_of(
    st.sampled_from(["device", "facts.a.b", 'facts."odd \\"x\\""', "finding[0]", "\U0001f600"]),
    _texts.filter(bool),
)


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    fields = draw(
        st.dictionaries(_paths, st.tuples(_values, st.booleans()), min_size=1, max_size=5)
    )
    return encode_record(
        [Field(path, value, is_open=shown) for path, (value, shown) in fields.items()], key=KEY
    ).line


def _plainly(line: bytes) -> Taken | None:
    try:
        record = parse_record(line)
    except RecordError:
        return None
    written = [encode_text(path) for path in record.fields]
    values = [encode_value(value) for value in record.fields.values()]
    document = json.loads(line)
    salts = [document["fields"][path][0].encode() for path in record.fields]
    fields = zip(salts, written, values, strict=True)
    return Taken(
        tuple(name[1:-1] for name in written),
        tuple(salts),
        tuple(values),
        [hashlib.sha256(b'["%b",%b,%b]' % field).digest() for field in fields],
        list(map(bytes.fromhex, document["hidden"])),
        record.leaf,
    )


def _quickly(reader: LineReader, line: bytes) -> Taken | None:
    try:
        return reader.read(line)
    except RecordError:
        return None


@given(st.lists(_lines(), min_size=1, max_size=4))
def test_a_line_is_read_alike_both_ways(lines: list[bytes]) -> None:
    reader = LineReader()
    for line in [*lines, *lines]:
        assert _quickly(reader, line) == _plainly(line) is not None


@given(_lines(), st.data())
def test_a_spoilt_line_is_refused_or_read_alike_both_ways(line: bytes, data: st.DataObject) -> None:
    """Cut, doubled, overwritten, or with something from JSON's grammar put in, anywhere."""
    reader = LineReader()
    assert _quickly(reader, line) is not None, "so that values and names are known"
    at = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(at, min(len(line), at + 70)))
    middle = data.draw(
        st.one_of(
            st.just(b""),
            st.just(line[at:end] * 2),
            st.binary(max_size=3),
            st.sampled_from([b",", b'"', b"\\", b" ", b"1.0", b"NaN", b"-0", b"[]", b"{}", b"e5"]),
        )
    )
    spoilt = line[:at] + middle + line[end:]
    assert _quickly(reader, spoilt) == _plainly(spoilt)


@given(
    st.dictionaries(st.sampled_from("abc"), _values, max_size=3),
    st.lists(st.dictionaries(_names, _values, max_size=3), max_size=3),
    st.sampled_from(list(Profile)),
)
def test_facts_are_taken_apart_as_their_leaves_are(
    shared: dict[str, Any], others: list[dict[str, Any]], profile: Profile
) -> None:
    """Also where the same places have had other values, or values that compare equal."""
    book = PlaceBook(FLEET, Redaction(profile))
    maker = RecordMaker(FLEET, KEY, Redaction(profile))
    for facts in (shared, *others, shared):
        document = json.loads(json.dumps({"kernel": {"release": "web-01 6"}, **facts}))
        stored = encode_facts(Device("web-01", "h", "linux", "1", None, NOW, document, ("a", "b")))
        layout, raw, values = read_leaves(book, stored)
        places = layout.places
        assert [place.path for place in (places[0], *places[-5:])] == [KEYS[0], *KEYS[2:]]
        pairs = list(flatten("facts", decode_facts(stored, NOW).facts))
        assert [place.path for place in places[1:-5]] == [path for path, _ in pairs]
        assert [uncarry(json.loads(value)) for value in values[1:-5]] == [each for _, each in pairs]
        assert list(values[1:-5]) == [encode_value(value) for _, value in pairs]
        assert [json.loads(each) for each in raw[1:-5]] == [value for _, value in pairs]
        _, written = maker.device(stored, "2026-11-22T13:00:00Z", reason="r")
        shown = parse_record(written.line).fields
        for place, (path, value) in zip(places[1:-5], pairs, strict=True):
            shows = is_open(classify(path), profile) and not (
                profile is Profile.STRICT and not fits(value, classify(path).shape)
            )
            if profile is not Profile.NONE:
                shows = shows and not leaks([path, value], frozenset({"web-01"}))
            assert (path in shown) == shows
            # The same field on its own, as records that are no documents have it.
            part = join_parts([place.part(value)])
            assert quiet(part, {"web-01"})[0] == shows
            assert part.values[0] == encode_value(value)
