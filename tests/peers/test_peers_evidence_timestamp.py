"""Time-stamp tokens of a real authority (`openssl ts`), and what they prove of revoked keys."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from time_authority import TimeAuthority

from fleetmdm.errors import FleetError
from fleetmdm.evidence.attest.authority import load_authorities, require_trusted
from fleetmdm.evidence.attest.timestamp import TokenError, read_token, token_of
from fleetmdm.evidence.keyring.revocation import Revocation, Revocations
from fleetmdm.evidence.pack.cosign import add_timestamp
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.sign import signature_name
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line, fingerprint

WHO = "me"
Program = Callable[[str], str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, require_program: Program) -> TimeAuthority:
    return TimeAuthority(tmp_path_factory.mktemp("tsa") / "one", require_program("openssl"))


@pytest.fixture
def pack(tmp_path: Path, export_sample: Callable[..., Path]) -> Path:
    return export_sample(tmp_path / "pack", "none")


@pytest.fixture
def signature(pack: Path, make_key: Callable[[int], PrivateKey]) -> Path:
    return pack / signature_name(fingerprint(make_key(1).public_key.blob), "manifest")


@pytest.fixture
def trust(make_key: Callable[[int], PrivateKey], authority: TimeAuthority) -> Trust:
    line = f"{WHO} {encode_public_line(make_key(1).public_key)}"
    authorities = load_authorities(authority.root.read_bytes())
    return Trust(parse_allowed_signers(line), [WHO], datetime.now(UTC), authorities=authorities)


def codes(report: PackReport) -> list[str]:
    return [each.code for each in report.findings]


def warnings(report: PackReport) -> list[str]:
    return [each.code for each in report.warnings]


def test_a_token_proves_the_time_and_openssl_agrees(
    pack: Path, signature: Path, trust: Trust, authority: TimeAuthority, require_program: Program
) -> None:
    name, stamp = add_timestamp(pack, authority.stamp(signature))
    report = verify_pack(pack, trust)
    assert (report.findings, report.warnings) == ([], [])
    assert {each.proven_at for each in report.signatures} == {stamp.time}
    command = [require_program("openssl"), "ts", "-verify", "-token_in", "-in", str(pack / name)]
    done = subprocess.run(
        [*command, "-data", str(signature), "-CAfile", str(authority.root)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert warnings(verify_pack(pack, replace(trust, authorities=()))) == ["timestamp_unverified"]
    derive_view(pack, pack.parent / "view", Profile.STRICT)
    assert verify_pack(pack.parent / "view", trust).findings == [], "the token comes along"


@pytest.mark.parametrize(("key", "ess"), [("rsa", "sha1"), ("rsa", "sha256"), ("ec", "sha1")])
def test_tokens_of_other_authorities_are_read(
    tmp_path: Path, require_program: Program, key: str, ess: str
) -> None:
    authority = TimeAuthority(tmp_path / "tsa", require_program("openssl"), key=key, ess=ess)
    (tmp_path / "data").write_bytes(b"something")
    answer = authority.stamp(tmp_path / "data")
    stamp = read_token(token_of(answer), stamped=b"something")
    require_trusted(stamp, load_authorities(authority.root.read_bytes()))
    assert abs(stamp.time - datetime.now(UTC)) < timedelta(minutes=5)
    with pytest.raises(TokenError) as caught:
        read_token(token_of(answer), stamped=b"something else")
    assert caught.value.reason == "mismatch"


def test_every_flipped_byte_of_a_token_is_found(tmp_path: Path, authority: TimeAuthority) -> None:
    """With the authority at hand, as a verifier has it."""
    (tmp_path / "data").write_bytes(b"something")
    token = token_of(authority.stamp(tmp_path / "data"))
    authorities = load_authorities(authority.root.read_bytes())
    missed = []
    for at in range(len(token)):
        spoilt = bytearray(token)
        spoilt[at] ^= 1 << at % 8
        try:
            require_trusted(read_token(bytes(spoilt), stamped=b"something"), authorities)
        except TokenError:
            continue
        missed.append(at)
    assert missed == []


def test_what_is_wrong_with_a_token_has_its_code(
    pack: Path,
    signature: Path,
    trust: Trust,
    authority: TimeAuthority,
    tmp_path: Path,
    require_program: Program,
) -> None:
    answer = authority.stamp(signature)
    name, _ = add_timestamp(pack, answer)
    token = (pack / name).read_bytes()
    other = TimeAuthority(tmp_path / "other", require_program("openssl"))
    strangers = load_authorities(other.root.read_bytes())
    assert codes(verify_pack(pack, replace(trust, authorities=strangers))) == [
        "timestamp_untrusted"
    ]
    at = token.rindex(b"\x04") + 20
    (pack / name).write_bytes(token[:-1] + bytes([token[-1] ^ 1]))
    assert codes(verify_pack(pack, trust)) == ["timestamp_invalid"], at
    (pack / name).write_bytes(token_of(authority.stamp(pack / "run.json")))
    assert codes(verify_pack(pack, trust)) == ["timestamp_mismatch"]


def test_a_token_over_something_else_is_not_added(pack: Path, authority: TimeAuthority) -> None:
    before = sorted(pack.rglob("*"))
    for answer in (authority.stamp(pack / "manifest.json"), b"junk", b""):
        with pytest.raises(FleetError) as caught:
            add_timestamp(pack, answer)
        assert caught.value.code == "timestamp_invalid"
    assert sorted(pack.rglob("*")) == before


def test_only_a_token_saves_what_a_revoked_key_signed(
    pack: Path,
    signature: Path,
    trust: Trust,
    authority: TimeAuthority,
    make_key: Callable[[int], PrivateKey],
) -> None:
    mark = fingerprint(make_key(1).public_key.blob)

    def judge(days: int) -> PackReport:
        at = datetime.now(UTC) + timedelta(days=days)
        revoked = Revocations(dated={mark: Revocation(at, "laptop stolen")})
        return verify_pack(pack, replace(trust, revoked=revoked))

    assert codes(judge(1)) == ["signer_revoked"], "SSHSIG carries no time"
    add_timestamp(pack, authority.stamp(signature))
    after, before = judge(1), judge(-1)
    assert (codes(after), warnings(after)) == ([], ["signed_before_revocation"])
    assert "laptop stolen" in after.warnings[0].message
    assert codes(before) == ["signer_revoked"]


def test_an_expired_key_is_judged_at_the_time_that_a_token_proves(
    pack: Path,
    signature: Path,
    trust: Trust,
    authority: TimeAuthority,
    make_key: Callable[[int], PrivateKey],
) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    options = f'valid-before="{soon:%Y%m%d%H%M%SZ}"'
    line = f"{WHO} {options} {encode_public_line(make_key(1).public_key)}"
    later = replace(
        trust, allowed=parse_allowed_signers(line), now=datetime.now(UTC) + timedelta(days=9)
    )
    assert codes(verify_pack(pack, later)) == ["signer_expired"]
    add_timestamp(pack, authority.stamp(signature))
    assert codes(verify_pack(pack, later)) == []
