"""What a run has to judge: everything, or what may differ from what the newest run found.

Rule for editors: a device is left out only where its facts, its time and the question are the same;
when in doubt, judge it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from fleetmdm.store.codec import stamp_to_time
from fleetmdm.store.port import Question
from fleetmdm.store.sqlite.blocks.changes import read_changed_devices, read_seen
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES
from fleetmdm.store.sqlite.recording.basis import Basis
from fleetmdm.store.sqlite.recording.block_state import Places
from fleetmdm.store.sqlite.recording.digests import NOT_KNOWN, Digests
from fleetmdm.store.sqlite.recording.judged import Judged
from fleetmdm.store.sqlite.recording.work import Task
from fleetmdm.store.sqlite.revisions import IN_FORCE

WHOLE_SHARE: Final = 4
"""Where more than one in so many places of a block is due, all of it is judged."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks to judge as a whole, single devices to judge, and devices that were only seen again.

    With `policies`, all other blocks are judged under these alone, and there are no single devices.
    """

    blocks: tuple[int, ...]
    devices: tuple[int, ...] = ()
    seen: tuple[tuple[int, bytes, str], ...] = ()
    """Number, hash of the document, when it was seen."""
    known: Mapping[int, Digests] = field(default_factory=dict)
    """By block, of what the newest run left, where it is known."""
    partly: tuple[int, ...] = ()
    policies: frozenset[str] = frozenset()

    def tasks(self) -> Sequence[Task]:
        """Blocks, then devices, as many at a time as a block has."""
        places = range(0, len(self.devices), BLOCK_DEVICES)
        return [
            *(Task(block, known=self.known.get(block, NOT_KNOWN)) for block in self.blocks),
            *(Task(block, policies=self.policies) for block in self.partly),
            *(Task(devices=self.devices[at : at + BLOCK_DEVICES]) for at in places),
        ]


def make_plan(
    connection: sqlite3.Connection,
    basis: Basis,
    revision: int,
    judged: Judged,
    question: Question,
) -> Plan:
    """What a run at a revision has to judge on top of its basis."""
    changed = read_changed_devices(connection, basis.revision, revision)
    seen = read_seen(connection, basis.revision, revision) - changed
    if question.reads_last_seen:
        changed |= seen
    again, several = _read_seen_again(connection, revision, seen - changed)
    changed |= several
    return _divide(changed, judged.due_by_time(timely=question.timely), again)


def spread(plan: Plan, every: Sequence[int], policies: frozenset[str]) -> Plan:
    """A plan where some policies changed too: single devices bring up their blocks."""
    whole = set(plan.blocks) | {device // BLOCK_DEVICES for device in plan.devices}
    return Plan(
        tuple(sorted(whole)),
        seen=tuple(row for row in plan.seen if row[0] // BLOCK_DEVICES not in whole),
        partly=tuple(block for block in every if block not in whole),
        policies=policies,
    )


def _divide(
    changed: set[int],
    by_time: Mapping[int, Places | None],
    seen: tuple[tuple[int, bytes, str], ...],
) -> Plan:
    due = set(changed)
    blocks = {block for block, places in by_time.items() if places is None}
    for block, places in by_time.items():
        if places is not None:
            due.update((places + block * BLOCK_DEVICES).tolist())
    single: list[int] = []
    for block, numbers in groupby(sorted(due), key=lambda number: number // BLOCK_DEVICES):
        members = list(numbers)
        if len(members) * WHOLE_SHARE > BLOCK_DEVICES:
            blocks.add(block)
        elif block not in blocks:
            single += members
    left = tuple(row for row in seen if row[0] // BLOCK_DEVICES not in blocks)
    return Plan(tuple(sorted(blocks)), tuple(single), left)


_SEEN = f"""
SELECT seen.device, count(*), max(seen.last_seen), max(kept.facts_hash)
FROM json_each(:devices) AS one
CROSS JOIN sightings AS seen ON seen.device = one.value
CROSS JOIN documents AS kept ON kept.device = seen.device AND kept.source = seen.source
WHERE {IN_FORCE.format("seen")} AND {IN_FORCE.format("kept")}
GROUP BY seen.device
"""  # noqa: S608 - constants of this package, no value from outside


def _read_seen_again(
    connection: sqlite3.Connection, revision: int, devices: set[int]
) -> tuple[tuple[tuple[int, bytes, str], ...], set[int]]:
    """What the leaves of devices that were seen again are made of; those of several sources apart."""
    if not devices:
        return (), set()
    chosen = {"revision": revision, "devices": json.dumps(sorted(devices))}
    rows = connection.execute(_SEEN, chosen).fetchall()
    alone = tuple((row[0], row[3], stamp_to_time(row[2])) for row in rows if row[1] == 1)
    return alone, {row[0] for row in rows if row[1] > 1}
