"""What can go wrong between us and an agent; every class has a stable `code` to match on.

Rule for editors: the message says what happened, the hint what to do; neither holds key material.
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """The root of this package's errors."""

    code: ClassVar[str] = "agent_error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class AgentUnavailable(AgentError):  # noqa: N818 - reads as what it says
    """No agent answers: no address, nothing there, nobody listening, or it went away."""

    code = "agent_unavailable"


class AgentTimeout(AgentUnavailable):
    """The agent did not answer in time; the connection is not usable any more."""


class SocketPathTooLong(AgentUnavailable):
    """The address does not fit into what the operating system allows for a socket path."""

    code = "socket_path_too_long"


class AgentRefused(AgentError):  # noqa: N818 - reads as what it says
    """The agent answered with a failure; the protocol carries no reason."""

    code = "agent_refused"


class AgentProtocolError(AgentError):
    """What answers does not keep to the agent protocol."""

    code = "protocol_error"
