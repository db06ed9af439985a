"""What the agent needs of Windows, and nothing more: named pipes and who is at their other end.

Rule for editors: a port says what is needed in our words; handles, overlapped structures and error
numbers stay in the adapter. A stand-in in the tests keeps to the same words.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from secretivex.errors import SecretiveError
from secretivex.server.windows.rules import SYSTEM_SID


class PipeClient(NamedTuple):
    """Who is at the other end: its token's user, its process, its program ("" if not certain)."""

    sid: str
    pid: int | None = None
    executable: str = ""


class PipeTakenError(OSError):
    """Somebody else has the pipe's name."""


class PipeInstance(Protocol):
    """One end of a named pipe, for one client. Every call may be made from a thread of its own."""

    def accept(self) -> bool:
        """Wait for a client; False once this end was closed."""
        ...

    def read(self, size: int) -> bytes:
        """Wait for bytes; b"" when the client is gone or this end was closed."""
        ...

    def write(self, data: bytes) -> None:
        """Write all of it, however long that takes; raises OSError when there is no client."""
        ...

    def client(self) -> PipeClient:
        """Who wrote what was read: to be asked after the first read. Raises OSError."""
        ...

    def close(self) -> None:
        """Hang up and end every wait; may be called again."""
        ...


class PipePort(Protocol):
    """The system's named pipes."""

    def create(self, name: str, sddl: str, *, is_first: bool) -> PipeInstance:
        """An instance of the pipe, local clients only; raises `PipeTakenError` or OSError.

        The first one fails where the name is in use; the others fail where the first is not ours.
        """
        ...

    def own_sid(self) -> str:
        """The user that this process runs as."""
        ...


def is_owner(client: PipeClient, owner_sid: str) -> bool:
    """Whether a client may speak to the agent: its owner, and the system."""
    return client.sid in (owner_sid, SYSTEM_SID)


def uid_of(sid: str) -> int:
    """The last number of a security identifier: what stands for a user in rules and records."""
    return int(sid.rpartition("-")[2])


def taken(name: str) -> SecretiveError:
    """Somebody else has the pipe: a live agent, or a squatter."""
    return SecretiveError(
        "socket_in_use",
        f"another program has the pipe {name}",
        hint="stop it first, or choose another name by socket_path",
    )
