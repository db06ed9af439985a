"""Settings for a machine and a kind of work, each with the reason for its figure.

Rule for editors: arithmetic on what was found; a figure without a reason is not suggested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from secretivex.metrics.queue_wait import suggest_tail
from secretivex.profiles import Profile, find_profile
from secretivex.suggest.calibrate import Calibration

RESERVED_DESCRIPTORS = 64
"""Of each process: its own files, channels, libraries."""

FAIR_SHARE = 1.25
"""Times its equal share of the connections that a worker may hold."""

CONNECTION_BYTES = 4096
"""What an idle connection costs in a worker and in the kernel, with room to spare."""

MEMORY_SHARE = 0.125
"""Part of the machine's memory that connections may take."""

SERVING_SHARE = 0.6
"""Part of the measured round trips that is left once requests are parsed, judged and counted."""

BURST_CLIENTS = {"balanced": 64, "fanout": 1000, "pssh": 4000, "low-memory": 16}
"""Clients that a profile expects to ask at the same moment."""

_SLOW_STORES = ("pkcs11", "tpm", "secure_enclave")


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to divide."""

    cores: int
    descriptors: int
    memory_bytes: int
    max_backlog: int
    store_kinds: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One setting, its figure, and why."""

    key: str
    value: int
    reason: str


def infer_profile(machine: Machine) -> str:
    """The profile of a machine that nothing else is known of."""
    if machine.memory_bytes < 1024**3:
        return "low-memory"
    return "fanout" if machine.descriptors >= 8192 and machine.cores > 1 else "balanced"


def suggest(machine: Machine, named: str | None, measured: Calibration) -> dict[str, Any]:
    """Everything that is suggested, as JSON."""
    name = named or infer_profile(machine)
    profile = find_profile(name)
    if profile is None:
        raise ValueError(f"no such profile: {name}")
    rows = tuple(_suggest(machine, profile, measured))
    values = {row.key: row.value for row in rows}
    is_slow = any(kind in _SLOW_STORES for kind in machine.store_kinds)
    tail = suggest_tail(
        name,
        max_signers=values["max_signers"],
        workers=machine.cores,
        max_connections=values["max_connections"],
    )
    return {
        "profile": {"label": name, "inferred": named is None},
        "cpu_cores": machine.cores,
        "max_signers": values["max_signers"],
        "signers_per_core": round(values["max_signers"] / machine.cores, 2),
        "max_connections": values["max_connections"],
        "inline_sign": not is_slow,
        "pkcs11_store_present": "pkcs11" in machine.store_kinds,
        "tail_ns": tail.ns,
        "tail_ratio": tail.ratio,
        "env": {f"SECRETIVE_{row.key.upper()}": str(row.value) for row in rows},
        "settings": values,
        "measured": {
            "signatures_per_s": round(measured.signatures_per_s),
            "round_trips_per_s": round(measured.round_trips_per_s),
            "duration_s": measured.duration_s,
        },
        "reasons": [f"{row.key} = {row.value}: {row.reason}" for row in rows],
    }


def _suggest(machine: Machine, profile: Profile, measured: Calibration) -> Iterator[Suggestion]:
    preset = profile.at(machine.cores)
    workers = min(machine.cores, 8)
    yield Suggestion(
        "workers", workers, f"one a core: {machine.cores}, and more than 8 gain little"
    )
    yield _connections(machine, preset["max_connections"], workers)
    signers = preset["max_signers"]
    slow = [kind for kind in machine.store_kinds if kind in _SLOW_STORES]
    reason = f"what the profile {profile.name} gives {machine.cores} cores"
    if slow:
        reason += f"; {', '.join(slow)} keys wait for their device, not for a core"
    yield Suggestion("max_signers", signers, reason)
    backlog = min(preset.get("socket_backlog", machine.max_backlog), machine.max_backlog)
    yield Suggestion(
        "socket_backlog", backlog, f"the kernel cuts what is over {machine.max_backlog} (somaxconn)"
    )
    yield _timeout(profile, preset["sign_timeout_ms"], workers, measured)


def _connections(machine: Machine, preset: int, workers: int) -> Suggestion:
    by_descriptors = int((machine.descriptors - RESERVED_DESCRIPTORS) * workers / FAIR_SHARE)
    by_memory = int(machine.memory_bytes * MEMORY_SHARE / CONNECTION_BYTES)
    bounds = {
        preset: "what the profile expects",
        by_descriptors: f"{machine.descriptors} descriptors a process, {workers} workers",
        by_memory: f"{MEMORY_SHARE:.1%} of {machine.memory_bytes >> 20} MiB of memory",
    }
    value = max(1, min(bounds))
    return Suggestion("max_connections", value, bounds.get(value, "the least there can be"))


def _timeout(profile: Profile, preset_ms: int, workers: int, measured: Calibration) -> Suggestion:
    """Twice the time that a burst takes to be served, unless the profile gives more."""
    clients = BURST_CLIENTS[profile.name]
    capacity = measured.round_trips_per_s * SERVING_SHARE * workers
    burst_ms = round(2000 * clients / capacity)
    reason = (
        f"{clients} clients at once take {burst_ms // 2} ms at {capacity:.0f} signatures a second"
        f" (measured); twice that, and no less than the profile's {preset_ms} ms"
    )
    return Suggestion("sign_timeout_ms", max(preset_ms, burst_ms), reason)
