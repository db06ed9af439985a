"""ECDSA and RSA signatures with as many workers as cores, beside the raw signer on each core."""

from __future__ import annotations

from agent_rows import (
    CORES,
    RSA_SHA256,
    failures,
    in_turn,
    rates,
    raw_signer,
    side_by_side,
    some_keys,
)
from load import Shape, load
from ratio import Measured, bound, finish, judge, read_options

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
                "raw": lambda: raw_signer(keys[0], cores=every, flags=flags),
            },
            rounds,
        )
    work = f"{kind} sign, 200 persistent clients, all cores"
    raw = "raw signer on every core"
    return [
        judge(work, raw, rates(runs["ours"]), rates(runs["raw"]), at_least=0.75, unit="/s"),
        bound(f"{work}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
    ]


def main() -> None:
    """Measure each."""
    options = read_options(rounds=5)
    finish([row for kind in KINDS for row in rows_of(kind, options.rounds)], options)


if __name__ == "__main__":
    main()
