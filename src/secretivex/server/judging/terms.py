"""A policy as the engine asks it: compiled, with the shared counts, and with what it looks at."""

from __future__ import annotations

from functools import partial

from secretivex.engine import Decide, Terms
from secretivex.policy import CompiledPolicy, Facet, SigningPolicy
from secretivex.policy.rules import Effect
from secretivex.server.judging.rates import RateTable
from secretivex.server.state import ServerLimits


def judge_by(policy: SigningPolicy, rates: RateTable, limits: ServerLimits) -> tuple[Decide, Terms]:
    """What an engine is given."""
    compiled = CompiledPolicy(policy)
    hides = limits.hide_denied and compiled.has_rules
    terms = Terms(
        is_open=not compiled.has_rules,
        facts=frozenset(facet for facet in Facet if compiled.looks_at(facet)),
        charge=rates.charge,
        decide_charged=compiled.decide,
        could_sign=compiled.could_sign if hides else None,
        query_reply=limits.query_reply,
        is_read_only=limits.agent_mode == "read-only",
    )
    return partial(compiled.decide, rates=rates), terms


def wants_callers(policy: SigningPolicy, terms: Terms) -> bool:
    """Whether it matters which program asks: to a rule, or to a person who is asked."""
    return Facet.CALLER in terms.facts or bool(policy.having(Effect.CONFIRM))
