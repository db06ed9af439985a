"""Why a policy decides as it does: every rule, every condition, and what it says of one query."""

from __future__ import annotations

from dataclasses import dataclass

from secretivex.policy.facets import Match, Matcher
from secretivex.policy.matchers import Details, Numbers, Texts
from secretivex.policy.query import SignQuery
from secretivex.policy.rules import Decision, SigningPolicy, decide, match_one, match_rule

_NAMES = {
    "KeyBlobs": "key_blobs",
    "Fingerprints": "fingerprints",
    "Comments": "comments",
    "Ancestors": "ancestors",
    "Forwarded": "forwarded",
    "Kinds": "kinds",
    "Hosts": "hosts",
    "Window": "time",
    "Rate": "rate",
}


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """One rule: whether it matches, and each of its conditions by the key that has it."""

    name: str
    effect: str
    match: Match
    conditions: tuple[tuple[str, Match], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and every rule in the order of the policy."""

    decision: Decision
    rules: tuple[RuleOutcome, ...]


def explain(policy: SigningPolicy, query: SignQuery) -> Explanation:
    """Counts are taken as empty: an explanation counts nothing and knows no running agent."""
    rules = tuple(
        RuleOutcome(
            rule.name,
            rule.effect.value,
            match_rule(rule, query),
            tuple((name_of(one), match_one(one, query)) for one in rule.matchers),
        )
        for rule in policy.rules
    )
    return Explanation(decide(policy, query), rules)


def name_of(matcher: Matcher) -> str:
    """The key of a rule that a matcher was made of."""
    if isinstance(matcher, Texts | Numbers | Details):
        return matcher.key
    return _NAMES[type(matcher).__name__]
