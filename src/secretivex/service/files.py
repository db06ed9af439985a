"""Service files put in place together or not at all.

Rule for editors: every path is looked at before the first is written; what is not ours as we left it
is never replaced or removed, a link and a folder included.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from clikit.errors import Failure
from clikit.output import write_atomic
from secretivex.errors import SecretiveError
from secretivex.service.seal import Whose

Judge = Callable[[bytes], Whose]

MAX_FILE_BYTES = 1024 * 1024
"""More is no file of ours."""


def whose(path: Path, judge: Judge) -> Whose:
    """Who wrote what stands there; raises `SecretiveError` where that cannot be seen."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            return Whose.FOREIGN
        return judge(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Whose.NOBODYS
    except OSError as error:
        raise SecretiveError("service_failed", f"{path}: {error.strerror}") from error


def refuse(path: Path, found: Whose) -> SecretiveError:
    """Why a path is left alone."""
    if found is Whose.CHANGED:
        return SecretiveError(
            "service_exists",
            f"{path} was changed since this command wrote it",
            hint="keep the changes in a drop-in (systemctl edit) or a copy, and remove it",
        )
    return SecretiveError(
        "service_exists",
        f"{path} exists and was not written by this command",
        hint="move it away first",
    )


def ours_among(paths: Iterable[Path], judge: Judge) -> tuple[Path, ...]:
    """Those that we wrote; raises `SecretiveError` where one was changed since."""
    found = {path: whose(path, judge) for path in paths}
    for path, state in found.items():
        if state is Whose.CHANGED:
            raise refuse(path, state)
    return tuple(path for path, state in found.items() if state is Whose.OURS)


@contextmanager
def in_place(files: Mapping[Path, bytes], judge: Judge) -> Iterator[frozenset[Path]]:
    """Write all, and take all back if the block fails; yields those that were not so before."""
    before: dict[Path, bytes | None] = {}
    for path in files:
        found = whose(path, judge)
        if found not in (Whose.NOBODYS, Whose.OURS):
            raise refuse(path, found)
        before[path] = path.read_bytes() if found is Whose.OURS else None
    changed = frozenset(path for path, content in files.items() if before[path] != content)
    try:
        for path in changed:
            _write(path, files[path])
        yield changed
    except BaseException:
        for path in changed:
            _restore(path, before[path])
        raise


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, [content], mode=0o644)
    except OSError as error:
        message = f"cannot make {path.parent}: {error.strerror}"
        raise SecretiveError("service_failed", message) from error


def _restore(path: Path, content: bytes | None) -> None:
    with suppress(OSError, Failure):
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_atomic(path, [content], mode=0o644)


def remove(paths: Iterable[Path]) -> None:
    """Remove files; raises `SecretiveError`."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            message = f"cannot remove {path}: {error.strerror}"
            raise SecretiveError("service_failed", message) from error
