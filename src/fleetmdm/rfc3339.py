"""Times as text: RFC 3339 in, RFC 3339 in UTC out. Pure; never reads a clock.

Rule for editors: a time without an offset is refused, never guessed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"(?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def parse_time(text: str) -> datetime:
    """The moment that RFC 3339 text names, in UTC; digits past microseconds are dropped.

    Raises ValueError with a sentence for anything else, leap seconds included.
    """
    matched = _TIME.fullmatch(text)
    if matched is None:
        raise ValueError("not an RFC 3339 time with an offset, such as 2026-01-31T08:00:00Z")
    offset = matched["offset"].upper().replace("Z", "+00:00")
    fraction = ((matched["fraction"] or "") + "000000")[:6]
    try:
        moment = datetime.fromisoformat(f"{matched['day']}T{matched['clock']}.{fraction}{offset}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a moment that exists: {error}") from error


def encode_second(moment: datetime) -> str:
    """`encode_time` without a fraction, for tables."""
    return encode_time(moment.replace(microsecond=0))


def encode_time(moment: datetime) -> str:
    """RFC 3339 in UTC with a `Z`; a fraction only where there is one."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
