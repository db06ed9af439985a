"""The audit log as data: records, seals, and that no change of a log goes unseen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from secretivex.audit.chain import (
    NO_HASH,
    Chain,
    encode_seal,
    hash_standing,
    make_seal,
    standing_of,
)
from secretivex.audit.check import MAX_SEALS, check_log
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
from secretivex.audit.report import MAX_FINDINGS, Report

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
    missed: list[tuple[int, int]] = []
    for position in range(len(whole)):
        for bit in (1, 32):
            altered = bytearray(whole)
            altered[position] ^= bit
            lines = bytes(altered).splitlines(keepends=True)
            assert check_log(lines, keys=KEYS, head=head).findings
            if not check_log(lines, keys=KEYS).findings:
                missed.append((position, bit))
    # Without its end the last seal may be one that is being written.
    assert missed == [(len(whole) - 1, bit) for bit in (1, 32)]


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
    other = "ffffffffffffffff"
    torn = [*build()[:-1], *build(name=other)]
    report = check_log(torn, keys={**KEYS, other: ROOT})
    assert (report.findings, report.unsealed) == ([], 3)
    assert report.unclosed == [NAME, other]
    assert codes(check_log(torn, keys=KEYS)) == {"key_unknown"}


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


# What one chain's writer says of the file that it found.

TORN = b'{"time":"2026-01-01T0'
SECOND = "1122334455667788"


def build_two(rest: bytes = TORN + b"\n", *, is_closed: bool = False) -> list[bytes]:
    """A chain, what its writer left without a seal, and the chain of the next writer."""
    chain = Chain(ROOT)
    opened = encode_line({"event": "chain_opened", "chain": NAME})
    signed = encode_line({"event": "sign"})
    lines = [opened, chain.seal(opened), signed, chain.seal(signed)]
    if is_closed:
        closed = encode_line({"event": "chain_closed", "chain": NAME})
        lines += [closed, chain.seal(closed)]
    lines += rest.splitlines(keepends=True)
    before = standing_of(b"".join(lines), is_whole=True)
    following = Chain(ROOT)
    opened = encode_line({"event": "chain_opened", "chain": SECOND, "before": before})
    return [*lines, opened, following.seal(opened)]


BOTH = {NAME: ROOT, SECOND: ROOT}


def test_what_a_killed_writer_left_is_no_finding_once_the_next_one_has_seen_it() -> None:
    sealed = encode_line({"event": "list"})
    report = check_log(build_two(sealed + TORN + b"\n"), keys=BOTH)
    assert (report.findings, report.unsealed) == ([], 2)
    assert report.unclosed == [NAME, SECOND]
    report = check_log(build_two(b"", is_closed=True), keys=BOTH)
    assert (report.findings, report.unsealed, report.unclosed) == ([], 0, [SECOND])


@pytest.mark.parametrize("is_closed", [False, True])
def test_every_line_that_is_cut_or_added_before_a_later_chain_is_seen(*, is_closed: bool) -> None:
    lines = build_two(TORN + b"\n", is_closed=is_closed)
    added = encode_line({"event": "sign"})
    for place in range(1, len(lines) - 1):
        assert check_log(lines[:place] + lines[place + 1 :]).findings, place
    for place in range(len(lines) - 1):
        assert check_log([*lines[:place], added, *lines[place:]]).findings, place
        assert check_log([*lines[:place], b"\n", *lines[place:]]).findings, place
    first = 4 if not is_closed else 6
    assert codes(check_log(lines[first:])) & {"standing_altered", "not_a_record"}


def test_nothing_stands_before_or_after_a_chain() -> None:
    closed = build_two(b"", is_closed=True)[:6]
    assert not check_log(closed).findings
    added = encode_line({"event": "sign"})
    assert codes(check_log([added, *closed])) == {"outside_chain"}
    assert codes(check_log([*closed, added])) == {"outside_chain"}


def test_a_log_that_is_being_written_may_end_within_a_line() -> None:
    lines = build()
    for cut in range(1, len(lines[-1])):
        report = check_log([*lines[:-1], lines[-1][:cut]], keys=KEYS)
        assert (report.findings, report.unsealed >= 3) == ([], True), cut
    assert codes(check_log([*build(), b"torn\n"], keys=KEYS)) == {"not_a_record"}


def test_the_end_of_a_log_tells_its_last_seal_from_any_piece_that_holds_it() -> None:
    whole = b"".join(build())
    told = standing_of(whole, is_whole=True)
    for start in range(len(whole)):
        assert standing_of(whole[start:], is_whole=False) in (told, "")
    last = whole[whole.rfind(b'\n{"event":"seal"') :]
    assert standing_of(last, is_whole=False) == told
    assert standing_of(last[1:], is_whole=False) == ""
    assert standing_of(b"", is_whole=True) == hash_standing(bytes(32), b"")


# What somebody wrote into a log to harm its reader.


@pytest.mark.parametrize("member", ["number", "records", "hash", "mac"])
def test_a_seal_that_is_nested_or_no_number_is_a_finding(member: str) -> None:
    opened, seal, *rest = build()
    found = {"event": "seal", **{name: json.loads(seal)[name] for name in json.loads(seal)}}
    for depth in (1, 500, *range(960, 1000)):
        nested = json.dumps({**found, member: "?"}, separators=(",", ":")).encode() + b"\n"
        hostile = nested.replace(b'"?"', b"[" * depth + b"]" * depth)
        assert codes(check_log([opened, hostile, *rest], keys=KEYS)), depth
    true = encode_line({**found, "number": True})
    assert codes(check_log([opened, true, *rest], keys=KEYS))


def test_of_findings_so_many_are_kept_and_all_are_counted() -> None:
    lines = build()
    for count in (MAX_FINDINGS, 3 * MAX_FINDINGS):
        report = check_log([*lines, *[b"\n"] * count, lines[0]])
        assert len(report.findings) == MAX_FINDINGS
        assert report.found == count + 1  # the chain's name is not new
    torn = check_log([*lines, *[b"\n"] * MAX_FINDINGS, b"{"])
    assert (torn.found, torn.unsealed) == (MAX_FINDINGS, MAX_FINDINGS + 1)


def test_a_log_that_jumps_to_and_fro_is_read_in_bounded_time() -> None:
    digest = "0" * 64
    jumps = [
        encode_line({"event": "chain_continued", "chain": NAME, "seals": seals, "hash": digest})
        for seals in (0, 1000, *(0, MAX_SEALS) * 1000, 0)
    ]
    seal = encode_seal(make_seal(ROOT, 1, len(jumps), NO_HASH, b"".join(jumps)))
    # Some hours, if each were followed; the first that is too far ends it.
    report = check_log([*jumps, seal], keys=KEYS)
    assert (codes(report), report.unchecked_macs) == ({"file_missing"}, 1)
