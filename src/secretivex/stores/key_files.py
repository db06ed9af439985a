"""Reads private key files from disk as `ssh-add` would: what it may trust, and what it may not.

Rule for editors: a file that is not offered raises `SkippedError` with a reason for a person; the
reason never holds what the file holds.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sshwire.errors import PassphraseError, UnsupportedError, WireError
from sshwire.privkey import MAX_PRIVATE_FILE_BYTES, PrivateKey, parse_private_keys
from sshwire.pubkey import parse_public_line

NOT_KEYS = frozenset(
    {"authorized_keys", "authorized_keys2", "config", "environment", "known_hosts", "rc"}
)
"""Files of ~/.ssh that are known to be something else (ssh(1), sshd(8))."""

_NOT_KEY_ENDINGS = (".pub", ".old", "~", ".swp", ".lock", ".tmp", ".bak")

MAX_FOLDER_ENTRIES = 10_000
"""A folder with more entries is not a folder of keys."""


class SkippedError(Exception):
    """A file that is not offered; `quiet` for what nobody would take for a key."""

    def __init__(self, reason: str, *, quiet: bool = False) -> None:
        super().__init__(reason)
        self.quiet = quiet


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to try; `is_named` if somebody named it rather than its folder."""

    path: Path
    is_named: bool


def list_candidates(paths: tuple[Path, ...]) -> tuple[Candidate, ...]:
    """Files of `paths`, folders one level deep and sorted; a file reached twice is listed once."""
    found: dict[str, Candidate] = {}
    for path in paths:
        children = _list_folder(path)
        for child in (path,) if children is None else children:
            found.setdefault(os.path.realpath(child), Candidate(child, children is None))
    return tuple(found.values())


def _list_folder(path: Path) -> tuple[Path, ...] | None:
    """Entries of a folder that may be keys; None for what is not a readable folder."""
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in islice(entries, MAX_FOLDER_ENTRIES)]
    except OSError:
        return None
    return tuple(path / name for name in sorted(names) if _may_be_key(name))


def _may_be_key(name: str) -> bool:
    return name not in NOT_KEYS and not name.startswith(".") and not name.endswith(_NOT_KEY_ENDINGS)


def load_key(candidate: Candidate, passphrase: bytes | None, owner_uid: int) -> PrivateKey:
    """The private key of a file, under the comment of its `.pub` where there is one."""
    data = _read(candidate, owner_uid)
    try:
        key = parse_private_keys(data, passphrase=passphrase)[0]
    except PassphraseError as error:
        raise SkippedError(_explain_passphrase(passphrase)) from error
    except UnsupportedError as error:
        raise SkippedError(str(error), quiet=not _looks_private(data)) from error
    except WireError as error:
        raise SkippedError(f"not a usable private key: {error}") from error
    comment = _public_comment(candidate.path, key) or key.comment or candidate.path.name
    return PrivateKey(key.public, comment, key.secret)


def _looks_private(data: bytes) -> bool:
    return b"PRIVATE KEY" in data[:256] or data.startswith(b"PuTTY-User-Key-File")


def _explain_passphrase(passphrase: bytes | None) -> str:
    if passphrase is None:
        return (
            "encrypted, and no passphrase is at hand (set passphrase_env and the variable it names)"
        )
    return "encrypted, and the passphrase does not open it"


def _read(candidate: Candidate, owner_uid: int) -> bytes:
    data, status = _read_regular(candidate.path, quiet=not candidate.is_named)
    if len(data) > MAX_PRIVATE_FILE_BYTES:
        reason = f"longer than {MAX_PRIVATE_FILE_BYTES} bytes"
        raise SkippedError(reason, quiet=not _looks_private(data))
    if not _looks_private(data) and not candidate.is_named:
        raise SkippedError("not a private key", quiet=True)
    _check_access(status, owner_uid)
    return data


def _read_regular(path: Path, *, quiet: bool) -> tuple[bytes, os.stat_result]:
    """At most one byte more than a key file may have, and the status of the very file read."""
    try:
        # Without O_NONBLOCK a FIFO in the folder would hold the agent up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SkippedError("no such file") from error
    except OSError as error:
        raise SkippedError(f"cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SkippedError("not a regular file", quiet=quiet)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_PRIVATE_FILE_BYTES + 1), status
    except OSError as error:
        raise SkippedError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _check_access(status: os.stat_result, owner_uid: int) -> None:
    """As `ssh-add`: a key of ours that others can read is refused. Further: only ours or root's."""
    if status.st_uid not in (owner_uid, 0):
        raise SkippedError(f"belongs to uid {status.st_uid}, not to us")
    if status.st_mode & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise SkippedError(f"mode {mode} lets others reach it (chmod 600 mends that)")


def _public_comment(path: Path, key: PrivateKey) -> str:
    """The comment in `FILE.pub`, if that is this key's; "" otherwise."""
    try:
        data, _ = _read_regular(path.with_name(path.name + ".pub"), quiet=True)
        public, comment = parse_public_line(data.decode(errors="replace").strip())
    except (SkippedError, WireError):
        return ""
    return comment if public == key.public else ""
