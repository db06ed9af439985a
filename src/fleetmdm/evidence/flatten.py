"""A document as a list of (path, value): what a record of a pack commits to, field by field.

Paths are written as policies write them: `facts.disks[0].encrypted`, names quoted where they are
not plain. Objects are taken apart down to their leaves; lists that hold no object or list stay
whole, so that a list of ports is one fact. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[\w/:@+-]+\Z")
_INDEX = re.compile(r"\[\d+\]")


def flatten(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf at or below `value`, which stands at `path`."""
    if isinstance(value, Mapping) and value:
        for name, member in value.items():
            yield from flatten(f"{path}.{render_name(name)}", member)
    elif isinstance(value, list | tuple) and any(_holds(member) for member in value):
        for index, member in enumerate(value):
            yield from flatten(f"{path}[{index}]", member)
    else:
        yield path, value


def render_name(name: str) -> str:
    """A name as a step of a path, quoted where it must be."""
    if _BARE.match(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def pattern_of(path: str) -> str:
    """The path with every list index as `[*]`: the form in which catalogues name facts."""
    return _INDEX.sub("[*]", path) if "[" in path else path


def _holds(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)
