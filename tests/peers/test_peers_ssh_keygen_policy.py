"""What people copy out of stock tools into a policy means the key that they copied it from."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from secretivex.policy import SignQuery, decide
from secretivex.policy_keys import parse_flat_policy
from sshwire.pubkey import fingerprint, parse_public_line

KINDS = ["ed25519", "p256", "p384", "p521", "rsa"]


def query_of(public: Path) -> SignQuery:
    key, comment = parse_public_line(public.read_text())
    return SignQuery(
        key_blob=key.blob,
        fingerprint_sha256=fingerprint(key.blob),
        fingerprint_sha512=fingerprint(key.blob, "sha512"),
        comment=comment,
        algorithm=key.algorithm,
        store="file",
        peer_uid=0,
    )


def is_allowed(query: SignQuery, key: str, entry: str) -> bool:
    policy, problems = parse_flat_policy({key: [entry]})
    assert problems == ()
    return decide(policy, query).allowed


@pytest.fixture
def keygen(require_program: Callable[[str], str]) -> Callable[..., str]:
    program = require_program("ssh-keygen")

    def run(*arguments: str | Path) -> str:
        command = [program, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_as_keygen_prints_them(
    kind: str, key_files: dict[str, Path], keygen: Callable[..., str]
) -> None:
    public = key_files[kind].with_name(f"{kind}.pub")
    another = "ed25519" if kind == "rsa" else "rsa"
    query = query_of(public)
    other = query_of(key_files[another].with_name(f"{another}.pub"))
    for hash_name in ("sha256", "sha512"):
        printed = keygen("-l", "-E", hash_name, "-f", public).split()[1]
        assert is_allowed(query, "pin_fingerprints", printed)
        assert is_allowed(query, "allow_fingerprints", printed)
        assert not is_allowed(query, "deny_fingerprints", printed)
        assert not is_allowed(other, "pin_fingerprints", printed)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_public_key_files(kind: str, key_files: dict[str, Path]) -> None:
    public = key_files[kind].with_name(f"{kind}.pub")
    line = public.read_text().strip()
    for entry in (line, line.split()[1], base64.b64decode(line.split()[1]).hex()):
        assert is_allowed(query_of(public), "allow_key_blobs", entry)
        assert not is_allowed(query_of(public), "deny_key_blobs", entry)


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_is_under_the_rules_of_its_key(
    kind: str, key_files: dict[str, Path], keygen: Callable[..., str], tmp_path: Path
) -> None:
    public = tmp_path / "key.pub"
    public.write_bytes(key_files[kind].with_name(f"{kind}.pub").read_bytes())
    keygen("-q", "-s", key_files["ed25519"], "-I", "me", "-n", "me", public)
    query = query_of(tmp_path / "key-cert.pub")
    assert query.algorithm.endswith("-cert-v01@openssh.com")
    assert not is_allowed(query, "deny_key_blobs", public.read_text())
    assert is_allowed(query, "allow_key_blobs", public.read_text())
    printed = keygen("-l", "-f", public).split()[1]
    assert not is_allowed(query, "deny_fingerprints", printed)
    assert is_allowed(query, "pin_fingerprints", printed)
