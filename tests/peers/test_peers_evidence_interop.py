"""Who can sign a pack and who can verify it: every kind of key, by every way to reach it.

Signers: keys of OpenSSH's agent, of secretive-agent, and in files; certificates; security keys on
OpenSSH's virtual authenticator. Verifiers: `ssh-keygen -Y verify` with validity and namespaces, our
own, and for the attestation `securesystemslib`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import SSlibKey

from agentclient.client import AgentClient, AgentSigner
from fleetmdm.evidence.attest.dsse import PREDICATE_TYPE
from fleetmdm.evidence.manifest import parse_manifest
from fleetmdm.evidence.sign import signature_name
from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.keyblob import load_public_fields
from sshwire.privkey import parse_private_keys
from sshwire.pubkey import PublicKey, encode_public_line, fingerprint, parse_public_line
from sshwire.sshsig import Signer

WHO = "fleet@example.org"
NAMESPACE = "evidence@fleetmdm"
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


class Keygen:
    """`ssh-keygen -Y verify` on a pack's manifest."""

    def __init__(self, program: str, pack: Path, mark: str) -> None:
        self._command = [program, "-Y", "verify"]
        self._pack = pack
        self._signature = pack / signature_name(mark, "manifest")

    def accepts(self, allowed: str, *, namespace: str = NAMESPACE) -> bool:
        path = self._pack.with_name(f"{self._pack.name}.allowed")
        path.write_text(allowed)
        with (self._pack / "manifest.json").open("rb") as file:
            done = subprocess.run(
                [*self._command, "-f", path, "-I", WHO, "-n", namespace, "-s", self._signature],
                stdin=file,
                capture_output=True,
                check=False,
            )
        return done.returncode == 0


def ours(pack: Path, allowed: str) -> bool:
    trust = Trust(parse_allowed_signers(allowed), [WHO], datetime.now(UTC))
    return not verify_pack(pack, trust).findings


def check_sshsig(pack: Path, line: str, mark: str, keygen: str) -> None:
    """Both verifiers agree on who, when and what for."""
    other = Keygen(keygen, pack, mark)
    rows = {
        f'namespaces="{NAMESPACE}"': True,
        f'namespaces="{NAMESPACE}",valid-after="20200101Z"': True,
        'namespaces="git"': False,
        f'namespaces="{NAMESPACE}",valid-before="20200101Z"': False,
        f'namespaces="{NAMESPACE}",valid-after="20990101Z"': False,
    }
    for options, expected in rows.items():
        allowed = f"{WHO} {line.format(options=options)}\n"
        assert (other.accepts(allowed), ours(pack, allowed)) == (expected, expected), options
    good = f"{WHO} {line.format(options=next(iter(rows)))}\n"
    assert not other.accepts(good, namespace="file")
    path = pack / "manifest.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"0.1.0", b"0.1.1"))
    assert (other.accepts(good), ours(pack, good)) == (False, False)
    path.write_bytes(data)


def check_attestation(pack: Path, key: PublicKey) -> None:
    """An independent library verifies the envelope, and what it says is about this manifest."""
    envelope = json.loads((pack / signature_name(fingerprint(key.blob), "dsse")).read_bytes())
    mark = envelope["signatures"][0]["keyid"]
    loaded: Any = load_public_fields(key).loaded
    scheme = "rsa-pkcs1v15-sha256" if key.algorithm.startswith("ssh-rsa") else None
    library = SSlibKey.from_crypto(loaded, keyid=mark, scheme=scheme)
    parsed = Envelope.from_dict(envelope)
    assert list(parsed.verify([library], 1)) == [mark]
    statement = json.loads(parsed.payload)
    manifest = parse_manifest((pack / "manifest.json").read_bytes())
    assert statement["predicateType"] == PREDICATE_TYPE
    assert statement["predicate"]["run"] == manifest.run
    assert statement["predicate"]["ledger"] == manifest.ledger
    assert statement["predicate"]["tool"]["version"] == manifest.tool_version
    parsed.payload += b" "
    with pytest.raises(VerificationError):
        parsed.verify([library], 1)


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
        while not Path(address).exists():
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
