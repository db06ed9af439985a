"""Policies, check and report as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

CommandLine = Callable[..., "CompletedProcess[str]"]

POLICY = """---
id: disk
name: The disk is encrypted
severity: high
checks: [{key: disk_encryption.root, op: eq, value: true}]
tests:
  - {name: p, device: {facts: {disk_encryption: {root: true}}}, expect: pass}
  - {name: f, device: {facts: {disk_encryption: {root: false}}}, expect: fail}
---
id: seen
name: Seen lately
checks: [{key: last_seen, op: within, value: 7d}]
tests:
  - name: p
    as_of: "2026-01-02T00:00:00Z"
    device: {last_seen: "2026-01-01T00:00:00Z"}
    expect: pass
  - name: f
    as_of: "2026-02-02T00:00:00Z"
    device: {last_seen: "2026-01-01T00:00:00Z"}
    expect: fail
"""


def device(name: str, root: Any) -> str:
    return json.dumps(
        {
            "device_id": name,
            "hostname": name,
            "os": "linux",
            "os_version": "12",
            "serial": None,
            "last_seen": "2026-01-01T00:00:00Z",
            "facts": {"disk_encryption": {"root": root}},
        }
    )


@pytest.fixture
def fleet(command_line: CommandLine, tmp_path: Path) -> CommandLine:
    """A fleet of four devices and two policies."""
    (tmp_path / "p.yaml").write_text(POLICY)
    facts = {"a": True, "b": False, "c": "yes", "d": None}
    lines = [device(name, root) for name, root in facts.items()]
    (tmp_path / "devices.ndjson").write_text("\n".join(lines) + "\n")
    for words in (["init"], ["ingest", "devices.ndjson"], ["policy", "add", "p.yaml"]):
        done = command_line("fleetmdm", *words)
        assert done.returncode == 0, done.stderr
    return command_line


def answer(run: CommandLine, *words: str, status: int = 0) -> Any:
    done = run("fleetmdm", *words, "--format", "json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


EARLY = ("--as-of", "2026-01-03T00:00:00Z")


def test_a_check_counts_every_state_and_a_report_names_them(fleet: CommandLine) -> None:
    data = answer(fleet, "check", *EARLY)["data"]
    assert data["run"]["counts"] == {"pass": 5, "fail": 1, "error": 1, "unknown": 1}
    report = answer(fleet, "report")["data"]
    named = [(each["device_id"], each["status"]) for each in report["results"]]
    assert named == [("b", "fail"), ("c", "error"), ("d", "unknown")]
    assert report["results"][1]["findings"][0]["reason"] == "wrong_type"


def test_time_is_an_argument(fleet: CommandLine) -> None:
    assert answer(fleet, "check", *EARLY)["data"]["policies"][1]["counts"] == {"pass": 4}
    late = answer(fleet, "check", "--as-of", "2026-02-01T00:00:00Z")["data"]
    assert late["policies"][1]["counts"] == {"fail": 4}


def test_the_same_check_twice_commits_to_the_same_results(fleet: CommandLine) -> None:
    first, second = (answer(fleet, "check", *EARLY)["data"]["run"] for _ in range(2))
    for root in ("policy_set_hash", "inventory_root", "result_root"):
        assert first[root] == second[root]
    changed = answer(fleet, "check", "--as-of", "2026-02-01T00:00:00Z")["data"]["run"]
    assert changed["result_root"] != first["result_root"]


@pytest.mark.parametrize("command", ["check", "report"])
def test_fail_on_decides_the_exit_status(fleet: CommandLine, command: str) -> None:
    answer(fleet, "check", *EARLY)
    found = answer(fleet, command, "--fail-on", "error,unknown", status=1)
    assert found["error"]["code"] == "policy_failures"
    assert found["error"]["details"]["error"] == 1
    assert found["data"]["policies"]
    assert answer(fleet, command, "--fail-on", "soon", status=2)["error"]["code"] == "usage"


def test_one_device_is_judged_without_a_run(fleet: CommandLine) -> None:
    data = answer(fleet, "check", "--device", "b", *EARLY)["data"]
    states = {each["policy_id"]: each["status"] for each in data["results"]}
    assert states == {"disk": "fail", "seen": "pass"}
    assert answer(fleet, "report", status=4)["error"]["code"] == "run_not_found"
    assert answer(fleet, "check", "--device", "z", status=4)["error"]["code"] == "device_not_found"


def test_a_report_of_one_device_knows_its_passes(fleet: CommandLine) -> None:
    answer(fleet, "check", *EARLY)
    data = answer(fleet, "report", "--device", "b")["data"]
    assert data["summary"]["counts"] == {"pass": 1, "fail": 1}
    assert [each["policy_id"] for each in data["results"]] == ["disk"]


def test_a_report_is_narrowed_and_sorted(fleet: CommandLine) -> None:
    answer(fleet, "check", *EARLY)
    failing = answer(fleet, "report", "--only-failing")["data"]
    assert [each["policy_id"] for each in failing["policies"]] == ["disk"]
    assert {each["status"] for each in failing["results"]} == {"fail"}
    top = answer(fleet, "report", "--top", "1", "--sort-by", "passed")["data"]
    assert [each["policy_id"] for each in top["policies"]] == ["seen"]
    assert answer(fleet, "report", "--policy", "x", status=4)["error"]["code"] == "policy_not_found"
    assert answer(fleet, "report", "--run", "9", status=4)["error"]["code"] == "run_not_found"


@pytest.mark.parametrize("form", ["table", "csv", "junit", "sarif", "markdown", "html"])
def test_every_form_is_written_whole_to_a_file(
    fleet: CommandLine, tmp_path: Path, form: str
) -> None:
    answer(fleet, "check", *EARLY)
    done = fleet("fleetmdm", "report", "--format", form, "--output", "out")
    assert (done.returncode, done.stdout) == (0, "")
    assert "b" in (tmp_path / "out").read_text()


def test_an_empty_fleet_and_an_empty_set_of_policies_are_said(
    command_line: CommandLine, tmp_path: Path
) -> None:
    command_line("fleetmdm", "init")
    assert answer(command_line, "check", status=4)["error"]["code"] == "no_policies"
    (tmp_path / "p.yaml").write_text(POLICY)
    command_line("fleetmdm", "policy", "add", "p.yaml")
    assert answer(command_line, "check", status=4)["error"]["code"] == "no_devices"


def test_policies_are_added_all_or_none(fleet: CommandLine, tmp_path: Path) -> None:
    again = answer(fleet, "policy", "add", "p.yaml")["data"]
    assert (again["added"], again["unchanged"]) == ([], ["disk", "seen"])
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "good.yml").write_text(POLICY.replace("id: disk", "id: new"))
    (tmp_path / "more" / "bad.yaml").write_text("id: x\nname: X\nchecks: [{key: k, op: is}]\n")
    refused = answer(fleet, "policy", "add", "more", status=3)["error"]
    assert refused["code"] == "policy_invalid"
    codes = {each["code"] for each in refused["details"]["problems"]}
    assert codes == {"unknown_operator"}
    listed = answer(fleet, "policy", "list")["data"]["policies"]
    assert [each["id"] for each in listed] == ["disk", "seen"]


def test_policies_are_shown_and_removed(fleet: CommandLine) -> None:
    shown = answer(fleet, "policy", "show", "disk")["data"]
    assert shown["source"].startswith("---\nid: disk")
    assert answer(fleet, "policy", "remove", "disk")["data"] == {"removed": "disk"}
    for word in ("remove", "show"):
        gone = answer(fleet, "policy", word, "disk", status=4)
        assert gone["error"]["code"] == "policy_not_found"


def test_lint_and_test_answer_with_their_exit_status(fleet: CommandLine, tmp_path: Path) -> None:
    assert answer(fleet, "policy", "lint", "p.yaml")["data"]["findings"] == []
    assert len(answer(fleet, "policy", "test")["data"]["tests"]) == 4
    (tmp_path / "odd.yaml").write_text(POLICY.replace("expect: fail", "expect: pass"))
    wrong = answer(fleet, "policy", "test", "odd.yaml", status=1)
    assert wrong["error"]["code"] == "policy_tests_failed"
    assert [each["actual"] for each in wrong["data"]["tests"] if not each["passed"]] == [
        "fail",
        "fail",
    ]
    found = answer(fleet, "policy", "lint", "odd.yaml", status=1)
    assert found["error"]["code"] == "lint_findings"
    assert {each["code"] for each in found["data"]["findings"]} == {"no_failing_test"}
    quiet = answer(fleet, "policy", "lint", "odd.yaml", "--ignore", "no_failing_test")
    assert quiet["data"]["findings"] == []
    assert (
        answer(fleet, "policy", "lint", "nowhere", status=4)["error"]["code"] == "input_not_found"
    )


def test_the_library_has_no_finding_and_its_tests_hold(command_line: CommandLine) -> None:
    assert answer(command_line, "policy", "lint", "--library", "all")["data"]["findings"] == []
    tests = answer(command_line, "policy", "test", "--library", "all")["data"]["tests"]
    assert tests
    assert all(each["passed"] for each in tests)
    unknown = answer(command_line, "policy", "test", "--library", "nope", status=4)
    assert unknown["error"]["code"] == "policy_not_found"


def test_the_schema_of_a_policy_is_printed(command_line: CommandLine) -> None:
    done = command_line("fleetmdm", "schema", "policy")
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    assert schema["$id"] == "urn:fleetmdm:schema:policy:1"
    assert answer(command_line, "schema", "policy")["data"] == schema


def test_mutations_that_no_test_notices_are_named_with_their_place(
    fleet: CommandLine, tmp_path: Path
) -> None:
    found = answer(fleet, "policy", "test", "--mutate", "p.yaml", status=1)
    assert found["error"]["code"] == "mutations_unnoticed"
    mutation = found["data"]["mutation"]
    assert (mutation["made"], mutation["noticed"]) == (4, 2)
    places = [(each["file"], each["line"], each["column"]) for each in mutation["findings"]]
    assert places == [("p.yaml", 12, 10)] * 2
    assert {each["code"] for each in mutation["findings"]} == {"shift_unnoticed"}
    done = fleet("fleetmdm", "policy", "test", "--mutate")
    assert done.returncode == 1
    assert "2 of 4 mutations noticed" in done.stdout
    (tmp_path / "untested.yaml").write_text("id: u\nname: U\nchecks: [{key: k, op: exists}]\n")
    found = answer(fleet, "policy", "test", "--mutate", "untested.yaml", status=1)
    assert [each["code"] for each in found["data"]["mutation"]["findings"]] == ["no_tests"]


def test_nothing_is_mutated_where_a_test_fails_as_it_is(fleet: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(POLICY.replace("expect: fail}", "expect: pass}"))
    found = answer(fleet, "policy", "test", "--mutate", "wrong.yaml", status=1)
    assert found["error"]["code"] == "policy_tests_failed"
    assert "mutation" not in found["data"]


def test_the_policies_that_ship_notice_every_mutation(command_line: CommandLine) -> None:
    data = answer(command_line, "policy", "test", "--mutate", "--library", "all")["data"]
    assert data["mutation"]["made"] == data["mutation"]["noticed"] > 200


def test_lint_writes_sarif_and_still_exits_with_its_status(
    command_line: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text("id: u\nname: U\nchecks: [{key: k, op: exists}]\n")
    done = command_line("fleetmdm", "policy", "lint", "p.yaml", "--format", "sarif")
    assert done.returncode == 1
    assert "findings:" in done.stderr
    results = json.loads(done.stdout)["runs"][0]["results"]
    assert [each["ruleId"] for each in results] == ["no_tests", "unknown_fact"]
