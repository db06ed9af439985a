"""The audit log as data: records, seals, and that no change of a log goes unseen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from secretivex.audit.chain import Chain
from secretivex.audit.check import Report, check_log
from secretivex.audit.head import NAMESPACE, HeadSigner
from secretivex.audit.record import (
    MAX_QUOTED,
    MAX_TEXT,
    PIPE_BYTES,
    AuditRecord,
    encode_line,
    encode_record,
    quote,
)

NAME = "00aa11bb22cc33dd"
ROOT = bytes(range(32))
KEYS = {NAME: ROOT}


def build(
    batches: int = 4, records: int = 3, *, name: str = NAME, root: bytes = ROOT
) -> list[bytes]:
    """The lines of a small log."""
    chain = Chain(root)
    opened = encode_line({"event": "chain_opened", "chain": name})
    lines = [opened, chain.seal(opened)]
    for batch in range(batches):
        texts = [encode_line({"event": "sign", "request": f"{batch}.{i}"}) for i in range(records)]
        lines += [*texts, chain.seal(b"".join(texts))]
    return lines


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_an_untouched_log_has_no_finding() -> None:
    report = check_log(build(), keys=KEYS)
    assert not report.findings
    assert (report.records, report.seals, report.chains) == (13, 5, [NAME])
    assert report.unchecked_macs == report.unsealed == 0


def test_without_the_key_the_macs_are_counted_as_unchecked() -> None:
    report = check_log(build())
    assert not report.findings
    assert report.unchecked_macs == 5


@pytest.mark.parametrize("victim", range(len(build())))
def test_every_removed_line_is_seen(victim: int) -> None:
    lines = build()
    del lines[victim]
    # The last seal gone is a tail without a seal; only a head noted elsewhere can tell more.
    report = check_log(lines, keys=KEYS, head=check_log(build()).head)
    assert report.findings


def test_every_flipped_bit_is_seen() -> None:
    whole = b"".join(build(batches=2, records=1))
    head = check_log(build(batches=2, records=1)).head
    missed = []
    for position in range(len(whole)):
        for bit in (1, 32):
            altered = bytearray(whole)
            altered[position] ^= bit
            report = check_log(bytes(altered).splitlines(keepends=True), keys=KEYS, head=head)
            if not report.findings:
                missed.append((position, bit))
    assert missed == []


def test_swapped_batches_are_seen() -> None:
    lines = build()
    lines[2:6], lines[6:10] = lines[6:10], lines[2:6]
    assert codes(check_log(lines, keys=KEYS)) >= {"records_missing"}


def test_hashes_made_anew_do_not_stand_up_to_the_key() -> None:
    forged = build(root=b"x" * 32)
    assert not check_log(forged).findings
    assert codes(check_log(forged, keys=KEYS)) == {"seal_forged"}


def test_a_cut_tail_is_seen_by_a_head_that_was_noted() -> None:
    lines = build()
    head = check_log(lines).head
    assert not check_log(lines, keys=KEYS, head=head).findings
    assert codes(check_log(lines[:-4], keys=KEYS, head=head)) == {"head_missing"}


def test_records_of_a_writer_that_was_killed_are_counted_as_unsealed() -> None:
    torn = [*build()[:-1], *build(name="ffffffffffffffff")]
    report = check_log(torn, keys=KEYS)
    assert (report.findings, report.unsealed) == ([], 3)


def test_a_chain_goes_on_over_files() -> None:
    chain = Chain(ROOT)
    opened = encode_line({"event": "chain_opened", "chain": NAME})
    first = [opened, chain.seal(opened)]
    fields = {"chain": NAME, "seals": chain.seals, "hash": chain.head}
    line = encode_line({"event": "chain_continued", **fields})
    second = [line, chain.seal(line)]
    assert not check_log(first + second, keys=KEYS).findings
    alone = check_log(second, keys=KEYS)
    assert (alone.findings, alone.begins_midway, alone.unchecked_macs) == ([], True, 0)
    third_line = encode_line(
        {"event": "chain_continued", "chain": NAME, "seals": chain.seals, "hash": chain.head}
    )
    third = [third_line, chain.seal(third_line)]
    assert codes(check_log(first + third, keys=KEYS)) == {"file_missing"}


def test_a_log_of_nonsense_is_findings_and_no_exception() -> None:
    nonsense = [b"\xff\n", b"[]\n", b'{"event":"seal","hash":5}\n', b"{" * 10_000 + b"\n"]
    assert codes(check_log(nonsense)) == {"not_a_record", "seal_invalid", "no_chain"}


def test_a_record_is_one_short_line_whatever_is_in_it() -> None:
    hostile = "\U0001f600\n\r\x1b[31m\u2028" * 1000
    record = AuditRecord("2026-01-01T00:00:00.000000Z", "sign", "ok", executable=hostile, uid=0)
    full = AuditRecord(*[hostile] * 2, *[hostile] * 9)  # type: ignore[arg-type]
    assert len(encode_record(full)) <= PIPE_BYTES
    line = encode_record(record)
    assert line.count(b"\n") == 1
    assert len(line) <= PIPE_BYTES
    assert json.loads(line)["executable"] == hostile[:MAX_TEXT]
    assert "pid" not in json.loads(line)


def build_signed(*, is_forged: bool = False) -> tuple[list[bytes], str]:
    """Two files of one chain, each with a signed head at its end, and the first key's name."""
    count = iter(range(100))
    signer = HeadSigner(lambda size: bytes([next(count)]) * size)
    first = signer.fingerprint
    chain = Chain(ROOT)

    def put(event: str, **fields: object) -> list[bytes]:
        line = encode_line({"event": event, **fields})
        return [line, chain.seal(line)]

    def head() -> list[bytes]:
        used = HeadSigner(lambda size: b"x" * size) if is_forged else signer
        return put("head", **used.sign(NAME, chain.seals, chain.head))

    lines = put("chain_opened", chain=NAME, signer=signer.line) + put("sign") + head()
    place = {"seals": chain.seals, "hash": chain.head, "signer": signer.line}
    lines += put("chain_continued", chain=NAME, **place) + put("sign") + head()
    return lines, first


def test_signed_heads_are_followed_by_the_first_public_key_alone() -> None:
    lines, signer = build_signed()
    report = check_log(lines, signers=[signer])
    assert (report.findings, report.signed_heads, report.signers) == ([], 2, [signer])
    second_file = lines[6:]
    report = check_log(second_file)
    assert (report.findings, report.signed_heads) == ([], 1)
    assert codes(check_log(second_file, signers=[signer])) == {"signer_unknown"}


def test_a_head_that_the_chains_key_did_not_sign_is_seen() -> None:
    forged, signer = build_signed(is_forged=True)
    assert codes(check_log(forged, signers=[signer])) == {"head_forged"}
    whole, _ = build_signed()
    assert codes(check_log(whole, signers=["SHA256:other"])) == {"signer_unknown"}
    assert codes(check_log(build(), signers=[signer])) == {"signer_unknown"}


def test_a_history_with_new_hashes_does_not_fit_its_signed_head() -> None:
    lines, signer = build_signed()
    chain = Chain(ROOT)
    remade = []
    for line in lines[::2]:
        altered = line.replace(b'"sign"', b'"list"')
        remade += [altered, chain.seal(altered)]
    assert "head_misplaced" in codes(check_log(remade, signers=[signer]))


@pytest.mark.parametrize("field", ["signature", "next_signer", "seals", "hash", "chain"])
def test_a_head_of_nonsense_is_a_finding(field: str) -> None:
    lines, _ = build_signed()
    fields = json.loads(lines[4])
    nonsense: object
    for nonsense in (None, 5, "\ud800", "ssh-ed25519 AAAA", [], {"a": 1}):
        line = encode_line({**fields, field: nonsense})
        assert codes(check_log([*lines[:4], line]))


def test_openssh_checks_a_signed_head(require_program: object, tmp_path: Path) -> None:
    require_program("ssh-keygen")  # type: ignore[operator]
    lines, _ = build_signed()
    head = json.loads(lines[4])
    (tmp_path / "head.sig").write_text(head["signature"])
    text = f"{head['chain']} {head['seals']} {head['hash']} {head['next_signer']}\n"
    command = ("ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", "head.sig")
    said = subprocess.run(
        command, cwd=tmp_path, input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stderr


def test_a_quoted_text_is_short_whatever_is_in_it() -> None:
    for text in ("\U0001f600" * 1000, "\x00" * 1000, "a" * 1000, "\ud800" * 1000):
        assert len(quote(text)) <= MAX_QUOTED
        assert text.startswith(json.loads(quote(text)))
