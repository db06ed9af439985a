"""`secretive-agent check-config` and `show-config`: is the configuration right, what is in force.

Rule for editors: neither command starts, opens or makes anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clikit.command import Call, standard_options
from clikit.table import render_table
from secretivex.cli.agent_options import SetupOptions, setup_options
from secretivex.cli.agent_probe import Probe, probe_stores
from secretivex.config import AgentConfig, StoreConfig
from secretivex.config.rows.policy import POLICY_SETTINGS
from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.config.store_kinds import store_values
from secretivex.loading import AgentSetup


@click.command("check-config")
@standard_options(formats=("text", "json"))
@setup_options
@click.option("--probe", is_flag=True, help="Open the key stores too, and only read them.")
def check_config(call: Call, options: SetupOptions, *, probe: bool) -> None:
    """Check the configuration without starting anything.

    With --probe, a store that cannot be opened and a named key file that cannot be used are exit 1.
    """
    setup = options.load(call.environ)
    report_check(call, setup, probe_stores(setup.config, call.environ) if probe else None)


def report_check(call: Call, setup: AgentSetup, probe: Probe | None = None) -> None:
    """Say that a configuration is valid, and what a person should know about it."""
    config = setup.config
    if sys.platform == "win32":
        from secretivex.server.windows.rules import pipe_name

        pipe_name(str(config.socket_path))
    for warning in config.warnings:
        call.note(f"warning: {warning}")
    data: dict[str, Any] = {
        "file": config.file_name,
        "stores": len(config.stores),
        "policy_rules": len(setup.policy.rules),
        "warnings": [asdict(warning) for warning in config.warnings],
    }
    if probe is not None:
        data["probe"] = probe.encode()
        for note in probe.notes():
            call.note(f"left out: {note}")
    call.emit(data, lambda: _verdict(data), found=probe.finding() if probe else None)


def _verdict(data: Mapping[str, Any]) -> Iterator[str]:
    counts = ", ".join(
        (
            _count(data["stores"], "store"),
            _count(data["policy_rules"], "policy rule"),
            _count(len(data["warnings"]), "warning"),
        )
    )
    yield f"configuration is valid: {data['file'] or 'no file'} ({counts})\n"
    for store in data.get("probe", {}).get("stores", ()):
        yield f"store {store['name']}: {_count(store['keys'], 'key')}\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@click.command("show-config")
@standard_options(formats=("text", "json"))
@setup_options
@click.option("--schema", is_flag=True, help="Show the JSON Schema of the file instead.")
def show_config(call: Call, options: SetupOptions, *, schema: bool) -> None:
    """Show every setting in force with its origin: flag, env, file, profile or default."""
    if schema:
        from secretivex.config.schema import config_schema

        call.emit_chunks([json.dumps(config_schema(), indent=2) + "\n"])
        return
    config = options.load(call.environ).config
    for warning in config.warnings:
        call.note(f"warning: {warning}")
    settings = {row.key: _shown(row, config) for row in SETTINGS}
    data = {"file": config.file_name, "settings": settings}
    call.emit(data, lambda: _table(settings, call.width))


def _shown(row: AgentSetting, config: AgentConfig) -> dict[str, Any]:
    """One setting with its origin; of a table, and of each in a list of them, the members too."""
    value = encode_value(getattr(config, row.key))
    shown = {
        "value": value,
        "origin": config.origins[row.key],
        "effective": is_effective(row, config),
    }
    if row.key == "stores":
        shown["members"] = [
            _members(table, f"stores[{index}]", config) for index, table in enumerate(value)
        ]
    elif row.key == "policy":
        defaults = {inner.key: encode_value(inner.default) for inner in POLICY_SETTINGS}
        shown["members"] = _members(defaults | value, "policy", config)
    return shown


def _members(table: Mapping[str, Any], name: str, config: AgentConfig) -> dict[str, Any]:
    return {
        key: {"value": value, "origin": config.origins[f"{name}.{key}"]}
        for key, value in table.items()
    }


def is_effective(row: AgentSetting, config: AgentConfig) -> bool:
    """Whether this version behaves as the setting's value says."""
    return row.state == "effective" or getattr(config, row.key) == row.acts_as


def encode_value(value: Any) -> Any:
    """A setting's value as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, StoreConfig):
        return {"type": value.kind, **encode_value(store_values(value))}
    if isinstance(value, Mapping):
        return {key: encode_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode_value(item) for item in value]
    return value


def _table(settings: Mapping[str, Mapping[str, Any]], width: int | None) -> Iterator[str]:
    rows = [
        (name, _text(row["value"]), row["origin"], note)
        for key, whole in settings.items()
        for note in ("" if whole["effective"] else "not in this version",)
        for name, row in _flat(key, whole)
    ]
    yield render_table(("key", "value", "origin", "note"), rows, width=width)


def _flat(key: str, whole: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A setting as rows: of tables a row for each member."""
    members = whole.get("members")
    if members is None:
        yield key, whole
    elif isinstance(members, list):
        for index, table in enumerate(members):
            yield from ((f"{key}[{index}].{name}", row) for name, row in table.items())
    else:
        yield from ((f"{key}.{name}", row) for name, row in members.items())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
