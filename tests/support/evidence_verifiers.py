"""Those who verify a pack, ours and others', asked the same questions."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import SSlibKey

from fleetmdm.evidence.attest.dsse import PREDICATE_TYPE
from fleetmdm.evidence.manifest import NAMESPACE, parse_manifest
from fleetmdm.evidence.sign import signature_name
from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.keyblob import load_public_fields
from sshwire.pubkey import PublicKey, fingerprint

WHO = "fleet@example.org"


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
