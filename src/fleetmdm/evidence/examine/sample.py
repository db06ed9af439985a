r"""Draw devices to look at again, by the pack and the auditor's own word, so nobody picks them.

A line of population.ndjson has the ticket SHA-256("fleetmdm-sample/1\\n" manifest "\\n" nonce "\\n"
index "\\n"): the manifest by its SHA-256 in hex, the index from 0 in decimal. The lowest tickets are
drawn. The manifest was fixed before the nonce was known, and the nonce is the auditor's.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetmdm.evidence.examine.sound import SoundPack
from fleetmdm.evidence.names import POPULATION
from fleetmdm.evidence.records.reading import parse_record

MAX_NONCE_CHARS = 1000
IN_SCOPE = "in_scope"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One device of the sample; `line` counts from 1."""

    ticket: str
    line: int
    fields: Mapping[str, Any]


def ticket_of(manifest_sha256: str, nonce: str, index: int) -> str:
    """The ticket of one line, in hex."""
    text = f"fleetmdm-sample/1\n{manifest_sha256}\n{nonce}\n{index}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def draw_sample(pack: SoundPack, *, nonce: str, size: int) -> list[Drawn]:
    """At most `size` devices in scope, by their tickets."""
    digest = pack.report.manifest_sha256 or ""
    tickets: list[tuple[int, Drawn]] = []
    for index, line in enumerate(pack.lines(POPULATION)):
        fields = parse_record(line).fields
        if fields.get("scope", IN_SCOPE) != IN_SCOPE:
            continue
        drawn = Drawn(ticket_of(digest, nonce, index), index + 1, fields)
        # A heap keeps the smallest on top, so the highest ticket of those kept must be smallest.
        entry = (-int(drawn.ticket, 16), drawn)
        if len(tickets) < size:
            heapq.heappush(tickets, entry)
        elif entry[0] > tickets[0][0]:
            heapq.heapreplace(tickets, entry)
    return [drawn for _, drawn in sorted(tickets, key=lambda entry: -entry[0])]
