"""A worker's requests for changes: what it asked of the authority and still has no answer to.

Rule for editors: a passphrase ends here; what goes on to the authority is its derivation, made in
a thread of its own so that neither the loop nor a signer waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from secretivex.engine import Change, ChangeRequest
from secretivex.lock import SALT_BYTES, derive
from secretivex.server.lanes.turn import CUT_OFF, GONE, Turn
from secretivex.server.worker.tokens import TokenDesk
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.loaded import LoadedModule
from sshwire.agent.requests import (
    AddSmartcardRequest,
    LockRequest,
    RemoveSmartcardRequest,
    UnlockRequest,
)

LOG = logging.getLogger("secretivex.stores")

MAX_IN_HAND = 64
"""Changes of one kind that a worker has in hand at a time; clients that ask and hang up at once
would make the channel to the authority as long as they like."""

PREPARING_THREADS = 4
"""Modules of one worker that may be loading at a time."""

Ask = Callable[[int, ChangeRequest | LoadedModule], None]
"""Have a change made under a ticket; its outcome comes back by the ticket."""


CROWD = 256
"""Length of a queue at which it is looked through for what nobody waits for any more."""

Waiting = TypeVar("Waiting")


def forget_dropped(queue: deque[Waiting], turn_of: Callable[[Waiting], Turn]) -> list[Turn]:
    """Make a long queue as short as it can be: clients that hang up must not fill memory.

    Gives the turns that nobody waits for any more.
    """
    if len(queue) < CROWD or len(queue) % CROWD:
        return []
    waiting = list(queue)
    queue.clear()
    queue.extend(one for one in waiting if not turn_of(one).is_dropped)
    return [turn for turn in map(turn_of, waiting) if turn.is_dropped]


class _Line:
    """Changes of one kind: those that wait, and how many are in hand."""

    __slots__ = ("in_hand", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[ChangeRequest, Turn]] = deque()
        self.in_hand = 0


class ChangeDesk:
    """Gives tickets for changes.

    `settle` is called once with every turn and the word for its outcome, dropped turns included.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ask: Ask,
        settle: Callable[[Turn, str], None],
        tokens: TokenDesk,
    ) -> None:
        self._loop = loop
        self._ask = ask
        self._settle = settle
        self._turns: dict[int, tuple[Turn, _Line]] = {}
        self._keys, self._locks, self._modules = _Line(), _Line(), _Line()
        self._last_ticket = 0
        self._deriving: ThreadPoolExecutor | None = None
        self._preparing: ThreadPoolExecutor | None = None
        self._tokens = tokens
        self.lock_salt = b""

    def submit(self, change: Change, turn: Turn) -> None:
        """Have a change made."""
        line = self._line_of(change.request)
        for gone in forget_dropped(line.waiting, turn_of=lambda waiting: waiting[1]):
            self._settle(gone, GONE)
        line.waiting.append((change.request, turn))
        self._go_on(line)

    def abandon(self) -> None:
        """Settle all that is in hand or waits as cut off, and nothing after that."""
        settle, self._settle = self._settle, lambda _turn, _outcome: None
        for line in (self._keys, self._locks, self._modules):
            for _, turn in line.waiting:
                settle(turn, CUT_OFF)
            line.waiting.clear()
        for turn, _ in self._turns.values():
            settle(turn, CUT_OFF)

    def _line_of(self, request: ChangeRequest) -> _Line:
        if isinstance(request, LockRequest | UnlockRequest):
            return self._locks
        is_module = isinstance(request, AddSmartcardRequest | RemoveSmartcardRequest)
        return self._modules if is_module else self._keys

    def _go_on(self, line: _Line) -> None:
        while line.waiting and line.in_hand < MAX_IN_HAND:
            request, turn = line.waiting.popleft()
            if turn.is_dropped:
                self._settle(turn, GONE)
            else:
                self._last_ticket = ticket = (self._last_ticket + 1) % 2**32
                self._turns[ticket] = turn, line
                line.in_hand += 1
                self._begin(ticket, request)

    def _begin(self, ticket: int, request: ChangeRequest) -> None:
        if isinstance(request, LockRequest | UnlockRequest):
            self._derive(ticket, request)
        elif isinstance(request, AddSmartcardRequest | RemoveSmartcardRequest):
            self._prepare(ticket, request)
        else:
            self._ask(ticket, request)

    def end(self, ticket: int, outcome: str) -> None:
        """What came of a change."""
        turn, line = self._turns.pop(ticket)
        line.in_hand -= 1
        # Who asked may have hung up: the change was made all the same.
        self._settle(turn, outcome)
        self._go_on(line)

    def _prepare(self, ticket: int, request: AddSmartcardRequest | RemoveSmartcardRequest) -> None:
        """Load a module in a thread, for that may take long; only its keys go to the authority."""
        if self._preparing is None:
            self._preparing = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix="prepare")
        preparing = self._loop.run_in_executor(self._preparing, self._tokens.prepare, request)

        def go_on(done: asyncio.Future[RemoveSmartcardRequest | LoadedModule]) -> None:
            try:
                self._ask(ticket, done.result())
            except TokenError as error:
                fields = {"reason": error.reason, "detail": str(error)}
                LOG.warning("a module is refused", extra={"fields": fields})
                self.end(ticket, error.reason)
            except Exception:
                LOG.exception("a module cannot be loaded")
                self.end(ticket, "module_failed")

        preparing.add_done_callback(go_on)

    def _derive(self, ticket: int, request: LockRequest | UnlockRequest) -> None:
        is_lock = isinstance(request, LockRequest)
        salt = os.urandom(SALT_BYTES) if is_lock else self.lock_salt
        if self._deriving is None:
            self._deriving = ThreadPoolExecutor(1, thread_name_prefix="derive")
        deriving = self._loop.run_in_executor(self._deriving, derive, request.passphrase, salt)

        def go_on(done: asyncio.Future[bytes]) -> None:
            digest = done.result()
            self._ask(ticket, LockRequest(salt + digest) if is_lock else UnlockRequest(digest))

        deriving.add_done_callback(go_on)
