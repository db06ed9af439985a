"""The published schemas of reports and evidence hold for what is really written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hostile import hostile_report

from fleetmdm.cli.main import main
from fleetmdm.errors import FleetError
from fleetmdm.evidence.schema import evidence_schema
from fleetmdm.report import to_json
from fleetmdm.report.schema import report_schema


def validator(schema: dict[str, Any]) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_reports_of_every_kind_are_valid() -> None:
    valid = validator(report_schema())
    for found in (None, FleetError("policy_failures", "found")):
        document = json.loads("".join(to_json.render(hostile_report(), found=found)))
        valid.validate(document)
    document["data"]["results"][0]["extra"] = 1
    assert not valid.is_valid(document)


@pytest.mark.parametrize("profile", ["none", "strict"])
def test_the_documents_of_a_pack_are_valid(
    export_sample: Callable[..., Path], tmp_path: Path, profile: str
) -> None:
    pack = export_sample(tmp_path / "pack", profile)
    valid = validator(evidence_schema())
    for name in ("manifest.json", "view.json"):
        valid.validate(json.loads((pack / name).read_text()))
    lines = [line for file in pack.glob("*.ndjson") for line in file.read_text().splitlines()]
    assert lines
    for line in lines:
        valid.validate(json.loads(line))


@pytest.mark.parametrize("name", ["report", "evidence"])
def test_the_schema_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["$id"] == f"urn:fleetmdm:schema:{name}:1"
