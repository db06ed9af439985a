"""Where the agent listens, and what is wrong when it does not.

Rule for editors: the environment is an argument; only a command line reads the real one.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from agentclient.errors import AgentUnavailable, SocketPathTooLong

SSH_AUTH_SOCK: Final = "SSH_AUTH_SOCK"
"""The variable every SSH program reads."""

MAX_SOCKET_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103
"""Longest socket path: sun_path has 108 bytes on Linux and 104 on the BSDs and macOS, with a NUL."""


def resolve(
    explicit: str | None,
    environ: Mapping[str, str],
    *,
    variables: Sequence[str] = (SSH_AUTH_SOCK,),
) -> str:
    """The path to connect to: the explicit one, else the first variable that is set.

    Raises `AgentUnavailable` when nothing names an agent and `SocketPathTooLong`.
    """
    candidates = [explicit, *(environ.get(name) for name in variables)]
    path = next(filter(None, candidates), None)
    if path is None:
        raise AgentUnavailable(
            "no SSH agent is named", hint=f"give a socket or set {' or '.join(variables)}"
        )
    check_length(path)
    return path


def check_length(path: str) -> None:
    """Refuse a path that no socket can have; the kernel's own message does not say why."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise SocketPathTooLong(
            f"the socket path has {size} bytes, and this system allows {MAX_SOCKET_PATH_BYTES}",
            hint="use a shorter directory, for instance below /run/user or /tmp",
        )


def explain(path: str, error: OSError) -> AgentUnavailable:
    """Why connecting failed, in terms of what stands at the path."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return AgentUnavailable(f"there is no socket at {path}", hint="is the agent running?")
    if isinstance(error, PermissionError):
        return AgentUnavailable(
            f"not allowed to connect to {path}", hint="agents serve only the user who runs them"
        )
    if isinstance(error, ConnectionRefusedError):
        return _explain_refused(path)
    if error.errno == errno.EAGAIN:
        return AgentUnavailable(
            f"the agent at {path} takes no new connections", hint="its backlog is full"
        )
    return AgentUnavailable(f"cannot connect to {path}: {error.strerror or error}")


def _explain_refused(path: str) -> AgentUnavailable:
    """Linux refuses the same way for a file that is no socket and for one that nobody serves."""
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - a path may be any bytes
    except OSError:
        is_socket = True
    if not is_socket:
        return AgentUnavailable(f"{path} is not a socket", hint="name the agent's socket")
    return AgentUnavailable(
        f"nobody listens at {path}", hint="the agent that made this socket is gone"
    )
