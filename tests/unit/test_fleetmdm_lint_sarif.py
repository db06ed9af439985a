"""Findings of lint as SARIF: valid to the official schema, each with its rule and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from fleetmdm.lint import LINT_CODES, lint_files
from fleetmdm.policy_yaml import Problem, read_policies
from fleetmdm.report.lint_to_sarif import render_findings

BROKEN = b"id: a\nname: no\nchecks: [{key: k, op: equals}]\n"
SOUND = b"id: b\nname: B\nchecks:\n  - {key: disk_encryption.root, op: exists}\n"


def document(findings: list[Problem]) -> Any:
    return json.loads(render_findings(findings, tool_version="1.2.3"))


def findings() -> list[Problem]:
    names = ("dir/a b.yaml", "/etc/c%d.yaml", "caf\udce9:x.yaml")
    read = [read_policies(BROKEN, name=name) for name in names]
    return lint_files([*read, read_policies(SOUND, name="sound.yaml")])


def test_it_is_valid_against_the_official_schema(shared_data: Path) -> None:
    schema = json.loads((shared_data / "sarif" / "sarif-schema-2.1.0.json").read_text())
    every = [Problem("p.yaml", 1, 1, code, "m") for code in LINT_CODES]
    for found in ([], findings(), every):
        jsonschema.validate(document(found), schema)


def test_every_finding_has_its_rule_level_and_place() -> None:
    found = findings()
    (run,) = document(found)["runs"]
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert [each["id"] for each in rules] == sorted(LINT_CODES)
    assert run["tool"]["driver"]["version"] == "1.2.3"
    assert len(results) == len(found)
    for finding, result in zip(found, results, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.code
        place = result["locations"][0]["physicalLocation"]
        region = {"startLine": finding.line, "startColumn": finding.column}
        assert place["region"] == region
        assert result["message"]["text"] == finding.message
    levels = {each["ruleId"]: each["level"] for each in results}
    assert levels["unknown_operator"] == "error"
    assert levels["no_tests"] == "warning"


def test_paths_become_uris_and_stay_relative() -> None:
    (run,) = document(findings())["runs"]
    places = [each["locations"][0]["physicalLocation"] for each in run["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} == {
        "dir/a%20b.yaml",
        "file:///etc/c%25d.yaml",
        "caf%E9%3Ax.yaml",
        "sound.yaml",
    }


def test_a_fingerprint_does_not_depend_on_the_line() -> None:
    (first,) = document([Problem("p", 1, 1, "no_tests", "m")])["runs"][0]["results"]
    (moved,) = document([Problem("p", 9, 4, "no_tests", "m")])["runs"][0]["results"]
    (other,) = document([Problem("q", 1, 1, "no_tests", "m")])["runs"][0]["results"]
    assert first["partialFingerprints"] == moved["partialFingerprints"]
    assert first["partialFingerprints"] != other["partialFingerprints"]
