"""Ctrl-C: never in the middle of a document, and never lost.

Python raises `KeyboardInterrupt` between any two instructions. Where a document is on its way out, it
must come after it; and where Python itself throws it away (in a finalizer, in a callback of the
import system), it must come again.
Rule for editors: a second Ctrl-C ends at once, wherever it comes.
"""

from __future__ import annotations

import _thread
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_S = 0.005
"""How long after it was lost an interrupt comes again: when the finalizer is through."""


@contextmanager
def held_back() -> Iterator[None]:
    """Let what is done inside be done before an interrupt is raised.

    Where something else than Python's own answer to it is set up, that stays.
    """
    ours = signal.default_int_handler
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is not ours:
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            ours(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, ours)
    if came:
        raise KeyboardInterrupt


@contextmanager
def again_where_lost() -> Iterator[None]:
    """Inside, an interrupt that Python could only print is raised a moment later instead."""
    before, timers = sys.unraisablehook, list[Timer]()

    def raise_again(lost: UnraisableHookArgs) -> None:
        if lost.exc_type is not KeyboardInterrupt:
            before(lost)
            return
        timers.append(Timer(AGAIN_S, _interrupt))
        timers[-1].start()

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = before


def _interrupt() -> None:
    """As Ctrl-C does, which also breaks off whatever the main thread waits for."""
    main = main_thread().ident
    if sys.platform == "win32" or main is None:
        _thread.interrupt_main()
    else:
        signal.pthread_kill(main, signal.SIGINT)
