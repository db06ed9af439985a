"""Moments and durations in policies: RFC 3339 and a little more.

Pure: "now" is always an argument. Everything is compared in UTC at microsecond resolution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fleetmdm.rfc3339 import parse_time

MAX_DURATION: Final = timedelta(days=36_525)
"""A hundred years: far enough for any policy, near enough for no overflow."""
FUTURE_ALLOWANCE: Final = timedelta(hours=24)
"""How far a fact's time may lie ahead; the same allowance that ingest gives `last_seen`."""
TICK: Final = timedelta(microseconds=1)

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DURATION = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_RELATIVE = re.compile(r"now(?:([+-])(\d{1,9}[smhdw]))?", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> timedelta:
    """A number and one of `s m h d w`; raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration is a number and one of s m h d w, for example 14d")
    seconds = int(match[1]) * _UNIT_S[match[2]]
    if seconds > MAX_DURATION.total_seconds():
        raise ValueError("a duration is at most a hundred years")
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class MomentOperand:
    """A fixed moment, or a distance from "now"."""

    fixed: datetime | None
    offset: timedelta

    def at(self, now: datetime) -> datetime:
        """The moment meant when the check is made at `now`."""
        if self.fixed is not None:
            return self.fixed
        edge = _LAST if self.offset > timedelta() else _FIRST
        return shifted(now, self.offset) or edge


def parse_operand(text: str) -> MomentOperand:
    """A date-time, a date (midnight UTC), `now`, `now+30d` or `now-12h`; raises ValueError."""
    match = _RELATIVE.fullmatch(text)
    if match is not None:
        distance = parse_duration(match[2]) if match[2] else timedelta()
        return MomentOperand(None, -distance if match[1] == "-" else distance)
    if _DATE.fullmatch(text):
        return MomentOperand(datetime.fromisoformat(text).replace(tzinfo=UTC), timedelta())
    return MomentOperand(parse_time(text), timedelta())


def shifted(moment: datetime, by: timedelta) -> datetime | None:
    """`moment + by`, or None beyond the calendar: that moment never comes."""
    try:
        return moment + by
    except OverflowError:
        return None
