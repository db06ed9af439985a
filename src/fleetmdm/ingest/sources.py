"""Where a device document comes from, in order of precedence. Pure.

A snapshot is kept for each (device, source), so that two sources never wipe each other's facts;
what policies see is their union, in which the source that stands first below wins.
Rule for editors: order is meaning; a new source is a row here and a reader beside this file.
"""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Kinds of source, the most trusted first."""

    DOCUMENT = "document"
    """Our own device documents, whether collected, read from a file or from stdin."""
    FLEET = "fleet"
    """Hosts as a Fleet server exports them."""
    ANSIBLE = "ansible"
    """Facts that Ansible gathered."""
    OSQUERY = "osquery"
    """Result logs of osquery."""
    CSV = "csv"
    """A table: an asset register, or an export of anything else."""
    OPERATOR = "operator"
    """What people say with `device tag`: tags and nothing else."""


def rank_of(name: str) -> int:
    """The place of a source in the order of precedence; 0 is the most trusted."""
    return list(Source).index(Source(name))
