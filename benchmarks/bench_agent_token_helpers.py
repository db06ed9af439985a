"""One PKCS#11 module in three agents: our store, our agent by `ssh-add -s`, OpenSSH's by `ssh-add -s`.

The second and third speak to OpenSSH's `ssh-pkcs11-helper`, one a worker and one an agent; the first
has helper processes of its own. Reported without a target.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agent_rows import CORES, RSA_SHA256, failures, in_turn, rates
from bench_agent_token import PIN, obstacle, softhsm, token_agent
from load import Agent, Setup, Shape, load, make_keys, start
from ratio import Measured, bound, finish, judge, not_measurable, read_options

WORK = "RSA-2048 in SoftHSM, {} client{}: a store"


@contextmanager
def by_ssh_add(name: str, folder: Path, module: str) -> Iterator[Agent]:
    """An agent that a client had load the module."""
    askpass = folder / "askpass"
    askpass.write_text(f"#!/bin/sh\necho {PIN}\n")
    askpass.chmod(0o700)
    config = f'allowed_providers = "{os.path.realpath(module)}"\n'
    with start(name, Setup(make_keys(folder / f"spare-{name}"), config=config)) as agent:
        more = {"SSH_AUTH_SOCK": agent.address, "SSH_ASKPASS": str(askpass)}
        environ = {**os.environ, **more, "SSH_ASKPASS_REQUIRE": "force"}
        command = ["ssh-add", "-s", module]
        subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60)
        yield agent


def compare(rounds: int, folder: Path, module: str, clients: int) -> list[Measured]:
    """The store's rate over that of each other agent, in turn."""
    shape = Shape(clients, flags=RSA_SHA256, duration_s=1.5)
    with ExitStack() as stack:
        ours = stack.enter_context(token_agent(folder, module, make_keys(folder / "keys")))
        others = {
            "ours, ssh-add -s": f"ours:{CORES}",
            "ssh-agent, ssh-add -s": "ssh-agent",
        }
        agents = {"store": ours}
        for label, name in others.items():
            agents[label] = stack.enter_context(by_ssh_add(name, folder, module))
        works: dict[str, Callable[[], Any]] = {
            label: partial(load, agent, shape, folder / "token") for label, agent in agents.items()
        }
        runs = in_turn(works, rounds)
    work = WORK.format(clients, "" if clients == 1 else "s")
    rows = [
        judge(work, label, rates(runs["store"]), rates(runs[label]), unit="/s") for label in others
    ]
    lost = [bad for label in agents for bad in failures(runs[label])]
    return [*rows, bound(f"{work}: failures", lost, at_most=0, worst=True, unit="")]


def main() -> None:
    """Measure, or say why not."""
    options = read_options(rounds=5)
    if why := obstacle():
        finish([not_measurable(WORK.format(64, "s"), why)], options)
    with tempfile.TemporaryDirectory(prefix="helpers-") as name, softhsm(Path(name)) as module:
        rows = []
        for clients in (1, 64):
            folder = Path(name) / str(clients)
            folder.mkdir()
            rows += compare(options.rounds, folder, module, clients)
    finish(rows, options)


if __name__ == "__main__":
    main()
