"""From a list of hosts to what will be done on each. Pure: nothing is looked up or contacted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fleetmdm.collect.hosts import HostEntry

INTERPRETER = ("python3", "-I", "-")
"""Isolated: no module of the user's folder or environment is imported; source comes on stdin."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host to collect from and the command line, quoted for a shell, that it will run."""

    name: str
    address: str
    port: int
    user: str
    command: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How a collection spends its time; all bounds are per host except `concurrency`."""

    concurrency: int = 20
    timeout_s: float = 60.0
    retries: int = 2
    backoff_s: float = 0.5
    """Wait before the first retry; doubles each time, and jitter takes up to half of it off."""
    max_backoff_s: float = 8.0

    def wait_s(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after the failed try `attempt` (from 1); `jitter` lies in [0, 1)."""
        full = min(self.backoff_s * 2.0 ** (attempt - 1), self.max_backoff_s)
        return full * (1 - jitter / 2)


def plan_collection(hosts: Sequence[HostEntry], *, user: str) -> tuple[Target, ...]:
    """What to do on each host; `user` logs in where the hosts file names nobody."""
    return tuple(
        Target(host.name, host.address, host.port, host.user or user, exporter_command(host))
        for host in hosts
    )


def exporter_command(host: HostEntry) -> str:
    """The command line that reads the exporter from stdin and prints the host's document."""
    options = {"root": host.root, "device-id": host.device_id, "tags": ",".join(host.tags)}
    given = [f"--{name}={value}" for name, value in options.items() if value]
    return shlex.join([*INTERPRETER, *given])
