"""What a run can build on: the newest run, as far as it answered to the same question.

Rule for editors: where it is not sure that a verdict stands, it does not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate.verdicts import STATES
from fleetmdm.store.port import Question
from fleetmdm.store.sqlite.recording.block_state import KeptColumns
from fleetmdm.store.sqlite.runs import read_run


@dataclass(frozen=True, slots=True)
class Basis:
    """What the kept verdicts are an answer to."""

    run: int
    revision: int
    text: str
    policies: Mapping[str, str]
    """As `Question` has them."""

    def unchanged(self, question: Question) -> bool:
        """Whether the question is the same."""
        return self.text == question.text and self.policies == question.policies

    def standing(self, question: Question) -> frozenset[str]:
        """Policies of which the verdicts stand as far as the question goes."""
        if self.text != question.text:
            return frozenset()
        return frozenset(
            name for name, asked in question.policies.items() if self.policies.get(name) == asked
        )


def read_basis(connection: sqlite3.Connection) -> Basis | None:
    """The run whose verdicts are kept, as long as it is there."""
    row = connection.execute(
        "SELECT judged.run, judged.revision, question FROM judged"
        " JOIN runs ON runs.run = judged.run WHERE NOT runs.pruned"
    ).fetchone()
    if row is None:
        return None
    run, revision, asked = row
    told = json.loads(asked)
    return Basis(run, revision, told.get("text", ""), told.get("policies", {}))


def kept_columns(basis: Basis, policies: Iterable[str], standing: Collection[str]) -> KeptColumns:
    """Where the states of a run under `policies` (in the order of their ids) are among those kept."""
    now, before = list(policies), sorted(basis.policies)
    places = {name: place for place, name in enumerate(before)}
    moved = {place: places[name] for place, name in enumerate(now) if name in standing}
    return KeptColumns(len(before), len(now), moved)


def read_changed(
    connection: sqlite3.Connection,
    basis: Basis,
    policies: Mapping[str, int],
    standing: Collection[str],
) -> frozenset[int]:
    """The numbers of policies whose rows may differ: changed, new, and gone."""
    names = (basis.policies.keys() | policies.keys()) - set(standing)
    rows = connection.execute(
        "SELECT policy FROM policy_names WHERE name IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(names)),),
    )
    return frozenset(number for (number,) in rows)


def read_counts(
    connection: sqlite3.Connection, run_id: int, policies: Iterable[str], standing: Collection[str]
) -> npt.NDArray[np.int64]:
    """The counts of the policies that stand, as a run left them; by policy, then state."""
    counts = read_run(connection, run_id).policy_counts
    kept = {name: each for name, each in counts.items() if name in standing}
    rows = [[kept.get(name, {}).get(state, 0) for state in STATES] for name in policies]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(STATES))
