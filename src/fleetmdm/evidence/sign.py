"""The signatures of a pack: SSHSIG over exact bytes, by any key that can sign (PROTOCOL.sshsig).

Rule for editors: what is signed are the bytes that stand in the file, never a re-encoded value.
"""

from __future__ import annotations

import re
from datetime import datetime

from fleetmdm.errors import FleetError
from fleetmdm.evidence.manifest import NAMESPACE, ExpectedSigner
from fleetmdm.evidence.names import SIGNATURES
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.errors import VerificationError
from sshwire.pubkey import encode_public_line, fingerprint
from sshwire.sshsig import Signer, sign_message, verify_message

SUBJECTS = {"manifest": "manifest.json", "sums": "SHA256SUMS"}
"""What is signed, by the middle part of the signature file's name."""

_SELF = "self"

_NAME = re.compile(r"SHA256-([A-Za-z0-9_-]{43})\.(manifest|sums)\.sshsig\Z")


def signature_name(key_fingerprint: str, subject: str) -> str:
    """Where a key's signature over a subject stands; base64 is written in its URL-safe form."""
    safe = key_fingerprint.replace(":", "-").replace("+", "-").replace("/", "_")
    return f"{SIGNATURES}/{safe}.{subject}.sshsig"


def parse_signature_name(name: str) -> tuple[str, str] | None:
    """(fingerprint, subject) of a signature file's name without its folder, or None."""
    match = _NAME.match(name)
    if match is None:
        return None
    return "SHA256:" + match[1].replace("-", "+").replace("_", "/"), match[2]


def expected_signer(signer: Signer) -> ExpectedSigner:
    """How the manifest names a key."""
    key = signer.public_key
    return ExpectedSigner(fingerprint(key.blob), key.algorithm)


def allowed_signers_line(signer: Signer, principal: str) -> str:
    """The key as a line of an allowed signers file, good for this namespace alone."""
    return f'{principal} namespaces="{NAMESPACE}" {encode_public_line(signer.public_key)}\n'


def sign_subject(signer: Signer, data: bytes, *, now: datetime) -> bytes:
    """The armored signature over the bytes of a subject, checked before it is believed.

    Raises `agent_refused` for a signer whose answer is no signature by its key.
    """
    armored = sign_message(data, signer=signer, namespace=NAMESPACE)
    allowed = parse_allowed_signers(allowed_signers_line(signer, _SELF))
    try:
        verify_message(
            data, armored, namespace=NAMESPACE, principal=_SELF, now=now, allowed=allowed
        )
    except VerificationError as error:
        raise FleetError(
            "agent_refused", f"the signer answered with a signature that does not hold: {error}"
        ) from error
    return armored
