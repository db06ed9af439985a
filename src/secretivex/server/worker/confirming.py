"""A worker's questions to people: which signatures may be made, asked before each.

Each open question has a thread and holds no signer's slot. Rule for editors: a question that fails,
whatever the reason, refuses; the few windows a person sees are shared out one a connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from secretivex.context.question import (
    Request,
    describe_destination,
    render_question,
    show_name,
)
from secretivex.engine import ConfirmJob
from secretivex.peer import UNKNOWN_CALLER
from secretivex.server.state import ServerLimits
from secretivex.server.worker.signing import Turn, TurnOwner
from secretivex.stores.token.askpass import Question, Wanted, confirm
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.tools import TokenTools

LOG = logging.getLogger("secretivex.server")

MAX_QUESTIONS = 8
"""Open at a time over all workers; the rest wait their turn."""


class _Waiting(NamedTuple):
    job: ConfirmJob
    turn: Turn


GoOn = Callable[[ConfirmJob, str, Turn], None]
"""Called on the loop with the word for why not, "" if a person allowed it."""


class ConfirmDesk:
    """Connections stand in line; each has one question open at most, and they take turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: ServerLimits, go_on: GoOn) -> None:
        self._loop = loop
        self._go_on = go_on
        self._lines: dict[TurnOwner, deque[_Waiting]] = {}
        self._asking: set[TurnOwner] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = False
        self.tools = TokenTools()
        self.limit(limits)

    def limit(self, limits: ServerLimits) -> None:
        """Apply this worker's share."""
        self._max_questions = limits.share_of(MAX_QUESTIONS)

    def submit(self, job: ConfirmJob, turn: Turn) -> None:
        """Have a person asked."""
        self._lines.setdefault(turn.owner, deque()).append(_Waiting(job, turn))
        self._fill()

    def forget(self, owner: TurnOwner) -> None:
        """A connection is gone; its open question ends by itself."""
        self._lines.pop(owner, None)

    def close(self) -> None:
        """Take every question away; waits until they are gone."""
        self._is_closed = True
        self._lines.clear()
        if self._pool is not None:
            self._pool.shutdown()

    def _fill(self) -> None:
        for owner in tuple(self._lines):
            if len(self._asking) >= self._max_questions:
                return
            if owner not in self._asking:
                self._begin(owner)

    def _begin(self, owner: TurnOwner) -> None:
        line = self._lines.pop(owner)
        waiting = line.popleft()
        if line:
            self._lines[owner] = line  # at the end: others come first
        self._asking.add(owner)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MAX_QUESTIONS, thread_name_prefix="confirm")
        is_wanted = partial(self._is_wanted, waiting.turn)
        asking = self._loop.run_in_executor(
            self._pool, refusal_of, waiting.job, self.tools, is_wanted
        )
        asking.add_done_callback(lambda done: self._end(waiting, done.result()))

    def _is_wanted(self, turn: Turn) -> bool:
        """Asked in the thread that waits."""
        return not (turn.is_dropped or self._is_closed)

    def _end(self, waiting: _Waiting, refusal: str) -> None:
        self._asking.discard(waiting.turn.owner)
        if not waiting.turn.is_dropped:
            self._go_on(waiting.job, refusal, waiting.turn)
        self._fill()


def refusal_of(job: ConfirmJob, tools: TokenTools, is_wanted: Wanted) -> str:
    """Ask, and wait for the answer: the word for why not, "" if a person allowed it."""
    key = tools.show(job.sign.entry.identity.key_blob)
    fields = {"key": key, "pid": job.sign.peer.pid}
    try:
        confirm(tools, make_question(job, tools), is_wanted)
    except TokenError as error:
        fields |= {"reason": error.reason, "detail": str(error)}
        LOG.warning("a signature was not allowed", extra={"fields": fields})
        return error.reason
    except Exception:
        LOG.exception("a person could not be asked", extra={"fields": fields})
        return "confirm_error"
    LOG.info("a signature was allowed", extra={"fields": fields})
    return ""


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
