"""The agent behind a named pipe: one process, started and stopped from another thread.

It keeps the keys that clients add, under the signing policy, as ssh-agent's service on Windows does.
What needs a unix socket or a fork (stores of their own processes, audit log, control socket) is
refused by the configuration on this system. Rule for editors: `stop` and `reload` may be called from
any thread, before and after `run` too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from secretivex.config import AgentConfig
from secretivex.identity import AddRules
from secretivex.server.authority import Authority
from secretivex.server.signals import Wish
from secretivex.server.single import Alone
from secretivex.server.surroundings.around import Around
from secretivex.server.surroundings.notify import Notifier
from secretivex.server.surroundings.reloading import Read, Reloader
from secretivex.server.windows.listen_pipe import PipeListener
from secretivex.server.windows.port import PipePort
from secretivex.server.windows.rules import pipe_name
from secretivex.stores.opening import open_stores

LOG = logging.getLogger("secretivex.server")


class RunningAgent(Protocol):
    """What a service's control handler needs of an agent."""

    @property
    def drain_s(self) -> float:
        """How long requests in hand may take at the end."""
        ...

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until it is stopped."""
        ...

    def stop(self) -> None:
        """Finish what is in hand, then end."""
        ...

    def reload(self) -> None:
        """Read the configuration again."""
        ...


class PipeAgent:
    """One agent; the pipe is claimed when it is made. Raises `SecretiveError`."""

    def __init__(
        self,
        config: AgentConfig,
        environ: Mapping[str, str],
        port: PipePort,
        *,
        owner_sid: str | None = None,
        read: Read | None = None,
    ) -> None:
        self._around = Around(None, Notifier({}), Reloader(config, read))
        self._authority = Authority(config, environ, AddRules(), open_=open_stores)
        owner = owner_sid or port.own_sid()
        self._listener = PipeListener(port, pipe_name(str(config.socket_path)), owner)
        self._loop = asyncio.new_event_loop()
        self._alone = Alone(self._loop, self._listener, self._authority, self._around)

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until it is stopped."""
        try:
            self._loop.run_until_complete(self._serve(on_ready))
        finally:
            self._listener.close()
            self._loop.close()
        LOG.info("stopped")

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        alone = self._alone
        self._authority.refresh()
        alone.publish()
        LOG.info("listening", extra={"fields": {"pipe": self._listener.name}})
        on_ready()
        try:
            await alone.worker.drained
        finally:
            alone.close_board()
            alone.worker.close()
            self._listener.hang_up()

    @property
    def drain_s(self) -> float:
        """As the configuration in force has it."""
        return self._around.drain_timeout_s

    def stop(self) -> None:
        """Finish what is in hand within `drain_timeout_ms`, then end."""
        self._obey(Wish.STOP)

    def reload(self) -> None:
        """Read the configuration again, all or nothing."""
        self._obey(Wish.RELOAD)

    def _obey(self, wish: Wish) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._alone.obey, wish)
