"""The names of devices that no other field may give away, beside records in the same order. Pure.

Rule for editors: it reads along once, so it is asked in the order of the device ids.
"""

from __future__ import annotations

from collections.abc import Iterable


class GuardedNames:
    """Names by device id, from (device id, names) in the order of the ids."""

    def __init__(self, devices: Iterable[tuple[str, frozenset[str]]]) -> None:
        self._devices = iter(devices)
        self._current: tuple[str, frozenset[str]] | None = None

    def of(self, device_id: str) -> frozenset[str]:
        """The names of one device; of one that is not among them, its id."""
        while self._current is None or self._current[0] < device_id:
            following = next(self._devices, None)
            if following is None:
                return frozenset((device_id.casefold(),))
            self._current = following
        if self._current[0] == device_id:
            return self._current[1]
        return frozenset((device_id.casefold(),))
