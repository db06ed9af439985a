"""A made-up fleet for benchmarks: 30 facts a device, twenty policies of three checks.

Six columns have a value of their own for nearly every device, the rest few; some facts are missing
or of the wrong type. The seed is fixed, so every run of a benchmark sees the same fleet.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEED: Final = 20260301
MISSING: Final = 0.02
"""Share of facts that a device does not have."""
MISTYPED: Final = 0.002

_FEW: Final[dict[str, list[Any]]] = {
    "disk.encrypted": [True] * 30 + [False],
    "disk.count": [1, 1, 1, 2],
    "firewall.enabled": [True] * 40 + [False],
    "firewall.backend": ["nftables", "iptables", "pf"],
    "ssh.permit_root_login": ["no"] * 20 + ["prohibit-password"] * 5 + ["yes"],
    "ssh.password_authentication": [False] * 25 + [True],
    "ssh.port": [22] * 9 + [2222],
    "kernel.version": [f"6.1.{number}" for number in range(50, 90)],
    "kernel.aslr": [2] * 60 + [1],
    "updates.automatic": [True] * 30 + [False],
    "updates.pending_security": [0] * 40 + [1, 2, 5],
    "agent.version": ["2.4.1"] * 8 + ["2.3.9"],
    "hardware.model": [f"Model {number}" for number in range(25)],
    "tpm.present": [True] * 50 + [False],
    "secure_boot.enabled": [True] * 30 + [False],
    "users.administrators": [["root"], ["root", "admin"], ["admin"]],
    "users.count": list(range(1, 12)),
    "password.min_length": [12] * 20 + [14] * 10 + [8],
    "password.max_age_days": [90] * 20 + [365],
    "screen.lock_s": [300] * 20 + [600] * 10 + [3600],
    "time.synchronized": [True] * 60 + [False],
    "time.server": ["ntp1.example.net", "ntp2.example.net"],
    "antivirus.state": ["running"] * 50 + ["stopped"],
    "packages.openssl": [f"3.0.{number}-1" for number in range(9, 16)],
}
"""Facts by path, with what they can be."""

_POLICIES: Final[dict[str, list[str]]] = {
    "disk": ["disk.encrypted eq true", "disk.count gte 1", "disk.free_bytes gte 1000000000"],
    "firewall": [
        "firewall.enabled eq true",
        "firewall.backend in [nftables, iptables, pf]",
        "network.address cidr 10.0.0.0/8",
    ],
    "root-login": [
        "ssh.permit_root_login ne yes",
        "ssh.password_authentication eq false",
        "ssh.port between [1, 65535]",
    ],
    "kernel": [
        "kernel.version regex '^6[.]1[.]'",
        "kernel.aslr eq 2",
        "uptime_s lt 7500000",
    ],
    "updates": [
        "updates.automatic eq true",
        "updates.pending_security lte 2",
        "os_update.patched_at within 60d",
    ],
    "agent": [
        "agent.version in [2.4.1, 2.3.9]",
        "agent.checked_in_at within 14d",
        "hardware.serial exists",
    ],
    "hardware": [
        "hardware.model starts_with Model",
        "tpm.present eq true",
        "hardware.serial regex '^SN[0-9A-F]+$'",
    ],
    "boot": ["secure_boot.enabled eq true", "tpm.present exists", "kernel.aslr gte 1"],
    "administrators": [
        "users.administrators subset_of [root, admin]",
        "users.count lte 11",
        "users.administrators length_lte 2",
    ],
    "password": [
        "password.min_length gte 12",
        "password.max_age_days lte 365",
        "password.min_length lt 64",
    ],
    "screen": ["screen.lock_s lte 900", "screen.lock_s gt 0", "disk.encrypted exists"],
    "time": [
        "time.synchronized eq true",
        "time.server ends_with .example.net",
        "agent.checked_in_at before now",
    ],
    "antivirus": [
        "antivirus.state eq running",
        "antivirus.state not_in [broken]",
        "updates.automatic exists",
    ],
    "openssl": [
        "packages.openssl starts_with 3.",
        "packages.openssl not_contains beta",
        "packages.openssl exists",
    ],
    "uptime": ["uptime_s gt 0", "uptime_s lte 7900000", "kernel.version exists"],
    "network": [
        "network.address cidr [10.0.0.0/8, 192.168.0.0/16]",
        "network.address not_regex '^127[.]'",
        "ssh.port ne 23",
    ],
    "patches": [
        "os_update.patched_at after now-90d",
        "updates.pending_security lt 6",
        "os_update.patched_at exists",
    ],
    "space": ["disk.free_bytes gt 500000000", "disk.free_bytes exists", "disk.count lt 8"],
    "identity": [
        "hardware.serial length_gte 8",
        "hardware.model exists",
        "agent.version regex '^2[.]'",
    ],
    "sshd": [
        "ssh.permit_root_login in [no, prohibit-password]",
        "ssh.port exists",
        "ssh.password_authentication ne true",
    ],
}


def make_policies() -> list[CompliancePolicy]:
    """Twenty policies, sixty checks."""
    return [_policy(name, checks) for name, checks in _POLICIES.items()]


def _policy(name: str, checks: list[str]) -> CompliancePolicy:
    rows = "".join(f"  - {_check(text)}\n" for text in checks)
    source = f"---\nid: bench.{name}\nname: {name}\nseverity: high\nchecks:\n{rows}"
    return parse_policy(source.encode(), name=name)


def _check(text: str) -> str:
    key, op, value = (*text.split(" ", 2), "")[:3]
    texts = ("in", "not_in", "subset_of", "starts_with", "ends_with")
    if op in texts or (op in ("eq", "ne") and value not in ("true", "false", "2", "23")):
        members = value.strip("[]").split(", ")
        quoted = ", ".join(f"'{member}'" for member in members)
        value = f"[{quoted}]" if value.startswith("[") else quoted
    elif op == "cidr":
        members = value.strip("[]").split(", ")
        value = "[" + ", ".join(f"'{member}'" for member in members) + "]"
    return f"{{key: {key}, op: {op}{f', value: {value}' if value else ''}}}"


def make_documents(devices: int, *, seed: int = SEED) -> Iterator[dict[str, Any]]:
    """Device documents as an inventory source would send them."""
    draw = random.Random(seed)  # noqa: S311 - a made-up fleet, the same every time
    for number in range(devices):
        yield {
            "device_id": f"device-{number:07d}",
            "hostname": f"host-{number:07d}.example.net",
            "os": "linux",
            "os_version": "12",
            "serial": f"SN{draw.getrandbits(40):010X}",
            "last_seen": _time(NOW - timedelta(seconds=draw.randrange(86_400))),
            "facts": _facts(draw),
            "tags": ["laptop"] if draw.random() < 0.5 else ["server", "web"],
        }


def _facts(draw: random.Random) -> dict[str, Any]:
    flat = {path: draw.choice(values) for path, values in _FEW.items()}
    flat["disk.free_bytes"] = draw.randrange(10**9, 10**12)
    flat["uptime_s"] = draw.randrange(1, 8_000_000)
    flat["os_update.patched_at"] = _time(NOW - timedelta(seconds=draw.randrange(62 * 86_400)))
    flat["agent.checked_in_at"] = _time(NOW - timedelta(seconds=draw.randrange(1, 15 * 86_400)))
    flat["network.address"] = (
        f"10.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(256)}"
    )
    flat["hardware.serial"] = f"SN{draw.getrandbits(40):010X}"
    facts: dict[str, Any] = {}
    for path, value in flat.items():
        chance = draw.random()
        if chance < MISSING:
            continue
        group, _, name = path.rpartition(".")
        place = facts.setdefault(group, {}) if group else facts
        place[name] = {"odd": True} if chance < MISSING + MISTYPED else value
    return facts


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
