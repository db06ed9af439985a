"""Which configuration file applies, and its bytes as checked values.

Order: `--config`, then SECRETIVE_CONFIG, then agent.toml or agent.json in the user's folder.
Rule for editors: a file that was named and is missing, or that cannot be read, is never passed
over in silence.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from clikit.config import ConfigError, ConfigFile, parse_config
from clikit.config.file import MAX_CONFIG_BYTES
from secretivex.config.paths import PathError, config_folder, expand_path
from secretivex.config.problems import as_secretive_error
from secretivex.errors import SecretiveError

CONFIG_VARIABLE = "SECRETIVE_CONFIG"
FILE_NAMES = ("agent.toml", "agent.json")


def find_config(
    named: Path | None, environ: Mapping[str, str], *, platform: str = sys.platform
) -> Path | None:
    """The file that applies, or None where there is none; raises `SecretiveError`."""
    if named is not None:
        return _existing(str(named), "--config", environ)
    if text := environ.get(CONFIG_VARIABLE):
        return _existing(text, CONFIG_VARIABLE, environ)
    try:
        folder = config_folder(environ, platform)
    except PathError:
        return None
    found = [folder / name for name in FILE_NAMES if not is_missing(folder / name)]
    if len(found) > 1:
        message = f"{found[0]} and {found[1]} both exist and only one can apply"
        raise SecretiveError("config_invalid", message, hint="remove one of them")
    return found[0] if found else None


def is_missing(path: Path) -> bool:
    """Whether there is certainly nothing; what may not be looked at is left to who reads it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _existing(text: str, source: str, environ: Mapping[str, str]) -> Path:
    """The file that `text` names, as it names it: messages repeat what a person wrote."""
    try:
        path = expand_path(text, environ, base=Path())
    except PathError as error:
        raise SecretiveError("config_invalid", f"{source}: {error}", hint=error.hint) from error
    if is_missing(path):
        message = f"{path}: no such file (named by {source})"
        raise SecretiveError("config_not_found", message, hint="correct the path or make the file")
    return path


def load_file(path: Path, *, user: int | None = None, again: bool = False) -> ConfigFile:
    """The file's values with their lines; a name ending in .json is JSON, any other TOML.

    `user` runs the agent, and nobody else but root may write the file; None for whom this runs as.
    `again` says that this is for a reload: what comes by a pipe is not there a second time, and its
    end would look like an empty file, that of an agent without any rule.
    """
    try:
        with open(path, "rb", opener=_open_at_once if again else None) as file:
            status = os.fstat(file.fileno())
            if again and not stat.S_ISREG(status.st_mode) and str(path) != os.devnull:
                message = f"{path}: is no regular file, and cannot be read a second time"
                hint = "keep the configuration in a file to have it reloaded"
                raise SecretiveError("config_invalid", message, hint=hint)
            _check_access(path, status, user)
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "name the file in it" if path.is_dir() else "check its permissions"
        message = f"{path}: cannot be read: {reason}"
        raise SecretiveError("config_invalid", message, hint=hint) from error
    syntax = "json" if path.suffix.lower() == ".json" else "toml"
    try:
        return parse_config(data, name=str(path), syntax=syntax)  # type: ignore[arg-type] # one of two literals
    except ConfigError as error:
        raise as_secretive_error(error) from error


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for whoever may write to a pipe of that name."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_access(path: Path, status: os.stat_result, user: int | None) -> None:
    """Refuse a file that others may write: whoever did would choose the keys and the policy."""
    if not stat.S_ISREG(status.st_mode) or sys.platform == "win32":
        return
    what = "the configuration"
    user = os.geteuid() if user is None else user
    if fault := access_fault(status, what, user=user, is_alone=is_alone_in_group):
        reason, hint = fault
        raise SecretiveError("config_invalid", f"{path}: {reason}", hint=hint)


def access_fault(
    status: os.stat_result, what: str, *, user: int, is_alone: Callable[[os.stat_result], bool]
) -> tuple[str, str] | None:
    """Who else than `user` and root may write a file or folder, and what mends that; None if nobody."""
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_uid not in (0, user):
        reason = f"belongs to user {status.st_uid}, who may write {what}"
        return reason, "give it to whom the agent runs as"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None  # nobody renames or removes there what is another's
    if status.st_mode & stat.S_IWOTH:
        return f"{mode} lets anybody write {what}", "chmod o-w mends that"
    if status.st_mode & stat.S_IWGRP and not is_alone(status):
        return f"{mode} lets group {status.st_gid} write {what}", "chmod g-w mends that"
    return None


def is_alone_in_group(status: os.stat_result) -> bool:
    """Whether a file's group is its owner's own, as systems with a umask of 002 make them."""
    import grp  # only here: few files are writable to a group
    import pwd

    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    own = owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name
    return own and set(group.gr_mem) <= {owner.pw_name}
