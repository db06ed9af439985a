"""A policy made ready to decide quickly: a bit for each rule, a mask for each fact.

For one value of a facet (a key, a caller, ...) two masks say which rules it does not rule out and
which it fulfils; they are computed when the value is first seen and remembered. A decision is the
"and" of a few masks, whatever the number of rules. Rule for editors: it decides as `rules.decide`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from operator import attrgetter

from secretivex.context.signed_data import DataKind
from secretivex.policy.facets import Facet, KindMatcher, Match
from secretivex.policy.query import SignQuery
from secretivex.policy.rate import FREE, Charge, Rate, RateGauge
from secretivex.policy.rules import Decision, Effect, SigningPolicy, all_of

MAX_REMEMBERED = 4096
"""Values of one facet; a flood of new ones starts over, at the cost of looking again."""

_Masks = tuple[int, int]
"""Rules that are not ruled out, and those of them that are fulfilled for certain."""

_VALUES: Mapping[Facet, Callable[[SignQuery], Hashable]] = {
    Facet.KEY: attrgetter(
        *("key_blob", "comment", "store", "algorithm"),
        *("fingerprint_sha256", "fingerprint_sha512"),
    ),
    Facet.CALLER: attrgetter("peer_uid", "peer_gid", "executable", "ancestors"),
    Facet.ROUTE: attrgetter("is_forwarded"),
    Facet.PURPOSE: attrgetter("purpose"),
    Facet.FORMAT: attrgetter("signature_format", "flags"),
    Facet.TIME: lambda q: None if q.now_s is None else int(q.now_s),
}
"""What the masks of each facet are remembered by; windows have no parts of seconds."""

MAX_REMEMBERED_CHARS = 1024
"""Of the texts that callers choose in one value; what is longer is looked at every time."""

_CHARS: Mapping[Facet, Callable[[SignQuery], int]] = {
    Facet.PURPOSE: lambda q: len(q.purpose.detail) + len(q.purpose.user) if q.purpose else 0,
    Facet.CALLER: lambda q: len(q.executable or "") + sum(map(len, q.ancestors or ())),
}

_KNOWN_WHEN_LISTING = (Facet.KEY, Facet.CALLER, Facet.ROUTE, Facet.FORMAT, Facet.TIME)


class _FacetIndex:
    """The rules that look at one facet."""

    def __init__(self, policy: SigningPolicy, facet: Facet, everything: int) -> None:
        self.value_of = _VALUES[facet]
        self._chars_of = _CHARS.get(facet)
        self._rules = [
            (1 << number, matchers)
            for number, rule in enumerate(policy.rules)
            if (matchers := [one for one in rule.matchers if one.facet is facet])
        ]
        self._others = everything & ~sum(bit for bit, _ in self._rules)
        self.known: dict[Hashable, _Masks] = {}

    @property
    def is_used(self) -> bool:
        """Whether any rule looks at it."""
        return bool(self._rules)

    def masks(self, query: SignQuery) -> _Masks:
        """What the query's value of this facet says of every rule."""
        value = self.value_of(query)
        return self.known.get(value) or self.learn(value, query)

    def learn(self, value: Hashable, query: SignQuery) -> _Masks:
        """Look at every rule for a value, and remember it if it is not too long."""
        found = self._look(query)
        if self._chars_of is None or self._chars_of(query) <= MAX_REMEMBERED_CHARS:
            if len(self.known) >= MAX_REMEMBERED:
                self.known.clear()
            self.known[value] = found
        return found

    def masks_of_kind(self, kind: DataKind) -> _Masks:
        """What is said of all data of one kind."""
        possible = certain = self._others
        for bit, matchers in self._rules:
            answer = all_of(
                one.match_kind(kind) if isinstance(one, KindMatcher) else Match.UNKNOWN
                for one in matchers
            )
            possible |= bit if answer is not Match.NO else 0
            certain |= bit if answer is Match.YES else 0
        return possible, certain

    def _look(self, query: SignQuery) -> _Masks:
        possible = certain = self._others
        no, yes = Match.NO, Match.YES
        for bit, matchers in self._rules:
            is_certain = True
            for one in matchers:
                answer = one.match(query)
                if answer is no:
                    break
                is_certain = is_certain and answer is yes
            else:
                possible |= bit
                if is_certain:
                    certain |= bit
        return possible, certain


class CompiledPolicy:
    """Decides as the policy it was made of; a value of its own worker, for it remembers."""

    def __init__(self, policy: SigningPolicy) -> None:
        self.policy = policy
        self._everything = (1 << len(policy.rules)) - 1
        facets = {facet: _FacetIndex(policy, facet, self._everything) for facet in _VALUES}
        self._facets = {facet: index for facet, index in facets.items() if index.is_used}
        self._lookups = tuple(
            (index.value_of, index.known, index) for index in self._facets.values()
        )
        self._deny, self._pin, self._allow, self._confirm = (
            sum(1 << number for number, rule in enumerate(policy.rules) if rule.effect is effect)
            for effect in (Effect.DENY, Effect.PIN, Effect.ALLOW, Effect.CONFIRM)
        )
        self._rates: dict[int, Rate] = {
            1 << number: one
            for number, rule in enumerate(policy.rules)
            for one in rule.matchers
            if isinstance(one, Rate)
        }
        self._counted = sum(self._rates)

    @property
    def has_rules(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.policy.rules)

    def looks_at(self, facet: Facet) -> bool:
        """Whether any rule asks about it; what none does need not be found out."""
        by_caller = facet is Facet.CALLER and any(
            rate.each == "caller" for rate in self._rates.values()
        )
        return facet in self._facets or by_caller

    def decide(self, query: SignQuery, rates: RateGauge = FREE) -> Decision:
        """Whether the signature may be made."""
        if not self.policy.rules:
            return Decision(allowed=True, rule="", reason="no_rules")
        possible = certain = self._everything
        for value_of, known, index in self._lookups:
            value = value_of(query)
            not_out, fulfilled = known.get(value) or index.learn(value, query)
            possible &= not_out
            certain &= fulfilled
        charges: tuple[Charge, ...] = ()
        if possible & self._counted:
            possible, certain, charges = self._count(possible, certain, query, rates)
        return self._judge(possible, certain, charges)

    def _count(
        self, possible: int, certain: int, query: SignQuery, rates: RateGauge
    ) -> tuple[int, int, tuple[Charge, ...]]:
        """The masks with the counts looked at, and what the signature would count for."""
        charges = []
        left = possible & self._counted
        while left:
            bit = left & -left
            left ^= bit
            answer, charge = self._rates[bit].look(query, rates)
            if charge is not None:
                charges.append(charge)
            if answer is Match.NO:
                possible &= ~bit
            if answer is not Match.YES:
                certain &= ~bit
        return possible, certain, tuple(charges)

    def _judge(self, possible: int, certain: int, charges: tuple[Charge, ...]) -> Decision:
        if denies := possible & self._deny:
            reason = "denied" if certain & denies & -denies else "undetermined"
            return Decision(allowed=False, rule=self._first(denies), reason=reason)
        if missing := self._pin & ~certain:
            return Decision(allowed=False, rule=self._first(missing), reason="not_pinned")
        allows = certain & self._allow
        if self._allow and not allows:
            return Decision(allowed=False, rule="", reason="no_allow_matches")
        asking = possible & self._confirm
        confirm = self._first(asking) if asking else ""
        if allows:
            return Decision(True, self._first(allows), "allowed", confirm, charges)
        if self._pin:
            return Decision(True, self._last(self._pin), "pinned", confirm, charges)
        return Decision(True, "", "no_deny_matches", confirm, charges)

    def _first(self, mask: int) -> str:
        return self.policy.rules[(mask & -mask).bit_length() - 1].name

    def _last(self, mask: int) -> str:
        return self.policy.rules[mask.bit_length() - 1].name

    def could_sign(self, query: SignQuery) -> bool:
        """Whether any data might be signed with this key and format, for this caller, here and now.

        A count hides nothing, for it may have room again. What data say of themselves is taken as
        the rules would like it best, one kind of data after the other.
        """
        possible = certain = self._everything
        known = [self._facets[facet] for facet in _KNOWN_WHEN_LISTING if facet in self._facets]
        for index in known:
            not_out, fulfilled = index.masks(query)
            possible &= not_out
            certain &= fulfilled
        possible &= ~self._counted
        return any(
            self._leaves_open(possible & always, certain & perhaps)
            for perhaps, always in self._kinds
        )

    @cached_property
    def _kinds(self) -> tuple[_Masks, ...]:
        """For each kind of data, what its rules might say and what they say in any case."""
        index = self._facets.get(Facet.PURPOSE)
        if index is None:
            return ((self._everything, self._everything),)
        return tuple(map(index.masks_of_kind, DataKind))

    def _leaves_open(self, matching: int, met: int) -> bool:
        """Whether a signature is left that these matching denies do not refuse."""
        is_out = self._pin & ~met or (self._allow and not self._allow & met)
        return not matching & self._deny and not is_out
