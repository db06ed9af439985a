"""Ansible's facts: the files of a fact cache, or what `ansible -m setup --tree` writes. Pure.

Source: the setup module and the jsonfile cache plugin of ansible-core. A file is one object per
host, bare or below `ansible_facts`, its names with or without the prefix `ansible_`. They are kept
without it, as `ansible_facts` in playbooks has them, below `facts.ansible`.
Rule for editors: `env` never goes in: the environment of who ran Ansible may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from fleetmdm.device import UNKNOWN, Device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.convert import identify, member, put_fact, system_of, usable, version_of
from fleetmdm.ingest.read import (
    InventoryFile,
    Reading,
    Refused,
    begins_as_json,
    invalid,
    read_documents,
)
from fleetmdm.rfc3339 import encode_time, parse_time

PREFIX = "ansible_"
LEFT_OUT = frozenset({"env", "module_setup", "gather_subset"})

IDENTITY = ("product_uuid", "machine_id")
"""Facts that can be the identity, the first usable one counts."""

INVENTORY_NAME = "inventory_hostname"
"""The name of the file, which is the host's name in Ansible's inventory."""

_SWITCH = {"enabled": True, "disabled": False}
_PACKAGE_MANAGERS = {"apt": "dpkg", "dnf": "rpm", "dnf5": "rpm", "yum": "rpm", "zypper": "rpm"}


def read_ansible(files: Sequence[InventoryFile], reading: Reading) -> Iterator[Device | Refused]:
    """Devices and refusals, file by file."""
    names = _identity_names(reading.columns)
    for file in files:
        if not begins_as_json(file):
            # A file is one host: it is refused once, not line by line.
            hint = "a JSON fact cache, or ansible -m setup --tree; see docs/inventory.md"
            yield Refused(file.name, 1, "malformed", "the file is not JSON", hint)
            continue
        records = partial(_documents, file=file, reading=reading, names=names)
        yield from read_documents(file, reading, records)


def _identity_names(columns: Sequence[str]) -> tuple[str, ...]:
    if not columns:
        return IDENTITY
    names = []
    for column in columns:
        field, _, name = column.partition("=")
        if field != "device_id" or not name:
            hint = f"for Ansible: --map device_id=FACT, or --map device_id={INVENTORY_NAME}"
            raise FleetError("usage", f"--map {column}: only the identity can be mapped", hint=hint)
        names.append(name.removeprefix(PREFIX))
    return tuple(names)


def _documents(
    value: Any, file: InventoryFile, reading: Reading, names: Sequence[str]
) -> list[dict[str, Any]]:
    return [_convert(value, file, reading, names)]


def _convert(
    value: Any, file: InventoryFile, reading: Reading, names: Sequence[str]
) -> dict[str, Any]:
    found = _facts(value)
    host = _inventory_name(file)
    candidates = {**found, INVENTORY_NAME: host}
    hostname = usable(found.get("fqdn")) or usable(found.get("nodename"))
    if hostname is None or hostname.startswith("localhost"):
        hostname = usable(found.get("nodename")) or usable(found.get("hostname")) or host
    device_id = identify((name, candidates.get(name)) for name in names)
    return {
        "device_id": device_id,
        "hostname": hostname or device_id,
        "os": system_of(found.get("system") or found.get("os_family")),
        "os_version": _version(found),
        "serial": usable(found.get("product_serial")),
        "last_seen": _last_seen(found) or encode_time(reading.moment_of(file)),
        "facts": _map(found),
    }


def _inventory_name(file: InventoryFile) -> str | None:
    """The host that a file is named after; a stream that is no file has no such name."""
    if file.modified is None:
        return None
    name = PurePath(file.name).name
    for suffix in (".gz", ".zst", ".json"):
        name = name.removesuffix(suffix)
    return usable(name)


def _facts(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid("wrong_type", "a host's facts are a JSON object")
    found = value.get("ansible_facts", value)
    if value.get("unreachable") is True or (value.get("failed") is True and found is value):
        reason = "unreachable" if value.get("unreachable") is True else "failed"
        said = usable(value.get("msg")) or "no message"
        raise invalid(reason, f"Ansible could not read the host: {said}"[:500])
    if not isinstance(found, dict) or not _is_facts(found):
        raise invalid("wrong_type", "these are no Ansible facts", hint="see docs/inventory.md")
    plain = {name: one for name, one in found.items() if not name.startswith(PREFIX)}
    for name, one in found.items():
        short = name.removeprefix(PREFIX)
        plain[name if short != name and short in plain else short] = one
    return {name: one for name, one in plain.items() if name not in LEFT_OUT}


def _is_facts(found: dict[str, Any]) -> bool:
    telling = ("system", "distribution", "os_family", "hostname", "nodename", "fqdn", "machine")
    return any(name in found or PREFIX + name in found for name in telling)


def _version(found: dict[str, Any]) -> str:
    # Of some systems the distribution's version is a word, and the kernel's number is what counts.
    version = usable(found.get("distribution_version"))
    if version is not None and any(letter.isdigit() for letter in version):
        return version_of(version)
    return version_of(found.get("kernel")) if "kernel" in found else version or UNKNOWN


def _last_seen(found: dict[str, Any]) -> str | None:
    text = member(found, "date_time").get("iso8601")
    try:
        return encode_time(parse_time(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def _map(found: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"ansible": found}
    if found.get("system") == "Linux":
        put_fact(facts, ("kernel", "release"), usable(found.get("kernel")))
        put_fact(facts, ("kernel", "machine"), usable(found.get("machine")))
        manager = _PACKAGE_MANAGERS.get(str(found.get("pkg_mgr")))
        put_fact(facts, ("packages", "manager"), manager)
        put_fact(facts, ("mac", "selinux"), _selinux(found))
        status = member(found, "apparmor").get("status")
        put_fact(facts, ("mac", "apparmor"), _SWITCH.get(str(status)))
    return facts


def _selinux(found: dict[str, Any]) -> str | None:
    selinux = member(found, "selinux")
    if selinux.get("status") == "disabled":
        return "disabled"
    mode = selinux.get("config_mode")
    return mode if mode in {"enforcing", "permissive", "disabled"} else None
