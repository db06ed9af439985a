"""What the commands that read inventory share: their options, the limits in force, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import click

from clikit.progress import Progress
from fleetmdm.cli.session import FleetCall
from fleetmdm.device import Device, DeviceLimits
from fleetmdm.errors import FleetError
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.read import InventoryFile, Reading, Refused
from fleetmdm.ingest.sources import Source
from fleetmdm.store.incoming import IncomingBlock, ReadBlock

MAX_LISTED = 100
"""Refusals, and conflicts, that are shown one by one; the rest is counted."""


def reading_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --from and --map."""
    function = click.option(
        "--map",
        "columns",
        multiple=True,
        metavar="FIELD[:TYPE]=COLUMN",
        help="Where a field comes from; see docs/inventory.md.",
    )(function)
    return click.option(
        "--from",
        "form",
        type=click.Choice([source.value for source in FORMS]),
        default=Source.DOCUMENT.value,
        show_default=True,
        help="What the files hold.",
    )(function)


def limits_in_force(call: FleetCall) -> DeviceLimits:
    """The bounds on documents, as configured."""
    return DeviceLimits(
        **{one.name: call.setting(f"ingest.{one.name}") for one in fields(DeviceLimits)}
    )


@dataclass(slots=True)
class Refusals:
    """What was refused: all counted, the first ones kept."""

    count: int = 0
    listed: list[Refused] = field(default_factory=list)

    def add(self, refused: Refused) -> None:
        """Take one more."""
        self.count += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(refused)

    def lines(self) -> Iterator[str]:
        """A line for each, for a person."""
        for one in self.listed:
            whose = f" (device {one.device_id})" if one.device_id else ""
            hint = f"; {one.hint}" if one.hint else ""
            yield f"  {one.file}:{one.line}: {one.reason}: {one.message}{whose}{hint}"
        if self.count > len(self.listed):
            yield f"  and {self.count - len(self.listed)} more"

    def details(self) -> dict[str, Any]:
        """The same for a program."""
        return {"refused": self.count, "documents": [asdict(one) for one in self.listed]}

    def found(self, message: str, hint: str) -> FleetError | None:
        """Some documents were refused, and the others were not; None where none was."""
        if not self.count:
            return None
        text = "\n".join([message, *self.lines()])
        return FleetError("ingest_errors", text, hint=hint, details=self.details())

    def nothing_in(self) -> FleetError:
        """No document went in."""
        message = f"documents refused: {self.count}; nothing went in"
        return FleetError(
            "inventory_invalid",
            "\n".join([message, *self.lines()]),
            hint=self.listed[0].hint or "repair them and ingest again",
            details=self.details(),
        )


@dataclass(frozen=True, slots=True)
class Accepting:
    """Sorts what is kept from what is refused.

    Under `strict`, one refusal ends it once everything was read.
    """

    refusals: Refusals
    progress: Progress
    strict: bool = False

    def devices(self, items: Iterable[Device | Refused]) -> Iterator[Device]:
        """The devices to keep."""
        for item in items:
            self.progress.advance()
            if isinstance(item, Device):
                yield item
            else:
                self.refusals.add(item)
        self._end()

    def blocks(self, items: Iterable[ReadBlock]) -> Iterator[IncomingBlock]:
        """The blocks to keep."""
        for item in items:
            self.progress.advance(item.count)
            for refused in item.refused:
                self.refusals.add(refused)
            if item.block.device_ids:
                yield item.block
        self._end()

    def _end(self) -> None:
        if self.refusals.count and self.strict:
            raise self.refusals.nothing_in()


def read_form(
    form: str, files: Sequence[InventoryFile], reading: Reading
) -> Iterator[Device | Refused]:
    """Devices and refusals of files of one form."""
    return FORMS[Source(form)].read(files, reading)
