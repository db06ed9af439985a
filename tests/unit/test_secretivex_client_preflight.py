"""What preflight says of facts, and what hints say of a socket."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from secretivex.cli.client.fanout.checks import CHECKS, Facts, examine
from secretivex.cli.client.fanout.findings import State
from secretivex.cli.client.fanout.hints import TOOLS, WHY, make_hints

SSH = {
    "identitiesonly": "yes",
    "controlmaster": "auto",
    "gssapiauthentication": "no",
    "proxyjump": "none",
}
READY = Facts(
    parallel=50,
    socket_path="/run/user/1000/agent.sock",
    max_socket_path_bytes=107,
    socket_folder_mode=0o700,
    keys=3,
    descriptors=1024,
    processes=4096,
    backlog=4096,
    cores=2,
    auth_sock="/run/user/1000/agent.sock",
    ssh=SSH,
    known_hosts_bytes=10_000,
    is_clock_synchronised=True,
)


def states(facts: Facts) -> dict[str, State]:
    return {one.check: one.state for one in examine(facts)}


def test_a_machine_that_is_ready_passes_every_check() -> None:
    assert set(states(READY).values()) == {"ok"}
    assert len(states(READY)) == len(CHECKS)


@pytest.mark.parametrize(
    ("check", "state", "facts"),
    [
        ("agent", "failed", replace(READY, agent_error="nobody listens")),
        ("agent", "failed", replace(READY, keys=0)),
        ("socket path", "warning", replace(READY, socket_folder_mode=0o777)),
        ("socket path", "failed", replace(READY, socket_path="/" + "x" * 120)),
        ("IdentityAgent", "failed", replace(READY, ssh={**SSH, "identityagent": "/other"})),
        ("IdentityAgent", "failed", replace(READY, auth_sock="")),
        ("IdentitiesOnly", "failed", replace(READY, keys=6, ssh={**SSH, "identitiesonly": "no"})),
        ("ControlPersist", "warning", replace(READY, ssh={**SSH, "controlmaster": "false"})),
        ("GSSAPI", "warning", replace(READY, ssh={**SSH, "gssapiauthentication": "yes"})),
        ("known_hosts", "warning", replace(READY, known_hosts_bytes=5_000_000)),
        ("MaxStartups", "warning", replace(READY, ssh={**SSH, "proxyjump": "bastion"})),
        ("open files", "failed", replace(READY, descriptors=256)),
        ("processes", "failed", replace(READY, processes=60)),
        ("backlog", "warning", replace(READY, backlog=40)),
        ("cores", "warning", replace(READY, cores=1)),
        ("clock", "failed", replace(READY, is_clock_before_release=True)),
        ("clock", "warning", replace(READY, is_clock_synchronised=False)),
    ],
)
def test_each_obstacle_is_found_with_its_remedy(check: str, state: State, facts: Facts) -> None:
    (found,) = (one for one in examine(facts) if one.check == check)
    assert (found.state, bool(found.remedy)) == (state, True)


def test_what_is_not_known_is_not_called_ok() -> None:
    blind = Facts(50, "/run/agent.sock", 107, agent_error="nobody", cores=2)
    assert {check for check, state in states(blind).items() if state == "ok"} == {
        "socket path",
        "cores",
    }


@pytest.mark.parametrize("socket", ["/run/agent.sock", "/with blank/it's"])
def test_hints_quote_the_socket_for_each_tool(socket: str) -> None:
    hints = make_hints(socket, 20)
    assert set(hints) == set(TOOLS) == set(WHY)
    assert shlex.split(hints["shell"])[1] == f"SSH_AUTH_SOCK={socket}"
    pssh = shlex.split(hints["pssh"])
    word = socket if socket == "/run/agent.sock" else f'"{socket}"'
    assert f"IdentityAgent={word}" in shlex.split(pssh[pssh.index("-x") + 1])
    assert (pssh[pssh.index("-p") + 1], "forks = 20" in hints["ansible"]) == ("20", True)
