"""Device documents: what is let in, what is refused and how that is said, bytes and hash."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fleetmdm.device import (
    DEFAULT_LIMITS,
    UNKNOWN,
    DeviceLimits,
    decode_facts,
    encode_device,
    encode_facts,
    facts_hash,
    is_placeholder,
    merge_snapshots,
    parse_device,
)
from fleetmdm.errors import FleetError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def document(**changes: Any) -> dict[str, Any]:
    return {
        "device_id": "web-1",
        "hostname": "web-1.example",
        "os": "linux",
        "os_version": "12",
        "serial": "C02",
        "last_seen": "2026-03-01T11:00:00+01:00",
        "facts": {"sshd": {"port": 22}, "disks": [{"encrypted": True}]},
        "tags": ["Prod", " web ", "prod"],
        **changes,
    }


def refusal(value: Any, limits: DeviceLimits = DEFAULT_LIMITS) -> FleetError:
    with pytest.raises(FleetError) as caught:
        parse_device(value, now=NOW, limits=limits)
    assert caught.value.code == "inventory_invalid"
    return caught.value


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_a_document_becomes_a_device_in_utc_with_clean_tags() -> None:
    device = parse_device(document(), now=NOW)
    assert device.last_seen == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert device.tags == ("prod", "web")
    assert device.facts["disks"] == [{"encrypted": True}]


def test_serial_facts_and_tags_may_be_left_out() -> None:
    value = document()
    for key in ("serial", "facts", "tags"):
        del value[key]
    device = parse_device(value, now=NOW)
    assert (device.serial, device.facts, device.tags) == (None, {}, ())


def test_tags_below_facts_are_facts() -> None:
    device = parse_device(document(tags=[], facts={"tags": ["prod"]}), now=NOW)
    assert device.tags == ()
    assert device.facts["tags"] == ["prod"]


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ([], "", "wrong_type"),
        (document(hostnam="x"), "hostnam", "unknown_key"),
        (document(device_id=7), "device_id", "wrong_type"),
        (document(device_id=""), "device_id", "blank"),
        (document(device_id=" a"), "device_id", "blank"),
        (document(device_id="a\x1b[2J"), "device_id", "control_character"),
        (document(device_id="a" * 256), "device_id", "too_long"),
        (document(serial=""), "serial", "blank"),
        (document(hostname="\ud800"), "hostname", "not_unicode"),
        (document(os_version=12), "os_version", "wrong_type"),
        (document(last_seen=None), "last_seen", "wrong_type"),
        (document(last_seen="2026-03-01"), "last_seen", "bad_time"),
        (document(last_seen="2026-03-01T10:00:00"), "last_seen", "bad_time"),
        (document(last_seen="2026-02-30T10:00:00Z"), "last_seen", "bad_time"),
        (document(last_seen="0001-01-01T00:00:00+23:00"), "last_seen", "bad_time"),
        (document(last_seen="2026-03-02T12:00:01Z"), "last_seen", "clock_skew"),
        (document(facts=None), "facts", "wrong_type"),
        (document(facts={"a": [0, float("nan")]}), "facts.a[1]", "not_finite"),
        (document(facts={"a": {"b c": float("inf")}}), 'facts.a."b c"', "not_finite"),
        (document(facts={"n": 2**63}), "facts.n", "integer_range"),
        (document(facts={"n": -(2**63) - 1}), "facts.n", "integer_range"),
        (document(facts={"n": b"x"}), "facts.n", "wrong_type"),
        (document(facts={"n": {1: 2}}), "facts.n", "wrong_type"),
        (document(facts={"k" * 257: 1}), "facts." + "k" * 257, "too_long"),
        (document(facts={"t": "\udfff"}), "facts.t", "not_unicode"),
        (document(facts={"t": "x" * 65_537}), "facts.t", "too_long"),
        (document(tags="prod"), "tags", "wrong_type"),
        (document(tags=["a", 1]), "tags[1]", "wrong_type"),
        (document(tags=[" "]), "tags[0]", "blank"),
        (document(tags=[str(n) for n in range(65)]), "tags", "too_many_values"),
    ],
)
def test_what_is_refused_names_its_place_and_reason(value: Any, path: str, reason: str) -> None:
    details = refusal(value).details
    assert (details["path"], details["reason"]) == (path, reason)


@pytest.mark.parametrize("key", ["device_id", "hostname", "os", "os_version", "last_seen"])
def test_a_required_key_that_is_missing_is_named(key: str) -> None:
    value = document()
    del value[key]
    assert refusal(value).details["path"] == key


def test_an_unknown_key_is_answered_with_the_nearest_one() -> None:
    assert refusal(document(os_verison="12")).hint == "did you mean 'os_version'?"


def test_a_refusal_names_the_device_where_it_is_known() -> None:
    assert refusal(document(os="")).details["device_id"] == "web-1"


def test_a_day_ahead_is_still_let_in() -> None:
    parse_device(document(last_seen="2026-03-02T12:00:00Z"), now=NOW)


def test_limits_hold_at_the_edge() -> None:
    limits = DeviceLimits(max_depth=3, max_values=4, max_text_chars=2)
    parse_device(document(facts=nested(3)), now=NOW, limits=limits)
    assert refusal(document(facts=nested(4)), limits).details["reason"] == "too_deep"
    parse_device(document(facts={"a": [1, 2, 3]}), now=NOW, limits=limits)
    value = document(facts={"a": [1, 2, 3, 4]})
    assert refusal(value, limits).details["reason"] == "too_many_values"
    assert refusal(document(facts={"a": "abc"}), limits).details["reason"] == "too_long"


def test_depth_is_refused_long_before_the_stack_ends() -> None:
    assert refusal(document(facts=nested(5000))).details["reason"] == "too_deep"


def test_an_encoded_device_reads_back_the_same() -> None:
    device = parse_device(document(last_seen="2026-03-01T10:00:00.123456789Z"), now=NOW)
    assert parse_device(msgspec.json.decode(encode_device(device)), now=NOW) == device
    assert decode_facts(encode_facts(device), device.last_seen) == device


def test_the_hash_ignores_key_order_and_last_seen_and_nothing_else() -> None:
    device = parse_device(document(), now=NOW)
    later = replace(device, last_seen=device.last_seen + timedelta(days=1))
    turned = replace(device, facts=dict(reversed(list(device.facts.items()))))
    assert facts_hash(device) == facts_hash(later) == facts_hash(turned)
    others = (
        replace(device, device_id="x"),
        replace(device, hostname="x"),
        replace(device, os="x"),
        replace(device, os_version="x"),
        replace(device, serial=None),
        replace(device, facts={}),
        replace(device, tags=()),
    )
    assert len({facts_hash(one) for one in (device, *others)}) == 1 + len(others)


def test_a_source_that_does_not_know_the_system_leaves_it_to_the_next() -> None:
    device = parse_device(document(), now=NOW)
    unsure = replace(device, os=UNKNOWN, os_version=UNKNOWN, hostname="first")
    merged = merge_snapshots([unsure, device])
    assert (merged.hostname, merged.os, merged.os_version) == (
        "first",
        device.os,
        device.os_version,
    )
    assert merge_snapshots([unsure, unsure]).os == UNKNOWN


@pytest.mark.parametrize("text", ["", " ", "NA", "0000", "Default  String", "xxxxxxxx", "n/a", "-"])
def test_placeholders_are_known_however_they_are_written(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["7", "a", "aa", "C02XL0GYJGH5", "4C4C4544-0042", "nameless"])
def test_what_may_be_a_name_is_no_placeholder(text: str) -> None:
    assert not is_placeholder(text)


def test_snapshots_add_up_and_the_first_one_wins() -> None:
    device = parse_device(document(), now=NOW)
    other = replace(
        device,
        hostname="other",
        last_seen=device.last_seen + timedelta(days=1),
        facts={"sshd": {"port": 2222, "x11": False}, "disks": [], "tpm": True},
        tags=("lab",),
    )
    merged = merge_snapshots([replace(device, serial=None), other])
    assert merged.hostname == device.hostname
    assert merged.serial == other.serial
    assert merged.last_seen == other.last_seen
    assert merged.tags == ("lab", "prod", "web")
    assert merged.facts == {
        "sshd": {"port": 22, "x11": False},
        "disks": [{"encrypted": True}],
        "tpm": True,
    }
