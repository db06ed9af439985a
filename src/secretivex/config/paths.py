"""Where configuration and socket are by default, and what `~` and `$VAR` in a path stand for.

Rule for editors: the environment is an argument; nothing here reads it or touches a disk.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Mapping
from pathlib import Path

PIPE_NAME = r"\\.\pipe\openssh-ssh-agent"
"""Where Microsoft's port of OpenSSH looks for an agent when SSH_AUTH_SOCK is not set."""

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


class PathError(ValueError):
    """A path that cannot be expanded; the message says why, `hint` what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def expand_path(text: str, environ: Mapping[str, str], *, base: Path) -> Path:
    """The absolute path of `text`: `~`, `$VAR` and `${VAR}` replaced, relative ones below `base`."""
    if not text.strip():
        raise PathError("the path is blank", "name a file, or leave it out")
    if "\0" in text:
        raise PathError("the path holds a null character", "remove it")
    if text.startswith("~") and text[1:2] not in {"", "/"}:
        reason = "only ~ itself is expanded, not the homes of other users"
        raise PathError(reason, "write the whole path")
    if text.startswith("~"):
        text = f"{home_of(environ)}{text[1:]}"
    return base / _VARIABLE.sub(lambda found: _lookup(found[1] or found[2], environ), text)


def _lookup(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if not value:
        raise PathError(f"${name} is not set", "set it, or write the whole path")
    return value


def home_of(environ: Mapping[str, str]) -> str:
    """The home folder that the environment names."""
    home = environ.get("HOME")
    if not home:
        raise PathError("HOME is not set", "set it, or write the whole path")
    return home


def absolute(environ: Mapping[str, str], name: str) -> str:
    """A folder's path; "" if there is none or it is relative, which XDG has ignored."""
    value = environ.get(name, "")
    return value if value.startswith("/") else ""


def default_socket_path(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Below the session's runtime folder, else below home; on Windows a pipe."""
    if platform == "win32":
        return Path(environ.get("SECRETIVE_PIPE") or PIPE_NAME)
    if runtime := absolute(environ, "XDG_RUNTIME_DIR"):
        return Path(runtime) / "secretive" / "agent.sock"
    return Path(home_of(environ)) / ".secretive" / "agent.sock"


def config_folder(environ: Mapping[str, str], platform: str) -> Path:
    """The user's folder for `agent.toml`; `platform` is spelled as `sys.platform`."""
    if platform != "win32" and (base := absolute(environ, "XDG_CONFIG_HOME")):
        return Path(base) / "secretive"
    if platform == "win32" and (roaming := environ.get("APPDATA")):
        return Path(roaming) / "secretive"
    if platform == "darwin":
        return Path(home_of(environ)) / "Library" / "Application Support" / "secretive"
    return Path(home_of(environ)) / ".config" / "secretive"


def parse_listen(where: str) -> Path | tuple[str, int]:
    """A unix socket's path, or a loopback address and port; raises ValueError for anything else."""
    if _LISTEN_PATH.fullmatch(where):
        return Path(where.removeprefix("unix:"))
    host, colon, port = where.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        raise ValueError("not HOST:PORT and not a path")
    bare = host.strip("[]") or "127.0.0.1"
    address = "127.0.0.1" if bare == "localhost" else bare
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise ValueError(f"{bare} is no address") from error
    if not is_loopback:
        raise ValueError(f"{bare} is not a loopback address")
    if not _LOOPBACK.fullmatch(host):
        raise ValueError(f"{host} is written otherwise")
    return address, int(port)


def expand_listen(where: str, environ: Mapping[str, str], *, base: Path) -> str:
    """`where` with the path of a socket expanded as any other; raises ValueError as above."""
    place = parse_listen(where)
    return str(expand_path(str(place), environ, base=base)) if isinstance(place, Path) else where


_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_MAX_PORT = 65_535
_PORT = re.compile("[1-9][0-9]{0,4}")
_LOOPBACK = re.compile(rf"(localhost|127(\.{_BYTE}){{3}}|\[::1\])?")
_LISTEN_PATH = re.compile(r"unix:.*\S.*|(/|~|\$|\.\.?/).*")

LISTEN_PATTERN = (
    rf"^({_LISTEN_PATH.pattern}|{_LOOPBACK.pattern}:"
    "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))$"
)
"""What `parse_listen` takes, for a schema."""
