"""Which reader reads which source: the rows behind `ingest --from`. Pure.

Rule for editors: a new form is a row here, a row in `sources` and one file beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.ansible import read_ansible
from fleetmdm.ingest.files import SUFFIXES
from fleetmdm.ingest.fleet import read_fleet
from fleetmdm.ingest.osquery import read_osquery
from fleetmdm.ingest.read import (
    InventoryFile,
    Reading,
    Refused,
    as_it_is,
    read_documents,
    refuse_foreign,
)
from fleetmdm.ingest.sources import Source
from fleetmdm.ingest.table import read_table


@dataclass(frozen=True, slots=True)
class Form:
    """How files of one source are read."""

    read: Callable[[Sequence[InventoryFile], Reading], Iterator[Device | Refused]]
    suffixes: frozenset[str]
    """Which files of a folder are read; none means all that are not hidden."""


def read_own(files: Sequence[InventoryFile], reading: Reading) -> Iterator[Device | Refused]:
    """Our own device documents, file by file."""
    if reading.columns:
        raise FleetError("usage", "--map is not for device documents", hint="use it with --from")
    for file in files:
        if foreign := refuse_foreign(file):
            yield foreign
        else:
            yield from read_documents(file, reading, as_it_is)


FORMS: Final[Mapping[Source, Form]] = {
    Source.DOCUMENT: Form(read_own, SUFFIXES),
    Source.FLEET: Form(read_fleet, SUFFIXES | {".csv"}),
    # A cache names its files after the hosts, so that what looks like a suffix is none.
    Source.ANSIBLE: Form(read_ansible, frozenset()),
    Source.OSQUERY: Form(read_osquery, SUFFIXES | {".log"}),
    Source.CSV: Form(read_table, frozenset({".csv", ".tsv", ".txt", ".gz", ".zst"})),
}
