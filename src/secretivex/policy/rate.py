"""A matcher on how many signatures a rule has let pass of late; the counts are an argument.

Counted is what was granted, over all workers. A window begins with the first signature that is
counted and lasts for `per_s`. Rule for editors: deciding never counts; who signs charges what the
decision says, and where a count is full by then, decides again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from secretivex.policy.facets import Facet, Match, yes_or_no
from secretivex.policy.query import SignQuery

Each = Literal["rule", "key", "caller"]

MAX_COUNT = 1_000_000

MAX_PER_S = 7 * 86_400


class Charge(NamedTuple):
    """One count that a signature adds to: which one, and how far it may go."""

    bucket: str
    limit: int
    per_s: int


class RateGauge(Protocol):
    """The counts, as decisions see them."""

    def used(self, charge: Charge, /) -> int | None:
        """How many were counted in the window that runs; None if that cannot be told."""
        ...


class _Free:
    """Nothing was counted: for what is charged already, and for what only explains."""

    def used(self, _charge: Charge, /) -> int | None:
        return 0


FREE: RateGauge = _Free()


@dataclass(frozen=True, slots=True)
class Rate:
    """Matches while a count is below `at_most`, or, if `is_over`, once it is not.

    `name` is the rule's, `each` what has a count of its own: the rule, a key, a calling program.
    """

    name: str
    limit: int
    per_s: int
    each: Each
    is_over: bool

    facet = Facet.RATE

    def charge_of(self, query: SignQuery) -> Charge | None:
        """The count that a query belongs to; None if that cannot be told."""
        whose: str | None = ""
        if self.each == "key":
            whose = query.fingerprint_sha256
        elif self.each == "caller":
            known = query.peer_uid is not None and query.executable
            whose = f"{query.peer_uid} {query.executable}" if known else None
        if whose is None:
            return None
        bucket = f"{self.name}\0{self.limit}/{self.per_s}\0{whose}"
        return Charge(bucket, self.limit, self.per_s)

    def look(self, query: SignQuery, rates: RateGauge) -> tuple[Match, Charge | None]:
        """What the count says, unknown where it is, and what to add to where there is room."""
        charge = self.charge_of(query)
        used = None if charge is None else rates.used(charge)
        if used is None:
            return Match.UNKNOWN, None
        is_full = used >= self.limit
        return yes_or_no(is_full == self.is_over), None if is_full else charge

    def match(self, query: SignQuery) -> Match:
        """Without counts: as if nothing was counted yet."""
        return self.look(query, FREE)[0]
