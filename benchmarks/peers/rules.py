"""Each check three times: as a condition in SQL (DuckDB), as a Polars expression, and in Rego.

`v` is the fact, of the kind that the check is about. What a missing fact or one of another kind means
is the same for every check, and stands once in each engine's file. Moments are compared with the
fleet's fixed `as_of`, 2026-03-01T12:00:00Z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_DAYS: Final = {days: NOW - timedelta(days=days) for days in (14, 60, 90)}
_TEXTS: Final = {days: f"{moment:%Y-%m-%dT%H:%M:%SZ}" for days, moment in _DAYS.items()}
"""Rego of rego-cpp has no times; these moments are all written alike, so that their texts sort."""


@dataclass(frozen=True)
class Check:
    """One check: where the fact is, of which kind it must be, and what must hold of it."""

    path: str
    kind: str
    """bool, number, text, moment, list, sized, or any for `exists`."""
    sql: str
    polars: Callable[[pl.Expr], pl.Expr]
    rego: str


def exists(path: str) -> Check:
    """The fact is there."""
    return Check(path, "any", "true", lambda _: pl.lit(value=True), "true")


def equal(path: str, kind: str, sql: str, wanted: object, rego: str) -> Check:
    """The fact is one value."""
    return Check(path, kind, f"v = {sql}", lambda v: v.eq(wanted), f"v == {rego}")


def true(path: str) -> Check:
    """The fact is true."""
    return equal(path, "bool", "true", wanted=True, rego="true")


def among(path: str, *wanted: str) -> Check:
    """The fact is one of some texts."""
    sql = ", ".join(f"'{one}'" for one in wanted)
    rego = ", ".join(f'"{one}"' for one in wanted)
    return Check(path, "text", f"v IN ({sql})", lambda v: v.is_in(wanted), f"v in {{{rego}}}")


POLICIES: Final[dict[str, list[Check]]] = {
    "administrators": [
        Check(
            "users.administrators",
            "list",
            "len(list_filter(v, lambda x: x NOT IN ('root', 'admin'))) = 0",
            lambda v: v.list.set_difference(["root", "admin"]).list.len() == 0,
            'count({x | some x in v; not x in {"root", "admin"}}) == 0',
        ),
        Check("users.count", "number", "v <= 11", lambda v: v <= 11, "v <= 11"),
        Check(
            "users.administrators",
            "sized",
            "size <= 2",
            lambda v: v.list.len() <= 2,
            "size(v) <= 2",
        ),
    ],
    "agent": [
        among("agent.version", "2.4.1", "2.3.9"),
        Check(
            "agent.checked_in_at",
            "moment",
            "v >= TIMESTAMPTZ '2026-02-15 12:00:00+00'",
            lambda v: v >= _DAYS[14],
            f'v >= "{_TEXTS[14]}"',
        ),
        exists("hardware.serial"),
    ],
    "antivirus": [
        equal("antivirus.state", "text", "'running'", "running", '"running"'),
        Check(
            "antivirus.state",
            "text",
            "v NOT IN ('broken')",
            lambda v: v != "broken",
            'not v in {"broken"}',
        ),
        exists("updates.automatic"),
    ],
    "boot": [
        true("secure_boot.enabled"),
        exists("tpm.present"),
        Check("kernel.aslr", "number", "v >= 1", lambda v: v >= 1, "v >= 1"),
    ],
    "disk": [
        true("disk.encrypted"),
        Check("disk.count", "number", "v >= 1", lambda v: v >= 1, "v >= 1"),
        Check(
            "disk.free_bytes", "number", "v >= 1e9", lambda v: v >= 1_000_000_000, "v >= 1000000000"
        ),
    ],
    "firewall": [
        true("firewall.enabled"),
        among("firewall.backend", "nftables", "iptables", "pf"),
        Check(
            "network.address",
            "text",
            "v LIKE '10.%'",
            lambda v: v.str.starts_with("10."),
            'startswith(v, "10.")',
        ),
    ],
    "hardware": [
        Check(
            "hardware.model",
            "text",
            "starts_with(v, 'Model')",
            lambda v: v.str.starts_with("Model"),
            'startswith(v, "Model")',
        ),
        true("tpm.present"),
        Check(
            "hardware.serial",
            "text",
            "regexp_matches(v, '^SN[0-9A-F]+$')",
            lambda v: v.str.contains("^SN[0-9A-F]+$"),
            'regex.match("^SN[0-9A-F]+$", v)',
        ),
    ],
    "identity": [
        Check(
            "hardware.serial",
            "sized",
            "size >= 8",
            lambda v: v.str.len_chars() >= 8,
            "size(v) >= 8",
        ),
        exists("hardware.model"),
        Check(
            "agent.version",
            "text",
            "regexp_matches(v, '^2[.]')",
            lambda v: v.str.contains("^2[.]"),
            'regex.match("^2[.]", v)',
        ),
    ],
    "kernel": [
        Check(
            "kernel.version",
            "text",
            "regexp_matches(v, '^6[.]1[.]')",
            lambda v: v.str.contains("^6[.]1[.]"),
            'regex.match("^6[.]1[.]", v)',
        ),
        equal("kernel.aslr", "number", "2", 2, "2"),
        Check("uptime_s", "number", "v < 7500000", lambda v: v < 7_500_000, "v < 7500000"),
    ],
    "network": [
        Check(
            "network.address",
            "text",
            "v LIKE '10.%' OR v LIKE '192.168.%'",
            lambda v: v.str.starts_with("10.") | v.str.starts_with("192.168."),
            'regex.match("^(10|192[.]168)[.]", v)',
        ),
        Check(
            "network.address",
            "text",
            "NOT regexp_matches(v, '^127[.]')",
            lambda v: ~v.str.contains("^127[.]"),
            'not regex.match("^127[.]", v)',
        ),
        Check("ssh.port", "number", "v != 23", lambda v: v != 23, "v != 23"),
    ],
    "openssl": [
        Check(
            "packages.openssl",
            "text",
            "starts_with(v, '3.')",
            lambda v: v.str.starts_with("3."),
            'startswith(v, "3.")',
        ),
        Check(
            "packages.openssl",
            "text",
            "NOT contains(v, 'beta')",
            lambda v: ~v.str.contains("beta", literal=True),
            'not contains(v, "beta")',
        ),
        exists("packages.openssl"),
    ],
    "password": [
        Check("password.min_length", "number", "v >= 12", lambda v: v >= 12, "v >= 12"),
        Check("password.max_age_days", "number", "v <= 365", lambda v: v <= 365, "v <= 365"),
        Check("password.min_length", "number", "v < 64", lambda v: v < 64, "v < 64"),
    ],
    "patches": [
        Check(
            "os_update.patched_at",
            "moment",
            "v > TIMESTAMPTZ '2025-12-01 12:00:00+00'",
            lambda v: v > _DAYS[90],
            f'v > "{_TEXTS[90]}"',
        ),
        Check("updates.pending_security", "number", "v < 6", lambda v: v < 6, "v < 6"),
        exists("os_update.patched_at"),
    ],
    "root-login": [
        Check("ssh.permit_root_login", "text", "v != 'yes'", lambda v: v != "yes", 'v != "yes"'),
        equal("ssh.password_authentication", "bool", "false", wanted=False, rego="false"),
        Check(
            "ssh.port",
            "number",
            "v BETWEEN 1 AND 65535",
            lambda v: v.is_between(1, 65535),
            "range_holds(v, 1, 65535)",
        ),
    ],
    "screen": [
        Check("screen.lock_s", "number", "v <= 900", lambda v: v <= 900, "v <= 900"),
        Check("screen.lock_s", "number", "v > 0", lambda v: v > 0, "v > 0"),
        exists("disk.encrypted"),
    ],
    "space": [
        Check("disk.free_bytes", "number", "v > 5e8", lambda v: v > 500_000_000, "v > 500000000"),
        exists("disk.free_bytes"),
        Check("disk.count", "number", "v < 8", lambda v: v < 8, "v < 8"),
    ],
    "sshd": [
        among("ssh.permit_root_login", "no", "prohibit-password"),
        exists("ssh.port"),
        Check("ssh.password_authentication", "bool", "v != true", lambda v: ~v, "v != true"),
    ],
    "time": [
        true("time.synchronized"),
        Check(
            "time.server",
            "text",
            "ends_with(v, '.example.net')",
            lambda v: v.str.ends_with(".example.net"),
            'endswith(v, ".example.net")',
        ),
        Check(
            "agent.checked_in_at",
            "moment",
            "v < TIMESTAMPTZ '2026-03-01 12:00:00+00'",
            lambda v: v < NOW,
            'v < "2026-03-01T12:00:00Z"',
        ),
    ],
    "updates": [
        true("updates.automatic"),
        Check("updates.pending_security", "number", "v <= 2", lambda v: v <= 2, "v <= 2"),
        Check(
            "os_update.patched_at",
            "moment",
            "v >= TIMESTAMPTZ '2025-12-31 12:00:00+00'",
            lambda v: v >= _DAYS[60],
            f'v >= "{_TEXTS[60]}"',
        ),
    ],
    "uptime": [
        Check("uptime_s", "number", "v > 0", lambda v: v > 0, "v > 0"),
        Check("uptime_s", "number", "v <= 7900000", lambda v: v <= 7_900_000, "v <= 7900000"),
        exists("kernel.version"),
    ],
}
"""By name, in alphabetical order."""

FALSE, ERROR, UNKNOWN, TRUE = range(4)
"""What a check can be; a policy is the least of its checks."""
