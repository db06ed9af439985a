"""ssh-keygen: messages signed and certificates issued by keys that only the agent has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Run = Callable[..., Any]
Public = Callable[[str], Path]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_signed_and_verified(
    run_client: Run, public_file: Public, tmp_path: Path, kind: str
) -> None:
    message = tmp_path / "message"
    message.write_text("words\n")
    public = public_file(kind)
    run_client("ssh-keygen", "-Y", "sign", "-U", "-f", public, "-n", "file", message)
    (tmp_path / "allowed").write_text(f'ada namespaces="file" {public.read_text()}')
    verify = ["-Y", "verify", "-f", tmp_path / "allowed", "-I", "ada", "-n", "file"]
    verify += ["-s", f"{message}.sig"]
    assert "Good" in run_client("ssh-keygen", *verify, stdin="words\n").stdout
    assert run_client("ssh-keygen", *verify, stdin="swords\n", ok=False).returncode != 0


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_rsa_signs_by_the_hash_that_is_asked_for(
    run_client: Run, public_file: Public, tmp_path: Path, hash_name: str
) -> None:
    sign = (
        "-Y",
        "sign",
        "-U",
        "-f",
        public_file("rsa"),
        "-n",
        "file",
        "-O",
        f"hashalg={hash_name}",
    )
    (tmp_path / "sig").write_text(run_client("ssh-keygen", *sign, stdin="words\n").stdout)
    check = ("-Y", "check-novalidate", "-n", "file", "-s", tmp_path / "sig")
    assert "RSA" in run_client("ssh-keygen", *check, stdin="words\n").stdout


@pytest.mark.parametrize("kind", KINDS)
def test_an_authority_in_the_agent_signs_a_certificate(
    run_client: Run, public_file: Public, tmp_path: Path, kind: str
) -> None:
    run_client("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "user")
    # `-t` is the algorithm of the signature, and needs saying for RSA alone.
    algorithm = ("-t", "rsa-sha2-512") if kind == "rsa" else ()
    sign = ("-U", "-s", public_file(kind), *algorithm, "-I", "ada at work", "-n", "ada,root")
    run_client("ssh-keygen", *sign, "-V", "+1h", tmp_path / "user.pub")
    told = run_client("ssh-keygen", "-L", "-f", tmp_path / "user-cert.pub").stdout
    assert 'Key ID: "ada at work"' in told
    fingerprint = run_client("ssh-keygen", "-l", "-f", public_file(kind)).stdout.split()[1]
    assert f"{fingerprint} (using " in told.partition("Signing CA")[2]


def test_a_certificate_by_the_agent_logs_in(
    run_client: Run, hosts: Any, public_file: Public, tmp_path: Path
) -> None:
    run_client("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "user")
    sign = ("-U", "-s", public_file("p384"), "-I", "ada", "-n", hosts.user)
    run_client("ssh-keygen", *sign, tmp_path / "user.pub")
    chosen = ("-i", tmp_path / "user", "-o", "IdentitiesOnly=yes")
    done = run_client("ssh", *hosts.options, *chosen, hosts.authority, "echo in")
    assert done.stdout == "in\n"
