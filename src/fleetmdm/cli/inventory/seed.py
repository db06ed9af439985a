"""`fleetmdm seed`: a small sample fleet to try things on.

A well-kept Debian server stands in `sample_host.json`; the others differ from it as written below.
Rule for editors: every state of a verdict occurs, and nothing is random.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from typing import Any, Final

import click

from fleetmdm.cli.policy.files import all_policies, read_library
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.store.port import FleetStore


@dataclass(frozen=True, slots=True)
class Sample:
    """One device: how it differs from the well-kept server, by the dotted path of a fact."""

    name: str
    tags: tuple[str, ...]
    seen_days_ago: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    os: str = "linux"
    os_version: str = "12"


_WEAK_SSH: Final = {
    "sshd.settings.permitrootlogin": "yes",
    "sshd.possible.permitrootlogin": ["yes"],
    "sshd.settings.passwordauthentication": "yes",
    "sshd.possible.passwordauthentication": ["yes"],
}
_NO_FACTS: Final[Mapping[str, Any]] = {"": {}}

SAMPLES: Final = (
    Sample("web-1", ("prod", "web")),
    Sample("web-2", ("prod", "web"), changes={"updates.reboot_required": True}),
    Sample("web-3", ("prod", "web"), changes=_WEAK_SSH),
    Sample("db-1", ("prod", "db")),
    Sample("db-2", ("prod", "db"), changes={"disk_encryption.root": False}),
    Sample(
        "build-1",
        ("ci",),
        changes={"sudo.nopasswd": ["ci"], "firewall.enabled": False, "firewall.services": []},
    ),
    Sample("lab-1", ("lab",), changes={**_WEAK_SSH, "auto_update.enabled": False}),
    # A mistyped fact, an absent one, and inventory that is too old.
    Sample("lab-2", ("lab",), changes={"time_sync.enabled": "yes", "secure_boot": None}),
    Sample("lab-3", ("lab",), seen_days_ago=45),
    Sample("mac-1", ("laptop",), changes=_NO_FACTS, os="macos", os_version="14.4.1"),
    Sample("mac-2", ("laptop",), 3, changes=_NO_FACTS, os="macos", os_version="13.6.9"),
)


@click.command()
@fleet_options()
def command(call: FleetCall) -> None:
    """Put a small sample fleet and the policies that ship into a database of its own."""
    now = call.now()
    policies = all_policies(read_library("all"))
    with call.open_store(create=True) as store:
        _refuse_real_fleet(store)
        counts = store.put_devices(sample_devices(now), now=now)
        store.put_policies(policies, now=now)
    data = {
        "db": str(call.store_path()),
        "devices": counts.received,
        "added": counts.added,
        "policies": len(policies),
    }
    said = f"{data['devices']} devices and {data['policies']} policies; try `fleetmdm check`\n"
    call.emit(data, lambda: [said])


def _refuse_real_fleet(store: FleetStore) -> None:
    samples = {sample.name for sample in SAMPLES}
    if any(device.device_id not in samples for device in store.devices()):
        hint = "name another database with --db"
        raise FleetError("fleet_not_empty", "this database holds a fleet already", hint=hint)


def sample_devices(now: datetime) -> list[Device]:
    """The devices, as seen a while before now."""
    facts = resources.files("fleetmdm.cli.inventory").joinpath("sample_host.json").read_text()
    return [_device(sample, json.loads(facts), now) for sample in SAMPLES]


def _device(sample: Sample, facts: dict[str, Any], now: datetime) -> Device:
    for path, value in sample.changes.items():
        facts = _changed(facts, path, value)
    return Device(
        device_id=sample.name,
        hostname=f"{sample.name}.example.org",
        os=sample.os,
        os_version=sample.os_version,
        serial=f"SAMPLE-{sample.name.upper()}",
        last_seen=now - timedelta(days=sample.seen_days_ago, minutes=5),
        facts=facts,
        tags=tuple(sorted(sample.tags)),
    )


def _changed(facts: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The facts with another value at a path; the empty path is all of them."""
    if not path:
        return deepcopy(dict(value))
    name, _, rest = path.partition(".")
    below = _changed(facts[name], rest, value) if rest else value
    return {**facts, name: below}
