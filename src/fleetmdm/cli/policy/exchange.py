"""`fleetmdm policy update|export|import`: policies from one database to another, byte for byte."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fleetmdm.cli.policy.files import all_policies, read_paths
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.policy_yaml import PolicyFile, read_policies
from fleetmdm.policy_yaml.yaml_tree import MAX_FILE_BYTES
from fleetmdm.store.port import FleetStore

MAX_EXPORT_BYTES = 64 * MAX_FILE_BYTES
"""Longest export that is read back; the whole library is under a tenth of a megabyte."""


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@fleet_options()
def update(call: FleetCall, paths: Sequence[Path]) -> None:
    """Replace policies that are there already; one that is not there is refused, and all with it."""
    policies = all_policies(read_paths(paths))
    with call.open_store() as store:
        known = dict(store.policy_sources())
        missing = [policy.id for policy in policies if policy.id not in known]
        if missing:
            hint = "`fleetmdm policy add` takes new ones"
            message = f"no policy has the id '{missing[0]}'"
            raise FleetError("policy_not_found", message, hint=hint, details={"ids": missing})
        store.put_policies(policies, now=call.now())
    changed = [policy.id for policy in policies if known[policy.id] != policy.source]
    data = {"replaced": changed, "unchanged": [p.id for p in policies if p.id not in changed]}
    call.emit(data, lambda: [", ".join(f"{len(ids)} {word}" for word, ids in data.items()) + "\n"])


@click.command("export")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@fleet_options(formats=("yaml", "json"))
def export_policies(call: FleetCall, ids: Sequence[str]) -> None:
    """Write policies as they were given: all, or those named."""
    with call.open_store() as store:
        sources = _sources(store, ids)
    data = {"policies": [{"id": name, "source": text} for name, text in sources.items()]}
    call.emit(data, lambda: (_document(text) for text in sources.values()))


def _sources(store: FleetStore, ids: Sequence[str]) -> dict[str, str]:
    known = {name: source.decode() for name, source in store.policy_sources()}
    missing = [name for name in ids if name not in known]
    if missing:
        hint = "see `fleetmdm policy list`"
        message = f"no policy has the id '{missing[0]}'"
        raise FleetError("policy_not_found", message, hint=hint, details={"policy_id": missing[0]})
    return {name: text for name, text in known.items() if not ids or name in ids}


def _document(source: str) -> str:
    """One document of a stream: opened by its marker, closed by a line's end."""
    opened = source if source.startswith("---") else f"---\n{source}"
    return opened if opened.endswith("\n") else f"{opened}\n"


@click.command("import")
@click.argument("path", metavar="FILE|-")
@fleet_options()
def import_policies(call: FleetCall, path: str) -> None:
    """Take in what `policy export` wrote, as YAML or JSON; all of it or nothing."""
    policies = all_policies(_read_export(path))
    with call.open_store() as store:
        known = dict(store.policy_sources())
        store.put_policies(policies, now=call.now())
    added = [policy.id for policy in policies if policy.id not in known]
    data = {"added": added, "known": [p.id for p in policies if p.id in known]}
    call.emit(
        data, lambda: [", ".join(f"{len(each)} {word}" for word, each in data.items()) + "\n"]
    )


def _read_export(path: str) -> list[PolicyFile]:
    data = _read(path)
    if not data.lstrip().startswith(b"{"):
        return [read_policies(data, name=path)]
    try:
        document = json.loads(data)
        given = document.get("data", document)["policies"]
        sources = [(str(one["id"]), one["source"].encode()) for one in given]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        hint = "`fleetmdm policy export --format json` writes such a file"
        raise FleetError(
            "input_unreadable", f"{path} is no export of policies", hint=hint
        ) from error
    return [read_policies(source, name=f"{path}: {name}") for name, source in sources]


def _read(path: str) -> bytes:
    if path == "-":
        return _bounded(path, sys.stdin.buffer.read(MAX_EXPORT_BYTES + 1))
    try:
        with Path(path).open("rb") as file:
            return _bounded(path, file.read(MAX_EXPORT_BYTES + 1))
    except FileNotFoundError:
        raise FleetError("input_not_found", f"no such file: {path}") from None
    except OSError as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error.strerror}") from error


def _bounded(path: str, data: bytes) -> bytes:
    if len(data) > MAX_EXPORT_BYTES:
        raise FleetError("input_unreadable", f"{path} has more than {MAX_EXPORT_BYTES} bytes")
    return data
