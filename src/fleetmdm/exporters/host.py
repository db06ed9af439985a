"""The machine that an exporter describes: bounded reading, below a root, with reasons.

Part of the stand-alone exporters (`bundle` joins the parts). Rules for editors of every part:
standard library only, Python 3.6 syntax, no shell, no network; every read, program and list is
bounded; a fact that cannot be read is listed as unread with its reason, never guessed; top-level
names are unique among the parts.
"""

import fnmatch
import os
import re
import stat
import subprocess
import threading
from typing import Any, Dict, List, Optional, Sequence

MAX_FILE_BYTES = 1 << 20
MAX_OUTPUT_BYTES = 16 << 20
MAX_ITEMS = 200
MAX_TEXT = 400
MAX_LINKS = 40
MAX_INCLUDE_DEPTH = 16
TOOL_TIMEOUT_S = 20

Facts = Dict[str, Any]


class UnreadError(Exception):
    """A fact that cannot be read; its argument is the reason."""

    @property
    def reason(self) -> str:
        """A lower_snake word; docs/collect.md lists them."""
        return str(self.args[0])


class Host:
    """The machine, or the folder that stands for one, and what could not be read of it."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)
        self.live = self.root == "/"
        self.privileged = os.geteuid() == 0
        self.unread: List[Dict[str, str]] = []
        self.packages: Optional[Dict[str, str]] = None
        self.services: Optional[List[str]] = None

    def miss(self, key: str, reason: str) -> None:
        """List a fact as unread."""
        self.unread.append({"key": key, "reason": reason})

    def bounded(self, key: str, items: Sequence[Any]) -> List[Any]:
        """At most `MAX_ITEMS`, and said so where some were left out."""
        if len(items) > MAX_ITEMS:
            self.miss(key, "truncated")
        return list(items[:MAX_ITEMS])

    def path(self, name: str) -> str:
        """Where `name` lies below the root; links are followed as inside a chroot."""
        todo, done, links = name.split("/")[::-1], [], 0  # type: List[str], List[str], int
        while todo:
            part = todo.pop()
            here = os.path.join(self.root, *done, part)
            if part == "..":
                done = done[:-1]
            elif part not in ("", ".") and os.path.islink(here):
                links += 1
                if links > MAX_LINKS:
                    raise UnreadError("malformed")
                target = os.readlink(here)
                done = [] if target.startswith("/") else done
                todo.extend(target.split("/")[::-1])
            elif part not in ("", "."):
                done.append(part)
        return os.path.join(self.root, *done)

    def why(self, name: str, error: OSError) -> str:
        """An error of the system as a reason."""
        if isinstance(error, PermissionError):
            return "permission_denied"
        if not self.live and name.startswith(("/proc", "/sys", "/run")):
            return "not_under_root"
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        return "not_found" if missing else "unreadable"

    def read_bytes(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """A regular file, whole."""
        try:
            # Not to hang on a pipe that somebody put in the place of a file.
            number = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(number, "rb") as file:
                if not stat.S_ISREG(os.fstat(number).st_mode):
                    raise UnreadError("unreadable")
                data = file.read(limit + 1)
        except OSError as error:
            raise UnreadError(self.why(name, error)) from error
        if len(data) > limit:
            raise UnreadError("too_large")
        return data

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> str:
        """A file as text; what is not UTF-8 shows as U+FFFD."""
        return self.read_bytes(name, limit).decode("utf-8", "replace")

    def lines(self, name: str) -> List[str]:
        """Lines without comments and blank ones."""
        texts = (line.split("#", 1)[0].strip() for line in self.read(name).splitlines())
        return [text for text in texts if text]

    def names(self, folder: str) -> List[str]:
        """What a folder holds, sorted."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError as error:
            raise UnreadError(self.why(folder, error)) from error

    def files(self, folder: str, pattern: str = "*") -> List[str]:
        """Paths in a folder by name, none if there is no such folder; wildcards also in folders."""
        head, _, last = folder.rpartition("/")
        if any(mark in folder for mark in "*?["):
            return [path for each in self.files(head, last) for path in self.files(each, pattern)]
        try:
            found = fnmatch.filter(self.names(folder), pattern)
        except UnreadError as error:
            if error.reason in ("not_found", "not_under_root"):
                return []
            raise
        return [folder + "/" + name for name in sorted(found)]

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.exists(self.path(name))

    def run(self, argv: List[str]) -> str:
        """What a program prints; it is stopped when it takes too long or prints too much."""
        environ = dict(os.environ, LC_ALL="C", PATH="/usr/sbin:/usr/bin:/sbin:/bin")
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
            )
        except OSError as error:
            raise UnreadError("tool_missing") from error
        timer = threading.Timer(TOOL_TIMEOUT_S, process.kill)
        timer.start()
        try:
            data = process.stdout.read(MAX_OUTPUT_BYTES + 1) if process.stdout else b""
            if len(data) > MAX_OUTPUT_BYTES:
                process.kill()
            if process.wait() != 0:
                raise UnreadError("timeout" if process.returncode == -9 else "tool_failed")
        finally:
            timer.cancel()
            if process.stdout:
                process.stdout.close()
        return data.decode("utf-8", "replace")


def to_int(text: str) -> Optional[int]:
    """A whole number, or None where there is none."""
    return int(text) if re.match(r"-?[0-9]{1,15}$", text.strip()) else None
