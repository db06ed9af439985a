"""Which signatures the agent may make: rules as data, and pure functions that decide.

Order: a deny that matches refuses; every pin must match; where there is an allow, one must match;
what is left is asked about where a confirm matches. Rule for editors: what cannot be determined
never matches an allow or a pin and always matches a deny or a confirm, so adding one of these can
only take permissions away (property tests hold that).
"""

from secretivex.policy.compiled import CompiledPolicy
from secretivex.policy.facets import Facet, Match, Matcher
from secretivex.policy.query import SignQuery
from secretivex.policy.rate import FREE, Charge, Rate, RateGauge
from secretivex.policy.rules import Decision, Effect, Rule, SigningPolicy, decide

__all__ = [
    "FREE",
    "Charge",
    "CompiledPolicy",
    "Decision",
    "Effect",
    "Facet",
    "Match",
    "Matcher",
    "Rate",
    "RateGauge",
    "Rule",
    "SignQuery",
    "SigningPolicy",
    "decide",
]
