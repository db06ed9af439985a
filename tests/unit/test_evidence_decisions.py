"""A pack of a governed fleet: decisions, effective states, who left, who is on whose list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.errors import FleetError
from fleetmdm.evidence.examine.replay import replay_pack
from fleetmdm.evidence.examine.sample import draw_sample
from fleetmdm.evidence.examine.sound import SoundPack
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.pack.outside import OutsideList
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.schema import evidence_schema, schema_of
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.governance.statements import Answer, Attestation, Waiver
from fleetmdm.ingest.sources import Source
from fleetmdm.ledger.entries import encode_statement_leaf
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
POLICIES = (
    b"---\nid: root\nname: r\nchecks:\n  - {key: sshd.root, op: eq, value: 'no'}\n",
    b"---\nid: kernel\nname: k\nchecks:\n  - {key: kernel.release, op: starts_with, value: '6.'}\n",
    b"---\nid: named\nname: n\nchecks:\n  - {key: device_id, op: ne, value: 'nobody'}\n",
)
PLANTED = ("canary-ann", "canary-bob", "canary-reason", "canary-control", "canary-host")


def device(number: int, root: str, seen: datetime, tags: tuple[str, ...] = ()) -> Device:
    facts = {"sshd": {"root": root}, "kernel": {"release": f"{5 + number % 2}.1"}}
    host = f"canary-host-{number}"
    return Device(f"d{number}", host, "linux", "12", f"S-{number}", seen, facts, tags)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Four devices, one of them gone; two sources for one; every kind of decision; two runs."""
    store = open_store(tmp_path_factory.mktemp("governed") / "f.db", create=True, now=NOON)
    store.put_policies([parse_policy(each, name="p") for each in POLICIES], now=NOON)
    fleet = [
        device(0, "yes", NOON),
        device(1, "yes", NOON, ("web",)),
        device(2, "no", NOON - 9 * DAY, ("web",)),
        device(3, "yes", NOON),
    ]
    store.put_devices(fleet, source=Source.DOCUMENT, now=NOON)
    other = replace(fleet[0], facts={"more": 1})
    store.put_devices([other], source=Source.OSQUERY, now=NOON)
    record_run(store, NewRun(NOON, NOON, "0.1.0"), clock=lambda: NOON)
    store.retire_device("d3", now=NOON + timedelta(hours=1))
    scope = Scope(ScopeKind.DEVICE, "d0")
    waiver = Waiver(
        *("", "root", scope, frozenset({"d0"}), "canary-reason d0 is old", "canary-ann"),
        *("canary-bob", NOON, date(2026, 12, 31), "UTC", NOON + 40 * DAY, "canary-control"),
    )
    store.put_statement(waiver, leaf=encode_statement_leaf)
    said = Attestation(
        *("", "kernel", scope, frozenset({"d0", "d1"}), Answer.PASS, "canary-reason"),
        *("canary-ann", NOON, NOON + DAY),
    )
    store.put_statement(said, leaf=encode_statement_leaf)
    store.assign_policy("root", Scope(ScopeKind.DEVICE, "d0"), now=NOON)
    store.assign_policy("root", Scope(ScopeKind.TAG, "web"), now=NOON)
    condition = json.dumps({"key": "sshd.root", "op": "eq", "value": "yes"})
    store.assign_policy("kernel", Scope(ScopeKind.SELECTOR, condition), now=NOON)
    store.assign_policy("named", Scope(ScopeKind.DEVICE, "d1"), now=NOON)
    later = NOON + timedelta(hours=2)
    new = NewRun(later, later, "0.1.0", stale_after_s=7 * 86_400)
    record_run(store, new, clock=lambda: later)
    yield store
    store.close()


Export = Callable[..., Path]


@pytest.fixture
def export(store: SqliteStore, tmp_path: Path, make_key: Callable[[int], PrivateKey]) -> Export:
    def run(profile: str = "none", outside: OutsideList | None = None) -> Path:
        output = tmp_path / f"{profile}-{outside is not None}"
        options = ExportOptions(
            output, Profile(profile), (make_key(1),), "0.1.0", NOON, outside=outside
        )
        export_pack(store, newest_run(store), options)
        return output

    return run


@pytest.fixture
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f"me {encode_public_line(make_key(1).public_key)}"
    return Trust(parse_allowed_signers(line), ["me"], NOON)


def records(pack: Path, name: str) -> list[dict[str, Any]]:
    lines = (pack / f"{name}.ndjson").read_bytes().splitlines(keepends=True)
    return [dict(parse_record(line).fields) for line in lines]


def test_a_governed_fleet_is_exported_verified_and_judged_again(
    export: Export, trust: Trust
) -> None:
    pack = export()
    assert verify_pack(pack, trust).findings == []
    replayed = replay_pack(SoundPack(pack))
    assert (replayed.differences, replayed.devices) == ([], 3)
    assert replayed.counts["notselected"], "assignments are judged again too"
    effective = {
        (each["device_id"], each["policy_id"]): each["effective"]
        for each in records(pack, "results")
    }
    assert effective["d0", "root"] == "waived"
    assert "canary-reason" in str(records(pack, "waivers"))


@pytest.mark.parametrize("profile", ["minimal", "strict"])
def test_what_people_wrote_and_who_they_are_stays_inside(
    export: Export, trust: Trust, profile: str, tmp_path: Path
) -> None:
    view = export(profile)
    derive_view(export("none"), tmp_path / "derived", Profile(profile))
    for pack in (view, tmp_path / "derived"):
        assert verify_pack(pack, trust).findings == []
        everything = b"".join(path.read_bytes() for path in pack.rglob("*") if path.is_file())
        assert [name for name in PLANTED if name.encode() in everything] == []
    for name in ("waivers", "attestations", "assignments", "results", "population", "transitions"):
        file = f"{name}.ndjson"
        assert (view / file).read_bytes() == (tmp_path / "derived" / file).read_bytes(), file
    (waiver,) = records(view, "waivers")
    assert waiver["devices"] == [
        each["device"] for each in records(view, "results") if each["effective"] == "waived"
    ], "a decision can be followed without naming anyone"
    assert waiver["pseudonym.risk_owner"].startswith("user-")


def test_the_population_tells_who_left_and_the_counts_add_up(export: Export) -> None:
    pack = export()
    scopes = [(each["device_id"], each["scope"]) for each in records(pack, "population")]
    assert scopes == [
        *((f"d{number}", "in_scope") for number in range(3)),
        ("d3", "retired"),
    ]
    assert records(pack, "population")[-1]["reason"] == "retired at 2026-11-22T13:00:00Z"
    said = json.loads((pack / "reconciliation.json").read_bytes())
    assert said["devices"] == {"in_scope": 3, "retired": 1, "not_in_fleet": 0, "evaluated": 3}
    assert said["documents"]["received"] == 5
    assert (said["documents"]["in_force"], said["documents"]["merged"]) == (4, 1)
    assert all(each["left"] == each["right"] for each in said["sums"])
    drawn = draw_sample(SoundPack(pack), nonce="n", size=9)
    assert sorted(each.fields["device_id"] for each in drawn) == ["d0", "d1", "d2"]


def test_an_outside_list_is_compared_with(export: Export, trust: Trust) -> None:
    lines = ["# from the purchase ledger", "", "D0", "s-1\n", "canary-host-3", "d3", "ghost-7 "]
    pack = export("none", OutsideList(lines))
    said = json.loads((pack / "reconciliation.json").read_bytes())
    assert said["outside_list"] == {
        "names": 5,
        "devices_on_it": 2,
        "retired_on_it": 1,
        "missing_from_fleet": 2,
        "devices_not_on_it": 1,
    }
    rows = records(pack, "population")
    assert [each.get("on_outside_list") for each in rows[:3]] == [True, True, False]
    missing = [each["device_id"] for each in rows if each["scope"] == "not_in_fleet"]
    assert missing == ["canary-host-3", "ghost-7"], "a retired device is known by its id alone"
    report = verify_pack(pack, trust)
    assert report.findings == []
    assert [each.code for each in report.warnings] == ["outside_list_differs"]
    strict = export("strict", OutsideList(lines))
    assert b"ghost" not in b"".join(each.read_bytes() for each in strict.glob("*.*"))
    whole = export("minimal", OutsideList(["d0", "d1", "d2"]))
    assert verify_pack(whole, trust).warnings == []


def test_a_view_without_the_scopes_of_assignments_is_not_judged(export: Export) -> None:
    with pytest.raises(FleetError) as caught:
        replay_pack(SoundPack(export("strict")))
    assert caught.value.code == "replay_needs_hidden_fields"


def test_every_document_of_a_pack_has_a_schema_that_it_keeps(export: Export) -> None:
    pack = export("none", OutsideList(["d0", "ghost"]))
    schema = evidence_schema()
    read = []
    for path in sorted(each for each in pack.rglob("*") if each.is_file()):
        name = schema_of(path.relative_to(pack).as_posix())
        if name is None:
            assert path.suffix != ".json" or path.name == "leaf.json", path
            continue
        checker = jsonschema.Draft202012Validator(
            {**schema, "oneOf": [{"$ref": f"#/$defs/{name}"}]}
        )
        lines = path.read_text().splitlines() if name == "record" else [path.read_text()]
        for line in lines:
            assert list(checker.iter_errors(json.loads(line))) == [], path
            assert list(checker.iter_errors({**json.loads(line), "more": 1})), path
        read.append(name)
    assert set(read) == set(schema["$defs"])
