"""Rules and how they decide, written as they are documented: the meaning of a policy.

`compiled` decides the same by an index; a property test holds the two together. Rule for editors:
the order is deny, pin, allow, confirm, and no rule's place in the file changes a decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from secretivex.policy.facets import Match, Matcher
from secretivex.policy.query import SignQuery
from secretivex.policy.rate import FREE, Charge, Rate, RateGauge


class Effect(Enum):
    """What a rule that matches does."""

    DENY = "deny"
    PIN = "pin"
    ALLOW = "allow"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches where all its matchers do; `name` is what audit records and messages call it."""

    name: str
    effect: Effect
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """All rules; their order does not change a decision, only which rule is named for it."""

    rules: tuple[Rule, ...] = ()

    def having(self, effect: Effect) -> tuple[Rule, ...]:
        """The rules of one effect."""
        return tuple(rule for rule in self.rules if rule.effect is effect)


class Decision(NamedTuple):
    """The verdict, the rule that made it ("" for none) and a stable word for why.

    `confirm` is the rule that wants a person asked first, "" for none; `charges` is what a signature
    that is made counts for.
    """

    allowed: bool
    rule: str
    reason: str
    confirm: str = ""
    charges: tuple[Charge, ...] = ()


def match_one(matcher: Matcher, query: SignQuery, rates: RateGauge = FREE) -> Match:
    """What one matcher says."""
    return matcher.look(query, rates)[0] if isinstance(matcher, Rate) else matcher.match(query)


def match_rule(rule: Rule, query: SignQuery, rates: RateGauge = FREE) -> Match:
    """No if any matcher says no, else unknown if any says unknown."""
    return all_of(match_one(matcher, query, rates) for matcher in rule.matchers)


def all_of(found: Iterable[Match]) -> Match:
    """Three-valued "and"."""
    answers = set(found)
    if Match.NO in answers:
        return Match.NO
    return Match.UNKNOWN if Match.UNKNOWN in answers else Match.YES


def decide(policy: SigningPolicy, query: SignQuery, rates: RateGauge = FREE) -> Decision:
    """Whether the signature may be made."""
    if not policy.rules:
        return Decision(allowed=True, rule="", reason="no_rules")
    found = {id(rule): match_rule(rule, query, rates) for rule in policy.rules}
    for rule in policy.having(Effect.DENY):
        if found[id(rule)] is not Match.NO:
            reason = "denied" if found[id(rule)] is Match.YES else "undetermined"
            return Decision(allowed=False, rule=rule.name, reason=reason)
    pinned = ""
    for rule in policy.having(Effect.PIN):
        if found[id(rule)] is not Match.YES:
            return Decision(allowed=False, rule=rule.name, reason="not_pinned")
        pinned = rule.name
    allows = policy.having(Effect.ALLOW)
    matching = [rule for rule in allows if found[id(rule)] is Match.YES]
    if allows and not matching:
        return Decision(allowed=False, rule="", reason="no_allow_matches")
    asking = [rule for rule in policy.having(Effect.CONFIRM) if found[id(rule)] is not Match.NO]
    named, reason = (matching[0].name, "allowed") if matching else (pinned, "pinned")
    return Decision(
        allowed=True,
        rule=named,
        reason=reason if named else "no_deny_matches",
        confirm=asking[0].name if asking else "",
        charges=charges_of(policy.rules, query, rates),
    )


def charges_of(rules: Iterable[Rule], query: SignQuery, rates: RateGauge) -> tuple[Charge, ...]:
    """What a signature counts for: every count with room of a rule that matches but for it."""
    charges = []
    for rule in rules:
        others = (one.match(query) for one in rule.matchers if not isinstance(one, Rate))
        if all_of(others) is not Match.NO:
            counts = (one for one in rule.matchers if isinstance(one, Rate))
            charges += [charge for one in counts if (charge := one.look(query, rates)[1])]
    return tuple(charges)
