"""systemd units: one for the user's own manager, one template for the system's, with their sockets.

Specification: systemd.exec(5), systemd.service(5), systemd.socket(5). Rule for editors: a hardening
line that breaks a key store must be one that a drop-in can undo; say which in docs/services.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MARK = "# Written by `secretive-agent install`; `secretive-agent uninstall` removes it.\n"
"""First line of every file that we write: what has none is not ours to replace or remove."""

SERVICE = "secretive-agent.service"
SOCKET = "secretive-agent.socket"
SYSTEM_SERVICE = "secretive-agent@.service"
SYSTEM_SOCKET = "secretive-agent@.socket"

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
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    plain = escaped == word and word and not set(word) & set(" \t\n';")
    return word if plain else '"' + escaped.replace("\n", "\\n").replace("\t", "\\t") + '"'


def _render(sections: Mapping[str, Iterable[str]]) -> str:
    parts = ("\n".join((f"[{name}]", *lines)) for name, lines in sections.items())
    return MARK + "\n" + "\n\n".join(parts) + "\n"


def _service_lines(command: Iterable[str]) -> tuple[str, ...]:
    return (
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(map(quote_argument, command))}",
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
                "Documentation=man:secretive-agent(1)",
                f"Requires={SOCKET}",
                f"After={SOCKET}",
            ),
            "Service": (*_service_lines(command), *_HARDENING),
            "Install": (f"Also={SOCKET}", "WantedBy=default.target"),
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
                "Documentation=man:secretive-agent(1)",
                "Requires=secretive-agent@%i.socket",
                "After=secretive-agent@%i.socket",
            ),
            "Service": (
                *_service_lines(command),
                "User=%i",
                "StateDirectory=secretive-agent/%i",
                "StateDirectoryMode=0700",
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
                "ListenStream=/run/secretive-agent/%i.sock",
                "SocketUser=%i",
                "SocketMode=0600",
                "DirectoryMode=0755",
                "Backlog=65535",
            ),
            "Install": ("WantedBy=sockets.target",),
        }
    )
