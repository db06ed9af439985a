"""The options that every command of the configured agent shares, made from the settings table.

Rule for editors: an option is a row of the table. Numbers out of bounds are usage errors; what a
file or variable says is judged by `secretivex.config`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.config.source import load_file
from secretivex.loading import DEFAULT_STORES, AgentSetup, load_setup

_IN_FILE_ONLY = {"tables", "table"}


@dataclass(frozen=True, slots=True)
class SetupOptions:
    """What the command line says about the configuration; flags of None were not given.

    `base` is where its relative paths start.
    """

    named: Path | None
    flags: Mapping[str, Any]
    base: Path

    def load(
        self,
        environ: Mapping[str, str],
        *,
        default_stores: tuple[Mapping[str, Any], ...] = DEFAULT_STORES,
        again: bool = False,
    ) -> AgentSetup:
        """The set-up in force; raises `SecretiveError` with every problem. `again` for a reload."""
        return load_setup(
            self.named,
            flags=self.flags,
            environ=environ,
            cores=usable_cores(),
            base=self.base,
            default_stores=default_stores,
            load=partial(load_file, again=again),
        )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def setup_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --key and an option for every setting; the command gets `options`."""

    def command(*arguments: Any, **given: Any) -> Any:
        named, keys = given.pop("config"), given.pop("key")
        scan = given.pop("scan_default_dir")
        flags = {row.key: given.pop(row.key) for row in SETTINGS if row.kind not in _IN_FILE_ONLY}
        if keys or scan is not None:
            store = {"type": "file", "paths": list(keys), "scan_default_dir": bool(scan)}
            flags["stores"] = [store]
        options = SetupOptions(named, flags, Path.cwd())
        return function(*arguments, options=options, **given)

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
    for option in reversed([*_file_options(), *map(_option, filter(_is_flag, SETTINGS))]):
        option(command)
    return command


def _is_flag(row: AgentSetting) -> bool:
    return row.kind not in _IN_FILE_ONLY


def _file_options() -> list[Callable[..., Any]]:
    return [
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Configuration file, TOML or JSON.",
        ),
        click.option(
            "--key",
            multiple=True,
            type=click.Path(),
            metavar="PATH",
            help="Serve this key file or folder instead of the configured stores; may be repeated.",
        ),
        click.option(
            "--scan-default-dir/--no-scan-default-dir",
            "--default-scan/--no-default-scan",
            default=None,
            help="Serve the keys in ~/.ssh instead of, or beside --key, the configured stores.",
        ),
    ]


def _option(row: AgentSetting) -> Callable[..., Any]:
    """The option of one row, under its key's name and its known shorter spellings."""
    names = [row.key.replace("_", "-"), *row.flags]
    spellings = (
        [f"--{name}/--no-{name}" for name in names]
        if row.kind == "bool"
        else [f"--{name}" for name in names]
    )
    return click.option(
        *spellings,
        row.key,
        default=None,
        type=_click_type(row),
        help=row.help if row.state == "effective" else f"{row.help} Not in this version.",
        hidden=row.key == "worker_threads",
    )


def _click_type(row: AgentSetting) -> Any:
    if row.choices:
        return click.Choice(row.choices)
    if row.kind == "int":
        return click.IntRange(_whole(row.minimum), _whole(row.maximum))
    return {"bool": None, "path": click.Path(), "text": str}[row.kind]


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
