"""A report that shows of inventory only what an evidence profile lets through.

The table is that of evidence packs (docs/evidence-format.md): identifiers become the fleet's
pseudonyms, a value shows where its fact would, a message where it quotes no name. Policies, states
and counts show always. Rule for editors: whatever a row gains must be decided here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from fleetmdm.device import Device
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.pack.guarded import GuardedNames
from fleetmdm.evidence.records.maker import guarded_names
from fleetmdm.evidence.redact import Profile, classify, fact_path, fits, is_open, leaks
from fleetmdm.report.model import Report, ReportRow
from fleetmdm.report.selection import Selection
from fleetmdm.results import Finding

WITHHELD: Final = "(withheld)"
"""Stands for what does not show."""


def redact(report: Report, profile: Profile, secret: bytes, devices: Iterable[Device]) -> Report:
    """The report under a profile; `devices` are those of the report, in the order of their ids."""
    if profile is Profile.NONE:
        return report
    keys = FleetKeys(secret)
    names = GuardedNames((one.device_id, guarded_names(one)) for one in devices)
    return replace(
        report,
        rows=_rows(report.rows, profile, keys, names),
        selection=_selection(report.selection, profile, keys.pseudonym),
        redaction=profile.value,
    )


def _rows(
    rows: Iterable[ReportRow], profile: Profile, keys: FleetKeys, names: GuardedNames
) -> Iterator[ReportRow]:
    for each in rows:
        guarded = names.of(each.row.device_id)
        row = replace(
            each.row,
            device_id=keys.pseudonym("device", each.row.device_id),
            findings=tuple(_finding(one, profile, guarded) for one in each.row.findings),
        )
        effective = each.effective
        if effective.reason and not _may_tell(effective.reason, profile, guarded):
            effective = replace(effective, reason=WITHHELD)
        yield replace(each, row=row, effective=effective)


def _may_tell(text: str, profile: Profile, guarded: frozenset[str]) -> bool:
    """Whether a text of people shows: under `strict` never, since anything may stand in it."""
    return profile is Profile.MINIMAL and not leaks(text, guarded)


def _finding(finding: Finding, profile: Profile, guarded: frozenset[str]) -> Finding:
    quiet = _may_tell(finding.message, profile, guarded)
    shown = finding.observed is None or _opens(finding, profile, guarded)
    return replace(
        finding,
        observed=finding.observed if shown else WITHHELD,
        message=finding.message if quiet else f"{finding.key} is not as it should be",
    )


def _opens(finding: Finding, profile: Profile, guarded: frozenset[str]) -> bool:
    treatment = classify(fact_path(finding.key))
    fitting = profile is not Profile.STRICT or fits(finding.observed, treatment.shape)
    return is_open(treatment, profile) and fitting and not leaks(finding.observed, guarded)


def _selection(
    selection: Selection, profile: Profile, pseudonym: Callable[[str, Any], str]
) -> Selection:
    tags = selection.tags
    if tags and not is_open(classify("tags"), profile):
        tags = (WITHHELD,)
    devices = tuple(pseudonym("device", name) for name in selection.device_ids)
    return replace(selection, device_ids=devices, tags=tags)
