"""The signatures of a pack: SSHSIG over exact bytes, by any key that can sign (PROTOCOL.sshsig).

Beside it stands what the same key can say in other forms (`attest`).

Rule for editors: what is signed are the bytes that stand in the file, never a re-encoded value.
"""

from __future__ import annotations

import re
from datetime import datetime

from fleetmdm.errors import FleetError
from fleetmdm.evidence.attest.dsse import (
    can_attest,
    encode_statement,
    sign_statement,
    verify_envelope,
)
from fleetmdm.evidence.attest.note import can_note, parse_note, sign_note, verify_note
from fleetmdm.evidence.manifest import NAMESPACE, ExpectedSigner
from fleetmdm.evidence.names import SIGNATURES
from sshwire.algorithms import find_algorithm
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.cert import parse_certificate
from sshwire.errors import VerificationError, WireError
from sshwire.pubkey import PublicKey, encode_public_line, fingerprint
from sshwire.sshsig import Signer, sign_message, verify_message

WITNESS_NAMESPACE = "witness@fleetmdm"
"""The SSHSIG namespace of witnesses: they vouch for a log's checkpoint, never for a pack."""

SUBJECTS = {"manifest": "manifest.json", "sums": "SHA256SUMS"}
"""What is signed as SSHSIG at export, by the kind of the signature."""

KINDS = {
    "manifest": "manifest.sshsig",
    "sums": "sums.sshsig",
    "dsse": "dsse",
    "checkpoint": "checkpoint.note",
    "cosign": "cosign.sshsig",
    "witness": "witness.sshsig",
    "witness_note": "witness.note",
    "timestamp": "manifest.tsr",
}
"""Kinds of files under signatures/, with the end of their names after the key's fingerprint."""

FORMS = {"dsse": ("dsse",), "note": ("checkpoint",), "sshsig": ("manifest", "sums")}
"""The forms that a manifest announces for a signer, each with the kinds that must be there."""

OF_THE_VIEW = frozenset({"sums"})
"""Kinds that speak of one view alone, and do not come along to another."""

LATER = frozenset({"cosign", "timestamp", "witness", "witness_note"})
"""Kinds that may be added to a pack after its export, by anyone."""

MAX_SIGNATURE_FILE_BYTES = 1024 * 1024
"""Longest file of any kind under signatures/."""

_NAME = re.compile(r"SHA256-([A-Za-z0-9_-]{43})\.([a-z.]+)\Z")
_KIND_OF = {end: kind for kind, end in KINDS.items()}
_SELF = "self"


def signature_name(key_fingerprint: str, kind: str) -> str:
    """Where what a key signed stands; base64 is written in its URL-safe form."""
    safe = key_fingerprint.replace(":", "-").replace("+", "-").replace("/", "_")
    return f"{SIGNATURES}/{safe}.{KINDS[kind]}"


def parse_signature_name(name: str) -> tuple[str, str] | None:
    """(fingerprint, kind) of a signature file's name without its folder, or None."""
    match = _NAME.match(name)
    if match is None or match[2] not in _KIND_OF:
        return None
    return "SHA256:" + match[1].replace("-", "+").replace("_", "/"), _KIND_OF[match[2]]


def expected_signer(signer: Signer) -> ExpectedSigner:
    """How the manifest names a key, and the forms in which that key can speak."""
    key = signer.public_key
    forms = {"sshsig": True, "dsse": can_attest(key), "note": can_note(key)}
    return ExpectedSigner(
        fingerprint(key.blob), key.algorithm, tuple(sorted(form for form in forms if forms[form]))
    )


def principal_of(key: PublicKey, otherwise: str) -> str:
    """The name by which a key is looked up: a certificate's first one, else `otherwise`."""
    if find_algorithm(key.algorithm).is_certificate:
        return next(iter(parse_certificate(key.blob).principals), otherwise)
    return otherwise


def allowed_signers_line(key: PublicKey, principal: str, namespace: str = NAMESPACE) -> str:
    """The key, or its certificate's authority, as a line of an allowed signers file."""
    authority = ""
    if find_algorithm(key.algorithm).is_certificate:
        key, authority = parse_certificate(key.blob).signature_key, "cert-authority,"
    return f'{principal} {authority}namespaces="{namespace}" {encode_public_line(key)}\n'


def sign_subject(
    signer: Signer, data: bytes, *, now: datetime, namespace: str = NAMESPACE
) -> bytes:
    """The armored signature over the bytes of a subject, checked before it is believed.

    Raises `agent_refused` for a signer whose answer is no signature by its key, and for a
    certificate that is not valid at `now`.
    """
    armored = sign_message(data, signer=signer, namespace=namespace)
    who = principal_of(signer.public_key, _SELF)
    allowed = parse_allowed_signers(allowed_signers_line(signer.public_key, who, namespace))
    try:
        verify_message(data, armored, namespace=namespace, principal=who, now=now, allowed=allowed)
    except VerificationError as error:
        raise FleetError(
            "agent_refused", f"the signer answered with a signature that does not hold: {error}"
        ) from error
    return armored


def sign_form(
    signer: Signer, form: str, *, manifest: bytes, checkpoint: bytes, origin: str
) -> bytes:
    """What a form other than SSHSIG holds; raises `agent_refused` as `sign_subject` does."""
    key = signer.public_key
    try:
        if form == "dsse":
            payload = encode_statement(manifest)
            signed = sign_statement(signer, payload)
            verify_envelope(signed, key=key, payload=payload)
        else:
            signed = sign_note(signer, checkpoint, name=origin)
            verify_note(parse_note(signed, witness=False), text=checkpoint, key=key)
    except WireError as error:
        raise FleetError(
            "agent_refused", f"the signer answered with a signature that does not hold: {error}"
        ) from error
    return signed
