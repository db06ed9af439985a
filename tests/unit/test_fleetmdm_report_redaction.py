"""A redacted report shows what evidence under the same profile would, in every form."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module

import pytest

from fleetmdm.cli.judging.gathering import find_run, gather_stored
from fleetmdm.cli.judging.redaction import redact
from fleetmdm.config import REPORT_FORMATS
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.redact import Profile
from fleetmdm.report.model import Report, ReportRow
from fleetmdm.report.selection import EVERYTHING, Selection
from fleetmdm.store.sqlite import SqliteStore


def report(store: SqliteStore, profile: Profile, selection: Selection = EVERYTHING) -> Report:
    run = find_run(store, None)
    gathered = gather_stored(store, run, selection)
    return redact(gathered, profile, store.fleet_key(), store.run_devices(run.run_id))


def render(form: str, one: Report) -> str:
    options = {"width": None} if form == "table" else {}
    return "".join(import_module(f"fleetmdm.report.to_{form}").render(one, **options))


@pytest.mark.parametrize("form", REPORT_FORMATS)
@pytest.mark.parametrize("profile", [Profile.MINIMAL, Profile.STRICT])
def test_no_name_of_a_device_shows(sample_store: SqliteStore, form: str, profile: Profile) -> None:
    chosen = Selection(device_ids=("canary-id-1",), tags=())
    for selection in (EVERYTHING, chosen):
        text = render(form, report(sample_store, profile, selection))
        assert "canary" not in text.lower()
        pseudonym = FleetKeys(sample_store.fleet_key()).pseudonym("device", "canary-id-1")
        assert pseudonym in text.replace("\\", "")


def test_none_shows_everything_and_counts_never_change(sample_store: SqliteStore) -> None:
    assert "canary-id-1" in render("json", report(sample_store, Profile.NONE))
    totals = [report(sample_store, profile).totals() for profile in Profile]
    assert totals[0] == totals[1] == totals[2]


def test_a_value_shows_where_its_fact_would(sample_store: SqliteStore) -> None:
    rows = list(report(sample_store, Profile.STRICT).rows)
    observed = {finding.key: finding.observed for each in rows for finding in each.row.findings}
    assert observed["sshd.settings.permitrootlogin"] == "yes"
    assert "(withheld)" in observed.values()
    assert {"root may log in"}.isdisjoint(
        finding.message for each in rows for finding in each.row.findings
    )


@pytest.mark.parametrize("form", [each for each in REPORT_FORMATS if each != "table"])
def test_memory_does_not_grow_with_the_rows(sample_store: SqliteStore, form: str) -> None:
    """`benchmarks/bench_report.py --devices 100000` shows the same with a store behind it."""
    (first, *_) = report(sample_store, Profile.NONE).rows

    def many(count: int) -> Iterator[ReportRow]:
        for number in range(count):
            yield replace(first, row=replace(first.row, device_id=f"device-{number:07}"))

    def peak(count: int) -> int:
        one = replace(report(sample_store, Profile.NONE), rows=many(count))
        options = {"width": None} if form == "table" else {}
        tracemalloc.start()
        for _ in import_module(f"fleetmdm.report.to_{form}").render(one, **options):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(6000)
    assert peak(12_000) < peak(6000) + 500_000
