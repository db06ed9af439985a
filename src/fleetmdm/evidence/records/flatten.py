"""A document as a list of (path, value): what a record of a pack commits to, field by field.

Paths are written as policies write them: `facts.disks[0].encrypted`, names quoted where they are
not plain. Objects are taken apart down to their leaves; lists that hold no object or list stay
whole, so that a list of ports is one fact. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[\w/:@+-]+\Z")
_INDEX = re.compile(r"\[\d+\]")
_STEP = re.compile(r"""\.?(?:([\w/:@+-]+)|"((?:[^"\\]|\\["\\])*)")|\[(\d+)\]""")


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


def unflatten(pairs: Iterable[tuple[str, Any]]) -> Any:
    """The document of which `flatten` made these pairs; raises ValueError for none.

    All paths begin with the same name, which is left out.
    """
    root: dict[Any, Any] = {}
    for path, value in pairs:
        steps = _steps(path)
        node = root
        for step in steps[:-1]:
            node = node.setdefault(step, {})
            if type(node) is not dict:
                raise ValueError(f"{path!r} goes through a value")
        if steps[-1] in node:
            raise ValueError(f"{path!r} is there twice")
        node[steps[-1]] = _Leaf(value)
    if len(root) > 1:
        raise ValueError("the paths have no common name")
    return _grow(next(iter(root.values()), _Leaf(None)))


class _Leaf:
    """A value as it is, told from an object that is being put together."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    place = 0
    while place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            raise ValueError(f"not a path: {path!r}")
        bare, quoted, index = match.groups()
        steps.append(int(index) if index else bare or re.sub(r"\\(.)", r"\1", quoted))
        place = match.end()
    return steps


def _grow(node: Any) -> Any:
    if isinstance(node, _Leaf):
        return node.value
    if any(isinstance(step, int) for step in node):
        if sorted(node) != list(range(len(node))):
            raise ValueError("a list has holes")
        return [_grow(node[index]) for index in range(len(node))]
    return {name: _grow(member) for name, member in node.items()}


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
