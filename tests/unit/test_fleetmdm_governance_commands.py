"""Assignments, waivers and attestations as a user gives them, and what check and report say then."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.cli.main import main
from fleetmdm.device import Device
from fleetmdm.evaluate import evaluate
from fleetmdm.governance.assign import Selection
from fleetmdm.policy_yaml import parse_policies, parse_selector
from fleetmdm.results import Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)

POLICIES = """---
id: disk
name: The disk is encrypted
severity: low
checks:
  - {key: disk, op: eq, value: true, severity: critical}
  - {key: room, op: gte, value: 1}
---
id: graceful
name: Patched
grace: 7d
checks: [{key: patched, op: eq, value: true}]
---
id: visited
name: Somebody looked at the server room
targets: {tags: [lab]}
attestation: {question: "Is the door locked?", period: 90d}
"""

Answer = Callable[..., Any]


def device(name: str, tag: str, **facts: Any) -> str:
    document = {
        "device_id": name,
        "hostname": name,
        "os": "linux",
        "os_version": "12",
        "last_seen": "2026-01-01T00:00:00Z",
        "facts": facts,
        "tags": [tag],
    }
    return json.dumps(document) + "\n"


@pytest.fixture
def answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Answer:
    """Run a command on a fleet of three devices and three policies; answers its JSON document."""

    def run(*words: str | Path, status: int = 0) -> Any:
        database = str(tmp_path / "fleet.db")
        code = main([*map(str, words), "--db", database, "--format", "json"])
        told = capsys.readouterr()
        assert code == status, told
        return json.loads(told.out)

    (tmp_path / "policies.yaml").write_text(POLICIES)
    (tmp_path / "devices.ndjson").write_text(
        device("a", "lab", disk=True, room=0, patched=True)
        + device("b", "lab", disk=False, room=1, patched=False)
        + device("c", "shop", disk=None, room=1, patched=True)
    )
    run("init")
    run("ingest", tmp_path / "devices.ndjson")
    run("policy", "add", tmp_path / "policies.yaml")
    return run


EARLY = ("--as-of", "2026-01-03T00:00:00Z")


def states(report: Any, policy: str) -> dict[str, tuple[str, str]]:
    return {
        row["device_id"]: (row["status"], row["effective"]["status"])
        for row in report["data"]["results"]
        if row["policy_id"] == policy
    }


# Assignments.


def test_as_soon_as_one_policy_is_assigned_the_others_apply_nowhere(answer: Answer) -> None:
    made = answer("policy", "assign", "disk", "--tag", " LAB ")["data"]
    assert (made["changed"], made["devices"]) == (True, 2)
    assert not answer("policy", "assign", "disk", "--tag", "lab")["data"]["changed"]
    counts = answer("check", *EARLY)["data"]["run"]["counts"]
    assert counts == {"fail": 2, "notselected": 7}
    report = answer("report", "--only-assigned")["data"]
    assert [line["policy_id"] for line in report["policies"]] == ["disk"]
    ended = answer("policy", "unassign", "disk", "--tag", "lab")["data"]
    assert (ended["changed"], ended["left"]) == (True, 0)
    assert "notselected" not in answer("check", *EARLY)["data"]["run"]["counts"]


def test_a_selector_and_a_device_can_be_assigned(answer: Answer) -> None:
    where = "{key: room, op: gte, value: 1}"
    made = answer("policy", "assign", "graceful", "--where", where)["data"]
    assert made["scope"] == {"where": {"key": "room", "op": "gte", "value": 1}}
    assert made["devices"] == 2
    answer("policy", "assign", "disk", "--device", "a")
    counts = answer("check", *EARLY)["data"]["policies"]
    told = {line["policy_id"]: line["counts"] for line in counts}
    assert told["graceful"] == {"pass": 1, "fail": 1, "notselected": 1}
    assert told["disk"] == {"fail": 1, "notselected": 2}
    assert told["visited"] == {"notselected": 3}


def test_where_a_selector_cannot_tell_the_verdict_is_not_known(answer: Answer) -> None:
    answer("policy", "assign", "graceful", "--where", "{key: nothing.there, op: eq, value: 1}")
    answer("policy", "assign", "graceful", "--device", "a")
    answer("check", *EARLY)
    rows = answer("report", "--policy", "graceful")["data"]["results"]
    # What applies by name applies, whatever the selector cannot tell.
    assert [(row["device_id"], row["status"]) for row in rows] == [
        ("b", "unknown"),
        ("c", "unknown"),
    ]
    assert {row["findings"][0]["check"] for row in rows} == {"where"}


def test_only_assigned_means_that_nothing_applies_by_itself(answer: Answer) -> None:
    run = answer("check", "--only-assigned", *EARLY)["data"]["run"]
    assert run["counts"] == {"notselected": 9}
    assert answer("report", "--only-assigned")["data"]["policies"] == []


def test_why_a_policy_applies_to_a_device_is_explained(answer: Answer) -> None:
    told = answer("policy", "assignments", "--device", "a")["data"]["policies"]
    assert {one["applies"] for one in told} == {True}
    assert told[0]["why"] == "nothing is assigned, so every policy applies"
    answer("policy", "assign", "disk", "--tag", "shop")
    answer("policy", "assign", "graceful", "--device", "a")
    answer("policy", "assign", "visited", "--where", "{key: none, op: eq, value: 1}")
    told = answer("policy", "assignments", "--device", "a")["data"]["policies"]
    assert [(one["policy_id"], one["applies"]) for one in told] == [
        ("disk", False),
        ("graceful", True),
        ("visited", None),
    ]
    assert told[0]["reasons"][0]["why"] == "the device does not have the tag shop"
    told = answer("policy", "assignments", "--device", "a", "--policy", "disk")["data"]["policies"]
    assert [one["policy_id"] for one in told] == ["disk"]


def test_assignments_to_tags_that_no_device_has_are_found(answer: Answer) -> None:
    for tag in ("lab", "gone"):
        answer("policy", "assign", "disk", "--tag", tag)
    found = answer("policy", "assignments", "--unmatched-tags")["data"]["assignments"]
    assert [one["scope"] for one in found] == [{"tag": "gone"}]
    found = answer("policy", "assignments", "--tag", "LAB")["data"]["assignments"]
    assert [one["scope"] for one in found] == [{"tag": "lab"}]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("assign", "none", "--tag", "lab"), 4, "policy_not_found"),
        (("assign", "disk", "--device", "none"), 4, "device_not_found"),
        (("assign", "disk"), 2, "usage"),
        (("assign", "disk", "--tag", "a", "--device", "b"), 2, "usage"),
        (("assign", "disk", "--tag", " "), 2, "usage"),
        (("assign", "disk", "--where", "{key: x}"), 3, "policy_invalid"),
        (("assign", "disk", "--where", "${x}"), 3, "policy_invalid"),
        (("assign", "disk", "--where", ""), 2, "usage"),
        (("assignments", "--device", "a", "--unmatched-tags"), 2, "usage"),
        (("assignments", "--device", "none"), 4, "device_not_found"),
    ],
)
def test_a_wrong_assignment_is_refused(
    answer: Answer, words: tuple[str, ...], status: int, code: str
) -> None:
    assert answer("policy", *words, status=status)["error"]["code"] == code


def test_devices_that_look_alike_but_are_chosen_otherwise_have_findings_of_their_own() -> None:
    (policy,) = parse_policies(b"id: p\nname: n\nchecks: [{key: x, op: eq, value: 1}]\n", name="p")
    condition, _ = parse_selector("{key: y, op: eq, value: 1}", name="w")
    chosen = Selection(devices=frozenset({"named"}), conditions=(condition,))
    devices = [
        Device(name, name, "linux", "12", None, NOW, {"x": 2}) for name in ("named", "other")
    ]
    named, other = evaluate(devices, [policy], NOW, {"p": chosen})
    assert (named.status, [one.key for one in named.findings]) == (Status.FAIL, ["x"])
    assert (other.status, [one.key for one in other.findings]) == (Status.UNKNOWN, ["y"])


# Waivers.

WAIVER = """---
id: W-lab
policy: disk
scope: {tag: lab}
reason: the vendor ships no driver
risk_owner: Ada
approver: Grace
expires: 2100-12-31
zone: Europe/Berlin
compensating_control: the room is locked
"""
OPTIONS = [
    "--policy",
    "disk",
    "--tag",
    "lab",
    "--reason",
    "r",
    "--risk-owner",
    "Ada",
    "--approver",
    "Grace",
    "--expires",
    "2100-12-31",
    "--zone",
    "UTC",
]


def test_a_waiver_stands_beside_the_verdict_and_never_hides_it(
    answer: Answer, tmp_path: Path
) -> None:
    (tmp_path / "w.yaml").write_text(WAIVER)
    (made,) = answer("waiver", "add", tmp_path / "w.yaml")["data"]["added"]
    assert made["device_ids"] == ["a", "b"]
    assert made["expires_at"] == "2100-12-31T23:00:00Z"
    # The policy's failures are answered for, but for that of the shop and those of others.
    told = answer("check", "--fail-on", "fail", status=1)
    lines = {line["policy_id"]: line for line in told["data"]["policies"]}
    assert lines["disk"]["counts"] == {"fail": 2, "unknown": 1}
    assert lines["disk"]["effective"]["waived"] == {"fail": 2}
    assert told["error"]["details"] == {"fail": 1}
    report = answer("report", "--policy", "disk")
    assert states(report, "disk")["b"] == ("fail", "waived")
    row = report["data"]["results"][0]
    assert row["effective"]["valid_until"] == "2100-12-31T23:00:00Z"
    assert row["effective"]["reason"].startswith("waiver W-lab until 2100-12-31 (Europe/Berlin): ")


def test_the_devices_of_a_waiver_are_frozen_at_approval(answer: Answer) -> None:
    answer("waiver", "add", *OPTIONS)
    answer("device", "tag", "add", "c", "lab")
    answer("check", *EARLY)
    assert answer("waiver", "list", "--device", "c")["data"]["waivers"] == []
    (kept,) = answer("waiver", "list")["data"]["waivers"]
    assert kept["device_ids"] == ["a", "b"]


def test_a_run_at_a_time_when_a_waiver_is_over_says_so(answer: Answer) -> None:
    answer("waiver", "add", *OPTIONS)
    answer("check", "--as-of", "2101-01-01T00:00:00Z")
    assert states(answer("report"), "disk")["b"] == ("fail", "expired_waiver")
    failed = answer(
        "check", "--as-of", "2101-01-01T00:00:00Z", "--fail-on", "expired_waiver", status=1
    )
    assert failed["error"]["details"] == {"expired_waiver": 2}


def test_a_revoked_waiver_no_longer_counts_and_past_runs_keep_it(answer: Answer) -> None:
    answer("waiver", "add", *OPTIONS)
    answer("check")
    gone = answer("waiver", "revoke", "W1", "--by", "Grace", "--reason", "fixed")["data"]
    assert gone["state"] == "revoked"
    answer("check")
    assert states(answer("report", "--run", "1"), "disk")["b"] == ("fail", "waived")
    assert states(answer("report", "--run", "2"), "disk")["b"] == ("fail", "stale")
    assert answer("waiver", "list")["data"]["waivers"] == []
    (kept,) = answer("waiver", "list", "--all")["data"]["waivers"]
    assert kept["revocation"]["revoked_by"] == "Grace"
    again = answer("waiver", "revoke", "W1", "--by", "G", "--reason", "r", status=4)
    assert again["error"]["code"] == "statement_not_found"
    entries = [row["entry"] for row in answer("ledger", "show")["data"]]
    assert [(one["type"], one.get("event")) for one in entries] == [
        ("waiver", "made"),
        ("run", None),
        ("waiver", "revoked"),
        ("run", None),
    ]
    assert answer("ledger", "verify")["data"]["problems"] == []


def test_findings_about_waivers_are_listed(answer: Answer) -> None:
    answer("waiver", "add", *OPTIONS)
    answer("waiver", "add", *OPTIONS, "--id", "again")
    answer("check", *EARLY)
    told = answer("waiver", "list", "--findings", status=1)
    assert told["error"]["code"] == "waiver_findings"
    assert [one["code"] for one in told["data"]["findings"]] == ["overlapping_waivers"]


@pytest.mark.parametrize(
    ("change", "place", "code"),
    [
        (("expires: 2100-12-31\n", ""), 1, "missing_key"),
        (("2100-12-31", "2100-02-30"), 7, "invalid_value"),
        (("2100-12-31", "tomorrow"), 7, "invalid_value"),
        (("Europe/Berlin", "Berlin"), 7, "invalid_value"),
        (("{tag: lab}", "{tag: lab, device: a}"), 3, "missing_key"),
        (("{tag: lab}", "everything"), 3, "wrong_type"),
        (("{tag: lab}", "{where: {key: x}}"), 3, "missing_key"),
        (("approver: Grace", "approver: ''"), 6, "invalid_value"),
        (("approver: Grace", "approver: [Grace]"), 6, "wrong_type"),
        (("reason: the", "reasons: the"), 4, "unknown_key"),
        (("id: W-lab", "id: W lab"), 1, "invalid_value"),
    ],
)
def test_each_problem_of_a_waiver_file_is_named_with_its_place(
    answer: Answer, tmp_path: Path, change: tuple[str, str], place: int, code: str
) -> None:
    (tmp_path / "w.yaml").write_text(WAIVER.removeprefix("---\n").replace(*change))
    error = answer("waiver", "add", tmp_path / "w.yaml", status=3)["error"]
    assert error["code"] == "waiver_invalid"
    assert (place, code) in [(one["line"], one["code"]) for one in error["details"]["problems"]]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"--policy": "none"}, 4, "policy_not_found"),
        ({"--tag": "nobody"}, 3, "waiver_invalid"),
        ({"--expires": "2001-01-01"}, 3, "waiver_invalid"),
        ({"--expires": "2100-13-01"}, 2, "usage"),
        ({"--zone": "Mars"}, 2, "usage"),
        ({"--reason": " "}, 2, "usage"),
    ],
)
def test_a_waiver_that_makes_no_sense_is_refused(
    answer: Answer, change: dict[str, str], status: int, code: str
) -> None:
    given = {**dict(zip(OPTIONS[::2], OPTIONS[1::2], strict=True)), **change}
    words = [word for pair in given.items() for word in pair]
    assert answer("waiver", "add", *words, status=status)["error"]["code"] == code
    assert answer("waiver", "list")["data"]["waivers"] == []


# Attestations.


def test_only_a_person_answers_and_the_answer_goes_stale(answer: Answer) -> None:
    answer("check")
    assert states(answer("report"), "visited") == {
        "a": ("notchecked", "notchecked"),
        "b": ("notchecked", "notchecked"),
    }
    said = ("--statement", "saw the door", "--by", "Ada")
    made = answer("attest", "add", "visited", "--device", "a", "--answer", "pass", *said)["data"]
    assert made["attestation_id"] == "A1"
    answer("attest", "add", "visited", "--device", "b", "--answer", "fail", *said)
    answer("check")
    assert states(answer("report"), "visited") == {
        "a": ("notchecked", "pass"),
        "b": ("notchecked", "fail"),
    }
    answer("check", "--as-of", "2100-01-01T00:00:00Z")
    assert states(answer("report"), "visited")["a"] == ("notchecked", "stale")
    answer("attest", "revoke", "A1", "--by", "Ada", "--reason", "the wrong door")
    assert [one["state"] for one in answer("attest", "list", "--all")["data"]["attestations"]] == [
        "revoked",
        "in force",
    ]


@pytest.mark.parametrize(
    ("policy", "more"), [("disk", ()), ("visited", ("--valid-for", "91d")), ("visited", None)]
)
def test_what_cannot_be_attested_is_refused(
    answer: Answer, policy: str, more: tuple[str, ...] | None
) -> None:
    scope = ("--tag", "nobody") if more is None else ("--device", "a")
    words = ("--answer", "pass", "--statement", "s", "--by", "Ada", *scope, *(more or ()))
    told = answer("attest", "add", policy, *words, status=6)
    assert told["error"]["code"] == "attestation_refused"


# Grace, staleness, severities.


def test_a_failure_is_in_grace_until_its_time_is_over(answer: Answer) -> None:
    told = answer("check", "--fail-on", "fail", *EARLY, status=1)
    lines = {line["policy_id"]: line for line in told["data"]["policies"]}
    assert lines["graceful"]["effective"] == {"grace": {"fail": 1}}
    answer("check", "--as-of", "2026-01-09T23:00:00Z")
    assert states(answer("report"), "graceful") == {"b": ("fail", "grace")}
    answer("check", "--as-of", "2026-01-10T00:00:00Z")
    assert states(answer("report"), "graceful") == {"b": ("fail", "fail")}


def test_old_inventory_makes_passes_stale_too(answer: Answer) -> None:
    told = answer("check", "--as-of", "2026-02-01T00:00:00Z", "--fail-on", "stale", status=1)
    lines = {line["policy_id"]: line for line in told["data"]["policies"]}
    assert lines["graceful"]["effective"] == {"stale": {"pass": 2, "fail": 1}}
    assert lines["visited"]["effective"] == {}
    report = answer("report", "--device", "a")["data"]
    effective = {line["policy_id"]: line["effective"] for line in report["policies"]}
    assert effective["graceful"] == {"stale": {"pass": 1}}


def test_one_device_is_judged_with_its_effective_states(answer: Answer) -> None:
    answer("check", *EARLY)
    answer("waiver", "add", *OPTIONS)
    told = answer("check", "--device", "b", "--as-of", "2026-01-12T00:00:00Z")["data"]["results"]
    assert {one["policy_id"]: one["effective"]["status"] for one in told} == {
        # The waiver was approved after that moment.
        "disk": "fail",
        "graceful": "fail",
        "visited": "notchecked",
    }


def test_a_verdict_is_as_severe_as_the_worst_check_that_it_names(answer: Answer) -> None:
    answer("check", *EARLY)
    rows = answer("report", "--policy", "disk")["data"]["results"]
    assert {row["device_id"]: row["severity"] for row in rows} == {
        "a": "low",
        "b": "critical",
        "c": "critical",
    }


def test_machine_forms_say_what_stands_otherwise(
    answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer("waiver", "add", *OPTIONS)
    answer("check")
    capsys.readouterr()

    def told(form: str) -> str:
        main(["report", "--policy", "disk", "--db", str(tmp_path / "fleet.db"), "--format", form])
        return capsys.readouterr().out

    rows = list(csv.DictReader(io.StringIO(told("csv"))))
    assert {row["effective"] for row in rows if row["device_id"] == "b"} == {"waived"}
    results = json.loads(told("sarif"))["runs"][0]["results"]
    assert [len(one.get("suppressions", ())) for one in results] == [1, 1, 0]
    for form in ("table", "markdown", "html"):
        assert "waived (fail)" in told(form).replace("\\", "")


# Looking back.


def test_old_runs_are_let_go_of_and_the_ledger_says_so(answer: Answer) -> None:
    for day in ("03", "04", "05"):
        answer("check", "--as-of", f"2026-01-{day}T00:00:00Z")
    pruned = answer("history", "prune", "--before", "2026-01-05T00:00:00Z")["data"]
    assert (pruned["runs"], pruned["left"], pruned["leaf"]) == ([1, 2], 1, 3)
    assert pruned["removed"]["runs"] == 2
    assert [run["run_id"] for run in answer("runs")["data"]] == [3]
    # Since when it fails is still known, and no earlier run is needed for it.
    history = answer("history", "--policy", "graceful")["data"]
    assert [(row["since_run"], row["since"]) for row in history] == [(1, "2026-01-03T00:00:00Z")]
    verified = answer("ledger", "verify")["data"]
    assert (verified["entries"], verified["problems"]) == ({"run": 3, "prune": 1}, [])
    assert answer("history", "prune", "--keep", "1")["data"]["runs"] == []
    assert answer("report", "--run", "1", status=4)["error"]["code"] == "run_not_found"
    for words in ((), ("--keep", "1", "--before", "2026-01-01T00:00:00Z"), ("--keep", "0")):
        assert answer("history", "prune", *words, status=2)["error"]["code"] == "usage"


def test_triage_ranks_what_to_fix(answer: Answer) -> None:
    assert answer("triage", status=4)["error"]["code"] == "run_not_found"
    answer("check", "--as-of", "2026-01-20T00:00:00Z")
    told = answer("triage")["data"]
    assert [(one["policy_id"], one["devices"], one["severity"]) for one in told["policies"]] == [
        ("disk", 3, "critical"),
        ("graceful", 0, "medium"),
    ]
    assert told["policies"][0]["score"] == 81.0
    assert told["flapping"] == []


def test_drift_does_not_call_it_a_regression_when_a_policy_is_no_longer_asked(
    answer: Answer,
) -> None:
    answer("check", *EARLY)
    answer("policy", "assign", "disk", "--device", "a")
    answer("check", *EARLY)
    counts = answer("drift")["data"]["counts"]
    assert (counts["regressed"], counts["resolved"]) == (0, 5)


def test_drift_and_history_tell_effective_states_when_asked(answer: Answer) -> None:
    for moment in ("2026-01-03T00:00:00Z", "2026-01-12T00:00:00Z", "2026-03-12T00:00:00Z"):
        answer("check", "--as-of", moment)
    assert answer("drift", "--from", 1, "--to", 2)["data"]["rows"] == []
    (ended,) = answer("drift", "--from", 1, "--to", 2, "--effective")["data"]["rows"]
    assert (ended["device_id"], ended["policy_id"], ended["change"]) == (
        "b",
        "graceful",
        "regressed",
    )
    assert (ended["before"], ended["after"]) == ("fail", "fail")
    assert (ended["effective_before"], ended["effective_after"]) == ("grace", "fail")
    stale = answer("drift", "--effective", "--device", "c")["data"]["rows"]
    assert {row["policy_id"]: row["effective_after"] for row in stale} == {
        "disk": "stale",
        "graceful": "stale",
    }
    spans = answer("history", "--effective", "--device", "b", "--policy", "graceful")["data"]
    assert [(one["status"], one["since_run"], one["until_run"]) for one in spans] == [
        ("stale", 3, None),
        ("fail", 2, 3),
        ("grace", 1, 2),
    ]
    chosen = answer("history", "--effective", "--status", "grace")["data"]
    assert [one["device_id"] for one in chosen] == ["b"]
    refused = answer("history", "--status", "grace", status=2)["error"]
    assert (refused["code"], refused["hint"]) == ("usage", "add --effective")
