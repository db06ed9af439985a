"""Checking an audit log: every seal of every chain, in order, against the lines it stands for.

Specification: docs/audit.md. What a chain cannot show is said there too. Rule for editors: a log is
hostile input; everything wrong is a finding with its line, and nothing raises.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from secretivex.audit.chain import HASH_BYTES, NO_HASH, make_seal, ratchet
from secretivex.audit.head import is_signed, parse_signer
from secretivex.audit.record import PIPE_BYTES, encode_line
from sshwire.keyblob import PublicKey
from sshwire.pubkey import fingerprint

MAX_LINE_BYTES = 4 * PIPE_BYTES
"""Longest line that is looked at."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Most bytes between two seals."""

MAX_SEALS = 10_000_000
"""Highest number of a seal whose key is worked out from the first one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and the line it was seen at."""

    code: str
    line: int
    message: str


@dataclass(slots=True)
class Report:
    """What a log holds. `heads` are the hashes that seals carried, in order."""

    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    seals: int = 0
    chains: list[str] = field(default_factory=list)
    unchecked_macs: int = 0
    unsealed: int = 0
    begins_midway: bool = False
    signed_heads: int = 0
    signers: list[str] = field(default_factory=list)
    """Fingerprint of the first signing key of each chain, as the chain itself says it."""
    head: str = ""
    heads: set[str] = field(default_factory=set)

    def find(self, code: str, line: int, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(code, line, message))


class _Reader:
    """Follows one chain after another through the lines."""

    def __init__(self, keys: Mapping[str, bytes], signers: Collection[str], report: Report) -> None:
        self._keys = keys
        self._known_signers = signers
        self._report = report
        self._signer: PublicKey | None = None
        self._key: bytes | None = None
        self._digest = NO_HASH
        self._number = 0
        self._batch = bytearray()
        self._chain: str | None = None

    def take(self, number: int, line: bytes) -> None:
        """The next line."""
        value = _parse(line)
        if value is None:
            self._report.find("not_a_record", number, "this line is no JSON object")
        event = value.get("event") if value else None
        if event == "seal" and value is not None:
            self._check_seal(number, line, value)
            return
        if event == "chain_opened" and value is not None:
            self._open(number, str(value.get("chain", "")))
            self._meet_signer(number, value)
        elif event == "chain_continued" and value is not None:
            self._continue(number, value)
        elif event == "head" and value is not None:
            self._check_head(number, value)
        self._batch += line
        self._report.records += 1
        if len(self._batch) > MAX_BATCH_BYTES:
            self._report.find("seal_missing", number, "too many records without a seal")
            self._batch.clear()

    def _open(self, number: int, chain: str) -> None:
        # A writer that was killed leaves records without their seal.
        self._drop_batch()
        if chain in self._report.chains:
            self._report.find("chain_repeated", number, f"chain {chain} was opened before")
        self._report.chains.append(chain)
        self._chain, self._key = chain, self._keys.get(chain)
        self._digest, self._number = NO_HASH, 0

    def _continue(self, number: int, value: Mapping[str, Any]) -> None:
        """The first line of the next file: it repeats where the chain stood."""
        chain, digest = str(value.get("chain", "")), _unhex(value.get("hash"))
        seals = value.get("seals")
        if digest is None or not isinstance(seals, int) or not 0 <= seals <= MAX_SEALS:
            self._report.find("not_a_record", number, "the file does not say where it goes on")
            return
        if self._chain is None:
            self._report.begins_midway = True
            self._open(number, chain)
            self._digest = digest
            self._report.heads.add(digest.hex())
            self._forward(seals)
            self._meet_signer(number, value)
        elif (chain, digest, seals) != (self._chain, self._digest, self._number):
            self._report.find("file_missing", number, "this file goes on where no other ends")
            self._digest = digest
            self._forward(seals)

    def _meet_signer(self, number: int, value: Mapping[str, Any]) -> None:
        """A chain says which key signs its next head."""
        self._signer = parse_signer(value.get("signer"))
        name = "none" if self._signer is None else fingerprint(self._signer.blob)
        if self._signer is not None:
            self._report.signers.append(name)
        if self._known_signers and name not in self._known_signers:
            message = f"the chain's signing key is {name}, which is none of those given"
            self._report.find("signer_unknown", number, message)

    def _check_head(self, number: int, value: Mapping[str, Any]) -> None:
        """A signed head: of this chain, at this place, by the key that was announced."""
        here = self._chain, self._number, self._digest.hex()
        if self._signer is None or not is_signed(value, self._signer):
            self._report.find("head_forged", number, "the head is not signed with the chain's key")
        elif (value.get("chain"), value.get("seals"), value.get("hash")) != here or self._batch:
            self._report.find("head_misplaced", number, "the signed head is of another place")
        else:
            self._report.signed_heads += 1
        self._signer = parse_signer(value.get("next_signer"))

    def _forward(self, seals: int) -> None:
        """Go on after the seal of that number."""
        for _ in range(self._number, seals if self._key else self._number):
            self._key = ratchet(self._key or b"")
        self._number = seals

    def _drop_batch(self) -> None:
        self._report.unsealed += self._batch.count(b"\n")
        self._batch.clear()

    def _check_seal(self, number: int, line: bytes, value: Mapping[str, Any]) -> None:
        self._report.seals += 1
        batch, self._batch = bytes(self._batch), bytearray()
        digest, mac = _unhex(value.get("hash")), _unhex(value.get("mac"))
        if self._chain is None or digest is None or mac is None or not _is_canonical(line, value):
            reason = "a seal outside a chain" if self._chain is None else "no well-formed seal"
            self._report.find("seal_invalid", number, reason)
            return
        self._number += 1
        wanted = make_seal(self._key or b"", self._number, batch.count(b"\n"), self._digest, batch)
        if (value.get("number"), value.get("records")) != (wanted.number, wanted.records):
            said = f"seal {value.get('number')} over {value.get('records')} records"
            here = f"seal {wanted.number} over {wanted.records}"
            self._report.find("records_missing", number, f"{said}, where {here} belongs")
        elif digest != wanted.digest:
            self._report.find("records_altered", number, "the records since the last seal differ")
        elif self._key is None:
            self._report.unchecked_macs += 1
        elif not hmac.compare_digest(mac, wanted.mac):
            self._report.find("seal_forged", number, "the seal was not made with the chain's key")
        # What follows is judged by what stands here, so that one fault is one finding.
        self._digest = digest
        self._key = None if self._key is None else ratchet(self._key)
        said_number = value.get("number")
        if isinstance(said_number, int) and self._number < said_number <= MAX_SEALS:
            self._forward(said_number)
        self._report.head = digest.hex()
        self._report.heads.add(digest.hex())

    def end(self) -> None:
        """No more lines; the last may be without a seal, if the agent is running or was killed."""
        self._drop_batch()


def check_log(
    lines: Iterable[bytes],
    *,
    keys: Mapping[str, bytes] | None = None,
    head: str = "",
    signers: Collection[str] = (),
) -> Report:
    """Check the lines of a log, oldest first.

    `keys` are the first keys of chains by their names; the MACs of others are counted as unchecked.
    `head`, a hash noted earlier, must be among the log's: what was there then is there now.
    `signers` are fingerprints; if there are any, each chain must begin with one of them.
    """
    report = Report()
    reader = _Reader(keys or {}, signers, report)
    number = 0
    for number, line in enumerate(_bounded(lines), 1):
        reader.take(number, line)
    reader.end()
    if head and head.lower() not in report.heads:
        report.find("head_missing", number, f"no seal carries {head}: records were cut or altered")
    if not report.chains:
        report.find("no_chain", number, "the log opens no chain")
    return report


def _bounded(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line if len(line) <= MAX_LINE_BYTES else line[:MAX_LINE_BYTES] + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_canonical(line: bytes, value: Mapping[str, Any]) -> bool:
    """Whether a seal is written as the writer writes it: it is not sealed itself."""
    names = ("event", "number", "records", "hash", "mac")
    return tuple(value) == names and encode_line(value) == line


def _unhex(value: object) -> bytes | None:
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    return raw if len(raw) == HASH_BYTES and raw.hex() == value else None
