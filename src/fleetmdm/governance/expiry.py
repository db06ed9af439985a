"""The end of a day in a named time zone, as a moment. Pure, but for the time zone database.

What was approved is a date and a zone's name; the moment is settled once, so that a later change
of the zone's rules does not move an expiry that people agreed on.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def parse_day(text: str) -> date:
    """A calendar day, 2026-12-31. Raises ValueError."""
    if len(text) != len("2026-12-31"):
        raise ValueError("not a day such as 2026-12-31")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("not a day such as 2026-12-31") from error


def end_of_day(day: date, zone: str) -> datetime:
    """The first moment after `day` in a zone of the IANA database, in UTC. Raises ValueError."""
    try:
        named = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone is called {zone!r}; such as Europe/Berlin, UTC") from error
    try:
        midnight = datetime.combine(day + timedelta(days=1), time(), tzinfo=named)
        # Where clocks skip midnight, the offset before the gap gives the moment of the gap.
        return midnight.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("no moment so far off") from error
