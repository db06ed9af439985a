"""Fact paths: the address of a fact inside a device document, and how it is followed.

Grammar (docs/policy-language.md, "Keys"):
    path   = name *( "." name / "[" index "]" / "[*]" )
    name   = bare / DQUOTE *( any but DQUOTE and backslash / backslash DQUOTE / two backslashes ) DQUOTE
    bare   = 1*( letter / digit / "_" / "-" / "/" / ":" / "@" / "+" )
Rule for editors: following a path never raises; what cannot be followed is an `Absent` value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fleetmdm.device import Device
from fleetmdm.rfc3339 import encode_time

MAX_PATH_CHARACTERS: Final = 512
"""Longer than any path of the shipped exporters by a factor of eight."""
MAX_PATH_STEPS: Final = 32
"""The depth bound of device documents."""
MAX_INDEX: Final = 999_999

_STEP = re.compile(
    r"""(?P<bare>[\w/:@+-]+)   # a plain name
      | "(?P<quoted>(?:[^"\\]|\\["\\])*)"
      | \[(?P<index>\d{1,6}|\*)\]""",
    re.VERBOSE,
)
_BARE = re.compile(r"[\w/:@+-]+")


class PathError(ValueError):
    """A fact path that does not follow the grammar; the text says why."""


class Each:
    """The step `[*]`: every element of a list."""

    def __repr__(self) -> str:
        return "EACH"


EACH: Final = Each()
Step = str | int | Each


@dataclass(frozen=True, slots=True)
class FactPath:
    """A parsed path; `text` is as written."""

    text: str
    steps: tuple[Step, ...]

    @property
    def first_each(self) -> int:
        """The place of the first `[*]`, or the number of steps when there is none."""
        return next((i for i, step in enumerate(self.steps) if step is EACH), len(self.steps))


@dataclass(frozen=True, slots=True, eq=False)
class Absent:
    """Nothing stands at the end of the path. `wrong` says that the shape is not as expected.

    There is one of each kind, so that they are told apart by identity.
    """

    reason: str
    wrong: bool = False


MISSING: Final = Absent("missing")
NULL: Final = Absent("null")
EMPTY: Final = Absent("empty_list")
MISSHAPEN: Final = Absent("wrong_type", wrong=True)


@dataclass(frozen=True, slots=True)
class Elements:
    """What a path with `[*]` found: (steps to it, value or `Absent`) of each element, never none."""

    items: tuple[tuple[tuple[Step, ...], Any], ...]


@lru_cache(maxsize=4096)
def parse_path(text: str) -> FactPath:
    """Read a path; raises `PathError`."""
    if len(text) > MAX_PATH_CHARACTERS:
        raise PathError(f"a key has at most {MAX_PATH_CHARACTERS} characters")
    steps: list[Step] = []
    place = 0
    while place < len(text) or not steps:
        if steps and text[place] == ".":
            place += 1
            name_wanted = True
        else:
            name_wanted = not steps
        match = _STEP.match(text, place)
        if match is None or (match["index"] is None) is not name_wanted:
            raise PathError(f"cannot read the key {text!r} from character {place + 1} on")
        steps.append(_step(match))
        place = match.end()
    if len(steps) > MAX_PATH_STEPS:
        raise PathError(f"a key has at most {MAX_PATH_STEPS} steps")
    return FactPath(text, tuple(steps))


def _step(match: re.Match[str]) -> Step:
    if match["bare"] is not None:
        return match["bare"]
    if match["quoted"] is not None:
        return re.sub(r"\\(.)", r"\1", match["quoted"])
    return EACH if match["index"] == "*" else int(match["index"])


def render_path(steps: tuple[Step, ...]) -> str:
    """The text of a path, quoted where it must be."""
    text = ""
    for step in steps:
        if isinstance(step, str):
            plain = step if _BARE.fullmatch(step) else _quote(step)
            text += f".{plain}" if text else plain
        else:
            text += "[*]" if isinstance(step, Each) else f"[{step}]"
    return text


def _quote(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


# The document's own fields.


def _last_seen(device: Device) -> str:
    return encode_time(device.last_seen)


DOCUMENT_FIELDS: Final[Mapping[str, Any]] = {
    "device_id": lambda device: device.device_id,
    "hostname": lambda device: device.hostname,
    "os": lambda device: device.os,
    "os_version": lambda device: device.os_version,
    "serial": lambda device: device.serial,
    "last_seen": _last_seen,
    "tags": lambda device: list(device.tags),
    "facts": lambda device: device.facts,
}
"""First steps that name the document itself; every other first step is a fact."""


def follow_step(value: Any, step: Step) -> Any:
    """One name or index down from `value`; answers a value, or `Absent`."""
    if isinstance(value, Absent):
        return value
    if value is None:
        return NULL
    if isinstance(step, str):
        if isinstance(value, Mapping):
            return value.get(step, MISSING)
        return MISSHAPEN
    if isinstance(step, int) and isinstance(value, list | tuple):
        return value[step] if step < len(value) else MISSING
    return MISSHAPEN


def expand(value: Any, steps: tuple[Step, ...], done: tuple[Step, ...]) -> Elements | Absent:
    """Take every element of `value` (the `[*]`), then follow `steps` from each."""
    found = _list_or_absent(value)
    if isinstance(found, Absent):
        return found
    return Elements(tuple(_ends(found, steps, done)))


def _ends(
    values: list[Any], steps: tuple[Step, ...], done: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], Any]]:
    for index, element in enumerate(values):
        place, rest, found = (*done, index), steps, element
        while rest and not isinstance(rest[0], Each):
            found = follow_step(found, rest[0])
            place, rest = (*place, rest[0]), rest[1:]
        if not rest:
            yield place, NULL if found is None else found
            continue
        inner = _list_or_absent(found)
        if isinstance(inner, Absent):
            yield (*place, *rest), inner
        else:
            yield from _ends(inner, rest[1:], place)


def _list_or_absent(value: Any) -> list[Any] | Absent:
    if isinstance(value, Absent):
        return value
    if value is None:
        return NULL
    if not isinstance(value, list | tuple):
        return MISSHAPEN
    return list(value) if value else EMPTY
