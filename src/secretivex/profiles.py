"""Presets for kinds of machine and work: a profile fills settings that nothing else sets.

Rule for editors: figures are data that scale with the cores of the machine; the documentation
prints the same rows that the agent computes with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class PerCore:
    """A figure of `factor` times the cores, between two bounds."""

    factor: int
    at_least: int = 1
    at_most: int | None = None

    def at(self, cores: int) -> int:
        """The figure for a machine with so many cores."""
        value = max(self.factor * cores, self.at_least)
        return value if self.at_most is None else min(value, self.at_most)

    def __str__(self) -> str:
        text = "cores" if self.factor == 1 else f"{self.factor} x cores"
        if self.at_least > self.factor:
            text += f", at least {self.at_least}"
        return text if self.at_most is None else f"{text}, at most {self.at_most}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One preset: its name, the other spellings it answers to, whom it is for, what it sets."""

    name: str
    help: str
    values: Mapping[str, int | PerCore]
    aliases: tuple[str, ...] = ()

    def at(self, cores: int) -> dict[str, Any]:
        """The settings on a machine with so many cores."""
        return {key: at_cores(value, cores) for key, value in self.values.items()}


def at_cores(value: Any, cores: int) -> Any:
    """`value`, or the figure it stands for where it scales with the cores."""
    return value.at(cores) if isinstance(value, PerCore) else value


def _profile(name: str, help_text: str, values: dict[str, int | PerCore], *aliases: str) -> Profile:
    return Profile(name, help_text, MappingProxyType(values), aliases)


PROFILES = (
    _profile(
        "balanced",
        "a workstation: a person and their tools",
        {
            "max_signers": PerCore(4),
            "max_connections": 1024,
            "sign_timeout_ms": 500,
            "identity_cache_ms": 1000,
            "watch_debounce_ms": 200,
        },
    ),
    _profile(
        "fanout",
        "tools that open hundreds of SSH sessions at once",
        {
            "max_signers": PerCore(8, at_least=8),
            "workers": PerCore(1),
            "max_connections": 8192,
            "socket_backlog": 2048,
            "sign_timeout_ms": 250,
            "identity_cache_ms": 5000,
            "idle_timeout_ms": 10_000,
        },
    ),
    _profile(
        "pssh",
        "a thousand sessions and more from one machine",
        {
            "max_signers": PerCore(12, at_least=32),
            "workers": PerCore(1, at_least=2),
            "max_connections": 32_768,
            "socket_backlog": 4096,
            "sign_timeout_ms": 150,
            "identity_cache_ms": 10_000,
            "idle_timeout_ms": 5000,
            "watch_debounce_ms": 500,
        },
        "high-fanout",
        "high_fanout",
        "highfanout",
    ),
    _profile(
        "low-memory",
        "small machines, where memory counts more than speed",
        {
            "max_signers": PerCore(2, at_least=2),
            "max_connections": 256,
            "sign_timeout_ms": 2000,
            "identity_cache_ms": 250,
            "watch_debounce_ms": 1000,
        },
        "low_memory",
        "lowmemory",
    ),
)
"""`max_blocking_threads` follows `max_signers` in every profile."""

PROFILE_NAMES = tuple(profile.name for profile in PROFILES)


def find_profile(name: str) -> Profile | None:
    """The profile of a name or alias, in any case; None where there is none."""
    word = name.strip().lower()
    for profile in PROFILES:
        if word == profile.name or word in profile.aliases:
            return profile
    return None
