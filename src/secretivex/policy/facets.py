"""What a query has sides to, and what is said of one: the words that rules and matchers share.

Rule for editors: every agent imports this, and matchers only where there are rules.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable

from secretivex.context.signed_data import DataKind
from secretivex.policy.query import SignQuery


class Match(Enum):
    """What a matcher says of a query."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Facet(Enum):
    """The part of a query that a matcher looks at."""

    KEY = "key"
    CALLER = "caller"
    ROUTE = "route"
    PURPOSE = "purpose"
    FORMAT = "format"
    TIME = "time"
    RATE = "rate"


class Matcher(Protocol):
    """One condition of a rule."""

    @property
    def facet(self) -> Facet:
        """What it looks at."""
        ...

    def match(self, query: SignQuery) -> Match:
        """Whether the query fits."""
        ...


@runtime_checkable
class KindMatcher(Protocol):
    """A condition that looks at what is signed."""

    def match_kind(self, kind: DataKind, /) -> Match:
        """What it says of all data of one kind; unknown where that depends on the data."""
        ...


def yes_or_no(fits: bool) -> Match:  # noqa: FBT001 - its name says what it takes
    """A condition that could be determined."""
    return Match.YES if fits else Match.NO
