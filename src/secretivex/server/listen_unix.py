"""The agent's unix socket: made so that nobody else can ever connect, taken from nobody alive.

Rule for editors: never unlink what was not seen to be a dead socket, and never what is not ours.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentclient.address import MAX_SOCKET_PATH_BYTES
from secretivex.config.source import access_fault, is_alone_in_group
from secretivex.errors import SecretiveError

_PRIVATE_UMASK = 0o177
"""A socket is 0600 from its first instant."""

MAX_BACKLOG = 65_535
"""For listen(2); the kernel cuts it to net.core.somaxconn."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and what shows that the file at its path is still this one.

    `inode` and `lock` are None for a socket that a service manager made and keeps.
    """

    socket: socket.socket
    path: Path
    inode: tuple[int, int] | None = None
    lock: _Lock | None = None

    @property
    def door(self) -> None:
        """Nobody but the worker itself lets clients in."""
        return

    def close(self) -> None:
        """Stop listening here and remove the file, unless another one stands in its place.

        Calling it again does nothing.
        """
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        if self.inode is not None and _inode(self.path) == self.inode:
            with contextlib.suppress(OSError):
                self.path.unlink()
        if self.lock is not None:
            self.lock.release()

    def drop_lock(self) -> None:
        """Let go of the lock file in a forked process; the parent's stays."""
        if self.lock is not None:
            self.lock.drop()


@dataclass(frozen=True, slots=True)
class _Lock:
    """A held lock file beside the socket; keeps two agents from replacing one stale socket."""

    descriptor: int
    path: Path

    def drop(self) -> None:
        """Let go of our copy in a forked process; the parent's stays."""
        os.close(self.descriptor)

    def release(self) -> None:
        """Remove the file while it is still held, then let go."""
        status = os.fstat(self.descriptor)
        if _inode(self.path) == (status.st_dev, status.st_ino):
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self.descriptor)


def listen(path: Path, backlog: int = 0) -> Listener:
    """Listen at `path`; backlog 0 is the system's limit. Raises `SecretiveError`."""
    check_length(path)
    _make_parent(path.parent)
    lock = _take_lock(path)
    try:
        _clear_way(path)
        bound = _bind(path)
        bound.listen(backlog or MAX_BACKLOG)
        bound.setblocking(False)
        inode = _inode(path)
        if inode is None:
            raise SecretiveError("socket_failed", f"{path} vanished while it was made")
    except BaseException:
        lock.release()
        raise
    return Listener(bound, path, inode, lock)


def adopt(environ: Mapping[str, str], pid: int) -> Listener | None:
    """The socket that a service manager listens on for us: sd_listen_fds(3); None if there is none.

    Raises `SecretiveError` where it handed over something else.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or count in {"", "0"}:
        return None
    try:
        given = socket.socket(fileno=_FIRST_GIVEN)
        is_fit = given.family == socket.AF_UNIX and given.type == socket.SOCK_STREAM
        is_fit = is_fit and bool(given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        name = given.getsockname()
    except OSError as error:
        raise SecretiveError("socket_failed", f"LISTEN_FDS: {error.strerror}") from error
    if count != "1" or not is_fit or not isinstance(name, str):
        message = "the service manager must hand over one listening unix stream socket"
        raise SecretiveError("socket_failed", message, hint="correct the socket unit")
    given.setblocking(False)
    given.set_inheritable(False)
    return Listener(given, Path(name))


_FIRST_GIVEN = 3
"""SD_LISTEN_FDS_START."""


def check_length(path: Path) -> None:
    """Raise `socket_path_too_long` for a path that the system has no room for."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise SecretiveError(
            "socket_path_too_long",
            f"the socket path has {size} bytes, and the limit is {MAX_SOCKET_PATH_BYTES}: {path}",
            hint="choose a shorter one, for example below $XDG_RUNTIME_DIR",
            details={"bytes": size, "limit_bytes": MAX_SOCKET_PATH_BYTES},
        )


def _make_parent(folder: Path) -> None:
    """Make the folder, private, if there is none; refuse one in which others could swap the file."""
    try:
        with _umask(0o077):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = folder.resolve()
        for above in (real, *real.parents):
            status = above.stat()
            if above == real or not _is_unmapped(status.st_uid):
                _refuse_others(above, status)
    except OSError as error:
        raise _failed(folder, error) from error


def _refuse_others(folder: Path, status: os.stat_result) -> None:
    """Whoever may rename in a folder on the way can put a socket of his own in our one's place.

    The same as sshd's StrictModes asks of the folders of authorized_keys, and sticky ones as well.
    """
    fault = access_fault(status, "to it", user=os.geteuid(), is_alone=is_alone_in_group)
    if fault is not None:
        reason, hint = fault
        raise SecretiveError(
            "socket_failed",
            f"the socket's folder {folder}: {reason}",
            hint=f"{hint.replace('mends that', str(folder))}, or choose another socket path",
        )


_ALL_USERS = (0, 0, 2**32 - 1)
"""The map of users outside of every user namespace: user_namespaces(7)."""


def _is_unmapped(user: int) -> bool:
    """Whether that stands for everybody outside of our user namespace, the machine's root for one."""
    if user in (0, os.geteuid()):
        return False
    try:
        overflow = int(Path("/proc/sys/fs/overflowuid").read_text())
        mapped = Path("/proc/self/uid_map").read_text()
    except (OSError, ValueError):
        return False
    return user == overflow and tuple(map(int, mapped.split())) != _ALL_USERS


def _take_lock(path: Path) -> _Lock:
    name = path.with_name(path.name + ".lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, 0o600)
    except OSError as error:
        raise _failed(name, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != _inode(name):
            # Its holder removed it between our open and our lock: that agent is about to be gone.
            raise BlockingIOError(errno.EWOULDBLOCK, "the lock file was replaced")
    except OSError as error:
        os.close(descriptor)
        raise _refused_lock(path, name, error) from error
    return _Lock(descriptor, name)


def _refused_lock(path: Path, name: Path, error: OSError) -> SecretiveError:
    """Why there is no lock: an agent has it, or the file system knows none."""
    if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
        hint = "choose a socket path on a local disk, for example below $XDG_RUNTIME_DIR"
        return SecretiveError("socket_failed", f"cannot lock {name}: {error.strerror}", hint=hint)
    if _inode(path) is None:
        hint = "it is starting, or its socket was removed: stop it, or choose another socket path"
        message = f"an agent has {name}, and there is no socket {path}"
        return SecretiveError("socket_in_use", message, hint=hint)
    return _in_use(path)


def _clear_way(path: Path) -> None:
    """Remove a dead socket; refuse a live one and everything that is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(path, error) from error
    if not stat.S_ISSOCK(mode):
        raise SecretiveError(
            "socket_path_taken",
            f"{path} exists and is not a socket",
            hint="choose another socket path, or move that file away",
        )
    if is_alive(path):
        raise _in_use(path)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def is_alive(path: Path) -> bool:
    """Whether anybody listens: only ECONNREFUSED says that nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def _bind(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _umask(_PRIVATE_UMASK):
            bound.bind(os.fspath(path))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise _in_use(path) from error
        raise _failed(path, error) from error
    return bound


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _in_use(path: Path) -> SecretiveError:
    return SecretiveError(
        "socket_in_use",
        f"an agent listens at {path} already",
        hint="stop it first, or choose another socket path",
    )


def _failed(path: Path, error: OSError) -> SecretiveError:
    return SecretiveError("socket_failed", f"cannot make {path}: {error.strerror}")


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    """A umask for a moment; it is the process's own, so only before there are threads."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
