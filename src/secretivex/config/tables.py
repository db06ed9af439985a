"""The tables inside the configuration: key stores and the signing policy's keys, checked row by row.

Rule for editors: every key of a table is known or a problem; a key that this version does not act
on is refused here, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clikit.config import ConfigFile, Problem, check_value
from clikit.nearest import nearest
from secretivex.config.paths import PathError, expand_path
from secretivex.config.problems import Problems
from secretivex.config.settings import POLICY_SETTINGS, STORE_TYPES, AgentSetting


@dataclass(frozen=True, slots=True)
class FileStoreConfig:
    """Keys in files: which ones, and how encrypted ones are opened.

    `default_dir` is ~/.ssh where it is to be scanned; `key_types` () is all types.
    """

    paths: tuple[Path, ...]
    default_dir: Path | None
    passphrase_env: str | None
    key_types: tuple[str, ...]


StoreConfig = FileStoreConfig


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table stands: in which file (None for the command line), under which keys."""

    file: ConfigFile | None
    origin: str
    path: tuple[str | int, ...]
    base: Path

    def where(self, *keys: str | int) -> str:
        """`file:line` of a key below this table, or of the nearest thing above it."""
        return self.file.where(*self.path, *keys) if self.file else self.origin

    def name(self, *keys: str | int) -> str:
        """`stores[0].paths`, as messages call a key."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path + keys)
        return "".join(parts).lstrip(".")

    def below(self, key: str | int) -> Place:
        """The place of a table inside this one."""
        return Place(self.file, self.origin, (*self.path, key), self.base)

    def problem(self, *keys: str | int, reason: str, hint: str = "") -> Problem:
        """A problem with a key of this table."""
        return Problem(self.where(*keys), self.name(*keys), reason, hint)


def check_table(
    rows: Sequence[AgentSetting], table: Mapping[str, Any], place: Place, problems: Problems
) -> dict[str, Any]:
    """Values of every row, by key: the table's where it is valid, else the row's default."""
    known = {row.key: row for row in rows}
    for key in table:
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}"
            problems.add(place.problem(key, reason="unknown key", hint=hint))
    values: dict[str, Any] = {}
    for key, row in known.items():
        values[key] = row.default
        if key in table:
            try:
                values[key] = check_value(row, table[key])
            except ValueError as error:
                problems.add(place.problem(key, reason=str(error)))
                continue
            refuse_unenforced(row, values[key], place.where(key), place.name(key), problems)
    return values


def refuse_unenforced(
    row: AgentSetting, value: Any, where: str, key: str, problems: Problems
) -> None:
    """A value that this version does not act on is a problem or a warning, as its row says."""
    if row.state == "effective" or value == row.acts_as:
        return
    reason = f"not available in this version: {value!r} would have no effect"
    if row.state == "refused":
        problems.add(Problem(where, key, reason, "remove it"))
    else:
        problems.warn(where, key, reason, "it is read and ignored")


def check_policy(table: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, Any]:
    """The keys of the policy table that are present and well-typed; entries are not looked at."""
    values = check_table(POLICY_SETTINGS, table, place, problems)
    return {key: tuple(values[key]) for key in table if isinstance(values.get(key), list | tuple)}


def check_stores(
    tables: Sequence[Mapping[str, Any]],
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
) -> tuple[StoreConfig, ...]:
    """The stores in their order; every one that is not valid is a problem and left out."""
    if not tables:
        problems.add(
            place.problem(reason="the list is empty", hint="leave the key out, or add one")
        )
    found = []
    for index, table in enumerate(tables):
        store = _check_store(table, place.below(index), environ, problems)
        if store is not None:
            found.append(store)
    return tuple(found)


def _check_store(
    table: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> StoreConfig | None:
    name = table.get("type")
    if name is None:
        hint = f"add type = one of: {', '.join(STORE_TYPES)}"
        problems.add(place.problem(reason="the store has no type", hint=hint))
        return None
    kind = STORE_TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        near = nearest(str(name), STORE_TYPES)
        hint = f"did you mean {near!r}?" if near else f"known types: {', '.join(STORE_TYPES)}"
        problems.add(place.problem("type", reason=f"unknown store type {name!r}", hint=hint))
        return None
    rest = {key: value for key, value in table.items() if key != "type"}
    values = check_table(kind.settings, rest, place, problems)
    if kind.unavailable:
        reason = f"store type {kind.name!r} is {kind.unavailable}"
        problems.add(place.problem("type", reason=reason, hint="remove it"), "store_unavailable")
        return None
    return _file_store(values, place, environ, problems)


def _file_store(
    values: Mapping[str, Any], place: Place, environ: Mapping[str, str], problems: Problems
) -> FileStoreConfig:
    paths = []
    for index, text in enumerate(values["paths"]):
        try:
            paths.append(expand_path(text, environ, base=place.base))
        except PathError as error:
            problems.add(place.problem("paths", index, reason=str(error)))
    if not values["paths"] and not values["scan_default_dir"]:
        reason = "the store names no path and does not scan ~/.ssh: it has no keys"
        problems.warn(place.where(), place.name(), reason)
    variable = values["passphrase_env"]
    if variable and not environ.get(variable):
        reason = f"the variable {variable} is not set: encrypted keys are left out"
        problems.warn(place.where("passphrase_env"), place.name("passphrase_env"), reason)
    return FileStoreConfig(
        paths=tuple(paths),
        default_dir=_default_dir(values["scan_default_dir"], place, environ, problems),
        passphrase_env=variable,
        key_types=tuple(values["key_types"] or ()),
    )


def _default_dir(
    scan: bool,  # noqa: FBT001 - the value of the key of that name
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
) -> Path | None:
    if not scan:
        return None
    try:
        return expand_path("~/.ssh", environ, base=place.base)
    except PathError as error:
        problems.add(place.problem("scan_default_dir", reason=str(error)))
        return None
