"""dropbear's dbclient, which uses an agent for logging in only when it forwards it too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Run = Callable[..., Any]


@pytest.fixture
def dbclient(run_client: Run, client_env: dict[str, str], hosts: Any) -> Run:
    """Run a command on a host whose key dbclient knows."""
    known = "".join(f"{address} {hosts.host_key}\n" for address in hosts.addresses)
    (Path(client_env["HOME"]) / ".ssh" / "known_hosts").write_text(known)

    def run(address: str, command: str) -> Any:
        # Without a default identity file it says so, and goes on.
        where = ("-p", str(hosts.port), "-l", hosts.user, address)
        return run_client("dbclient", "-A", "-T", *where, command)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_dbclient_logs_in_with_the_key_that_the_host_trusts(
    dbclient: Run, hosts: Any, kind: str
) -> None:
    assert dbclient(hosts.only[kind], "echo in").stdout == "in\n"


def test_dbclient_forwards_the_agent(dbclient: Run, hosts: Any) -> None:
    done = dbclient(hosts.addresses[7], "ssh-add -l")
    assert [line.split()[2] for line in done.stdout.splitlines()] == sorted(KINDS)
