"""docs/inventory.md says what the code does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fleetmdm.device import DEFAULT_LIMITS
from fleetmdm.drift import Change
from fleetmdm.errors import CODES
from fleetmdm.fields import NAMESPACES
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.osquery.state import TABLES
from fleetmdm.ingest.sources import Source
from fleetmdm.ingest.table import TYPES
from fleetmdm.store.port import IngestCounts

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "inventory.md").read_text()


def rows() -> dict[str, str]:
    """First to last cell of every table row whose first cell is one word in code style."""
    cells = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    return {row[0].split(" (")[0].strip("`"): row[1] for row in cells}


def test_every_limit_stands_with_its_value() -> None:
    found = rows()
    for name, value in asdict(DEFAULT_LIMITS).items():
        assert found[name] == str(value)


def test_every_database_code_stands_with_its_status() -> None:
    found = rows()
    for row in CODES:
        if row.code.startswith("database_"):
            assert found[row.code] == str(int(row.exit_status))


def test_every_fate_and_change_is_explained() -> None:
    for word in (*list(asdict(IngestCounts()))[1:], *Change):
        assert f"`{word}`" in PAGE


def test_every_source_stands_in_the_order_of_precedence() -> None:
    named = " ".join(f"`{source}`" for source in Source)
    assert f"The order of precedence\nis {named}:" in PAGE
    assert {source.value for source in FORMS} == set(Source) - {Source.OPERATOR}


def test_every_type_of_a_map_and_every_table_of_osquery_is_named() -> None:
    for word in (*TYPES, *TABLES):
        assert f"`{word}`" in PAGE


def test_the_namespaces_of_other_tools_are_those_that_are_documented() -> None:
    for name in NAMESPACES:
        assert f"`facts.{name}" in PAGE
