"""A worker's counting: what was asked and what came of it, by cells that are found once.

Rule for editors: this is on the path of every request; a cell is looked up by name only the first
time that it is needed.
"""

from __future__ import annotations

from secretivex.engine import Decide
from secretivex.metrics.cells import Meter
from secretivex.policy import Decision, SignQuery
from secretivex.server.worker.cells import ConnectionCells
from secretivex.server.worker.signing import SigningQueue
from sshwire.agent.numbers import REQUEST_WORDS

MAX_RULE_BYTES = 64
"""Of a rule's name, so that the word for why has its place in the series' name too."""


def _told(rule: str) -> str:
    """A rule's name as its label has it."""
    return rule.replace("/", "|").encode()[:MAX_RULE_BYTES].decode(errors="ignore") or "none"


class Tally:
    """Counts for one worker."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._places: dict[tuple[object, str], int] = {}
        self._made: dict[str, int] = {}
        self.is_again = False
        """Whether what is decided now was allowed already, before a person was asked: a signature's
        decision counts once, unless it is another then."""
        self._add = meter.add
        self._connections, self._most, self._queue, self._signing, self._kept = (
            meter.place(name)
            for name in (
                *("connections", "connections_most"),
                *("signing_queue", "signing", "kept"),
            )
        )

    def answered(self, payload: bytes | memoryview, outcome: str) -> None:
        """A request that was answered at once."""
        number = payload[0] if payload else 0
        place = self._places.get((number, outcome))
        if place is None:
            name = REQUEST_WORDS.get(number, "unknown")
            place = self._places[number, outcome] = self.meter.place(
                "requests", f"{name}/{outcome}"
            )
        self._add(place)

    def signed(self, store: str, count: int) -> None:
        """Signatures that were made and given to who asked for them."""
        self.not_signed("ok", count)
        place = self._made.get(store)
        if place is None:
            place = self._made[store] = self.meter.place("signatures", store)
        self._add(place, count)

    def not_signed(self, outcome: str, count: int = 1) -> None:
        """A signature that was refused, or that could not be made."""
        place = self._places.get(("sign", outcome))
        if place is None:
            place = self._places["sign", outcome] = self.meter.place("requests", f"sign/{outcome}")
        self._add(place, count)

    def changed(self, kind: str, outcome: str) -> None:
        """A change of what is served."""
        self.meter.count("requests", f"{kind}/{outcome}")

    def holds(self, connections: int, cells: ConnectionCells, *, is_more: bool) -> None:
        """Connections of this worker, and the most that all had; seen by each as it counts."""
        self.meter.put(self._connections, connections)
        if is_more:
            total = cells.total()
            if total > self.meter.get(self._most):
                self.meter.put(self._most, total)

    def waits(self, signing: SigningQueue) -> None:
        """What stands in the queues."""
        self.meter.put(self._queue, signing.waiting)
        self.meter.put(self._signing, signing.in_the_making)
        self.meter.put(self._kept, signing.memory.held_bytes)

    def confirmed(self, refusal: str) -> None:
        """A question to a person."""
        self.meter.count("confirmations", refusal or "allowed")

    def watch(self, decide: Decide) -> Decide:
        """The same policy, its decisions counted by rule."""
        places: dict[tuple[str, str], int] = {}

        def counted(query: SignQuery, /) -> Decision:
            decision = decide(query)
            if self.is_again and decision.allowed:
                return decision
            rule = decision.rule or decision.confirm
            key = rule, decision.reason
            place = places.get(key)
            if place is None:
                label = f"{_told(rule)}/{decision.reason}"
                place = places[key] = self.meter.place("policy_decisions", label)
            self._add(place)
            return decision

        return counted
