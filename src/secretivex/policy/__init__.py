"""Which signatures the agent may make: rules as data, and pure functions that decide.

Order: a deny that matches refuses; every pin must match; where there is an allow, one must match;
what is left is asked about where a confirm matches. Rule for editors: what cannot be determined
never matches an allow or a pin and always matches a deny or a confirm, so adding one of these can
only take permissions away (property tests hold that).
"""

from secretivex.policy.compiled import CompiledPolicy
from secretivex.policy.matchers import (
    MAX_COMMENT_CHARS,
    Comments,
    Facet,
    Fingerprints,
    KeyBlobs,
    Match,
    Matcher,
    comments_matcher,
    fold_comment,
)
from secretivex.policy.query import SignQuery
from secretivex.policy.rate import FREE, Charge, Rate, RateGauge
from secretivex.policy.rules import Decision, Effect, Rule, SigningPolicy, decide
from secretivex.policy.window import Window

__all__ = [
    "FREE",
    "MAX_COMMENT_CHARS",
    "Charge",
    "Comments",
    "CompiledPolicy",
    "Decision",
    "Effect",
    "Facet",
    "Fingerprints",
    "KeyBlobs",
    "Match",
    "Matcher",
    "Rate",
    "RateGauge",
    "Rule",
    "SignQuery",
    "SigningPolicy",
    "Window",
    "comments_matcher",
    "decide",
    "fold_comment",
]
