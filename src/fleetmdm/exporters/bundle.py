"""The stand-alone form of an exporter: its parts joined into one file that needs nothing of ours.

The parts import each other by `from fleetmdm.exporters.X import name`; joined, those lines go and
the names are simply there. Rule for editors: what comes out is plain source that a person can read
before letting it onto a host; no packing, no loader.
"""

from __future__ import annotations

import ast
from importlib.resources import files

PACKAGE = "fleetmdm.exporters"
PLATFORMS = ("linux",)
INTERPRETER_LINE = "#!/usr/bin/env python3\n"


def stand_alone(platform: str) -> str:
    """Source of the whole exporter for one of `PLATFORMS`."""
    parts: dict[str, str] = {}
    _gather(platform, parts)
    _refuse_name_clashes(parts)
    return INTERPRETER_LINE + "\n\n".join(parts.values())


def _gather(name: str, parts: dict[str, str]) -> None:
    """Add a module after those that it needs."""
    source = files(PACKAGE).joinpath(f"{name}.py").read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE + "."):
            needed = (node.module or "").removeprefix(PACKAGE + ".")
            if needed not in parts:
                _gather(needed, parts)
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = [""] * (last - first)
    parts[name] = "".join(lines)


def _refuse_name_clashes(parts: dict[str, str]) -> None:
    """Two parts that define one name would silently share it once joined."""
    owners: dict[str, str] = {}
    for part, source in parts.items():
        for name in _defined_names(ast.parse(source)):
            if owners.setdefault(name, part) != part:
                raise ValueError(f"{name} is defined by {owners[name]} and by {part}")


def _defined_names(module: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names
