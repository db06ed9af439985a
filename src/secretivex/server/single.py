"""The agent in one process: what supervisor and worker do, on one loop (`workers = 1`).

Rule for editors: it answers exactly as several workers would; only who does the work differs.
"""

from __future__ import annotations

import asyncio
import logging

from secretivex.server.authority import Authority
from secretivex.server.listen_unix import Listener
from secretivex.server.signals import TAKEN, SignalPipe, Wish
from secretivex.server.worker.cells import ConnectionCells
from secretivex.server.worker.process import new_loop
from secretivex.server.worker.serving import Worker

LOG = logging.getLogger("secretivex.server")


def run_single(
    listener: Listener, authority: Authority, signals: SignalPipe, drain_timeout_ms: int
) -> None:
    """Serve; returns after a clean stop."""
    loop = new_loop()
    try:
        loop.run_until_complete(_serve(loop, listener, authority, signals, drain_timeout_ms))
    finally:
        loop.close()


async def _serve(
    loop: asyncio.AbstractEventLoop,
    listener: Listener,
    authority: Authority,
    signals: SignalPipe,
    drain_timeout_ms: int,
) -> None:
    worker = Worker(loop, listener.socket, ConnectionCells(1), 0)

    def obey(wish: Wish | None) -> None:
        if wish is Wish.RELOAD:
            _reload(worker, authority)
        elif wish is Wish.STOP:
            worker.drain(drain_timeout_ms / 1000)
            listener.close()

    for number in TAKEN:
        loop.add_signal_handler(number, obey, signals.wish_of(number))
    authority.refresh()
    worker.apply(authority.state())
    for wish in signals.read():  # those that came before the handlers
        obey(wish)
    await worker.drained


def _reload(worker: Worker, authority: Authority) -> None:
    """Read the keys again. It blocks the loop; who wants no pause has more than one worker."""
    authority.refresh()
    state = authority.state()
    worker.apply(state)
    fields = {"generation": state.generation, "keys": len(state.keys)}
    LOG.info("keys read again", extra={"fields": fields})
