"""Values as every store keeps them: times and findings, in bytes that are equal when they are.

Times are UTC text with offset, of fixed width so that it sorts as time does.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from fleetmdm.finding_json import encode_value, join_findings
from fleetmdm.results import Finding

_decoder = msgspec.json.Decoder(tuple[Finding, ...])


def encode_stamp(moment: datetime) -> str:
    """For example 2026-01-31T08:00:00.000000+00:00."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def time_to_stamp(text: str) -> str:
    """`encode_stamp` of the moment that `rfc3339.encode_time` wrote."""
    return f"{text[:19]}{text[19:-1] or '.000000'}+00:00"


def stamp_to_time(stamp: str) -> str:
    """What `rfc3339.encode_time` writes of the moment of a stamp."""
    seconds, fraction = stamp[:19], stamp[19:26]
    return f"{seconds}Z" if fraction == ".000000" else f"{seconds}{fraction}Z"


def parse_stamp(text: str) -> datetime:
    """The moment that `encode_stamp` wrote."""
    return datetime.fromisoformat(text)


def encode_findings(findings: tuple[Finding, ...]) -> bytes:
    """A JSON array with sorted keys."""
    return join_findings(map(encode_value, findings))


def decode_findings(data: bytes) -> tuple[Finding, ...]:
    """What `encode_findings` wrote."""
    return _decoder.decode(data)
