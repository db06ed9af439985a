"""Ed25519 signatures for 200 persistent clients: beside the raw signer, `ssh-agent` and ourselves.

First one worker pinned to one core with the load on the other; then as many workers as cores.
"""

from __future__ import annotations

from agent_rows import (
    AGENT_CORE,
    CORES,
    LOAD_CORE,
    cpu_us,
    failures,
    in_turn,
    rates,
    raw_signer,
    side_by_side,
    some_keys,
)
from load import Shape, load
from ratio import Measured, bound, finish, judge, read_options

CLIENTS = 200
RAW, OPENSSH = "raw signer on that core", "ssh-agent"


def one_worker(rounds: int) -> list[Measured]:
    """Everything that signs on one core, the load on the other."""
    shape = Shape(CLIENTS, cores=LOAD_CORE)
    with (
        some_keys() as keys,
        side_by_side("ours:1", OPENSSH, cores=AGENT_CORE, keys=keys) as (ours, other),
    ):
        runs = in_turn(
            {
                "ours": lambda: load(ours, shape, keys[0]),
                "raw": lambda: raw_signer(keys[0], cores=[AGENT_CORE]),
                "other": lambda: load(other, shape, keys[0]),
            },
            rounds,
        )
    mine, work = rates(runs["ours"]), f"Ed25519 sign, {CLIENTS} persistent clients, 1 worker"
    return [
        judge(work, RAW, mine, rates(runs["raw"]), at_least=0.75, unit="/s"),
        judge(
            f"{work}: processor time of the raw signer in one of the agent's",
            "",
            [raw["cpu_us"] for raw in runs["raw"]],
            cpu_us(runs["ours"]),
            unit="us",
        ),
        judge(work, f"{OPENSSH} pinned alike", mine, rates(runs["other"]), at_least=7, unit="/s"),
        bound(f"{work}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
    ]


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
    return [
        judge(work, "our own 1 worker", mine, rates(runs["ours:1"]), at_least=1.7, unit="/s"),
        judge(work, OPENSSH, mine, rates(runs[OPENSSH]), unit="/s"),
        bound(f"{work}: failures", failures(runs[names[0]]), at_most=0, worst=True, unit=""),
    ]


def main() -> None:
    """Measure both."""
    options = read_options(rounds=5)
    finish([*one_worker(options.rounds), *all_cores(options.rounds)], options)


if __name__ == "__main__":
    main()
