"""Checking an audit log: every seal of every chain, in order, against the lines it stands for.

Specification: docs/audit.md. What a chain cannot show is said there too. Rule for editors: a log is
hostile input; everything wrong is a finding with its line, and nothing raises.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from secretivex.audit.chain import NO_HASH, hash_standing, make_seal, ratchet
from secretivex.audit.head import is_signed, parse_signer
from secretivex.audit.line import is_canonical_seal, name_of_chain, parse_digest, parse_line
from secretivex.audit.record import PIPE_BYTES
from secretivex.audit.report import MAX_CHAINS, MAX_FINDINGS, Finding, Report
from sshwire.keyblob import PublicKey
from sshwire.pubkey import fingerprint

MAX_LINE_BYTES = 4 * PIPE_BYTES
"""Longest line that is looked at."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Most bytes between two seals."""

MAX_SEALS = 10_000_000
"""Highest number of a seal whose key is worked out from the first one; so many keys are worked out,
over all of a log, for seals that are not there."""


class _Reader:
    """Follows one chain after another through the lines."""

    def __init__(
        self,
        keys: Mapping[str, bytes] | None,
        signers: Collection[str],
        report: Report,
        *,
        head: str,
    ) -> None:
        self._keys = keys
        self._known_signers = signers
        self._report = report
        self._signer: PublicKey | None = None
        self._key: bytes | None = None
        self._digest = NO_HASH
        self._number = 0
        self._steps_left = MAX_SEALS
        self._batch = bytearray()
        self._chain: str | None = None
        self._is_closed = False
        self._names: set[str] = set()
        self._wanted_head = head
        self.has_head = not head
        """Whether the head that was asked for was met."""
        self._doubts: list[Finding] = []
        self._doubted = 0
        """What is wrong with lines since the last seal, unless a writer found them so."""

    def take(self, number: int, line: bytes) -> None:
        """The next line."""
        value = parse_line(line) if line.endswith(b"\n") else None
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
            self._open(number, name_of_chain(value))
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
        self._doubted += 1
        if self._doubted <= MAX_FINDINGS:
            self._doubts.append(Finding(code, line, message))

    def _confirm_doubts(self) -> None:
        self._report.add(self._doubts, self._doubted)
        self._drop_doubts()

    def _drop_doubts(self) -> None:
        self._doubts.clear()
        self._doubted = 0

    def _compare_standing(self, number: int, before: object) -> None:
        """A writer says what stood in the file when it was opened, if there was anything.

        A writer that was killed, or the power cut, leaves records without their seal and lines that
        end early: what the next writer found so is no finding, and nothing can be added later.
        """
        if before is None:
            return
        if before == hash_standing(self._digest, bytes(self._batch)):
            self._drop_doubts()
        else:
            message = "what stands before this chain is not what its writer found there"
            self._report.find("standing_altered", number, message)

    def _open(self, number: int, chain: str) -> None:
        # A writer that was killed leaves records without their seal.
        self._leave_chain()
        if chain in self._names:
            self._report.find("chain_repeated", number, f"chain {chain} was opened before")
        if len(self._report.chains) < MAX_CHAINS:
            self._report.chains.append(chain)
            self._names.add(chain)
        else:
            self._report.find("too_many_chains", number, "more chains than are told apart")
        self._chain, self._key = chain, (self._keys or {}).get(chain)
        self._digest, self._number = NO_HASH, 0
        if self._key is None and self._keys is not None:
            message = f"the first key of chain {chain} is not among those given"
            self._report.find("key_unknown", number, message)

    def _continue(self, number: int, value: Mapping[str, Any]) -> None:
        """The first line of the next file: it repeats where the chain stood."""
        chain, digest = name_of_chain(value), parse_digest(value.get("hash"))
        seals = value.get("seals")
        if digest is None or not isinstance(seals, int) or not 0 <= seals <= MAX_SEALS:
            self._report.find("not_a_record", number, "the file does not say where it goes on")
            return
        if self._chain is None:
            self._report.begins_midway = True
            self._open(number, chain)
            self._meet_head(digest)
            self._forward(seals)
            self._meet_signer(number, value)
        elif (chain, digest, seals) != (self._chain, self._digest, self._number):
            self._report.find("file_missing", number, "this file goes on where no other ends")
            self._digest = digest
            self._forward(seals)

    def _meet_head(self, digest: bytes) -> None:
        """The chain stands there."""
        self._digest = digest
        self.has_head = self.has_head or digest.hex() == self._wanted_head

    def _meet_signer(self, number: int, value: Mapping[str, Any]) -> None:
        """A chain says which key signs its next head."""
        self._signer = parse_signer(value.get("signer"))
        name = "none" if self._signer is None else fingerprint(self._signer.blob)
        if self._signer is not None and len(self._report.signers) < MAX_CHAINS:
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
        steps = max(0, seals - self._number)
        self._number = seals
        if self._key is None:
            return
        self._steps_left -= steps
        if self._steps_left < 0:
            # A log may jump to and fro to keep its reader busy; its seals count as unchecked.
            self._key = None
            return
        for _ in range(steps):
            self._key = ratchet(self._key)

    def _leave_chain(self) -> None:
        """No more of this chain."""
        self._confirm_doubts()
        is_open = self._chain is not None and (not self._is_closed or bool(self._batch))
        if is_open and len(self._report.unclosed) < MAX_CHAINS:
            self._report.unclosed.append(self._chain or "")
        self._report.unsealed += self._batch.count(b"\n")
        self._batch.clear()
        self._is_closed = False

    def _check_seal(self, number: int, line: bytes, value: Mapping[str, Any]) -> None:
        self._report.seals += 1
        self._confirm_doubts()
        batch, self._batch = bytes(self._batch), bytearray()
        digest, mac = parse_digest(value.get("hash")), parse_digest(value.get("mac"))
        if (
            self._chain is None
            or digest is None
            or mac is None
            or not is_canonical_seal(line, value)
        ):
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
        self._meet_head(digest)
        self._key = None if self._key is None else ratchet(self._key)
        said_number = value.get("number")
        if isinstance(said_number, int) and self._number < said_number <= MAX_SEALS:
            self._forward(said_number)
        self._report.head = digest.hex()

    def end(self, *, is_torn: bool) -> None:
        """No more lines; the last may be without a seal, if the agent is running or was killed.

        One without an end (`is_torn`) is being written, or the power was cut.
        """
        if is_torn and self._doubted:
            # Its own doubt is the last one.
            self._doubted -= 1
            del self._doubts[self._doubted :]
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
    reader = _Reader(keys, signers, report, head=head.lower())
    number, line = 0, b"\n"
    for number, line in enumerate(_bounded(lines), 1):
        reader.take(number, line)
    reader.end(is_torn=not line.endswith(b"\n"))
    if not reader.has_head:
        report.find("head_missing", number, f"no seal carries {head}: records were cut or altered")
    if not report.chains:
        report.find("no_chain", number, "the log opens no chain")
    return report


def _bounded(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line if len(line) <= MAX_LINE_BYTES else line[:MAX_LINE_BYTES] + b"\n"
