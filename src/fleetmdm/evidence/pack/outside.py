"""A list of devices that somebody else keeps, to compare the population with.

One name a line: a device id, a serial number or a host name; case and outer blanks do not count,
empty lines and those that begin with # are stepped over. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAMES = 5_000_000


class OutsideList:
    """The names of the list, and which of them have been met."""

    def __init__(self, lines: Iterable[str]) -> None:
        names = (line.strip() for line in lines)
        self._names = {name.casefold(): name for name in names if name and name[0] != "#"}
        if len(self._names) > MAX_NAMES:
            raise ValueError(f"a list of devices has at most {MAX_NAMES} names")
        self._met: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def meets(self, *names: str | None) -> bool:
        """Whether the device of these names is on the list."""
        known = {name.strip().casefold() for name in names if name} & self._names.keys()
        self._met |= known
        return bool(known)

    def missing(self) -> list[str]:
        """Names that no device had, as they were written, in order."""
        return [self._names[name] for name in sorted(self._names.keys() - self._met)]
