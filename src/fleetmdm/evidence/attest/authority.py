"""Time-stamping authorities that a verifier believes, and whether a token leads to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fleetmdm.evidence.attest.timestamp import TimeStamp, TokenError

if TYPE_CHECKING:
    # Imported for its name alone: most packs have no token.
    from cryptography.x509 import Certificate


def load_authorities(pem: bytes) -> tuple[Certificate, ...]:
    """Certificates from PEM; raises ValueError for what holds none."""
    from cryptography import x509

    return tuple(x509.load_pem_x509_certificates(pem))


def require_trusted(stamp: TimeStamp, authorities: Sequence[Certificate]) -> None:
    """Raise `TokenError` (untrusted) unless the signer's chain ends at one of the authorities."""
    rest = list(stamp.chain[1:])
    current = stamp.chain[0]
    _require_valid_at(current, stamp.time)
    while not _is_anchored(current, authorities, stamp.time):
        issuer = next((each for each in rest if _issued(each, current)), None)
        if issuer is None:
            raise TokenError("untrusted", "the token's certificate leads to no authority given")
        _require_valid_at(issuer, stamp.time)
        rest.remove(issuer)
        current = issuer
    if any(each not in authorities for each in rest):
        raise TokenError("malformed", "the token carries certificates that nothing needs")


def _is_anchored(
    certificate: Certificate, authorities: Sequence[Certificate], at: datetime
) -> bool:
    if certificate in authorities:
        return True
    for authority in authorities:
        if _issued(authority, certificate):
            _require_valid_at(authority, at)
            return True
    return False


def _issued(issuer: Certificate, subject: Certificate) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
        subject.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, TypeError, ValueError):
        return False
    return constraints.value.ca


def _require_valid_at(certificate: Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise TokenError("untrusted", "a certificate of the token was not valid at its time")
