"""Gathers what `preflight` judges, from this machine alone: nothing here connects to a host."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agentclient.address import MAX_SOCKET_PATH_BYTES, SSH_AUTH_SOCK
from agentclient.client import AgentClient
from agentclient.errors import AgentError
from secretivex.cli.client.fanout.checks import Facts, asked_by_ssh

SSH_TIMEOUT_S: Final = 10
SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")
SYNCHRONISED: Final = Path("/run/systemd/timesync/synchronized")
RELEASED_UNIX_S: Final = 1_767_225_600
"""2026-01-01: a clock before it is wrong."""


def gather(agent: AgentClient, environ: Mapping[str, str], *, parallel: int, host: str) -> Facts:
    """Everything; what cannot be found out stays None."""
    keys, error = _keys(agent)
    ssh = _settle_variable(_ssh_config(host), environ)
    return Facts(
        parallel=parallel,
        socket_path=agent.address,
        max_socket_path_bytes=MAX_SOCKET_PATH_BYTES,
        socket_folder_mode=_folder_mode(Path(agent.address)),
        keys=keys,
        agent_error=error,
        descriptors=_limit("RLIMIT_NOFILE"),
        processes=_limit("RLIMIT_NPROC"),
        backlog=_number(SOMAXCONN),
        cores=os.cpu_count() or 1,
        auth_sock=environ.get(SSH_AUTH_SOCK, ""),
        is_asked_by_ssh=_is_same(agent.address, asked_by_ssh(ssh, environ.get(SSH_AUTH_SOCK, ""))),
        ssh=ssh,
        known_hosts_bytes=_known_hosts_bytes(ssh),
        is_clock_synchronised=_is_clock_synchronised(),
        is_clock_before_release=time.time() < RELEASED_UNIX_S,
    )


def _keys(agent: AgentClient) -> tuple[int | None, str]:
    try:
        with agent:
            return len(agent.identities()), ""
    except AgentError as error:
        return None, error.message


def _is_same(path: str, other: str) -> bool:
    """Whether two names are of one file; a folder may be reached by a link."""
    with suppress(OSError):
        return Path(path).samefile(other)
    return False


def _folder_mode(path: Path) -> int | None:
    """None too for a sticky folder such as /tmp: others cannot take the socket's place there."""
    with suppress(OSError):
        mode = path.parent.stat().st_mode
        return None if mode & stat.S_ISVTX else stat.S_IMODE(mode)
    return None


def _limit(name: str) -> int | None:
    """The soft limit; a figure beyond all need where there is none."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(getattr(resource, name))
    return 10**9 if soft == resource.RLIM_INFINITY else soft


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _ssh_config(host: str) -> Mapping[str, str]:
    """What ssh would do for a host, by its own word; it connects to nothing."""
    program = shutil.which("ssh")
    if program is None:
        return {}
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": SSH_TIMEOUT_S}
    try:
        done = subprocess.run([program, "-G", "--", host], check=False, **options)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return {}
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs}


def _settle_variable(ssh: Mapping[str, str], environ: Mapping[str, str]) -> Mapping[str, str]:
    """`IdentityAgent $NAME` means what the variable holds (ssh_config(5))."""
    named = ssh.get("identityagent", "")
    return {**ssh, "identityagent": environ.get(named[1:], "")} if named.startswith("$") else ssh


def _known_hosts_bytes(ssh: Mapping[str, str]) -> int | None:
    names = f"{ssh.get('userknownhostsfile', '')} {ssh.get('globalknownhostsfile', '')}".split()
    sizes = []
    for name in names:
        with suppress(OSError):
            sizes.append(Path(name).expanduser().stat().st_size)
    return sum(sizes) if sizes else None


def _is_clock_synchronised() -> bool | None:
    """By the word of systemd or chrony; without either nobody knows."""
    if SYNCHRONISED.exists():
        return True
    program = shutil.which("chronyc")
    if program is None:
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, "-n", "tracking"],
            capture_output=True,
            text=True,
            check=False,
            timeout=SSH_TIMEOUT_S,
        )
        if done.returncode == 0:
            return "Not synchronised" not in done.stdout
    return None
