"""Lists of fifty keys, on standing connections and on new ones, beside `ssh-agent`."""

from __future__ import annotations

from agent_rows import CORES, failures, in_turn, rates, side_by_side, some_keys
from load import Shape, load
from ratio import Measured, bound, finish, judge, read_options

KEYS = 50


def main() -> None:
    """Measure both."""
    options = read_options(rounds=5)
    rows: list[Measured] = []
    names = (f"ours:{CORES}", "ssh-agent")
    with some_keys(count=KEYS) as keys, side_by_side(*names, keys=keys) as (ours, other):
        for reconnect in (False, True):
            shape = Shape(50, mode="list", reconnect=reconnect)
            runs = in_turn(
                {
                    "ours": lambda shape=shape: load(ours, shape, keys[0]),  # type: ignore[misc] # a default binds the loop's value
                    "other": lambda shape=shape: load(other, shape, keys[0]),  # type: ignore[misc] # as above
                },
                options.rounds,
            )
            work = f"list {KEYS} keys, {'reconnecting' if reconnect else 'persistent'} clients"
            mine, its = rates(runs["ours"]), rates(runs["other"])
            rows += [
                judge(work, "ssh-agent", mine, its, at_least=1.5, unit="/s"),
                bound(f"{work}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
            ]
    finish(rows, options)


if __name__ == "__main__":
    main()
