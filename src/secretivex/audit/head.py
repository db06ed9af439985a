"""Signed heads: what a chain came to, signed where a file of it ends.

A chain has a signing key of its own, an Ed25519 key that nobody else knows. With each head it also
signs the public half of the key that will sign the next one, and is then forgotten: who takes the
machine over later can sign no earlier head anew, and who knows the first public key alone, which is
no secret, can check them all. The signature is an SSHSIG, so `ssh-keygen -Y check-novalidate` takes
it too. Specification: docs/audit.md. Rule for editors: the message that is signed never changes its
form; a new one gets a new namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sshwire.algorithms import find_algorithm
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey, encode_public_fields
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line, fingerprint, parse_public_line
from sshwire.sshsig import check_message, sign_message
from sshwire.wire import encode_text

NAMESPACE = "audit-head-v1@secretivex"
"""What SSHSIG signatures of heads are for."""

SEED_BYTES = 32

_ALGORITHM = "ssh-ed25519"


def head_message(chain: str, seals: int, digest: str, next_signer: str) -> bytes:
    """What is signed: the chain's name, its seals so far, the last one's hash, the next key."""
    return f"{chain} {seals} {digest} {next_signer}\n".encode()


def make_signer(seed: bytes) -> PrivateKey:
    """An Ed25519 key of a seed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = Ed25519PrivateKey.from_private_bytes(seed)
    fields = encode_public_fields(find_algorithm(_ALGORITHM), secret.public_key())
    return PrivateKey(PublicKey(_ALGORITHM, encode_text(_ALGORITHM) + fields), "", secret)


class HeadSigner:
    """The writer's end: signs a head, then has another key."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._key = make_signer(random(SEED_BYTES))

    @property
    def line(self) -> str:
        """The public half that the next head will be signed with, as a line of OpenSSH's."""
        return encode_public_line(self._key.public)

    @property
    def fingerprint(self) -> str:
        """The same, short enough to be noted."""
        return fingerprint(self._key.public.blob)

    def sign(self, chain: str, seals: int, digest: str) -> dict[str, Any]:
        """The fields of a head's record."""
        signer, self._key = self._key, make_signer(self._random(SEED_BYTES))
        message = head_message(chain, seals, digest, self.line)
        signature = sign_message(message, signer=signer, namespace=NAMESPACE)
        return {
            "chain": chain,
            "seals": seals,
            "hash": digest,
            "next_signer": self.line,
            "signature": signature.decode(),
        }


def parse_signer(line: object) -> PublicKey | None:
    """The key of a public line; None if it is none."""
    try:
        return parse_public_line(line)[0] if isinstance(line, str) else None
    except WireError:
        return None


def is_signed(fields: Mapping[str, Any], signer: PublicKey) -> bool:
    """Whether a head's record carries the signature of that key over what it says."""
    names = ("chain", "seals", "hash", "next_signer")
    chain, seals, digest, next_signer = (fields.get(name) for name in names)
    if not (isinstance(seals, int) and isinstance(fields.get("signature"), str)):
        return False
    try:
        message = head_message(str(chain), seals, str(digest), str(next_signer))
        found = check_message(message, fields["signature"].encode(), namespace=NAMESPACE)
    except (WireError, UnicodeEncodeError):
        return False
    return found.public_key.blob == signer.blob
