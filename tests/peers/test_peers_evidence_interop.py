"""Who can sign a pack and who can verify it: every kind of key, by every way to reach it.

Signers: keys of OpenSSH's agent, of secretive-agent, and in files; certificates; security keys on
OpenSSH's virtual authenticator. Verifiers: `ssh-keygen -Y verify` with validity and namespaces, our
own, and for the attestation `securesystemslib`. Tokens and TPMs behind secretive-agent are in
stores/test_peers_stores_evidence.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from evidence_verifiers import WHO, Keygen, check_attestation, check_sshsig, ours
from listening import is_listening

from agentclient.client import AgentClient, AgentSigner
from fleetmdm.evidence.manifest import parse_manifest
from sshwire.privkey import parse_private_keys
from sshwire.pubkey import PublicKey, encode_public_line, fingerprint, parse_public_line
from sshwire.sshsig import Signer

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Program = Callable[[str], str]


@dataclass(frozen=True)
class Certified:
    """A signer under a certificate."""

    signer: Signer
    public_key: PublicKey

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        return self.signer.sign(data, flags)


@contextmanager
def signer_of(
    source: str, kind: str, key_files: dict[str, Path], standing_agent: Callable[..., Any]
) -> Iterator[Signer]:
    """A key of a kind, reached in one of three ways."""
    if source == "key-file":
        yield parse_private_keys(key_files[kind].read_bytes())[0]
        return
    key, _ = parse_public_line(key_files[kind].with_suffix(".pub").read_text().strip())
    with AgentClient(standing_agent(source).address) as client:
        yield AgentSigner(client, key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["ssh-agent", "secretive-agent", "key-file"])
def test_every_kind_of_key_signs_for_every_verifier(
    source: str,
    kind: str,
    key_files: dict[str, Path],
    standing_agent: Callable[..., Any],
    tmp_path: Path,
    require_program: Program,
    export_sample: Callable[..., Path],
) -> None:
    with signer_of(source, kind, key_files, standing_agent) as signer:
        pack = export_sample(tmp_path / "pack", signers=[signer])
    key = signer.public_key
    line = "{options} " + encode_public_line(key)
    check_sshsig(pack, line, fingerprint(key.blob), require_program("ssh-keygen"))
    check_attestation(pack, key)


@pytest.mark.parametrize("kind", ["ed25519", "p384", "rsa"])
@pytest.mark.parametrize("source", ["ssh-agent", "key-file"])
def test_a_certificate_signs_by_its_authority(
    source: str,
    kind: str,
    key_files: dict[str, Path],
    standing_agent: Callable[..., Any],
    tmp_path: Path,
    require_program: Program,
    export_sample: Callable[..., Path],
) -> None:
    keygen = require_program("ssh-keygen")
    (tmp_path / "key.pub").write_text(key_files[kind].with_suffix(".pub").read_text())
    command = [
        keygen,
        "-q",
        "-s",
        str(key_files["p256"]),
        "-I",
        "evidence",
        "-n",
        WHO,
        "-V",
        "-1d:+1d",
    ]
    subprocess.run([*command, str(tmp_path / "key.pub")], check=True, stdin=subprocess.DEVNULL)
    certificate, _ = parse_public_line((tmp_path / "key-cert.pub").read_text().strip())
    with signer_of(source, kind, key_files, standing_agent) as plain:
        # The sample's clock stands before the certificate, which is made for today.
        pack = export_sample(
            tmp_path / "pack", signers=[Certified(plain, certificate)], now=datetime.now(UTC)
        )
    authority = key_files["p256"].with_suffix(".pub").read_text().split()[:2]
    line = "cert-authority,{options} " + " ".join(authority)
    check_sshsig(pack, line, fingerprint(plain.public_key.blob), keygen)
    check_attestation(pack, plain.public_key)
    bare = f"{WHO} {encode_public_line(plain.public_key)}\n"
    mark = fingerprint(plain.public_key.blob)
    assert (Keygen(keygen, pack, mark).accepts(bare), ours(pack, bare)) == (False, False)


@pytest.mark.parametrize(
    ("names", "validity", "namespaces"),
    [
        (WHO, "-2d:-1h", "evidence@fleetmdm"),
        (WHO, "+1d:+2d", "evidence@fleetmdm"),
        ("somebody@example.org", "-1d:+1d", "evidence@fleetmdm"),
        (WHO, "-1d:+1d", "git"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused_by_both(
    names: str,
    validity: str,
    namespaces: str,
    key_files: dict[str, Path],
    tmp_path: Path,
    require_program: Program,
    export_sample: Callable[..., Path],
) -> None:
    """Over, not begun, for somebody else, or from an authority for something else."""
    keygen = require_program("ssh-keygen")
    (tmp_path / "key.pub").write_text(key_files["ed25519"].with_suffix(".pub").read_text())
    command = [keygen, "-q", "-s", str(key_files["p256"]), "-I", "x", "-n", names, "-V", validity]
    subprocess.run([*command, str(tmp_path / "key.pub")], check=True, stdin=subprocess.DEVNULL)
    certificate, _ = parse_public_line((tmp_path / "key-cert.pub").read_text().strip())
    plain = parse_private_keys(key_files["ed25519"].read_bytes())[0]
    # It held, or did not yet matter, when the pack was made.
    then = datetime.now(UTC) + {"-2d:-1h": -timedelta(days=1), "+1d:+2d": timedelta(days=1.5)}.get(
        validity, timedelta(0)
    )
    pack = export_sample(tmp_path / "pack", signers=[Certified(plain, certificate)], now=then)
    authority = " ".join(key_files["p256"].with_suffix(".pub").read_text().split()[:2])
    allowed = f'{WHO} cert-authority,namespaces="{namespaces}" {authority}\n'
    mark = fingerprint(plain.public_key.blob)
    assert (Keygen(keygen, pack, mark).accepts(allowed), ours(pack, allowed)) == (False, False)


@pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
def test_a_security_key_signs_and_the_manifest_says_what_it_cannot(
    kind: str,
    fido: str,
    tmp_path: Path,
    require_program: Program,
    export_sample: Callable[..., Path],
) -> None:
    keygen, address = require_program("ssh-keygen"), str(tmp_path / "agent.sock")
    environ = {**os.environ, "SSH_AUTH_SOCK": address, "SSH_SK_PROVIDER": fido}
    make = [keygen, "-q", "-t", kind, "-w", fido, "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(make, check=True, timeout=60, stdin=subprocess.DEVNULL)
    agent = subprocess.Popen(
        [require_program("ssh-agent"), "-D", "-a", address, "-P", fido],
        env=environ,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not is_listening(Path(address)):
            assert agent.poll() is None
        add = [require_program("ssh-add"), "-q", "-S", fido, str(tmp_path / "key")]
        subprocess.run(add, check=True, env=environ, stdin=subprocess.DEVNULL)
        key, _ = parse_public_line((tmp_path / "key.pub").read_text().strip())
        with AgentClient(address) as client:
            pack = export_sample(tmp_path / "pack", signers=[AgentSigner(client, key)])
    finally:
        agent.terminate()
        agent.wait()
    line = "{options} " + encode_public_line(key)
    check_sshsig(pack, line, fingerprint(key.blob), keygen)
    (signer,) = parse_manifest((pack / "manifest.json").read_bytes()).signers
    assert signer.forms == ("sshsig",)
    assert not list((pack / "signatures").glob("*.dsse"))
