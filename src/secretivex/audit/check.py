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

from secretivex.audit.chain import HASH_BYTES, NO_HASH, hash_standing, make_seal, ratchet
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
    unclosed: list[str] = field(default_factory=list)
    """Chains whose end is not there: the agent runs, or its writer was killed, or it was cut off."""
    head: str = ""
    heads: set[str] = field(default_factory=set)

    def find(self, code: str, line: int, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(code, line, message))


class _Reader:
    """Follows one chain after another through the lines."""

    def __init__(
        self, keys: Mapping[str, bytes] | None, signers: Collection[str], report: Report
    ) -> None:
        self._keys = keys
        self._known_signers = signers
        self._report = report
        self._signer: PublicKey | None = None
        self._key: bytes | None = None
        self._digest = NO_HASH
        self._number = 0
        self._batch = bytearray()
        self._chain: str | None = None
        self._is_closed = False
        self._doubts: list[Finding] = []
        """What is wrong with lines since the last seal, unless a writer found them so."""

    def take(self, number: int, line: bytes) -> None:
        """The next line."""
        value = _parse(line) if line.endswith(b"\n") else None
        event = value.get("event") if value else None
        if event == "seal" and value is not None:
            self._check_seal(number, line, value)
            return
        if value is None:
            self._doubt("not_a_record", number, "this is no line with a JSON object")
        elif "mac" in value:
            self._doubt("seal_invalid", number, "a seal by another name")
        elif event not in ("chain_opened", "chain_continued") and not self._is_in_chain:
            self._doubt("outside_chain", number, "this line stands before or after its chain")
        if event == "chain_opened" and value is not None:
            self._compare_standing(number, value.get("before"))
            self._open(number, str(value.get("chain", "")))
            self._meet_signer(number, value)
        elif event == "chain_continued" and value is not None:
            self._continue(number, value)
        elif event == "head" and value is not None:
            self._check_head(number, value)
        elif event == "chain_closed" and value is not None:
            self._is_closed = value.get("chain") == self._chain
        self._batch += line
        self._report.records += 1
        if len(self._batch) > MAX_BATCH_BYTES:
            self._report.find("seal_missing", number, "too many records without a seal")
            self._batch.clear()

    @property
    def _is_in_chain(self) -> bool:
        """Whether a record may stand here: a chain is open, or its last record has no seal yet."""
        return self._chain is not None and not (self._is_closed and not self._batch)

    def _doubt(self, code: str, line: int, message: str) -> None:
        self._doubts.append(Finding(code, line, message))

    def _confirm_doubts(self) -> None:
        self._report.findings += self._doubts
        self._doubts.clear()

    def _compare_standing(self, number: int, before: object) -> None:
        """A writer says what stood in the file when it was opened, if there was anything.

        A writer that was killed, or the power cut, leaves records without their seal and lines that
        end early: what the next writer found so is no finding, and nothing can be added later.
        """
        if before is None:
            return
        if before == hash_standing(self._digest, bytes(self._batch)):
            self._doubts.clear()
        else:
            message = "what stands before this chain is not what its writer found there"
            self._report.find("standing_altered", number, message)

    def _open(self, number: int, chain: str) -> None:
        # A writer that was killed leaves records without their seal.
        self._leave_chain()
        if chain in self._report.chains:
            self._report.find("chain_repeated", number, f"chain {chain} was opened before")
        self._report.chains.append(chain)
        self._chain, self._key = chain, (self._keys or {}).get(chain)
        self._digest, self._number = NO_HASH, 0
        if self._key is None and self._keys is not None:
            message = f"the first key of chain {chain} is not among those given"
            self._report.find("key_unknown", number, message)

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

    def _leave_chain(self) -> None:
        """No more of this chain."""
        self._confirm_doubts()
        if self._chain is not None and (not self._is_closed or self._batch):
            self._report.unclosed.append(self._chain)
        self._report.unsealed += self._batch.count(b"\n")
        self._batch.clear()
        self._is_closed = False

    def _check_seal(self, number: int, line: bytes, value: Mapping[str, Any]) -> None:
        self._report.seals += 1
        self._confirm_doubts()
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

    def end(self, *, is_torn: bool) -> None:
        """No more lines; the last may be without a seal, if the agent is running or was killed.

        One without an end (`is_torn`) is being written, or the power was cut.
        """
        if is_torn and self._doubts and self._doubts[-1].code == "not_a_record":
            self._doubts.pop()
            self._report.unsealed += 1
        self._leave_chain()


def check_log(
    lines: Iterable[bytes],
    *,
    keys: Mapping[str, bytes] | None = None,
    head: str = "",
    signers: Collection[str] = (),
) -> Report:
    """Check the lines of a log, oldest first.

    `keys` are the first keys of chains by their names: with them, every chain must have one. Without,
    MACs are counted as unchecked.
    `head`, a hash noted earlier, must be among the log's: what was there then is there now.
    `signers` are fingerprints; if there are any, each chain must begin with one of them.
    """
    report = Report()
    reader = _Reader(keys, signers, report)
    number, line = 0, b"\n"
    for number, line in enumerate(_bounded(lines), 1):
        reader.take(number, line)
    reader.end(is_torn=not line.endswith(b"\n"))
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
