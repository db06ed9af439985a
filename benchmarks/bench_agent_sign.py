"""Ed25519 signatures for 200 persistent clients: beside the raw signer, `ssh-agent` and ourselves.

First one worker pinned to one core with the load on the other; then as many workers as cores.

The target of 0.75 was set for OpenSSL through `cryptography`, and that row binds: a quicker signer must
not turn into a miss. What signs is libsodium, which takes half the time; the row beside it says how much
of its rate is left for clients. The row after it adds to libsodium what the kernel takes for reading a
request, writing its reply and waking a client, and nothing else: what an agent could reach whose own code
cost nothing. With all cores the load tool takes part of them, so two rows are reported beside the one
by the clock: what two workers could make at most if a request cost no more than with one, and what they do
make of a second of their own processor time, which is what the second worker itself costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_rows import (
    AGENT_CORE,
    CORES,
    LOAD_CORE,
    cpu_us,
    failures,
    in_turn,
    load_us,
    rates,
    raw_signers,
    side_by_side,
    some_keys,
)
from load import Agent, Shape, cpu_of, kernel_cpu_of, load
from ratio import Measured, bound, finish, judge, read_options

CLIENTS = 200
CHOSEN = "OpenSSL through cryptography on that core"
IN_USE = "libsodium on that core"
OPENSSH = "ssh-agent"


def one_worker(rounds: int) -> list[Measured]:
    """Everything that signs on one core, the load on the other."""
    shape = Shape(CLIENTS, cores=LOAD_CORE)
    with (
        some_keys() as keys,
        side_by_side("ours:1", OPENSSH, cores=AGENT_CORE, keys=keys) as (ours, other),
    ):
        runs = in_turn(
            {
                "ours": lambda: load_and_look(ours, shape, keys[0]),
                "raw": lambda: raw_signers(keys[0], cores=[AGENT_CORE]),
                "other": lambda: load(other, shape, keys[0]),
            },
            rounds,
        )
    mine, work = rates(runs["ours"]), f"Ed25519 sign, {CLIENTS} persistent clients, 1 worker"
    openssl = [raw["openssl"].throughput_per_s for raw in runs["raw"]]
    sodium = [raw["in_use"].throughput_per_s for raw in runs["raw"]]
    signing_us = [raw["in_use"].cpu_us for raw in runs["raw"]]
    least_us = [
        signing + kernel * used
        for signing, kernel, used in zip(
            signing_us,
            [run["kernel_share"] for run in runs["ours"]],
            cpu_us(runs["ours"]),
            strict=True,
        )
    ]
    return [
        judge(work, CHOSEN, mine, openssl, at_least=0.75, unit="/s"),
        judge(work, IN_USE, mine, sodium, unit="/s"),
        judge(
            f"{work}: the signer alone in signer and kernel", "", signing_us, least_us, unit="us"
        ),
        judge(
            f"{work}: the signer alone in all of the agent",
            "",
            signing_us,
            cpu_us(runs["ours"]),
            unit="us",
        ),
        judge(work, f"{OPENSSH} pinned alike", mine, rates(runs["other"]), at_least=7, unit="/s"),
        bound(f"{work}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
    ]


def load_and_look(agent: Agent, shape: Shape, key: Path) -> dict[str, Any]:
    """One run, and which part of the agent's processor time the kernel took."""
    pids = agent.pids
    before, kernel_before = cpu_of(pids), kernel_cpu_of(pids)
    run = load(agent, shape, key)
    used_s, kernel_s = cpu_of(pids) - before, kernel_cpu_of(pids) - kernel_before
    return {**run, "kernel_share": kernel_s / max(used_s, 0.01)}


def all_cores(rounds: int) -> list[Measured]:
    """As many workers as cores, which they share with the load tool."""
    shape = Shape(CLIENTS)
    names = (f"ours:{CORES}", "ours:1", OPENSSH)
    with some_keys() as keys, side_by_side(*names, keys=keys) as agents:
        runs = in_turn(
            {
                agent.name: lambda agent=agent: load(agent, shape, keys[0])  # type: ignore[misc] # a default binds the loop's value
                for agent in agents
            },
            rounds,
        )
    mine, work = rates(runs[names[0]]), f"Ed25519 sign, {CLIENTS} persistent clients, all cores"
    alone = runs["ours:1"]
    most = [
        CORES / (ours + tool) * 1e6
        for ours, tool in zip(cpu_us(alone), load_us(alone), strict=True)
    ]
    return [
        judge(work, "our own 1 worker", mine, rates(alone), at_least=1.7, unit="/s"),
        judge(
            f"{work}: what the cores could make", "our own 1 worker", most, rates(alone), unit="/s"
        ),
        judge(
            f"{work}: by their own processor time",
            "our own 1 worker",
            [CORES * 1e6 / used for used in cpu_us(runs[names[0]])],
            [1e6 / used for used in cpu_us(alone)],
            unit="/s",
        ),
        judge(work, OPENSSH, mine, rates(runs[OPENSSH]), unit="/s"),
        bound(f"{work}: failures", failures(runs[names[0]]), at_most=0, worst=True, unit=""),
    ]


def main() -> None:
    """Measure both."""
    options = read_options(rounds=5)
    finish([*one_worker(options.rounds), *all_cores(options.rounds)], options)


if __name__ == "__main__":
    main()
