"""A worker's questions to people: which signatures may be made, asked before each.

The board that keeps them is the supervisor's. Rule for editors: a question holds no signer's slot,
and goes when its connection does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from secretivex.context.question import (
    Request,
    describe_destination,
    render_question,
    show_name,
)
from secretivex.engine import ConfirmJob
from secretivex.peer import UNKNOWN_CALLER
from secretivex.server.confirm.asked import Asked, key_of
from secretivex.server.lanes.turn import Turn, TurnOwner
from secretivex.stores.token.askpass import Question
from secretivex.stores.token.tools import TokenTools

LOG = logging.getLogger("secretivex.server")

GoOn = Callable[[ConfirmJob, str, Turn], None]
"""Called on the loop with the word for why not, "" if a person allowed it."""


class People(Protocol):
    """The way to the board."""

    def ask_people(self, ticket: int, asked: Asked) -> None:
        """Have a person asked; the answer comes back by the ticket."""
        ...

    def forget_question(self, ticket: int) -> None:
        """Nobody waits for it any more."""
        ...


class ConfirmDesk:
    """Gives tickets for questions. `people` is set before the first of them."""

    people: People

    def __init__(self, go_on: GoOn) -> None:
        self._go_on = go_on
        self._open: dict[int, tuple[ConfirmJob, Turn]] = {}
        self._last_ticket = 0
        self.tools = TokenTools()

    def submit(self, job: ConfirmJob, turn: Turn) -> None:
        """Have a person asked."""
        self._last_ticket = ticket = (self._last_ticket + 1) % 2**32
        self._open[ticket] = job, turn
        question = make_question(job, self.tools)
        self.people.ask_people(ticket, Asked(question, key_of(job.sign), str(id(turn.owner))))

    def forget(self, owner: TurnOwner) -> list[tuple[ConfirmJob, Turn]]:
        """A connection is gone, and its questions with it: these.

        The last one first: none that waits its turn is shown when the one before it goes.
        """
        tickets = [one for one, (_, turn) in self._open.items() if turn.owner is owner]
        for ticket in reversed(tickets):
            self.people.forget_question(ticket)
        return [self._open.pop(ticket) for ticket in tickets]

    def abandon(self) -> list[tuple[ConfirmJob, Turn]]:
        """Nobody's answer is waited for any more; what was asked."""
        left = list(self._open.values())
        self._open.clear()
        return left

    def end(self, ticket: int, refusal: str) -> None:
        """A person has answered; "" if they allowed it."""
        job, turn = self._open.pop(ticket, (None, None))
        if job is None or turn is None:
            return
        entry = job.sign.entry
        key = self.tools.show(entry.identity.key_blob)
        fields = {"key": key, "pid": job.sign.peer.pid}
        if refusal:
            why = {"reason": refusal} | _REMEDIES.get(refusal, {})
            LOG.warning("a signature was not allowed", extra={"fields": fields | why})
        else:
            LOG.info("a signature was allowed", extra={"fields": fields})
        if not turn.is_dropped:
            self._go_on(job, refusal, turn)


_REMEDIES = {
    "confirm_unavailable": {
        "hint": "the agent needs SSH_ASKPASS with DISPLAY or WAYLAND_DISPLAY, or confirm_command"
    }
}
"""What to do about it, where the reason alone does not say."""


def make_question(job: ConfirmJob, tools: TokenTools) -> Question:
    """The text, and its parts for a program that shows them its own way."""
    entry, peer = job.sign.entry, job.sign.peer
    request = Request(
        key_blob=entry.identity.key_blob,
        comment=entry.identity.comment,
        peer=peer,
        caller=peer.caller or UNKNOWN_CALLER,
        data=job.sign.data,
        bindings=job.sign.bindings,
    )
    text = render_question(request, tools.show)
    parts = {
        "REQUEST": "sign",
        "KEY_ID": entry.sha256,
        "KEY_FINGERPRINT": entry.sha256,
        "KEY_COMMENT": show_name(entry.identity.comment),
        "FLAGS": str(job.sign.flags),
        "DATA_LEN": str(len(job.sign.data)),
        "CALLER_PID": str(peer.pid or ""),
        "CALLER_UID": str(peer.uid),
        "CALLER_EXECUTABLE": show_name(request.caller.executable),
        "CALLER_ANCESTORS": ", ".join(map(show_name, request.caller.ancestors or ())),
        "DESTINATION": describe_destination(request, tools.show),
        "TEXT": text,
    }
    return Question(text, {f"SECRETIVE_CONFIRM_{name}": value for name, value in parts.items()})
