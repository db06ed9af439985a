"""ECDSA and RSA signatures with as many workers as cores, beside the raw signer on each core.

Both rates are what all cores could make by the processor time of one signature. Counted by the clock they
compared shares of a machine that did something else too: it gave the many threads of an agent more of its
time than the one of each raw signer, and RSA came out at 1.5; taken from under the agent by its host, the
same row fell to 0.5. What was made by the clock is reported, beside what the cores could make less what the
load tool took of them.

The targets were set for OpenSSL through `cryptography`, and those rows bind. ECDSA is signed by AWS-LC where
it is installed: what is left of its own rate is reported beside.
"""

from __future__ import annotations

from agent_rows import (
    CORES,
    RSA_SHA256,
    cpu_us,
    failures,
    in_turn,
    load_us,
    rates,
    raw_signers,
    side_by_side,
    some_keys,
)
from load import Shape, load
from ratio import Measured, bound, finish, judge, read_options

RAW = "OpenSSL through cryptography on every core"
IN_USE = "the chosen signer on every core"

KINDS = {
    "ECDSA P-256": (("-t", "ecdsa", "-b", "256"), 0),
    "RSA-3072": (("-t", "rsa", "-b", "3072"), RSA_SHA256),
}


def rows_of(kind: str, rounds: int) -> list[Measured]:
    """One key type."""
    options, flags = KINDS[kind]
    shape = Shape(200, flags=flags)
    every = [str(core) for core in range(CORES)]
    with some_keys(*options) as keys, side_by_side(f"ours:{CORES}", keys=keys) as (ours,):
        runs = in_turn(
            {
                "ours": lambda: load(ours, shape, keys[0]),
                "raw": lambda: raw_signers(keys[0], cores=every, flags=flags),
            },
            rounds,
        )
    work = f"{kind} sign, 200 persistent clients, all cores"
    raw = [one["openssl"] for one in runs["raw"]]
    mine = rates(runs["ours"])
    whole = [CORES * 1e6 / one.cpu_us for one in raw]
    chosen = [CORES * 1e6 / one["in_use"].cpu_us for one in runs["raw"]]
    able = [CORES * 1e6 / used for used in cpu_us(runs["ours"])]
    left = [
        most * (1 - tool * rate / 1e6 / CORES)
        for most, tool, rate in zip(whole, load_us(runs["ours"]), mine, strict=True)
    ]
    return [
        judge(work, RAW, able, whole, at_least=0.75, unit="/s"),
        judge(work, IN_USE, able, chosen, unit="/s"),
        judge(f"{work}: by the clock", f"{RAW}, less the load tool", mine, left, unit="/s"),
        bound(f"{work}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
    ]


def main() -> None:
    """Measure each."""
    options = read_options(rounds=5)
    finish([row for kind in KINDS for row in rows_of(kind, options.rounds)], options)


if __name__ == "__main__":
    main()
