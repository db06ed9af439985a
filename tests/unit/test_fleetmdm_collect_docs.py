"""docs/collect.md and docs/facts.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from fleetmdm.fields import FIELDS, Field

ROOT = Path(__file__).resolve().parents[2]
EXPORTERS = ROOT / "src/fleetmdm/exporters"
REASON = re.compile(r'(?:UnreadError\(|host\.miss\([^,]+, |return )"([a-z_]+)"')


def row(field: Field) -> str:
    unit = f" ({field.unit})" if field.unit else ""
    path = field.path.replace("|", "\\|")
    return f"| `{path}` | {field.kind}{unit} | {field.sensitivity} | {field.sentence} |"


def test_every_fact_has_its_row_and_no_row_is_left_over() -> None:
    text = (ROOT / "docs/facts.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [row(field) for field in FIELDS]


def test_every_reason_of_the_exporter_is_documented() -> None:
    text = (ROOT / "docs/collect.md").read_text()
    found = {
        reason
        for path in EXPORTERS.glob("*.py")
        for reason in REASON.findall(path.read_text())
        if path.name != "bundle.py"
    }
    internal = {"no_certificate", "unknown", "internal_"}
    assert {"not_found", "not_under_root", "permission_denied"} <= found
    assert not {reason for reason in found - internal if f"`{reason}`" not in text}


def test_every_reason_of_a_host_is_documented() -> None:
    text = (ROOT / "docs/collect.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "src/fleetmdm/collect").glob("*.py"))
    documented = set(re.findall(r"^\| `([a-z_]+)` \|.*\| (?:yes|no) \|$", text, re.MULTILINE))
    assert documented
    assert not {reason for reason in documented if f'"{reason}"' not in source}
    used = set(re.findall(r'HostError\(\s*"([a-z_]+)"', source))
    used |= set(re.findall(r', "([a-z_]+)", (?:True|False)\)', source))
    assert used <= documented
