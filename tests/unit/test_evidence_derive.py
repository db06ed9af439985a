"""Views derived without the signing key: they show less, and still verify."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.errors import FleetError
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.pack.guarded import GuardedNames
from fleetmdm.evidence.records.commit import Field, encode_record
from fleetmdm.evidence.records.narrow import Narrower
from fleetmdm.evidence.redact import Profile, Redaction
from fleetmdm.evidence.rules import Rules
from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line


@pytest.fixture
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f"me {encode_public_line(make_key(1).public_key)}"
    return Trust(parse_allowed_signers(line), ["me"], datetime(2026, 11, 22, tzinfo=UTC))


RECORDS = ("inventory.ndjson", "population.ndjson", "results.ndjson", "transitions.ndjson")


@pytest.mark.parametrize(
    ("source", "profile"),
    [("none", "none"), ("none", "minimal"), ("none", "strict"), ("minimal", "strict")],
)
def test_a_derived_view_shows_what_an_export_would_and_verifies(
    tmp_path: Path, export_sample: Callable[..., Path], trust: Trust, source: str, profile: str
) -> None:
    pack = export_sample(tmp_path / "source", source)
    exported = export_sample(tmp_path / "exported", profile)
    derive_view(pack, tmp_path / "view", Profile(profile))
    for name in (*RECORDS, "manifest.json"):
        assert (tmp_path / "view" / name).read_bytes() == (exported / name).read_bytes(), name
    report = verify_pack(tmp_path / "view", trust)
    assert report.findings == []
    assert (report.derived, report.profile) == (True, profile)
    assert [each.subject for each in report.signatures] == ["checkpoint", "dsse", "manifest"]


def test_a_view_cannot_show_more(tmp_path: Path, export_sample: Callable[..., Path]) -> None:
    pack = export_sample(tmp_path / "source", "strict")
    with pytest.raises(FleetError) as caught:
        derive_view(pack, tmp_path / "view", Profile.MINIMAL)
    assert caught.value.code == "redaction_impossible"
    assert not (tmp_path / "view").exists()


def test_nothing_derives_from_a_pack_that_does_not_verify(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    pack = export_sample(tmp_path / "source", "none")
    with (pack / "run.json").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(FleetError) as caught:
        derive_view(pack, tmp_path / "view", Profile.STRICT)
    assert caught.value.code == "evidence_invalid"
    assert not (tmp_path / "view").exists()


def test_a_view_of_a_view_verifies(
    tmp_path: Path, export_sample: Callable[..., Path], trust: Trust
) -> None:
    derive_view(export_sample(tmp_path / "a", "none"), tmp_path / "b", Profile.MINIMAL)
    derive_view(tmp_path / "b", tmp_path / "c", Profile.STRICT)
    assert verify_pack(tmp_path / "c", trust).findings == []


def test_guarded_names_are_read_along_with_the_records() -> None:
    names = GuardedNames([("a", frozenset({"x"})), ("c", frozenset({"y"}))])
    assert [names.of(each) for each in ("a", "a", "b", "c", "d")] == [
        {"x"},
        {"x"},
        {"b"},
        {"y"},
        {"d"},
    ]


def test_a_fact_called_as_a_part_of_a_finding_is_a_fact() -> None:
    fields = [Field("facts.app.observed", "v", is_open=True), Field("os", "linux", is_open=True)]
    record = encode_record(fields, key=bytes(32))
    shown = Redaction(Profile.STRICT, Rules(allow=("facts.app.*",)))
    assert Narrower(shown, None).narrow(record.line) == record
    narrowed = Narrower(Redaction(Profile.STRICT), None).narrow(record.line)
    assert (narrowed.opened, narrowed.hidden, narrowed.leaf) == (1, 1, record.leaf)
