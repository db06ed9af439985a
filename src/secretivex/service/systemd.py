"""systemd units: one for the user's own manager, one template for the system's, with their sockets.

Specification: systemd.exec(5), systemd.service(5), systemd.socket(5). Rule for editors: a hardening
line that breaks a key store must be one that a drop-in can undo; say which in docs/services.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from secretivex.errors import SecretiveError
from secretivex.service.seal import seal_text

_HARDENING = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
    "LimitCORE=0",
    "LimitMEMLOCK=infinity",
    "LimitNOFILE=524288",
    "UMask=0077",
    "KeyringMode=private",
)
"""What an ordinary user's manager can do too."""

_SYSTEM_HARDENING = (
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "PrivateMounts=yes",
    "PrivateDevices=yes",
    "DevicePolicy=closed",
    "PrivateNetwork=yes",
    "IPAddressDeny=any",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
)
"""What takes root: the agent sees no device, no network and no writable file but its own folder."""


def quote_argument(word: str) -> str:
    """A word of ExecStart: systemd.service(5), "Command lines"; `%` and `$` would be expanded."""
    return _quote(word.replace("$", "$$"), word)


def quote_program(path: str) -> str:
    """The first word, in which no variable is expanded; raises for what systemd starts no program by."""
    if any(map(_is_control, path)) or set(path) & set("'\"\\"):
        raise SecretiveError(
            "service_failed",
            f"systemd starts no program with such a path: {path!r}",
            hint="install the package in a folder without quotes, backslashes and control characters",
        )
    return _quote(path, path)


def _quote(text: str, word: str) -> str:
    try:
        word.encode()
    except UnicodeEncodeError as error:
        message = f"a unit file cannot hold a path that is not UTF-8: {word!r}"
        raise SecretiveError("service_failed", message) from error
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    is_plain = escaped == word and word and word.isprintable() and not set(word) & set(" ';")
    return word if is_plain else '"' + "".join(map(_escape_control, escaped)) + '"'


def _is_control(letter: str) -> bool:
    return ord(letter) < ord(" ") or letter == "\x7f"


def _escape_control(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if _is_control(letter) else letter


def _render(sections: Mapping[str, Iterable[str]]) -> str:
    parts = ("\n".join((f"[{name}]", *lines)) for name, lines in sections.items())
    return seal_text("\n" + "\n\n".join(parts) + "\n")


def _service_lines(command: Iterable[str]) -> tuple[str, ...]:
    program, *words = command
    line = " ".join((quote_program(program), *map(quote_argument, words)))
    return (
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={line}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "WatchdogSec=30",
        "TimeoutStopSec=15",
    )


def render_user_service(command: Iterable[str]) -> str:
    """The service of a user's own manager; `command` is the agent's command line."""
    return _render(
        {
            "Unit": (
                "Description=SecretiveX SSH agent",
                "Requires=secretive-agent.socket",
                "After=secretive-agent.socket",
            ),
            "Service": (*_service_lines(command), *_HARDENING),
            "Install": ("Also=secretive-agent.socket", "WantedBy=default.target"),
        }
    )


def render_user_socket() -> str:
    """Its socket, below the runtime folder: the agent starts with the first connection."""
    return _render(
        {
            "Unit": ("Description=Socket of the SecretiveX SSH agent",),
            "Socket": (
                "ListenStream=%t/secretive/agent.sock",
                "SocketMode=0600",
                "DirectoryMode=0700",
                "Backlog=65535",
                "RemoveOnStop=yes",
            ),
            "Install": ("WantedBy=sockets.target",),
        }
    )


def render_system_service(command: Iterable[str]) -> str:
    """A template of the system's manager: `secretive-agent@NAME` runs as user NAME."""
    return _render(
        {
            "Unit": (
                "Description=SecretiveX SSH agent of %i",
                "Requires=secretive-agent@%i.socket",
                "After=secretive-agent@%i.socket",
            ),
            "Service": (
                *_service_lines(command),
                "User=%i",
                "StateDirectory=secretive-agent/%i",
                "StateDirectoryMode=0700",
                "RuntimeDirectory=secretive-agent/%i",
                "RuntimeDirectoryMode=0700",
                "RuntimeDirectoryPreserve=yes",
                *_HARDENING,
                *_SYSTEM_HARDENING,
            ),
            "Install": ("Also=secretive-agent@%i.socket", "WantedBy=multi-user.target"),
        }
    )


def render_system_socket() -> str:
    """Its socket, which only user NAME may connect to."""
    return _render(
        {
            "Unit": ("Description=Socket of the SecretiveX SSH agent of %i",),
            "Socket": (
                "ListenStream=/run/secretive-agent/%i/agent.sock",
                "SocketUser=%i",
                "SocketMode=0600",
                "DirectoryMode=0755",
                "Backlog=65535",
                "RemoveOnStop=yes",
            ),
            "Install": ("WantedBy=sockets.target",),
        }
    )
