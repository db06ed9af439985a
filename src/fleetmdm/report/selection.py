"""What a reader asked to see of a run: the filters, the order and the bounds of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import Severity


class SortBy(StrEnum):
    """How policies are ordered in a report."""

    SEVERITY = "severity"
    """Most severe first, then most failures."""
    FAILED = "failed"
    NAME = "name"
    PASSED = "passed"
    SCORE = "score"
    """Lowest first; policies that were decided for no device last."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Empty fields do not restrict; several values of one field are alternatives."""

    only_failing: bool = False
    only_skipped: bool = False
    only_assigned: bool = False
    policy_ids: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Tags of devices."""
    severities: tuple[Severity, ...] = ()
    frameworks: tuple[str, ...] = ()
    """Frameworks that a policy refers to, in any case."""
    sort_by: SortBy = SortBy.SEVERITY
    top: int = 0
    """Policies to show; 0 is all."""
    limit: int = 0
    """Rows to show; 0 is all."""
    offset: int = 0
    """Rows to leave out first."""

    @property
    def chooses_devices(self) -> bool:
        """Whether some devices are left out, so that a run's own counts do not hold."""
        return bool(self.device_ids or self.tags)

    def has_policy(self, policy: CompliancePolicy) -> bool:
        """Whether a policy is asked for, whatever came of it."""
        frameworks = {reference.framework.casefold() for reference in policy.references}
        return (
            (not self.policy_ids or policy.id in self.policy_ids)
            and (not self.severities or policy.severity in self.severities)
            and (not self.frameworks or any(f.casefold() in frameworks for f in self.frameworks))
        )

    def words(self) -> Iterator[str]:
        """The filters in words, for headings."""
        for name, chosen in (
            ("device", self.device_ids),
            ("tag", self.tags),
            ("policy", self.policy_ids),
            ("severity", self.severities),
            ("framework", self.frameworks),
        ):
            if chosen:
                yield f"{name} {' or '.join(chosen)}"
        for flag, text in (
            (self.only_failing, "only failing"),
            (self.only_skipped, "only skipped"),
            (self.only_assigned, "only assigned"),
        ):
            if flag:
                yield text
        if self.top:
            yield f"first {self.top} policies by {self.sort_by}"
        if self.limit or self.offset:
            rows = f"{self.limit} rows" if self.limit else "rows"
            yield rows + (f" after the first {self.offset}" if self.offset else "")


EVERYTHING: Final = Selection()
"""A whole run."""
