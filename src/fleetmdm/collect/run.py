"""Run the exporter on many hosts at a time and answer a result for each, whatever happened.

Rule for editors: nothing that one host does may end the work on the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from fleetmdm.collect.plan import Pace, Target
from fleetmdm.collect.session import Access, HostError, try_host
from fleetmdm.device import Device


@dataclass(frozen=True, slots=True)
class HostResult:
    """What became of one host. `reason` is a stable lower_snake word, "" when it went well."""

    host: str
    device: Device | None
    reason: str
    message: str
    attempts: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the host gave a valid document."""
        return self.device is not None


async def collect(
    targets: Sequence[Target], access: Access, pace: Pace, *, jitter: Callable[[], float]
) -> AsyncGenerator[HostResult]:
    """Results as they come, at most `pace.concurrency` hosts at a time."""
    waiting = iter(targets)
    running: set[asyncio.Task[HostResult]] = set()
    try:
        while True:
            while len(running) < pace.concurrency and (target := next(waiting, None)):
                running.add(asyncio.create_task(collect_one(target, access, pace, jitter)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def collect_one(
    target: Target, access: Access, pace: Pace, jitter: Callable[[], float]
) -> HostResult:
    """One host, tries and waits included, within `pace.timeout_s`."""
    begun, attempts = time.monotonic(), 0
    device: Device | None = None
    error = HostError("timeout", f"no document within {pace.timeout_s:g} s")
    # The bound covers every try: a host that hangs costs one timeout, not one for each retry.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pace.timeout_s):
            while device is None:
                attempts += 1
                try:
                    device = await try_host(target, access)
                except HostError as failed:
                    if not failed.again or attempts > pace.retries:
                        error = failed
                        break
                    await asyncio.sleep(pace.wait_s(attempts, jitter()))
    seconds = round(time.monotonic() - begun, 3)
    if device is not None:
        return HostResult(target.name, device, "", "", attempts, seconds)
    return HostResult(target.name, None, error.reason, error.message, attempts, seconds)
