"""Salted records: one root whatever is shown, and one form for each line."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from clikit.canonical import encode_canonical
from fleetmdm.evidence.records.commit import Field, encode_record
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.records.values import RecordError, carry, uncarry

KEY = bytes(32)


def _line(opened: dict[str, Any], hidden: list[str]) -> bytes:
    return encode_canonical({"fields": opened, "hidden": hidden}) + b"\n"


def test_a_digest_is_what_an_auditor_computes_by_hand() -> None:
    # printf '%s' '["SALT","hostname","web-1"]' | sha256sum
    shut = encode_record([Field("hostname", "web-1", is_open=False)], key=KEY)
    shown = encode_record([Field("hostname", "web-1", is_open=True)], key=KEY)
    (salt, value) = json.loads(shown.line)["fields"]["hostname"]
    digest = hashlib.sha256(f'["{salt}","hostname","{value}"]'.encode()).hexdigest()
    assert json.loads(shut.line) == {"fields": {}, "hidden": [digest]}
    assert shut.leaf == shown.leaf == bytes.fromhex(digest)


def test_the_leaf_does_not_depend_on_what_is_open() -> None:
    fields = [("a", 1), ("b", "two"), ("c", [True, None]), ("d", {"x": 1.5})]
    leaves = {
        encode_record(
            [Field(path, value, bool(mask >> at & 1)) for at, (path, value) in enumerate(fields)],
            key=KEY,
        ).leaf
        for mask in range(16)
    }
    assert len(leaves) == 1


def test_a_record_reads_back_as_it_was_written() -> None:
    record = encode_record(
        [
            Field("big", 2**63 - 1, is_open=True),
            Field("ratio", 0.1, is_open=True),
            Field("map", {"int": "1"}, is_open=True),
            Field("ünïcode \U0001f600 \ue000", "\u2028\x7f", is_open=True),
            Field("hidden", "secret", is_open=False),
        ],
        key=KEY,
    )
    read = parse_record(record.line)
    assert (read.leaf, read.hidden) == (record.leaf, 1)
    assert read.fields == {
        "big": 2**63 - 1,
        "ratio": 0.1,
        "map": {"int": "1"},
        "ünïcode \U0001f600 \ue000": "\u2028\x7f",
    }
    assert b"secret" not in record.line
    assert encode_canonical(json.loads(record.line)) + b"\n" == record.line


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (2**53 - 1, 2**53 - 1),
        (2**53, {"int": "9007199254740992"}),
        (-(2**63), {"int": "-9223372036854775808"}),
        (1.0, {"float": "1.0"}),
        (-0.0, {"float": "-0.0"}),
        (1e300, {"float": "1e+300"}),
        ({}, {"map": {}}),
        ([], []),
        (True, True),
        ([{"a": [1.5]}], [{"map": {"a": [{"float": "1.5"}]}}]),
    ],
)
def test_what_canonical_json_cannot_hold_is_carried_as_text(value: Any, carried: Any) -> None:
    assert carry(value) == carried
    assert repr(uncarry(carried)) == repr(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_what_is_no_json_value_is_refused(value: Any) -> None:
    with pytest.raises(RecordError):
        carry(value)


@pytest.mark.parametrize(
    "carried",
    [
        1.5,
        {},
        {"int": "1"},
        {"int": 9007199254740992},
        {"int": "٣"},
        {"int": "9007199254740992 "},
        {"float": "1"},
        {"float": "nan"},
        {"float": "x"},
        {"float": 1.5},
        {"map": []},
        {"map": {}, "int": "1"},
        {"other": 1},
    ],
)
def test_a_value_carried_in_another_way_is_refused(carried: Any) -> None:
    with pytest.raises(RecordError):
        uncarry(carried)


SALT = "0" * 32
DIGEST = "1" * 64


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        _line({"a": [SALT, 1]}, [])[:-1],
        _line({"a": [SALT, 1]}, []).replace(b":", b": ", 1),
        _line({"a": [SALT, 1]}, []) + b" ",
        _line({}, []),
        _line({"a": [SALT]}, []),
        _line({"a": [SALT, 1, 2]}, []),
        _line({"a": "x"}, []),
        _line({"a": ["0" * 31, 1]}, []),
        _line({"a": ["A" * 32, 1]}, []),
        _line({"a": [1, 1]}, []),
        _line({"a": [SALT, 1]}, [DIGEST, DIGEST]),
        _line({"a": [SALT, 1]}, ["2" * 64, DIGEST]),
        _line({"a": [SALT, 1]}, ["1" * 63]),
        _line({"a": [SALT, 1]}, [DIGEST + "\n"]),
        _line({"a": [SALT, {"int": "1"}]}, []),
        _line({"a": [SALT, 1]}, [hashlib.sha256(f'["{SALT}","a",1]'.encode()).hexdigest()]),
        _line({"a": [SALT, 1]}, []).replace(b'"hidden":[]', b'"hidden":{}'),
        _line({"a": [SALT, 1]}, []).replace(b'"fields"', b'"extra":1,"fields"'),
        f'{{"fields":{{"a":["{SALT}",1],"a":["{SALT}",2]}},"hidden":[]}}\n'.encode(),
        f'{{"fields":{{"a":["{SALT}",9007199254740993]}},"hidden":[]}}\n'.encode(),
        f'{{"fields":{{"a":["{SALT}","\\ud800"]}},"hidden":[]}}\n'.encode(),
        b'{"fields":{"\xff":1},"hidden":[]}\n',
    ],
)
def test_a_line_in_any_other_form_is_refused(line: bytes) -> None:
    with pytest.raises(RecordError):
        parse_record(line)


def test_salts_differ_by_field_and_by_record() -> None:
    first = encode_record([Field("a", 1, is_open=True), Field("b", 1, is_open=True)], key=KEY)
    other = encode_record([Field("a", 1, is_open=True)], key=bytes([1]) * 32)
    salts = [json.loads(first.line)["fields"][path][0] for path in "ab"]
    salts.append(json.loads(other.line)["fields"]["a"][0])
    assert len(set(salts)) == 3


def test_salts_are_shake256_of_key_names_and_identity() -> None:
    fields = [Field("b.ünï", 1, is_open=True), Field("a", 1, is_open=True)]
    for key in (KEY, bytes(range(32))):
        opened = json.loads(encode_record(fields, key=key, identity="file\0device").line)["fields"]
        names = hashlib.sha256('"a","b.ünï"'.encode()).digest()
        stream = hashlib.shake_256(key + names + b"file\0device").hexdigest(32)
        assert [opened["a"][0], opened["b.ünï"][0]] == [stream[:32], stream[32:]]


def test_no_salt_stands_for_two_values() -> None:
    """One more field, and every salt is another: what shows here cannot help to guess there."""
    few = [Field("a", 1, is_open=True), Field("b", 2, is_open=True)]
    more = [*few, Field("aa", 3, is_open=True)]
    salts = [
        salt
        for fields in (few, more)
        for salt, _ in json.loads(encode_record(fields, key=KEY).line)["fields"].values()
    ]
    assert len(set(salts)) == 5


def test_a_field_stands_once() -> None:
    for fields in ([Field("a", 1, is_open=True)] * 2, []):
        with pytest.raises(RecordError):
            encode_record(fields, key=KEY)


def test_text_that_is_no_unicode_cannot_be_recorded() -> None:
    for field in (Field("a", "\ud800", is_open=True), Field("\ud800", 1, is_open=False)):
        with pytest.raises(RecordError):
            encode_record([field], key=KEY)
