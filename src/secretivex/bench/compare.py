"""Two agents under the same load in turn, and the ratios that follow.

Rule for editors: A and B alternate, round by round, so that what else a machine does falls on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from secretivex.bench.run import Outcome, check_ceiling
from secretivex.bench.scenario import Scenario
from secretivex.bench.statistics import Ratio, ratio_of

FIGURES: dict[str, Callable[[Outcome], float]] = {
    "throughput": lambda outcome: outcome.throughput_per_s,
    "p50": lambda outcome: float(outcome.tally.latency.percentile(50)),
    "p95": lambda outcome: float(outcome.tally.latency.percentile(95)),
    "p99": lambda outcome: float(outcome.tally.latency.percentile(99)),
}
"""What is compared, A to B."""

Run = Callable[[Scenario], Outcome]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rounds of both."""

    a: tuple[Outcome, ...]
    b: tuple[Outcome, ...]

    def ratios(self) -> dict[str, Ratio | None]:
        """Each figure's ratio; None where one of them is 0 or missing."""
        return {
            name: ratio_of([(read(a), read(b)) for a, b in zip(self.a, self.b, strict=True)])
            for name, read in FIGURES.items()
        }

    def failures(self) -> dict[str, int]:
        """Requests that failed over all rounds."""
        return {
            "a": sum(outcome.failed for outcome in self.a),
            "b": sum(outcome.failed for outcome in self.b),
        }


def compare(a: Scenario, b: Scenario, *, rounds: int, run: Run) -> Comparison:
    """Run both in turn; every second round begins with B."""
    found: dict[str, list[Outcome]] = {a.address: [], b.address: []}
    pair = [a, b]
    for number in range(rounds):
        for scenario in pair if number % 2 == 0 else reversed(pair):
            outcome = run(scenario)
            check_ceiling(outcome)
            found[scenario.address].append(outcome)
    return Comparison(tuple(found[a.address]), tuple(found[b.address]))


def at_address(scenario: Scenario, address: str, key_blob: bytes) -> Scenario:
    """The same load on another agent."""
    return replace(scenario, address=address, key_blob=key_blob)


def encode_ratio(ratio: Ratio | None) -> dict[str, Any] | None:
    """As JSON has it."""
    if ratio is None:
        return None
    return {"ratio": ratio.value, "low": ratio.low, "high": ratio.high}
