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
    """A path that cannot be expanded; the message says why."""


def expand_path(text: str, environ: Mapping[str, str], *, base: Path) -> Path:
    """The absolute path of `text`: `~`, `$VAR` and `${VAR}` replaced, relative ones below `base`."""
    if not text.strip():
        raise PathError("the path is blank")
    if "\0" in text:
        raise PathError("the path holds a null character")
    if text.startswith("~") and text[1:2] not in {"", "/"}:
        raise PathError("only ~ itself is expanded, not the homes of other users")
    if text.startswith("~"):
        text = f"{home_of(environ)}{text[1:]}"
    return base / _VARIABLE.sub(lambda found: _lookup(found[1] or found[2], environ), text)


def _lookup(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if not value:
        raise PathError(f"${name} is not set")
    return value


def home_of(environ: Mapping[str, str]) -> str:
    """The home folder that the environment names."""
    home = environ.get("HOME")
    if not home:
        raise PathError("HOME is not set")
    return home


def default_socket_path(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Below the session's runtime folder, else below home; on Windows a pipe."""
    if platform == "win32":
        return Path(environ.get("SECRETIVE_PIPE") or PIPE_NAME)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "secretive" / "agent.sock"
    return Path(home_of(environ)) / ".secretive" / "agent.sock"


def config_folder(environ: Mapping[str, str], platform: str) -> Path:
    """The user's folder for `agent.toml`; `platform` is spelled as `sys.platform`."""
    if base := environ.get("XDG_CONFIG_HOME"):
        return Path(base) / "secretive"
    if platform == "win32" and (roaming := environ.get("APPDATA")):
        return Path(roaming) / "secretive"
    if platform == "darwin":
        return Path(home_of(environ)) / "Library" / "Application Support" / "secretive"
    return Path(home_of(environ)) / ".config" / "secretive"


def parse_listen(where: str) -> Path | tuple[str, int]:
    """A unix socket's path, or a loopback address and port; raises ValueError for anything else."""
    if where.startswith(("/", "unix:")):
        return Path(where.removeprefix("unix:"))
    host, colon, port = where.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("not HOST:PORT and not a path")
    address = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise ValueError(f"{host} is no address") from error
    if not is_loopback:
        raise ValueError(f"{host} is not a loopback address")
    return address, int(port)
