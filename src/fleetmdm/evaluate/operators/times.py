"""Moments and durations in policies: RFC 3339 and a little more.

Pure: "now" is always an argument. Everything is compared in UTC at microsecond resolution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from fleetmdm.rfc3339 import parse_time

MAX_DURATION: Final = timedelta(days=36_525)
"""A hundred years: far enough for any policy, near enough for no overflow."""
FUTURE_ALLOWANCE: Final = timedelta(hours=24)
"""How far a fact's time may lie ahead; the same allowance that ingest gives `last_seen`."""
TICK: Final = timedelta(microseconds=1)

NEVER: Final = int(np.iinfo(np.int64).max)
"""Microseconds since the epoch, for what time alone cannot change."""

Moments = npt.NDArray[np.int64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
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


def encode_end(moment: datetime | None) -> int:
    """Microseconds since the epoch."""
    return NEVER if moment is None else to_micros(moment - _EPOCH)


def decode_end(end: int) -> datetime | None:
    """The moment of `encode_end`."""
    return None if end == NEVER else _EPOCH + timedelta(microseconds=end)


def to_micros(span: timedelta) -> int:
    """A duration in microseconds."""
    return span // TICK


_CALENDAR: Final = (to_micros(_FIRST - _EPOCH), to_micros(_LAST - _EPOCH))


def shifted_all(moments: Moments, by: timedelta) -> Moments:
    """`shifted` for many; `NEVER` beyond the calendar."""
    moved = moments + to_micros(by)
    first, last = _CALENDAR
    return np.where((moved >= first) & (moved <= last), moved, NEVER)


_PLAIN = "0000-00-00T00:00:00Z"
_MARKS: Final = [place for place, mark in enumerate(_PLAIN) if mark != "0"]
_MARKED: Final = np.array([[ord(_PLAIN[place])] for place in _MARKS], np.uint8)
_DIGITS: Final = [place for place, mark in enumerate(_PLAIN) if mark == "0"]


@lru_cache(maxsize=4)
def read_plain_moments(texts: tuple[str, ...]) -> tuple[Moments, npt.NDArray[np.bool_]]:
    """Microseconds since the epoch, and which texts were read: those such as 2026-03-01T12:00:00Z.

    The others may be moments all the same, written in another way, or none. The arrays are shared;
    they are remembered because several checks ask about one column in turn.
    """
    joined = "".join(texts)
    if list(map(len, texts)).count(len(_PLAIN)) < len(texts) or not joined.isascii():
        joined = "".join(
            text if len(text) == len(_PLAIN) and text.isascii() else _PLAIN for text in texts
        )
    table = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(len(texts), len(_PLAIN)).T
    # What is below "0" becomes a large number.
    digits = table[_DIGITS] - np.uint8(ord("0"))
    plain = (table[_MARKS] == _MARKED).all(axis=0) & (digits <= 9).all(axis=0)
    pairs = (digits[::2] * np.uint8(10) + digits[1::2]).astype(np.int64)
    century, below, month, day, hour, minute, second = pairs
    year = century * 100 + below
    plain &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    plain &= (hour <= 23) & (minute <= 59) & (second <= 59)
    months = np.where(plain, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    begin = months.astype("datetime64[D]").astype(np.int64)
    end = (months + 1).astype("datetime64[D]").astype(np.int64)
    plain &= day <= end - begin
    seconds = (begin + day - 1) * 86_400 + hour * 3600 + minute * 60 + second
    return np.where(plain, seconds * 1_000_000, 0), plain
