"""The counts of a pack, and whether they add up. Pure.

What auditors ask first: is this the whole population, and does every number follow from another?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fleetmdm.errors import FleetError
from fleetmdm.results import SILENT, Run, Status

if TYPE_CHECKING:
    # Imported for its name alone: verification must not load a store.
    from fleetmdm.store.port import Intake


@dataclass(slots=True)
class Tally:
    """What was counted while the pack was written."""

    devices: int = 0
    policies: int = 0
    retired: int = 0
    on_list: int = 0
    """Devices in scope that an outside list has."""
    retired_on_list: int = 0
    listed: int | None = None
    """Names on the outside list; None where there was none."""
    missing: int = 0
    """Names on it that no device has."""
    intake: Intake | None = None
    rows: Counter[Status] = field(default_factory=Counter)
    by_policy: dict[str, Counter[Status]] = field(default_factory=dict)

    @property
    def merged(self) -> int:
        """Documents in force beside the first of each device: what other sources say of it."""
        return 0 if self.intake is None else max(0, self.intake.documents - self.devices)

    def add_row(self, policy_id: str, status: Status) -> None:
        """Count one stored verdict."""
        self.rows[status] += 1
        self.by_policy.setdefault(policy_id, Counter())[status] += 1


@dataclass(frozen=True, slots=True)
class Sum:
    """One statement of the reconciliation: two ways to count the same thing."""

    name: str
    left: int
    right: int


def sums_of(run: Run, tally: Tally) -> list[Sum]:
    """Every statement that must hold."""
    pairs = tally.devices * tally.policies
    silent = sum(run.counts.get(status, 0) for status in SILENT)
    by_state = [
        Sum(f"result rows that say {status} = verdicts that say {status}", rows, counted)
        for status in Status
        if status not in SILENT
        for rows, counted in [(tally.rows[status], run.counts.get(status, 0))]
        if rows or counted
    ]
    by_policy = [
        Sum(
            f"{status} over all policies = verdicts that say {status}",
            sum(counts.get(status, 0) for counts in run.policy_counts.values()),
            run.counts.get(status, 0),
        )
        for status in Status
        if run.counts.get(status)
    ]
    return [
        Sum("devices in the population = devices that the run judged", tally.devices, run.devices),
        Sum("policies in the pack = policies that the run used", tally.policies, run.policies),
        Sum("devices x policies = verdicts", pairs, sum(run.counts.values())),
        Sum(
            "verdicts without a row = verdicts that say pass or notapplicable",
            pairs - sum(tally.rows.values()),
            silent,
        ),
        *by_state,
        *by_policy,
        *_sums_of_intake(tally),
    ]


def _sums_of_intake(tally: Tally) -> list[Sum]:
    if tally.intake is None:
        return []
    counts = asdict(tally.intake.counts)
    received = counts.pop("received")
    return [
        Sum("documents received = their fates added up", received, sum(counts.values())),
        Sum(
            "documents in force = one for each device, and those merged into it",
            tally.intake.documents,
            tally.devices + tally.merged,
        ),
    ]


def reconcile(run: Run, tally: Tally) -> dict[str, Any]:
    """The content of reconciliation.json; raises `reconciliation_failed` when a sum is wrong."""
    sums = sums_of(run, tally)
    wrong = [each for each in sums if each.left != each.right]
    if wrong:
        raise FleetError(
            "reconciliation_failed",
            "the counts of this pack do not add up: "
            + "; ".join(f"{each.name} ({each.left} against {each.right})" for each in wrong),
            hint="run `fleetmdm doctor --integrity-check`; nothing was exported",
        )
    return {
        "schema": 1,
        "run_id": run.run_id,
        "documents": None
        if tally.intake is None
        else {
            **asdict(tally.intake.counts),
            "in_force": tally.intake.documents,
            "merged": tally.merged,
        },
        "devices": {
            "in_scope": tally.devices,
            "retired": tally.retired,
            "not_in_fleet": tally.missing,
            "evaluated": run.devices,
        },
        "policies": tally.policies,
        "verdicts": {
            "expected": tally.devices * tally.policies,
            "by_state": {status.value: count for status, count in run.counts.items() if count},
        },
        "rows": {
            "results": sum(tally.rows.values()),
            "not_stored": tally.devices * tally.policies - sum(tally.rows.values()),
        },
        "outside_list": _outside(tally),
        "sums": [{"name": each.name, "left": each.left, "right": each.right} for each in sums],
    }


def _outside(tally: Tally) -> dict[str, int] | None:
    """How the outside list and the fleet cover each other; None where there was none."""
    if tally.listed is None:
        return None
    return {
        "names": tally.listed,
        "devices_on_it": tally.on_list,
        "retired_on_it": tally.retired_on_list,
        "missing_from_fleet": tally.missing,
        "devices_not_on_it": tally.devices - tally.on_list,
    }


def check_reconciliation(document: Mapping[str, Any]) -> str | None:
    """Why a reconciliation.json does not add up; None when it does."""
    try:
        verdicts, devices, rows = document["verdicts"], document["devices"], document["rows"]
        expected = devices["in_scope"] * document["policies"]
        states = sum(verdicts["by_state"].values())
        if not expected == verdicts["expected"] == states:
            return f"{expected} verdicts expected, {states} counted"
        outside = document["outside_list"]
        if outside is not None and (
            outside["devices_on_it"] + outside["devices_not_on_it"] != devices["in_scope"]
            or outside["missing_from_fleet"] != devices["not_in_fleet"]
        ):
            return "the outside list and the devices in scope do not add up"
        if rows["results"] + rows["not_stored"] != expected:
            return "the rows and the verdicts without a row are not all verdicts"
        if any(each["left"] != each["right"] for each in document["sums"]):
            return "a sum has two different sides"
    except (KeyError, TypeError, AttributeError) as error:
        return f"a member is absent or has a wrong type: {error}"
    return None
