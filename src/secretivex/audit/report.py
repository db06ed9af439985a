"""What checking an audit log found: counts, names and findings, bounded however long the log is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

MAX_FINDINGS = 1000
"""Findings that are kept; the rest is counted."""

MAX_CHAINS = 100_000
"""Chains that are told apart: so often an agent may have been started."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and the line it was seen at."""

    code: str
    line: int
    message: str


@dataclass(slots=True)
class Report:
    """What a log holds; however long it is, this is not much."""

    findings: list[Finding] = field(default_factory=list)
    """The first `MAX_FINDINGS` of them."""
    found: int = 0
    """How many there are."""
    records: int = 0
    seals: int = 0
    chains: list[str] = field(default_factory=list)
    unchecked_macs: int = 0
    unsealed: int = 0
    begins_midway: bool = False
    signed_heads: int = 0
    signers: list[str] = field(default_factory=list)
    """Fingerprint of the first signing key of each chain, as the chain itself says it."""
    unclosed: list[str] = field(default_factory=list)
    """Chains whose end is not there: the agent runs, or its writer was killed, or it was cut off."""
    head: str = ""

    def find(self, code: str, line: int, message: str) -> None:
        """Add a finding."""
        self.add([Finding(code, line, message)], 1)

    def add(self, findings: Iterable[Finding], found: int) -> None:
        """Add the first of so many findings."""
        self.findings += islice(findings, MAX_FINDINGS - len(self.findings))
        self.found += found
