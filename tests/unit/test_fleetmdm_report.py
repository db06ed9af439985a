"""Every form of a report: complete, valid for its readers, and safe from what inventory holds."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fleetmdm.errors import FleetError
from fleetmdm.policy_yaml import parse_policies
from fleetmdm.report import (
    to_csv,
    to_html,
    to_json,
    to_junit,
    to_markdown,
    to_oscal,
    to_sarif,
    to_table,
)
from fleetmdm.report.model import PolicyLine, Report, row_stream, score, sort_lines
from fleetmdm.report.selection import SortBy
from fleetmdm.results import Finding, ResultRow, Run, Status

NOW = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)
HOSTILE = "=cmd|' /C calc'!A1\x1b[31m\x00\r\n<script>alert(1)</script>&amp;\u202e|`*"

POLICIES = parse_policies(
    b"""---
id: a.high
name: First <b>policy</b> | one
severity: high
description: "What & why"
remediation: "Do *this*"
references: [{framework: CIS, control: "1.1", url: "https://example.org/1"}]
tags: [ssh]
checks: [{key: k, op: eq, value: 1}]
---
id: b.low
name: Second
severity: low
checks: [{key: k, op: eq, value: 1}]
---
id: c.critical
name: Third
severity: critical
checks: [{key: k, op: eq, value: 1}]
""",
    name="p",
)
COUNTS = {
    "a.high": {Status.FAIL: 3, Status.PASS: 1},
    "b.low": {Status.UNKNOWN: 1, Status.ERROR: 1, Status.PASS: 2},
    "c.critical": {Status.NOT_APPLICABLE: 4},
}
RUN = Run(7, NOW, NOW, NOW, 4, 3, {}, "0.1.0", "aa", "bb", "cc", COUNTS)


def finding(observed: Any = HOSTILE) -> Finding:
    return Finding("checks[0]", "k", "eq", [1, True], observed, "mismatch", "k must be 1")


ROWS = (
    ResultRow(HOSTILE, "a.high", Status.FAIL, (finding(), finding(5)), 3, None),
    ResultRow("d2", "a.high", Status.FAIL, (finding({"a": None}),), 7, None),
    ResultRow("d3", "a.high", Status.FAIL, (finding(None),), 7, None),
    ResultRow("d3", "b.low", Status.UNKNOWN, (finding(None),), 7, None),
    ResultRow("d4", "b.low", Status.ERROR, (finding(-1),), 7, None),
    ResultRow("d4", "other", Status.FAIL, (), 7, None),
)


def report(rows: tuple[ResultRow, ...] = ROWS) -> Report:
    lines = sort_lines((PolicyLine(each, COUNTS[each.id]) for each in POLICIES), SortBy.SEVERITY)
    return Report(RUN, lines, row_stream(rows, lines))


FORMS: dict[str, Callable[[Report], Iterator[str]]] = {
    "table": lambda one: to_table.render(one, width=None),
    "json": to_json.render,
    "csv": to_csv.render,
    "junit": to_junit.render,
    "sarif": to_sarif.render,
    "markdown": to_markdown.render,
    "html": to_html.render,
    "oscal": to_oscal.render,
}


def text(form: str, rows: tuple[ResultRow, ...] = ROWS) -> str:
    return "".join(FORMS[form](report(rows)))


@pytest.mark.parametrize("form", FORMS)
def test_no_form_lets_a_control_character_through(form: str) -> None:
    allowed = "\r\n" if form == "csv" else "\n"
    found = set(re.findall(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", text(form))) - set(allowed)
    # JSON escapes what is below a blank; direction marks are data there, never drawn.
    assert found <= ({"\u202e"} if form in ("json", "sarif") else set())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_works_without_any_row(form: str) -> None:
    assert "Second" in text(form, ()) or form == "csv"


def test_the_score_is_of_what_should_have_been_decided() -> None:
    assert score(COUNTS["b.low"]) == 50.0
    assert score(COUNTS["c.critical"]) is None
    assert report().totals() == {
        Status.PASS: 3,
        Status.FAIL: 3,
        Status.ERROR: 1,
        Status.UNKNOWN: 1,
        Status.NOT_APPLICABLE: 4,
    }


@pytest.mark.parametrize(
    ("by", "order"),
    [
        (SortBy.SEVERITY, ["c.critical", "a.high", "b.low"]),
        (SortBy.FAILED, ["a.high", "b.low", "c.critical"]),
        (SortBy.NAME, ["a.high", "b.low", "c.critical"]),
        (SortBy.PASSED, ["b.low", "a.high", "c.critical"]),
    ],
)
def test_policies_are_sorted_as_asked(by: SortBy, order: list[str]) -> None:
    lines = [PolicyLine(each, COUNTS[each.id]) for each in POLICIES]
    assert [line.policy.id for line in sort_lines(lines, by)] == order


def test_the_json_form_is_one_envelope_with_every_row() -> None:
    document = json.loads(text("json"))
    assert (document["schema"], document["ok"]) == (1, True)
    data = document["data"]
    assert data["run"]["run_id"] == 7
    assert [each["policy_id"] for each in data["policies"]] == ["c.critical", "a.high", "b.low"]
    assert [each["device_id"] for each in data["results"]] == [HOSTILE, "d2", "d3", "d3", "d4"]
    assert data["results"][0]["findings"][1]["observed"] == 5
    assert data["severities"]["high"] == {"pass": 1, "fail": 3}


def test_the_json_form_can_say_that_something_was_found() -> None:
    failure = FleetError("policy_failures", "found")
    document = json.loads("".join(to_json.render(report(), found=failure)))
    assert (document["ok"], document["error"]["code"]) == (False, "policy_failures")
    assert len(document["data"]["results"]) == 5


def test_csv_has_a_line_for_each_finding_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(text("csv"), newline="")))
    assert tuple(rows[0]) == to_csv.COLUMNS
    assert len(rows) == 7
    assert all(len(row) == len(rows[0]) for row in rows)
    for row in rows[1:]:
        assert not [cell for cell in row if cell.lstrip()[:1] in ("=", "+", "-", "@", "|")]
    assert rows[6][to_csv.COLUMNS.index("observed")] == "'-1"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("  @x", "'  @x"),
        ("-5", "'-5"),
        ("\t=1", "\\t=1"),
        ("|x", "'|x"),
        ("\uff1d1", "'\uff1d1"),
        ("plain", "plain"),
        ("", ""),
        (" ", " "),
        (7, 7),
    ],
)
def test_cells_are_safe_in_a_spreadsheet(value: Any, cell: Any) -> None:
    assert to_csv.safe_cell(value) == cell


def test_sarif_is_valid_against_the_official_schema(shared_data: Path) -> None:
    schema = json.loads((shared_data / "sarif" / "sarif-schema-2.1.0.json").read_text())
    jsonschema.validate(json.loads(text("sarif")), schema)
    jsonschema.validate(json.loads(text("sarif", ())), schema)


def test_sarif_names_rule_place_and_fingerprint_of_every_result() -> None:
    run = json.loads(text("sarif"))["runs"][0]
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert [rules[each["ruleIndex"]]["id"] for each in results] == [
        each["ruleId"] for each in results
    ]
    assert [each["kind"] for each in results] == ["fail", "fail", "fail", "open", "open"]
    assert [each["level"] for each in results] == ["error", "error", "error", "none", "none"]
    prints = [each["partialFingerprints"]["devicePolicy/v1"] for each in results]
    assert len(set(prints)) == len(prints)
    assert rules[1]["helpUri"] == "https://example.org/1"


def test_sarif_can_be_capped_for_each_policy() -> None:
    document = json.loads("".join(to_sarif.render(report(), max_failures_per_policy=1)))
    kept = [each["ruleId"] for each in document["runs"][0]["results"]]
    assert kept == ["a.high", "b.low"]


def test_junit_has_a_case_for_each_policy_in_the_shape_of_the_schema() -> None:
    root = ET.fromstring(text("junit"))  # noqa: S314 - our own text
    (suite,) = root
    assert root.tag == "testsuites"
    needed = {"name", "package", "id", "hostname", "timestamp", "tests", "failures", "errors"}
    assert needed | {"time"} <= set(suite.attrib)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    tags = [child.tag for child in suite]
    assert tags == ["properties", "testcase", "testcase", "testcase", "system-out", "system-err"]
    cases = {case.attrib["name"]: [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {"a.high": ["failure"], "b.low": ["error"], "c.critical": ["skipped"]}
    counted = [suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")]
    assert counted == ["3", "1", "1", "1"]
    assert "d2" in "".join(suite.itertext())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_html_is_one_file_without_script_or_link() -> None:
    page = text("html")
    tags = _Tags()
    tags.feed(page)
    assert not {"script", "img", "link", "iframe", "b"} & set(tags.opened)
    assert all(link.startswith("#p") or "example.org" in link for link in tags.links)
    assert "default-src 'none'" in page
    assert "&lt;script&gt;" in page


def test_markdown_shows_markup_as_text() -> None:
    page = text("markdown")
    assert "<script>" not in page
    assert "First \\<b\\>policy\\</b\\> \\| one" in page
    (head,) = [line for line in page.splitlines() if line.startswith("| policy")]
    (row,) = [line for line in page.splitlines() if "First" in line and line.startswith("|")]
    assert row.replace("\\|", "").count("|") == head.count("|")


def test_the_table_shows_states_by_severity_and_what_was_found() -> None:
    page = text("table")
    assert "critical" in page
    assert "=cmd" in page
    assert "\\x1b[31m" in page
    assert "50.0 %" in page


def test_a_terminal_gets_a_bounded_number_of_rows() -> None:
    page = "".join(to_table.render(report(), width=80, max_rows=2))
    assert "and 3 more" in page
