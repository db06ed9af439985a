"""Several signers, thresholds, co-signers, witnesses, revoked keys: who is enough, and who not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.errors import FleetError
from fleetmdm.evidence.attest.note import cosign_note, parse_note, sign_note, verify_note
from fleetmdm.evidence.keyring.revocation import Revocation, Revocations
from fleetmdm.evidence.manifest import NAMESPACE
from fleetmdm.evidence.pack.cosign import add_cosignature, add_witness
from fleetmdm.evidence.sign import WITNESS_NAMESPACE, signature_name
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.errors import VerificationError, WireError
from sshwire.krl import RevocationList
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line, fingerprint

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
Make = Callable[[int], PrivateKey]


def lines(make_key: Make, *rows: tuple[int, str, str]) -> str:
    """One allowed signer for each (number of the key, name, namespace)."""
    return "\n".join(
        f'{name} namespaces="{namespace}" {encode_public_line(make_key(number).public_key)}'
        for number, name, namespace in rows
    )


def codes(report: PackReport) -> set[str]:
    return {each.code for each in report.findings}


def warned(report: PackReport) -> set[str]:
    return {each.code for each in report.warnings}


ALICE = (1, "alice", NAMESPACE)
BOB = (2, "bob", NAMESPACE)
EVE = (3, "eve", NAMESPACE)


@pytest.fixture
def pack(tmp_path: Path, export_sample: Callable[..., Path], make_key: Make) -> Path:
    """Signed by keys 1 and 2."""
    return export_sample(tmp_path / "pack", signers=[make_key(1), make_key(2)])


@pytest.mark.parametrize(
    ("rows", "names", "required", "expected", "warnings"),
    [
        ([ALICE, BOB], ["alice", "bob"], None, set(), set()),
        ([ALICE, BOB], ["alice", "bob"], 2, set(), set()),
        ([ALICE], ["alice"], None, {"signer_unknown"}, set()),
        ([ALICE], ["alice"], 1, set(), {"signer_surplus_untrusted"}),
        ([ALICE], ["alice"], 2, {"signer_unknown", "signers_too_few"}, set()),
        ([ALICE, BOB], ["alice", "bob"], 3, {"signers_too_few"}, set()),
        # One person with two keys is one signer.
        (
            [(1, "alice", NAMESPACE), (2, "alice", NAMESPACE), EVE],
            ["alice", "eve"],
            2,
            {"signers_too_few"},
            set(),
        ),
        ([(1, "team", NAMESPACE), (2, "team", NAMESPACE)], ["team"], 2, set(), set()),
    ],
)
def test_a_threshold_counts_trusted_signers(
    pack: Path,
    make_key: Make,
    rows: Sequence[tuple[int, str, str]],
    names: Sequence[str],
    required: int | None,
    expected: set[str],
    warnings: set[str],
) -> None:
    allowed = parse_allowed_signers(lines(make_key, *rows))
    report = verify_pack(pack, Trust(allowed, names, NOW, required=required))
    assert (codes(report), warned(report)) == (expected, warnings)


def test_a_cosigner_counts_and_need_not_be_announced(pack: Path, make_key: Make) -> None:
    names = add_cosignature(pack, [make_key(3)], now=NOW)
    allowed = parse_allowed_signers(lines(make_key, ALICE, BOB, EVE))
    trust = Trust(allowed, ["alice", "bob", "eve"], NOW, required=3)
    assert verify_pack(pack, trust).findings == []
    some = replace(trust, allowed=parse_allowed_signers(lines(make_key, ALICE, BOB)), required=2)
    report = verify_pack(pack, some)
    assert (codes(report), warned(report)) == (set(), {"cosigner_untrusted"})
    data = (pack / names[0]).read_bytes()
    (pack / names[0]).write_bytes(data.replace(b"\n-----END", b"\n\n-----END"))
    assert codes(verify_pack(pack, trust)) == {"signature_not_canonical"}
    with pytest.raises(FleetError) as caught:
        add_cosignature(pack, [make_key(4)], now=NOW)
    assert caught.value.code == "evidence_invalid"


def test_nothing_that_is_there_is_replaced(pack: Path, make_key: Make) -> None:
    add_witness(pack, [make_key(3)], name="w", now=NOW)
    with pytest.raises(FleetError) as caught:
        add_witness(pack, [make_key(3)], name="w", now=NOW)
    assert caught.value.code == "output_exists"


def test_a_witness_is_asked_for_by_name(pack: Path, make_key: Make) -> None:
    witness = (3, "witness", WITNESS_NAMESPACE)
    allowed = parse_allowed_signers(lines(make_key, ALICE, BOB, witness))
    trust = Trust(allowed, ["alice", "bob"], NOW, witnesses=["witness"])
    assert codes(verify_pack(pack, trust)) == {"witness_missing"}
    added = add_witness(pack, [make_key(3)], name="witness.example.org", now=NOW)
    assert [name.rpartition("/")[2].split(".", 1)[1] for name in added] == [
        "witness.note",
        "witness.sshsig",
    ]
    report = verify_pack(pack, trust)
    assert report.findings == []
    (seen,) = (each for each in report.signatures if each.subject == "witness")
    assert (seen.principal, seen.proven_at) == ("witness", NOW)
    assert warned(verify_pack(pack, replace(trust, witnesses=()))) == {"witness_untrusted"}
    signer = lines(make_key, ALICE, BOB, (3, "witness", NAMESPACE))
    report = verify_pack(pack, replace(trust, allowed=parse_allowed_signers(signer)))
    assert (codes(report), warned(report)) == ({"witness_missing"}, {"witness_untrusted"})


def test_every_flipped_byte_of_what_was_added_is_found(pack: Path, make_key: Make) -> None:
    allowed = parse_allowed_signers(lines(make_key, ALICE, BOB, (3, "w", WITNESS_NAMESPACE)))
    trust = Trust(allowed, ["alice", "bob"], NOW, witnesses=["w"])
    for name in add_witness(pack, [make_key(3)], name="w", now=NOW):
        data = (pack / name).read_bytes()
        for at in range(len(data)):
            spoilt = bytearray(data)
            spoilt[at] ^= 1 << at % 8
            (pack / name).write_bytes(spoilt)
            assert verify_pack(pack, trust).findings, (name, at)
        (pack / name).write_bytes(data)
    assert verify_pack(pack, trust).findings == []


def test_a_revoked_key_is_refused_whoever_lists_it(pack: Path, make_key: Make) -> None:
    key = make_key(2).public_key
    allowed = parse_allowed_signers(lines(make_key, ALICE, BOB))
    trust = Trust(allowed, ["alice", "bob"], NOW)
    for revoked in (
        Revocations(lists=(RevocationList(keys={key.blob}),)),
        Revocations(dated={fingerprint(key.blob): Revocation(NOW, "lost")}),
    ):
        report = verify_pack(pack, replace(trust, revoked=revoked))
        assert codes(report) == {"signer_revoked"}
        enough = verify_pack(
            pack, replace(trust, revoked=revoked, required=1, principals=["alice"])
        )
        assert (codes(enough), warned(enough)) == (set(), {"signer_surplus_untrusted"})


def test_lines_that_grant_nothing_are_told(pack: Path, make_key: Make) -> None:
    text = lines(make_key, ALICE, BOB) + "\nx ssh-quantum AAAAC3NzaC1xdWFudHVt\n"
    report = verify_pack(pack, Trust(parse_allowed_signers(text), ["alice", "bob"], NOW))
    assert (codes(report), warned(report)) == (set(), {"trust_line_skipped"})


def test_a_signature_of_a_key_that_the_pack_does_not_show_is_malformed(
    pack: Path, make_key: Make
) -> None:
    text = (pack / "log" / "checkpoint").read_bytes()
    note = cosign_note(make_key(9), text, name="w", now=NOW)
    (pack / signature_name(fingerprint(make_key(9).public_key.blob), "witness_note")).write_bytes(
        note
    )
    allowed = parse_allowed_signers(lines(make_key, ALICE, BOB))
    report = verify_pack(pack, Trust(allowed, ["alice", "bob"], NOW))
    assert codes(report) == {"signature_malformed"}


# The forms by themselves.


def test_a_note_is_as_c2sp_writes_it(make_key: Make) -> None:
    text = b"fleetmdm/0011223344556677\n3\nAAAA\n"
    note = sign_note(make_key(1), text, name="fleetmdm/0011223344556677")
    head, _, tail = note.partition(b"\n\n")
    assert head + b"\n" == text
    assert tail.decode().startswith("\u2014 fleetmdm/0011223344556677 ")
    parsed = parse_note(note, witness=False)
    verify_note(parsed, text=text, key=make_key(1).public_key)
    for key, other, reason in (
        (make_key(2), text, "key_differs"),
        (make_key(1), b"other\n", "text_differs"),
    ):
        with pytest.raises(VerificationError) as caught:
            verify_note(parsed, text=other, key=key.public_key)
        assert caught.value.reason == reason
    with pytest.raises(WireError):
        sign_note(make_key(1), text, name="two words")
    for junk in (b"", b"x", note[:-1], note + note, note.replace(b"\n\n", b"\n")):
        with pytest.raises(VerificationError):
            parse_note(junk, witness=False)
    with pytest.raises(VerificationError):
        parse_note(note, witness=True)
