"""Rules for facts, and the history of verdicts: what a pack holds beyond its profile's table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sealed_pack import Pack

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.redact import Class, Profile, Redaction, classify
from fleetmdm.evidence.rules import Rules
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.evidence.view import View, encode_view, parse_view
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = b"---\nid: p\nname: p\nchecks:\n  - {key: app.mode, op: eq, value: 'on'}\n"
RULES = Rules(allow=("facts.app",), deny=("facts.kernel.*", "facts.app.secret"))


@pytest.mark.parametrize(
    ("rule", "path", "covered"),
    [
        ("facts.a", "facts.a", True),
        ("facts.a", "facts.a.b[0].c", True),
        ("facts.a", "facts.ab", False),
        ("facts.*.b", "facts.a.b", True),
        ("facts.*.b", 'facts."odd.name".b', True),
        ("facts.*.b", "facts.a.c.b", False),
        ("facts.a[*].b", "facts.a[17].b", True),
        ("facts.a[3].b", "facts.a[17].b", True),
        ('facts."odd.name"', 'facts."odd.name"', True),
    ],
)
def test_a_rule_covers_a_fact_and_what_is_below(rule: str, path: str, covered: bool) -> None:
    denied = Redaction(Profile.NONE, Rules(deny=(rule,))).classify(path)
    assert (denied.cls is Class.DENIED) is covered


@pytest.mark.parametrize("rule", ["", "facts", "hostname", "facts.", "facts.a*", "facts..a", "x\n"])
def test_what_names_no_fact_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match=r"rule|path"):
        Rules(allow=(rule,))


def test_rules_are_bounded() -> None:
    for rules in (("facts.a",) * 1001, ("facts." + "a" * 500,)):
        with pytest.raises(ValueError, match="at most"):
            Rules(deny=rules)


def test_no_rule_lets_an_identifier_through_and_denial_is_stronger() -> None:
    redaction = Redaction(Profile.STRICT, Rules(("facts.*",), ("facts.x.y",)))
    for path in ("facts.users.uid0", "facts.any.email", "hostname"):
        assert redaction.classify(path) == classify(path)
    assert redaction.classify("facts.x.z").cls is Class.PUBLIC
    assert redaction.classify("facts.x.y").cls is Class.DENIED


def test_a_view_with_rules_reads_back_and_one_without_is_written_as_ever() -> None:
    view = View("0" * 64, Profile.STRICT, False, {}, RULES)
    assert parse_view(encode_view(view)) == view
    plain = json.loads(encode_view(replace(view, rules=Rules())))
    assert (plain["schema"], "rules" in plain) == (1, False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Three runs: the device fails, passes, fails again."""
    store = open_store(tmp_path_factory.mktemp("rules") / "f.db", create=True, now=NOON)
    store.put_policies([parse_policy(POLICY, name="p")], now=NOON)
    for number, mode in enumerate(("off", "on", "bad")):
        now = NOON + timedelta(hours=number)
        facts = {
            "app": {"mode": mode, "secret": "canary-secret", "owner_mail": {"email": "canary@x"}},
            "kernel": {"release": "canary-6.1"},
            "motd": "canary-host",
        }
        device = Device("d-1", "canary-host", "linux", "12", None, now, facts)
        store.put_devices([device], source=Source.DOCUMENT, now=now)
        record_run(store, NewRun(now, now, "0.1.0"), clock=lambda now=now: now)  # type: ignore[misc] # a default binds the loop's value
    yield store
    store.close()


Export = Callable[..., Path]


@pytest.fixture
def export(store: SqliteStore, tmp_path: Path, make_key: Callable[[int], PrivateKey]) -> Export:
    def run(name: str, profile: Profile = Profile.STRICT, **options: Any) -> Path:
        run_id = options.pop("run_id", None)
        chosen = newest_run(store) if run_id is None else store.run(run_id)
        made = ExportOptions(tmp_path / name, profile, (make_key(1),), "0.1.0", NOON, **options)
        export_pack(store, chosen, made)
        return tmp_path / name

    return run


@pytest.fixture
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f"me {encode_public_line(make_key(1).public_key)}"
    return Trust(parse_allowed_signers(line), ["me"], NOON)


def records(pack: Path, name: str) -> list[dict[str, Any]]:
    lines = (pack / name).read_bytes().splitlines(keepends=True)
    return [dict(parse_record(line).fields) for line in lines]


def test_rules_open_and_shut_facts_and_the_view_says_so(export: Export, trust: Trust) -> None:
    plain, ruled = export("plain"), export("ruled", rules=RULES)
    assert (plain / "manifest.json").read_bytes() == (ruled / "manifest.json").read_bytes()
    before, after = records(plain, "inventory.ndjson")[0], records(ruled, "inventory.ndjson")[0]
    assert set(after) - set(before) == {"facts.app.mode"}
    assert set(before) - set(after) == {"facts.kernel.release"}
    assert records(ruled, "results.ndjson")[0]["finding[0].observed"] == "bad"
    report = verify_pack(ruled, trust)
    assert (report.findings, report.rules) == ([], RULES)
    data = b"".join(path.read_bytes() for path in ruled.rglob("*") if path.is_file())
    assert b"canary" not in data


def test_what_is_denied_shows_in_no_profile(export: Export, trust: Trust) -> None:
    rules = Rules(deny=("facts.app",))
    for profile in Profile:
        pack = export(profile.value, profile, rules=rules)
        assert verify_pack(pack, trust).findings == []
        data = b"".join(path.read_bytes() for path in pack.glob("*.ndjson"))
        assert b"canary-secret" not in data
        shown = records(pack, "results.ndjson")[0]
        assert not {"finding[0].observed", "finding[0].message"} & set(shown)


def test_a_view_that_shows_what_its_rules_deny_is_found(
    export: Export, trust: Trust, make_key: Callable[[int], PrivateKey]
) -> None:
    """And one that claims rules that its fields do not need is as good as one without."""
    pack = Pack(export("open", Profile.NONE), make_key(1))
    pack.edit(
        "view.json",
        lambda view: view.update(schema=2, rules={"allow": [], "deny": ["facts.kernel"]}),
    )
    pack.seal(manifest=False, view=False)
    found = verify_pack(pack.root, trust).findings
    assert {(each.code, each.message) for each in found} == {
        ("view_shows_more", "line 1: facts.kernel.release")
    }
    wrong: list[dict[str, Any]] = [
        {"allow": ["facts.a*a*a*"], "deny": []},
        {"allow": []},
        {},
        {"allow": [], "deny": 1},
    ]
    for rules in wrong:
        pack.edit("view.json", partial(_set_rules, rules=rules))
        pack.seal(manifest=False, view=False)
        assert "view_malformed" in {each.code for each in verify_pack(pack.root, trust).findings}


def _set_rules(view: dict[str, Any], rules: dict[str, Any]) -> None:
    view["rules"] = rules


def test_a_derived_view_follows_rules_too(export: Export, trust: Trust, tmp_path: Path) -> None:
    source, wanted = export("source", Profile.NONE), export("wanted", rules=RULES)
    derive_view(source, tmp_path / "view", Profile.STRICT, RULES)
    for name in ("inventory.ndjson", "results.ndjson", "population.ndjson"):
        assert (tmp_path / "view" / name).read_bytes() == (wanted / name).read_bytes()
    assert verify_pack(tmp_path / "view", trust).findings == []


def test_history_tells_over_which_runs_verdicts_stood(export: Export, trust: Trust) -> None:
    pack = export("pack", history_limit=3)
    assert verify_pack(pack, trust).findings == []
    rows = [
        (row["since_run"], row["since"], row["until_run"], row["until"], row["status"])
        for row in records(pack, "history.ndjson")
    ]
    assert rows == [
        (3, "2026-11-22T14:00:00Z", None, None, "fail"),
        (1, "2026-11-22T12:00:00Z", 2, "2026-11-22T13:00:00Z", "fail"),
    ]
    assert all("device_id" not in row for row in records(pack, "history.ndjson"))
    assert len(records(export("newest", history_limit=1), "history.ndjson")) == 1
    assert not (export("none") / "history.ndjson").exists()


def test_history_ends_with_the_run_of_its_pack(export: Export, trust: Trust) -> None:
    """What became of a verdict in later runs is not of this run, and the same run stays the same."""
    pack = export("first", run_id=1, history_limit=9)
    (row,) = records(pack, "history.ndjson")
    assert (row["since_run"], row["until_run"], row["until"]) == (1, None, None)
    assert verify_pack(pack, trust).findings == []
    assert records(export("second", run_id=2, history_limit=1), "history.ndjson") == []
