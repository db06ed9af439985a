"""A matcher on the time of a signature: hours of the day, days of the week, a first and last moment.

Rule for editors: time zones have files, and nothing here may read one; a rule has a fixed offset.
"""

from __future__ import annotations

from dataclasses import dataclass

from secretivex.policy.facets import Facet, Match, yes_or_no
from secretivex.policy.query import SignQuery

DAY_S = 86_400

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_EPOCH_WEEKDAY = 3
"""1 January 1970 was a Thursday."""


@dataclass(frozen=True, slots=True)
class Window:
    """When a rule applies; each part may be missing.

    `hours` are seconds of the day, the second exclusive; where it is not the greater one the window
    goes on into the next day, which then counts as the day on which it began. `days` are numbers
    from Monday, 0. `not_before` and `not_after` are seconds since 1970, the second exclusive.
    """

    hours: tuple[int, int] | None = None
    days: frozenset[int] | None = None
    offset_s: int = 0
    not_before: float | None = None
    not_after: float | None = None

    facet = Facet.TIME

    def match(self, query: SignQuery) -> Match:
        """Unknown where no clock was read."""
        now_s = query.now_s
        if now_s is None:
            return Match.UNKNOWN
        if self.not_before is not None and now_s < self.not_before:
            return Match.NO
        if self.not_after is not None and now_s >= self.not_after:
            return Match.NO
        return yes_or_no(self._is_in_hours(int(now_s) + self.offset_s))

    def _is_in_hours(self, local_s: int) -> bool:
        day, second = divmod(local_s, DAY_S)
        if self.hours is None:
            return self._is_on(day)
        start, end = self.hours
        if start < end:
            return start <= second < end and self._is_on(day)
        return (second >= start and self._is_on(day)) or (second < end and self._is_on(day - 1))

    def _is_on(self, day: int) -> bool:
        return self.days is None or (day + _EPOCH_WEEKDAY) % 7 in self.days
