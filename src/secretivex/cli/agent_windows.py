"""`secretive-agent run` on Windows: in a terminal, or as a service of the system's manager."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from secretivex.config import AgentConfig
from secretivex.server.windows.agent import PipeAgent
from secretivex.server.windows.port import PipePort


def run_windows(
    environ: Mapping[str, str],
    read: Callable[[], AgentConfig],
    *,
    as_service: bool,
    owner_sid: str | None,
    port: PipePort | None = None,
) -> None:
    """Serve until told to stop; raises `SecretiveError`."""
    pipes = port or _pipes()

    def make() -> PipeAgent:
        return PipeAgent(read(), environ, pipes, owner_sid=owner_sid, read=read)

    if as_service:
        from secretivex.server.windows.pywin32_service import run_service

        run_service(make)
        return
    agent = make()
    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()


def _pipes() -> PipePort:
    from secretivex.server.windows.pywin32 import Pipes

    return Pipes()
