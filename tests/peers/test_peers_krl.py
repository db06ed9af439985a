"""Key revocation lists that `ssh-keygen -k` made, read here; ours, read by `ssh-keygen -Q`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sshwire.errors import UnsupportedError, WireError
from sshwire.krl import encode_krl, parse_krl
from sshwire.pubkey import PublicKey, parse_public_line

Program = Callable[[str], str]


@pytest.fixture
def keygen(require_program: Program, tmp_path: Path) -> Callable[..., int]:
    """Run ssh-keygen in the test's folder; answers its exit status."""

    def run(*arguments: str) -> int:
        command = [require_program("ssh-keygen"), *arguments]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode

    return run


@pytest.fixture
def keys(keygen: Callable[..., int], tmp_path: Path) -> dict[str, PublicKey]:
    """Keys a, b and ca, and certificates of a and b by ca."""
    for name in ("a", "b", "ca"):
        assert keygen("-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name) == 0
    for serial, name in ((5, "a"), (70, "b")):
        assert (
            keygen(
                "-q", "-s", "ca", "-I", f"id-{name}", "-n", "me", "-z", str(serial), f"{name}.pub"
            )
            == 0
        )
    names = ("a.pub", "b.pub", "ca.pub", "a-cert.pub", "b-cert.pub")
    return {
        name.removesuffix(".pub"): parse_public_line((tmp_path / name).read_text().strip())[0]
        for name in names
    }


@pytest.mark.parametrize(
    ("specification", "revoked"),
    [
        ("{a}", {"a", "a-cert"}),
        ("sha1: {a}", {"a", "a-cert"}),
        ("sha256: {a}", {"a", "a-cert"}),
        ("key: {a}", {"a", "a-cert"}),
        ("key: {ca}", {"ca", "a-cert", "b-cert"}),
        ("serial: 5", {"a-cert"}),
        ("serial: 60-80", {"b-cert"}),
        ("serial: 5\nserial: 7\nserial: 9\nserial: 11\nserial: 70", {"a-cert", "b-cert"}),
        ("id: id-b", {"b-cert"}),
    ],
)
def test_a_real_list_revokes_what_ssh_keygen_says(
    keygen: Callable[..., int],
    keys: dict[str, PublicKey],
    tmp_path: Path,
    specification: str,
    revoked: set[str],
) -> None:
    lines = {name: (tmp_path / f"{name}.pub").read_text().strip() for name in ("a", "b", "ca")}
    (tmp_path / "spec").write_text(specification.format(**lines) + "\n")
    assert keygen("-q", "-k", "-f", "krl", "-s", "ca.pub", "-z", "9", "spec") == 0
    parsed = parse_krl((tmp_path / "krl").read_bytes())
    assert parsed.serial == 9
    assert {name for name, key in keys.items() if parsed.revokes(key)} == revoked
    asked = {name for name in keys if keygen("-Q", "-f", "krl", f"{name}.pub") != 0}
    assert asked == revoked


def test_our_list_is_read_by_ssh_keygen(
    keygen: Callable[..., int], keys: dict[str, PublicKey], tmp_path: Path
) -> None:
    data = encode_krl([keys["a"].blob], serial=3, generated=1_700_000_000, comment="ours")
    (tmp_path / "krl").write_bytes(data)
    assert keygen("-Q", "-f", "krl", "a.pub") != 0
    assert keygen("-Q", "-f", "krl", "b.pub") == 0
    parsed = parse_krl(data)
    assert (parsed.serial, parsed.comment, parsed.keys) == (3, "ours", {keys["a"].blob})


def test_a_list_that_is_cut_or_unknown_is_refused(keys: dict[str, PublicKey]) -> None:
    data = encode_krl([keys["a"].blob], serial=3, generated=0)
    whole = len(encode_krl([], serial=3, generated=0))
    for end in range(len(data)):
        if end == whole:
            continue  # a list without sections revokes nothing, and says so
        with pytest.raises(WireError):
            parse_krl(data[:end])
    for section in (b"\x04\0\0\0\0", b"\x2a\0\0\0\0", b"\xff\0\0\0\x0a\0\0\0\x01x\x01\0\0\0\0"):
        with pytest.raises(UnsupportedError):
            parse_krl(data + section)
    assert parse_krl(data + b"\xff\0\0\0\x0a\0\0\0\x01x\0\0\0\0\0").keys
