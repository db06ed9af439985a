"""The SSH agent's audit log as evidence: who used which key when, and that its chain holds. Pure.

SecretiveX writes it (docs/audit.md): JSON lines, and after each batch of them a seal whose `hash` is
SHA-256 over the hash of the seal before and the batch's bytes. A chain begins with `chain_opened`;
a file that goes on with one begins with `chain_continued` and repeats where it stood. Where a file
ends stands a `head`: where the chain is then, as SSHSIG by a key of the chain, which `chain_opened`
announced or the head before. The seals' MACs are for whoever holds the chain's first key
(`secretive-client verify-audit`).
Rule for editors: lines after the last seal are covered by nothing of the agent's, and are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sshwire.errors import WireError
from sshwire.pubkey import PublicKey, fingerprint, parse_public_line
from sshwire.sshsig import check_message

MAX_LOG_BYTES = 256 * 1024 * 1024
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Most bytes between two seals, as the agent has it."""

MAX_PROBLEMS = 1000
"""Problems that are kept: a log may be nothing else."""

HEAD_NAMESPACE = "audit-head-v1@secretivex"
"""The SSHSIG namespace of signed heads."""

_NO_HASH = bytes(32)


@dataclass(slots=True)
class AuditSegment:
    """What a segment of a log holds."""

    records: int = 0
    seals: int = 0
    unsealed: int = 0
    signed_heads: int = 0
    signers: list[str] = field(default_factory=list)
    """Fingerprints of the keys that chains announce where they begin here."""
    head: str = ""
    """The hash that the last seal carries."""
    problems: list[str] = field(default_factory=list)
    """The first `MAX_PROBLEMS` of them."""

    def add(self, problems: Iterable[str]) -> None:
        """Keep problems, as long as there is room for them."""
        self.problems += islice(problems, MAX_PROBLEMS - len(self.problems))


def check_segment(lines: Iterable[bytes]) -> AuditSegment:
    """Follow every chain of a segment through its lines."""
    follower = _Follower()
    for number, line in enumerate(lines, start=1):
        problems = [f"line {number}: {problem}" for problem in follower.take(line)]
        follower.segment.add(problems)
        is_broken = not _parse(line) or not line.endswith(b"\n")
        if is_broken and len(follower.doubts) < MAX_PROBLEMS:
            follower.doubts.append(f"line {number}: no record")
    return follower.end()


class _Follower:
    """Where a chain stands at a line."""

    def __init__(self) -> None:
        self.segment = AuditSegment()
        self._chain: object = None
        self._before: bytes | None = None
        self._seals = 0
        self._signer: PublicKey | None = None
        self._batch = bytearray()
        self.doubts: list[str] = []
        """Broken lines since the last seal, unless a writer says that it found them so."""

    def take(self, line: bytes) -> Iterator[str]:
        """The next line; what is wrong with it."""
        value = _parse(line)
        event = value.get("event")
        if event == "seal":
            yield from self._take_seal(value)
            return
        if event in ("chain_opened", "chain_continued"):
            # A writer that was killed leaves records without their seal, the power cut half a line.
            yield from self._compare_standing(value.get("before"))
            self._drop_batch()
            self._begin(value)
        elif event == "head":
            yield from self._take_head(value)
        self._batch += line
        self.segment.records += 1
        if len(self._batch) > MAX_BATCH_BYTES:
            yield "too many records without a seal"
            self._batch.clear()

    def end(self) -> AuditSegment:
        """No more lines."""
        self._drop_batch()
        if not self.segment.seals:
            self.segment.add(["no seal: nothing of the agent vouches for these lines"])
        return self.segment

    def _compare_standing(self, before: object) -> Iterator[str]:
        """A writer tells what stood in the file that it opened: the last seal and what followed it."""
        is_known = self._before is not None or self._batch
        if before is None or not is_known:
            return
        if before == hashlib.sha256((self._before or _NO_HASH) + self._batch).hexdigest():
            self.doubts.clear()
        else:
            yield "what stands before this chain is not what its writer found there"

    def _drop_batch(self) -> None:
        self.segment.add(self.doubts)
        self.doubts.clear()
        self.segment.unsealed += self._batch.count(b"\n")
        self._batch.clear()

    def _begin(self, value: Mapping[str, Any]) -> None:
        """A chain, or a further file of one."""
        signer = _parse_signer(value.get("signer"))
        if value["event"] == "chain_opened":
            self._before, self._seals = _NO_HASH, 0
        else:
            said = _unhex(value.get("hash"))
            # Within one segment a file can only go on where the one before it ended.
            goes_on = self._before is None or self._before == said
            self._before = said if goes_on else None
            seals = value.get("seals")
            self._seals = seals if isinstance(seals, int) else 0
        # A key that a signed head announced stays, whatever the next file says.
        if signer is not None and (value["event"] == "chain_opened" or self._signer is None):
            self._signer = signer
            self.segment.signers.append(fingerprint(signer.blob))
        self._chain = value.get("chain")

    def _take_seal(self, value: Mapping[str, Any]) -> Iterator[str]:
        self.segment.add(self.doubts)
        self.doubts.clear()
        said, batch = _unhex(value.get("hash")), bytes(self._batch)
        if self._before is None:
            yield "a seal outside a chain, or a file is missing before it"
        elif value.get("records") != batch.count(b"\n"):
            yield "records are missing before this seal"
        elif said != hashlib.sha256(self._before + batch).digest():
            yield "the records before this seal were altered"
        self._before = said
        self._seals += 1
        self.segment.seals += 1
        self.segment.head = str(value.get("hash", ""))
        self._batch.clear()

    def _take_head(self, value: Mapping[str, Any]) -> Iterator[str]:
        here = self._chain, self._seals, None if self._before is None else self._before.hex()
        if self._signer is None or not _is_signed(value, self._signer):
            yield "the head is not signed with the key that the chain announced"
        elif (value.get("chain"), value.get("seals"), value.get("hash")) != here or self._batch:
            yield "the signed head is of another place"
        else:
            self.segment.signed_heads += 1
        self._signer = _parse_signer(value.get("next_signer"))


def _parse_signer(line: object) -> PublicKey | None:
    try:
        return parse_public_line(line)[0] if isinstance(line, str) else None
    except WireError:
        return None


def _is_signed(value: Mapping[str, Any], signer: PublicKey) -> bool:
    """Whether a head carries that key's signature over what it says."""
    said = [value.get(name) for name in ("chain", "seals", "hash", "next_signer")]
    signature = value.get("signature")
    if not isinstance(said[1], int) or not isinstance(signature, str):
        return False
    try:
        message = " ".join(map(str, said)).encode() + b"\n"
        found = check_message(message, signature.encode(), namespace=HEAD_NAMESPACE)
    except (WireError, UnicodeEncodeError):
        return False
    return found.public_key.blob == signer.blob


def _unhex(value: object) -> bytes | None:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
