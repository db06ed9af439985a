"""The comparisons of times: `before`, `after`, `within`, and until when their answers stand.

"now" is the run's `as_of`. An answer's end is the first moment, to the microsecond, at which the
same fact would be answered otherwise.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from fleetmdm.evaluate.operators.comparisons import INVALID_VALUE, TEXT, need, need_operand
from fleetmdm.evaluate.operators.row import Answer, Answers, Comparison, FactFault, OperandError
from fleetmdm.evaluate.operators.times import (
    FUTURE_ALLOWANCE,
    NEVER,
    TICK,
    MomentOperand,
    encode_end,
    parse_duration,
    parse_operand,
    read_plain_moments,
    shifted,
    shifted_all,
    to_micros,
)
from fleetmdm.rfc3339 import parse_time


def _moment(fact: Any) -> datetime:
    need(fact, "text")
    try:
        return parse_time(fact)
    except ValueError as error:
        raise FactFault(INVALID_VALUE) from error


def _operand(operand: Any) -> MomentOperand:
    need_operand(operand, "text")
    try:
        return parse_operand(operand)
    except ValueError as error:
        raise OperandError(
            f"must be a date-time, a date, now, now+30d or now-12h: {error}"
        ) from error


def prepare_before(operand: Any, _scheme: str) -> Comparison:
    """`fact < operand`; with a moving operand, false becomes true once now > fact - offset."""
    bound = _operand(operand)

    def decide(fact: Any, now: datetime) -> Answer:
        moment = _moment(fact)
        held = moment < bound.at(now)
        if held or bound.fixed is not None:
            return held, None
        return held, shifted(moment, TICK - bound.offset)

    def answer_all(facts: tuple[str, ...], now: datetime) -> Answers:
        moments, sure = read_plain_moments(facts)
        held = moments < encode_end(bound.at(now))
        later = shifted_all(moments, TICK - bound.offset)
        never = held | (bound.fixed is not None)
        return Answers(held, sure, np.where(never, NEVER, later))

    return Comparison(decide_at=decide, easy=TEXT, answer_all=answer_all)


def prepare_after(operand: Any, _scheme: str) -> Comparison:
    """`fact > operand`; with a moving operand, true becomes false once now >= fact - offset."""
    bound = _operand(operand)

    def decide(fact: Any, now: datetime) -> Answer:
        moment = _moment(fact)
        held = moment > bound.at(now)
        if not held or bound.fixed is not None:
            return held, None
        return held, shifted(moment, -bound.offset)

    def answer_all(facts: tuple[str, ...], now: datetime) -> Answers:
        moments, sure = read_plain_moments(facts)
        held = moments > encode_end(bound.at(now))
        later = shifted_all(moments, -bound.offset)
        never = ~held | (bound.fixed is not None)
        return Answers(held, sure, np.where(never, NEVER, later))

    return Comparison(decide_at=decide, easy=TEXT, answer_all=answer_all)


def prepare_within(operand: Any, _scheme: str) -> Comparison:
    """`now - duration <= fact <= now + 24 h`; later than that is a clock that cannot be trusted."""
    need_operand(operand, "text")
    try:
        duration = parse_duration(operand)
    except ValueError as error:
        raise OperandError(str(error)) from error

    def decide(fact: Any, now: datetime) -> Answer:
        moment = _moment(fact)
        if moment - now > FUTURE_ALLOWANCE:
            raise FactFault("in_future", shifted(moment, -FUTURE_ALLOWANCE))
        held = now - moment <= duration
        return held, shifted(moment, duration + TICK) if held else None

    def answer_all(facts: tuple[str, ...], now: datetime) -> Answers:
        moments, plain = read_plain_moments(facts)
        age = encode_end(now) - moments
        held = age <= to_micros(duration)
        ends = np.where(held, shifted_all(moments, duration + TICK), NEVER)
        return Answers(held, plain & (age >= -to_micros(FUTURE_ALLOWANCE)), ends)

    return Comparison(decide_at=decide, easy=TEXT, answer_all=answer_all)
