"""The audit log as data: records, seals, and that no change of a log goes unseen."""

from __future__ import annotations

import json

import pytest

from secretivex.audit.chain import Chain
from secretivex.audit.check import Report, check_log
from secretivex.audit.record import MAX_TEXT, PIPE_BYTES, AuditRecord, encode_line, encode_record

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
