"""Reports in the hands of those who read them: official schemas, libraries, programs."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest
import re2
from hostile import CORPUS, FORMULAS, hostile_report
from jsonschema.validators import extend
from lxml import etree
from sarif import loader

from clikit.table import show_text
from fleetmdm.cli.evidence.export import _render_oscal
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.sqlite import SqliteStore


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The report of the hostile corpus in a form, as a file."""
    folder = tmp_path_factory.mktemp("reports")

    def write(form: str, name: str) -> Path:
        path = folder / name
        text = "".join(import_module(f"fleetmdm.report.to_{form}").render(hostile_report()))
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


def test_sarif_is_valid_by_the_official_schema_and_read_by_sarif_tools(
    written: Callable[[str, str], Path], shared_data: Path
) -> None:
    path = written("sarif", "report.sarif")
    schema = json.loads((shared_data / "sarif" / "sarif-schema-2.1.0.json").read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)
    read = loader.load_sarif_file(str(path))
    assert read.get_distinct_tool_names() == ["FleetMDM"]
    records = read.get_records()
    assert len(records) == read.get_result_count() == len(CORPUS)
    assert {record["Severity"] for record in records} == {"warning"}
    # Beside the place of each result it keeps its first line of text.
    assert any("alert(1)" in record["Description"] for record in records)


def test_junit_is_valid_by_its_schema_and_read_by_junitparser(
    written: Callable[[str, str], Path], shared_data: Path
) -> None:
    path = written("junit", "report.xml")
    schema = etree.XMLSchema(etree.parse(shared_data / "junit" / "JUnit.xsd"))
    schema.assertValid(etree.parse(path))
    (suite,) = junitparser.JUnitXml.fromfile(str(path))
    report = hostile_report()
    cases = {case.name: case for case in suite}
    assert set(cases) == {line.policy.id for line in report.lines}
    assert suite.failures == len(cases)
    for line in report.lines:
        (failure,) = cases[line.policy.id].result
        assert show_text(line.policy.name) in failure.text


def _oscal_validator(shared_data: Path) -> Any:
    """The official schema; its patterns use Unicode classes, which RE2 knows and `re` does not."""
    text = (shared_data / "oscal" / "oscal_assessment-results_schema.json").read_text()
    schema = json.loads(text)
    for definition in schema["definitions"].values():
        # Relative names that the $refs do not use; they confuse resolvers and constrain nothing.
        definition.pop("$id", None)

    def pattern(_validator: Any, wanted: str, value: Any, _schema: Any) -> Any:
        if isinstance(value, str) and not re2.search(wanted, value):
            yield jsonschema.ValidationError(f"{value!r} does not match {wanted!r}")

    return extend(jsonschema.Draft7Validator, {"pattern": pattern})(schema)  # type: ignore[no-untyped-call] # their stubs


def test_oscal_is_valid_by_the_schema_of_nist(
    written: Callable[[str, str], Path], shared_data: Path
) -> None:
    validator = _oscal_validator(shared_data)
    example = json.loads(
        (shared_data / "oscal" / "ifa_assessment-results-example.json").read_text()
    )
    assert list(validator.iter_errors(example)) == []
    document = json.loads(written("oscal", "report.json").read_text())
    assert list(validator.iter_errors(document)) == []
    (result,) = document["assessment-results"]["results"]
    known = {each["uuid"] for each in result["observations"]}
    assert len(known) == len(CORPUS)
    for finding in result["findings"]:
        assert finding["target"]["status"] == {"state": "not-satisfied", "reason": "fail"}
        assert {each["observation-uuid"] for each in finding["related-observations"]} <= known
    broken = json.loads(written("oscal", "report.json").read_text())
    broken["assessment-results"]["results"][0]["findings"][0]["target"]["target-id"] = "a b"
    assert list(validator.iter_errors(broken))


def test_a_spreadsheet_takes_no_cell_for_a_formula(
    written: Callable[[str, str], Path],
    require_program: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """LibreOffice opens the file as a double click does, and says what it made of each cell."""
    path = written("csv", "report.csv")
    subprocess.run(
        [
            require_program("soffice"),
            f"-env:UserInstallation=file://{tmp_path}/profile",
            "--headless",
            "--infilter=CSV:44,34,76,1",
            "--convert-to",
            "fods",
            "--outdir",
            tmp_path,
            path,
        ],
        check=True,
        capture_output=True,
        timeout=240,
    )
    sheet = etree.parse(tmp_path / "report.fods")
    table = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
    cells = list(sheet.iter(f"{table}table-cell"))
    assert len(cells) > len(CORPUS)
    assert [cell for cell in cells if cell.get(f"{table}formula") is not None] == []
    links = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}a"
    assert list(sheet.iter(links)) == []
    shown = {"".join(cell.itertext()).strip() for cell in cells}
    with path.open(newline="", encoding="utf-8") as file:
        devices = [row["device_id"] for row in csv.DictReader(file)]
    assert len([each for each in devices if each.startswith("'")]) >= len(FORMULAS) // 2
    assert {"'=1+1", "'@SUM(1)", "'|calc"} <= shown


def test_the_oscal_of_an_evidence_pack_is_valid_and_names_no_device(
    sample_store: SqliteStore, shared_data: Path
) -> None:
    run = next(sample_store.runs(limit=1))
    policies = [
        parse_policy(text, name=name) for name, text in sample_store.run_policies(run.run_id)
    ]
    text = _render_oscal(run, policies, {}).decode()
    document = json.loads(text)
    assert list(_oscal_validator(shared_data).iter_errors(document)) == []
    (result,) = document["assessment-results"]["results"]
    assert len(result["findings"]) == len(policies)
    assert [each.device_id for each in sample_store.devices() if each.device_id in text] == []
