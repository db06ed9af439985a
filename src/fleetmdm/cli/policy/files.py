"""Policy files on disk and in the library that ships: found, bounded, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from fleetmdm.errors import FleetError
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import PolicyFile, Problem, policy_invalid, read_policies
from fleetmdm.policy_yaml.yaml_tree import MAX_FILE_BYTES

SUFFIXES: Final = frozenset({".yaml", ".yml"})
MAX_FILES: Final = 10_000
"""Files of one call."""


def read_paths(paths: Sequence[Path]) -> list[PolicyFile]:
    """Every policy file named, or below a folder named, in order; raises `input_*`."""
    files = [file for path in paths for file in _find(path)]
    if len(files) > MAX_FILES:
        raise FleetError("input_unreadable", f"more than {MAX_FILES} policy files")
    return [read_policies(_read(file), name=str(file)) for file in dict.fromkeys(files)]


def _find(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise FleetError(
            "input_not_found", f"no such file or folder: {path}", hint="check the path"
        )
    if not path.is_dir():
        yield path
        return
    found = sorted(
        each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file()
    )
    if not found:
        raise FleetError(
            "input_not_found", f"no .yaml or .yml file below {path}", hint="check the path"
        )
    yield from found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than allowed is enough for the reader to refuse the file.
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FleetError(
            "input_unreadable", f"cannot read {path}: {error.strerror}", hint="check permissions"
        ) from error


def library_names() -> list[str]:
    """The sets of the library that ships, by name."""
    folder = resources.files("fleetmdm.policies")
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def read_library(name: str) -> list[PolicyFile]:
    """One set of the library, or `all` of them; raises `policy_not_found`."""
    names = library_names()
    chosen = names if name == "all" else [each for each in names if each == name]
    if not chosen:
        known = ", ".join(["all", *names])
        raise FleetError(
            "policy_not_found", f"the library has no set {name!r}", hint=f"there are: {known}"
        )
    folder = resources.files("fleetmdm.policies")
    return [
        read_policies(folder.joinpath(f"{each}.yaml").read_bytes(), name=f"library {each}")
        for each in chosen
    ]


def all_policies(files: Sequence[PolicyFile]) -> list[CompliancePolicy]:
    """The policies of files that have no problem; raises `policy_invalid` with every one."""
    problems = [problem for file in files for problem in file.problems]
    first: dict[str, str] = {}
    for file in files:
        for policy in file.policies:
            earlier = first.setdefault(policy.id, file.name)
            if earlier != file.name:
                where, message = policy.position, f"policy {policy.id!r} stands in {earlier} too"
                problems.append(
                    Problem(file.name, where.line, where.column, "duplicate_id", message)
                )
    if problems:
        raise policy_invalid(tuple(problems))
    return [policy for file in files for policy in file.policies]
