"""The agent's own log in a pack: written by SecretiveX's writer, followed by a reader that never met it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sealed_pack import Pack

from fleetmdm.evidence.agent_audit import HEAD_NAMESPACE, MAX_PROBLEMS, check_segment
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.store.sqlite import SqliteStore
from secretivex.audit.chain import Chain, hash_standing
from secretivex.audit.head import HeadSigner
from secretivex.audit.record import encode_line
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line, fingerprint
from sshwire.sshsig import sign_message

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)


def record(event: str, **fields: object) -> bytes:
    return encode_line({"time": "2026-11-22T12:00:00.000000Z", "event": event, **fields})


def make_log() -> list[bytes]:
    """Two batches of one chain, then another agent's chain."""
    lines: list[bytes] = []
    for name, batches in (("one", 2), ("two", 1)):
        chain = Chain(name.encode().ljust(32))
        for number in range(batches):
            batch = [] if number else [record("chain_opened", chain=name)]
            batch += [record("sign", outcome="ok", key="SHA256:x", uid=number) for _ in range(2)]
            lines += [*batch, chain.seal(b"".join(batch))]
    return lines


def test_a_log_of_the_agent_holds() -> None:
    lines = make_log()
    segment = check_segment(lines)
    assert (segment.problems, segment.records, segment.seals) == ([], 8, 3)
    assert segment.head == json.loads(lines[-1])["hash"]
    open_end = check_segment([*lines, record("sign")])
    assert (open_end.problems, open_end.unsealed) == ([], 1)


def test_a_file_that_goes_on_with_a_chain_holds() -> None:
    lines = make_log()[:4]
    head = json.loads(lines[3])["hash"]
    chain = Chain(b"one".ljust(32))
    chain.seal(b"".join(lines[:3]))
    batch = record("chain_continued", chain="one", hash=head, seals=1) + record("sign")
    more = [*batch.splitlines(keepends=True), chain.seal(batch)]
    assert check_segment(more).problems == []
    assert check_segment([*lines, *more]).problems == []
    assert check_segment([*make_log()[:7], *more]).problems, "a file between them is missing"


def test_half_a_line_that_the_next_writer_found_is_no_problem_and_nothing_else_is() -> None:
    first, torn = make_log()[:7], b'{"time":"2026-11\n'
    seal = json.loads(first[-1])["hash"]

    def log(*between: bytes, found: bytes) -> list[bytes]:
        opened = record(
            "chain_opened", chain="two", before=hash_standing(bytes.fromhex(seal), found)
        )
        return [*first, *between, opened, Chain(b"two".ljust(32)).seal(opened)]

    segment = check_segment(log(torn, found=torn))
    assert (segment.problems, segment.unsealed) == ([], 1)
    assert check_segment(log(found=b"")).problems == []
    broken, altered = check_segment(log(torn, found=b"")).problems
    assert broken == "line 8: no record"
    assert altered.startswith("line 9: what stands before this chain")
    assert check_segment(log(found=torn)).problems
    assert check_segment(log(torn, found=torn)[:-2]).problems == ["line 8: no record"]


@pytest.mark.parametrize("at", range(11))
def test_every_line_taken_out_or_altered_is_found(at: int) -> None:
    lines = make_log()
    spoilt = bytearray(lines[at])
    spoilt[len(spoilt) // 2] ^= 1
    assert check_segment([*lines[:at], bytes(spoilt), *lines[at + 1 :]]).problems or at in (3, 6)
    if not lines[at].startswith(b'{"event":"seal"') or at != 10:
        rest = [*lines[:at], *lines[at + 1 :]]
        assert check_segment(rest).problems or check_segment(rest).unsealed


@pytest.mark.parametrize("lines", [[], [b"junk\n"], [b"[" * 100_000], [b"{}\n"]])
def test_what_is_no_log_is_refused(lines: list[bytes]) -> None:
    assert check_segment(lines).problems


def test_a_log_stands_in_every_view_and_is_followed_again(
    sample_store: SqliteStore, tmp_path: Path, make_key: Callable[[int], PrivateKey]
) -> None:
    data = b"".join(make_log())
    options = ExportOptions(
        tmp_path / "pack", Profile.NONE, (make_key(1),), "0.1.0", NOW, agent_audit=data
    )
    export_pack(sample_store, newest_run(sample_store), options)
    line = f"me {encode_public_line(make_key(1).public_key)}"
    trust = Trust(parse_allowed_signers(line), ["me"], NOW)
    assert verify_pack(tmp_path / "pack", trust).findings == []
    derive_view(tmp_path / "pack", tmp_path / "view", Profile.STRICT)
    assert (tmp_path / "view" / "log" / "agent-audit.jsonl").read_bytes() == data
    pack = Pack(tmp_path / "pack", make_key(1))
    (pack.root / "log" / "agent-audit.jsonl").write_bytes(data.replace(b'"uid":0', b'"uid":7'))
    pack.seal()
    codes = {each.code for each in verify_pack(pack.root, trust).findings}
    assert codes == {"agent_audit_invalid"}, "the signer of the pack cannot rewrite the agent's log"


def test_records_under_no_seal_are_told_and_what_was_not_checked(
    sample_store: SqliteStore, tmp_path: Path, make_key: Callable[[int], PrivateKey]
) -> None:
    lines = make_log()
    assert json.loads(lines[-1])["event"] == "seal"
    options = ExportOptions(
        tmp_path / "pack",
        Profile.NONE,
        (make_key(1),),
        "0.1.0",
        NOW,
        agent_audit=b"".join(lines[:-1]),
    )
    export_pack(sample_store, newest_run(sample_store), options)
    line = f"me {encode_public_line(make_key(1).public_key)}"
    report = verify_pack(tmp_path / "pack", Trust(parse_allowed_signers(line), ["me"], NOW))
    assert report.findings == []
    assert {each.code for each in report.warnings} == {"agent_audit_unsealed"}
    assert report.agent_audit is not None
    assert report.agent_audit.unsealed > 0


def signed_log(keys: list[PrivateKey]) -> list[bytes]:
    """A chain over two files, a signed head at the end of each; keys[0] is announced first."""
    chain, lines = Chain(b"one".ljust(32)), list[bytes]()

    def put(*records: bytes) -> None:
        lines.extend([*records, chain.seal(b"".join(records))])

    def head(signer: PrivateKey, following: PrivateKey) -> bytes:
        said = ("one", chain.seals, chain.head, encode_public_line(following.public_key))
        message = f"{said[0]} {said[1]} {said[2]} {said[3]}\n".encode()
        signature = sign_message(message, signer=signer, namespace=HEAD_NAMESPACE).decode()
        fields = dict(zip(("chain", "seals", "hash", "next_signer"), said, strict=True))
        return record("head", **fields, signature=signature)

    put(
        record("chain_opened", chain="one", signer=encode_public_line(keys[0].public_key)),
        record("sign"),
    )
    put(head(keys[0], keys[1]))
    place = {"seals": chain.seals, "hash": chain.head}
    signer = encode_public_line(keys[1].public_key)
    put(record("chain_continued", chain="one", signer=signer, **place))
    put(record("sign"))
    put(head(keys[1], keys[2]))
    return lines


def test_signed_heads_are_checked_by_the_keys_that_the_chain_announced(
    make_key: Callable[[int], PrivateKey],
) -> None:
    keys = [make_key(number) for number in (1, 2, 3, 4)]
    lines = signed_log(keys)
    segment = check_segment(lines)
    assert (segment.problems, segment.signed_heads, segment.unsealed) == ([], 2, 0)
    assert segment.signers == [fingerprint(keys[0].public_key.blob)]
    rest = check_segment(lines[5:])
    assert (rest.problems, rest.signed_heads) == ([], 1), "the second file alone"
    assert rest.signers == [fingerprint(keys[1].public_key.blob)]


@pytest.mark.parametrize("forged", [[1, 4, 3], [1, 2, 4], [4, 2, 3]])
def test_a_chain_signed_anew_shows_in_its_first_key(
    make_key: Callable[[int], PrivateKey], forged: list[int]
) -> None:
    """Who hashes a chain again cannot sign its heads with keys that were announced and forgotten."""
    honest = signed_log([make_key(number) for number in (1, 2, 3)])
    other = signed_log([make_key(number) for number in forged])
    first = check_segment(honest).signers
    mixed = [*honest[:5], *other[5:]]
    assert check_segment(mixed).problems or check_segment(mixed).signers == first
    assert check_segment(other).problems == []
    assert (check_segment(other).signers == first) is (forged[0] == 1)


def test_a_head_of_another_place_or_by_another_key_is_found(
    make_key: Callable[[int], PrivateKey],
) -> None:
    keys = [make_key(number) for number in (1, 2, 3)]
    lines = signed_log(keys)
    at = [number for number, line in enumerate(lines) if b'"event":"head"' in line]
    swapped = list(lines)
    swapped[at[0]], swapped[at[1]] = swapped[at[1]], swapped[at[0]]
    for spoilt in (
        swapped,
        [lines[at[0]], *lines],
        [line.replace(b"SIGN", b"SING") for line in lines],
    ):
        assert check_segment(spoilt).problems
    unannounced = [line.replace(b'"signer"', b'"singer"') for line in lines]
    found = check_segment(unannounced).problems
    assert any("not signed with the key" in each for each in found)


def test_heads_that_the_agent_signs_are_read() -> None:
    """Written by SecretiveX's own signer."""
    signer, chain = HeadSigner(lambda size: bytes([7]) * size), Chain(b"one".ljust(32))
    first = record("chain_opened", chain="one", signer=signer.line)
    mark, lines = signer.fingerprint, [first, chain.seal(first)]
    head = record("head", **signer.sign("one", chain.seals, chain.head))
    segment = check_segment([*lines, head, chain.seal(head)])
    assert (segment.problems, segment.signed_heads, segment.signers) == ([], 1, [mark])


def test_of_problems_so_many_are_kept() -> None:
    lines = make_log()
    assert len(check_segment([*lines, *[b"\n"] * 3 * MAX_PROBLEMS]).problems) == MAX_PROBLEMS
    seal = lines[-1]
    assert len(check_segment([*lines, *[seal] * 3 * MAX_PROBLEMS]).problems) == MAX_PROBLEMS
