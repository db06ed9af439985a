"""The table of stores, algorithms and platforms says what the code has and the tests run."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_backends import FORMATS, SIGNED

from secretivex.config.rows.stores import STORE_TYPES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "key-stores.md"
NAMES = {
    **FORMATS,
    **{f"rsa{size}": f"ssh-rsa, {size} bits" for size in (2048, 3072, 4096)},
}
STATES = {"runs in tests", "stand-in in tests", "written, not yet run", "none"}


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str], dict[str, str]]:
    """By store and algorithm: the state on each platform."""
    text = PAGE.read_text().partition("<!-- begin table -->")[2].partition("<!-- end table -->")[0]
    heads, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()
    )
    return {
        (row[0].strip("`"), row[1].strip("`")): dict(zip(heads[2:], row[2:], strict=True))
        for row in rows
    }


def test_each_store_has_a_row_for_each_algorithm_that_it_signs_with_and_no_other(
    table: dict[tuple[str, str], dict[str, str]],
) -> None:
    wanted = {(store, NAMES[kind]) for store, kinds in SIGNED.items() for kind in kinds}
    assert {key for key in table if not key[1].startswith("sk-")} == wanted
    assert {store for store, _ in table} == {*STORE_TYPES, "memory"}


def test_what_is_called_tested_is_and_what_needs_another_system_is_not(
    table: dict[tuple[str, str], dict[str, str]],
) -> None:
    for (store, _), states in table.items():
        assert set(states.values()) <= STATES
        only_on = STORE_TYPES[store].only_on if store in STORE_TYPES else ""
        here = states["Linux"]
        assert here == ("stand-in in tests" if only_on == "darwin" else "runs in tests")
        assert states["macOS"] == ("none" if store == "tpm" else "written, not yet run")
        assert states["Windows"] == "none"
