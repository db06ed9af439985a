"""The key stores that a configuration names, each as a typed value.

Rule for editors: an unknown type, and a known one that this version lacks, are problems; no store
is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clikit.nearest import nearest
from secretivex.config.paths import PathError, expand_path
from secretivex.config.problems import Problems
from secretivex.config.table_settings import STORE_TYPES
from secretivex.config.tables import Place, check_table
from sshwire.algorithms import KEY_ALGORITHMS

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
    if not values["paths"] and not values["scan_default_dir"]:
        reason = "the store names no path and does not scan ~/.ssh: it has no keys"
        problems.warn(place.where(), place.name(), reason)
    return FileStoreConfig(
        paths=tuple(_expand_paths(values["paths"], place, environ, problems)),
        default_dir=_default_dir(place, environ, problems) if values["scan_default_dir"] else None,
        passphrase_env=_check_variable("passphrase_env", values, place, environ, problems),
        key_types=_check_key_types(values["key_types"] or (), place, problems),
    )


def _check_variable(
    key: str,
    values: Mapping[str, Any],
    place: Place,
    environ: Mapping[str, str],
    problems: Problems,
) -> str | None:
    """The name of a variable. What is no name is not repeated: it may be the secret itself."""
    name: str | None = values[key]
    if name is None:
        return None
    if not _VARIABLE_NAME.fullmatch(name):
        reason = "must be the name of an environment variable"
        problems.add(place.problem(key, reason=reason, hint="never the passphrase itself"))
    elif not environ.get(name):
        reason = f"the variable {name} is not set: encrypted keys are left out"
        problems.warn(place.where(key), place.name(key), reason)
    return name


def _expand_paths(
    texts: Sequence[str], place: Place, environ: Mapping[str, str], problems: Problems
) -> Iterator[Path]:
    for index, text in enumerate(texts):
        try:
            yield expand_path(text, environ, base=place.base)
        except PathError as error:
            problems.add(place.problem("paths", index, reason=str(error)))


def _default_dir(place: Place, environ: Mapping[str, str], problems: Problems) -> Path | None:
    try:
        return expand_path("~/.ssh", environ, base=place.base)
    except PathError as error:
        problems.add(place.problem("scan_default_dir", reason=str(error)))
        return None


def _check_key_types(names: Sequence[str], place: Place, problems: Problems) -> tuple[str, ...]:
    """A name that is no key type would offer nothing and say nothing."""
    for index, name in enumerate(names):
        if name not in KEY_ALGORITHMS:
            near = nearest(name, KEY_ALGORITHMS)
            hint = f"did you mean {near!r}?" if near else "names as in a .pub file: ssh-ed25519"
            reason = f"unknown key type {name!r}"
            problems.add(place.problem("key_types", index, reason=reason, hint=hint))
    return tuple(names)
