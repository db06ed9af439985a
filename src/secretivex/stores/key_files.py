"""Reads private key files from disk as `ssh-add` would: what it may trust, and what it may not.

Rule for editors: a file that is not offered raises `SkippedError` with a reason for a person; the
reason never holds what the file holds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from secretivex.stores.certificates import load_certificate
from sshwire.errors import PassphraseError, UnsupportedError, WireError
from sshwire.privkey import MAX_PRIVATE_FILE_BYTES, PrivateKey, parse_private_key
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


class ClosedError(SkippedError):
    """A file that a passphrase would open."""


class AwayError(SkippedError):
    """A file that the system could not read just now: a network file system that hangs or is gone."""


_AWAY = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EAGAIN}
)


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
            place = os.path.realpath(child)
            before = found.get(place, Candidate(child, is_named=False))
            found[place] = Candidate(before.path, before.is_named or children is None)
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


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """What a key file gives: the key under its comment, and then under each certificate beside it."""

    keys: tuple[PrivateKey, ...]


def load_key(candidate: Candidate, passphrases: Sequence[bytes], owner_uid: int) -> LoadedFile:
    """The private key of a file, under the comment of its `.pub` where there is one."""
    data = read_key_file(candidate, owner_uid)
    try:
        key = _decrypt(data, passphrases)
    except PassphraseError as error:
        raise ClosedError(_explain_passphrase(passphrases)) from error
    except UnsupportedError as error:
        raise SkippedError(str(error), quiet=_is_nothing(candidate, data)) from error
    except WireError as error:
        raise SkippedError(f"not a usable private key: {error}") from error
    comment = _public_comment(candidate.path, key) or key.comment or candidate.path.name
    named = PrivateKey(key.public, comment, key.secret)
    return LoadedFile((named, *_certified(candidate.path, named)))


def _decrypt(data: bytes, passphrases: Sequence[bytes]) -> PrivateKey:
    """With the first passphrase that opens it, or with none."""
    try:
        return parse_private_key(data)
    except PassphraseError:
        for passphrase in passphrases:
            with suppress(PassphraseError):
                return parse_private_key(data, passphrase=passphrase)
        raise


def _certified(path: Path, key: PrivateKey) -> Iterator[PrivateKey]:
    """The key under the certificate of `FILE-cert.pub`, where that is one of it."""
    with suppress(OSError, WireError):
        yield key.with_certificate(load_certificate(path.with_name(path.name + CERTIFICATE_END)))


CERTIFICATE_END = "-cert.pub"
"""What ssh-add(1) looks for beside a key."""


def mark_of(path: Path) -> tuple[object, ...]:
    """What tells whether a key file, or what stands beside it, is still the same."""
    return tuple(_mark(path.with_name(path.name + end)) for end in ("", ".pub", CERTIFICATE_END))


def _mark(path: Path) -> tuple[object, ...]:
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno,)
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
        status.st_uid,
    )


def _looks_private(data: bytes) -> bool:
    return b"PRIVATE KEY" in data[:256] or data.startswith(b"PuTTY-User-Key-File")


def _is_nothing(candidate: Candidate, data: bytes) -> bool:
    """Whether nobody said, and nothing shows, that the file is a key."""
    return not candidate.is_named and not _looks_private(data)


def _explain_passphrase(passphrases: Sequence[bytes]) -> str:
    if not passphrases:
        return (
            "encrypted, and no passphrase is at hand (set passphrase_env and the variable it names,"
            " passphrase_command, passphrase_keyring or askpass)"
        )
    return "encrypted, and the passphrase does not open it"


def read_key_file(candidate: Candidate, owner_uid: int) -> bytes:
    """What a file of private keys holds, if it is ours alone; raises `SkippedError`."""
    data, status = _read_regular(candidate.path, quiet=not candidate.is_named)
    if len(data) > MAX_PRIVATE_FILE_BYTES:
        reason = f"longer than {MAX_PRIVATE_FILE_BYTES} bytes"
        raise SkippedError(reason, quiet=_is_nothing(candidate, data))
    if _is_nothing(candidate, data):
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
        raise _unreadable(error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SkippedError("not a regular file", quiet=quiet)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_PRIVATE_FILE_BYTES + 1), status
    except OSError as error:
        raise _unreadable(error) from error
    finally:
        os.close(descriptor)


def _unreadable(error: OSError) -> SkippedError:
    kind = AwayError if error.errno in _AWAY else SkippedError
    return kind(f"cannot be read: {error.strerror}")


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
