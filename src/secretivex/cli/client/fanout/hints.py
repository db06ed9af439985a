"""`secretive-client hints`: how to point fan-out tools at the agent, and what usually limits them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from secretivex.cli.client.session import ClientCall, client_options, find_socket

TOOLS = ("shell", "ssh_config", "pssh", "ansible", "sshd")
PARALLEL = 50
MIN_STARTUPS = 10

WHY: Mapping[str, tuple[str, ...]] = {
    "shell": ("one variable is all that OpenSSH's programs need",),
    "ssh_config": (
        (
            "IdentitiesOnly with a .pub file: else every key of the agent is offered in turn, and sshd "
            "hangs up after MaxAuthTries (6) of them"
        ),
        "ControlPersist: a second login on the same host within the minute needs no signature",
        "GSSAPIAuthentication no: where there is no Kerberos it only waits for name servers",
        (
            "a known_hosts of thousands of lines is read by every single ssh: an @cert-authority line, or "
            "a file for each group of hosts, is as safe and small"
        ),
    ),
    "pssh": (
        (
            "-p is how many ssh run at a time: each takes a core for tens of milliseconds, an agent for "
            "well below one, so the cores of this machine are full long before the agent is"
        ),
    ),
    "ansible": (
        "forks is how many hosts at a time, 5 unless it is set",
        "pipelining saves two of three ssh sessions a task",
    ),
    "sshd": (
        (
            "MaxStartups 10:30:100 (the default) drops logins at random as soon as ten are under way on "
            "one sshd: it matters on a jump host that all logins pass through"
        ),
    ),
}


def make_hints(socket: str, parallel: int) -> dict[str, str]:
    """Text to paste, by tool."""
    quoted = shlex.quote(socket)
    word = config_word(socket)
    plain = socket if _PLAIN.fullmatch(socket) else word
    options = ["IdentityAgent=" + plain, "IdentitiesOnly=yes", "IdentityFile=~/.ssh/id_fleet.pub"]
    many = " ".join(f"-o {shlex.quote(option)}" for option in options)
    return {
        "shell": f"export SSH_AUTH_SOCK={quoted}",
        "ssh_config": (
            "Host *\n"
            f"    IdentityAgent {word}\n"
            "    IdentitiesOnly yes\n"
            "    IdentityFile ~/.ssh/id_fleet.pub\n"
            "    ControlMaster auto\n"
            "    ControlPath ~/.ssh/control-%C\n"
            "    ControlPersist 60\n"
            "    GSSAPIAuthentication no\n"
            "    ConnectTimeout 10\n"
            "    ServerAliveInterval 15"
        ),
        "pssh": f"pssh -h hosts.txt -p {parallel} -t 60 -x {shlex.quote(many)} -i uptime",
        "ansible": (
            "[defaults]\n"
            f"forks = {parallel}\n"
            "[ssh_connection]\n"
            "pipelining = True\n"
            f"ssh_args = -o ControlMaster=auto -o ControlPersist=60s {many}"
        ),
        "sshd": f"MaxStartups {max(parallel, MIN_STARTUPS)}:30:{max(parallel, MIN_STARTUPS) * 4}",
    }


_PLAIN = re.compile(r"[\w/.,:+-]+")
"""Paths that every program reads as they are."""


def config_word(text: str) -> str:
    """A path as a word of ssh_config, also one that `-o` gives: in quotes, and `%` doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


@click.command("hints")
@client_options(timeout_ms=10_000)
@click.argument("tool", type=click.Choice(TOOLS), required=False)
@click.option(
    "--parallel",
    type=click.IntRange(1, 10_000),
    default=PARALLEL,
    show_default=True,
    help="Hosts at a time.",
)
def command(call: ClientCall, *, tool: str | None, parallel: int) -> None:
    """Print settings for reaching many hosts: shell, ssh_config, pssh, ansible, sshd.

    The agent need not run. `secretive-client preflight` checks this machine.
    """
    # What is pasted elsewhere is read elsewhere: a relative path would mean another file there.
    hints = make_hints(str(Path(find_socket(call)).absolute()), parallel)
    chosen = {name: text for name, text in hints.items() if tool in (None, name)}
    data = {
        "hints": [
            {"tool": name, "text": text, "why": list(WHY[name])} for name, text in chosen.items()
        ]
    }
    call.emit(data, lambda: _lines(chosen))


def _lines(chosen: Mapping[str, str]) -> Iterable[str]:
    for name, text in chosen.items():
        yield "".join(f"# {line}\n" for line in (f"{name}:", *WHY[name]))
        yield f"{text}\n\n"
