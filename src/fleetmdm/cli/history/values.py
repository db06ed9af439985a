"""Times and findings as these commands read and write them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fleetmdm.errors import FleetError
from fleetmdm.results import Finding
from fleetmdm.rfc3339 import parse_time


def parse_moment(option: str, text: str | None) -> datetime | None:
    """The time that an option names. Raises `usage`."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        hint = "such as 2026-01-31T08:00:00Z"
        raise FleetError("usage", f"{option}: {error}", hint=hint) from None


def findings_document(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON."""
    return [
        {
            "check": one.check,
            "key": one.key,
            "op": one.op,
            "expected": one.expected,
            "observed": one.observed,
            "reason": one.reason,
            "message": one.message,
        }
        for one in findings
    ]
