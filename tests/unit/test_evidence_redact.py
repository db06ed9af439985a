"""What each profile shows: the tables row by row, and the pseudonyms that stand in."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.flatten import flatten, pattern_of
from fleetmdm.evidence.redact import (
    IDENTIFIERS,
    IDENTIFYING_NAMES,
    PUBLIC_FIELDS,
    Class,
    Profile,
    Redaction,
    classify,
    fact_path,
    fits,
    identifiers_in,
    is_open,
    is_pseudonym_open,
    leaks,
    may_show,
)
from fleetmdm.fields import FIELDS, Kind, Sensitivity

KEYS = FleetKeys(bytes(range(32)))


def _shown(path: str) -> dict[Profile, bool]:
    return {profile: is_open(classify(path), profile) for profile in Profile}


CATALOGUE = {
    level: [f"facts.{row.path}" for row in FIELDS if row.sensitivity is level]
    for level in Sensitivity
}


@pytest.mark.parametrize("path", [*sorted(PUBLIC_FIELDS), *CATALOGUE[Sensitivity.PUBLIC]])
def test_what_is_public_shows_in_every_profile(path: str) -> None:
    assert set(_shown(path).values()) == {True}


@pytest.mark.parametrize(
    "path",
    [
        *sorted(IDENTIFIERS),
        *(f"facts.anywhere.{name}" for name in IDENTIFYING_NAMES),
        *CATALOGUE[Sensitivity.IDENTIFYING],
    ],
)
def test_identifiers_show_without_redaction_alone(path: str) -> None:
    assert _shown(path) == {Profile.NONE: True, Profile.MINIMAL: False, Profile.STRICT: False}


@pytest.mark.parametrize(
    "path",
    [
        *("tags", "facts.unheard.of", "facts.kernelx", "facts", "facts.sshd.banner", "other"),
        *CATALOGUE[Sensitivity.INTERNAL],
    ],
)
def test_what_nobody_classified_is_withheld_under_strict(path: str) -> None:
    assert _shown(path) == {Profile.NONE: True, Profile.MINIMAL: True, Profile.STRICT: False}


def test_an_index_does_not_change_the_class() -> None:
    assert classify("facts.listening.tcp[17].address").kind == "ip"
    assert pattern_of("facts.a[0].b[12]") == "facts.a[*].b[*]"


def test_a_pseudonym_shows_where_its_path_gives_nothing_away() -> None:
    assert is_pseudonym_open(classify("serial"), Profile.STRICT)
    assert not is_pseudonym_open(classify("facts.alice.email"), Profile.STRICT)
    assert is_pseudonym_open(classify("facts.alice.email"), Profile.MINIMAL)


@pytest.mark.parametrize(
    ("path", "fields", "minimal", "strict"),
    [
        ("hostname", {}, False, False),
        ("os", {}, True, True),
        ("tags", {}, True, False),
        ("pseudonym.hostname", {}, True, True),
        ("pseudonym.facts.alice.email", {}, True, False),
        ("finding[0]", {}, True, True),
        ("finding[0].message", {}, True, False),
        ("finding[0].observed", {"finding[0]": {"key": "kernel.release"}}, True, True),
        ("finding[0].observed", {"finding[0]": {"key": "owner.name"}}, True, False),
        ("finding[0].observed", {"finding[0]": {"key": "hostname"}}, False, False),
        ("finding[0].observed", {}, False, False),
        ("finding[0].surprise", {}, False, False),
    ],
)
def test_a_verifier_knows_what_a_view_may_show(
    path: str, fields: dict[str, Any], minimal: bool, strict: bool
) -> None:
    assert may_show(path, fields, Redaction(Profile.NONE))
    assert may_show(path, fields, Redaction(Profile.MINIMAL)) is minimal
    assert may_show(path, fields, Redaction(Profile.STRICT)) is strict


def test_the_key_of_a_policy_names_a_path_of_the_record() -> None:
    assert fact_path("sshd.settings.port") == "facts.sshd.settings.port"
    assert fact_path("facts.sshd") == "facts.sshd"
    assert fact_path("hostname") == "hostname"
    assert fact_path("tags[0]") == "tags[0]"


def test_leaves_of_a_document_are_named_as_policies_name_them() -> None:
    facts = {
        "a": {"b": 1, 'odd "n".x': 2},
        "list": [1, 2],
        "deep": [{"x": 1}, [3]],
        "none": {},
        "void": [],
    }
    assert dict(flatten("facts", facts)) == {
        "facts.a.b": 1,
        'facts.a."odd \\"n\\".x"': 2,
        "facts.list": [1, 2],
        "facts.deep[0].x": 1,
        "facts.deep[1]": [3],
        "facts.none": {},
        "facts.void": [],
    }


def test_other_fields_are_searched_for_the_devices_own_names() -> None:
    names = identifiers_in(iter(("Web-01.example", "", None, "abc", ["S3RIAL"])))
    assert names == {"web-01.example", "web-01", "s3rial"}
    assert leaks({"motd": ["this is WEB-01!"]}, names)
    assert leaks({"s3rial": 1}, names)
    assert not leaks(["abc", 5, None, True], names)


def test_a_pseudonym_is_the_same_for_the_same_thing() -> None:
    assert KEYS.pseudonym("mac", "AA:BB") == KEYS.pseudonym("mac", " aa:bb ")
    assert KEYS.pseudonym("host", "a") != KEYS.pseudonym("serial", "a").replace("serial", "host")
    assert KEYS.pseudonym("host", "a") != FleetKeys(bytes(32)).pseudonym("host", "a")
    assert KEYS.pseudonym("host", "a") == "host-" + KEYS.pseudonym("host", "a")[-24:]


def test_pseudonyms_cannot_be_found_by_trying_every_address() -> None:
    shown = KEYS.pseudonym("ip", "10.20.30.40")
    other = FleetKeys(bytes(32))
    network = ipaddress.ip_network("10.20.0.0/16")
    assert all(other.pseudonym("ip", str(address)) != shown for address in network)


def test_what_derives_from_one_key_for_two_uses_differs() -> None:
    leaf = bytes(32)
    salt_key = KEYS.salt_key(leaf)
    assert salt_key != KEYS.salt_key(bytes([1]) * 32)
    assert KEYS.origin().startswith("fleetmdm/")
    assert Class("public") is Class.PUBLIC


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (True, Kind.BOOL, True),
        ("yes", Kind.BOOL, False),
        (1, Kind.NUMBER, True),
        ("1", Kind.NUMBER, False),
        ("x", Kind.TEXT, True),
        (["x"], Kind.TEXT, False),
        (["x", None], Kind.TEXTS, True),
        (["x", 1], Kind.TEXTS, False),
        ([1, 2.5], Kind.NUMBERS, True),
        ("x", Kind.NUMBERS, False),
        (None, Kind.BOOL, True),
        ({}, Kind.ANY, True),
        ({}, None, True),
        ({}, Kind.TIME, False),
    ],
)
def test_a_value_of_another_shape_was_not_classified(
    value: Any, shape: Kind | None, expected: bool
) -> None:
    assert fits(value, shape) is expected
