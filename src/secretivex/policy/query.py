"""Everything that a rule may ask about one signature.

Rule for editors: None is "could not be determined", never "none"; a fact that is known to be absent
has a value of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from secretivex.context.purpose import Purpose


class SignQuery(NamedTuple):
    """One signature that somebody wants, as rules see it. A tuple, for it is made per request.

    Fingerprints are of the plain key, also where `key_blob` is a certificate, as in OpenSSH.
    `ancestors` are the programs of the caller's parents, nearest first; one that cannot be told is
    the empty text. `now_s` is in seconds since 1970.
    """

    key_blob: bytes
    fingerprint_sha256: str | None
    fingerprint_sha512: str | None
    comment: str | None
    algorithm: str
    store: str | None
    peer_uid: int | None
    peer_gid: int | None = None
    executable: str | None = None
    ancestors: tuple[str, ...] | None = None
    is_forwarded: bool | None = None
    purpose: Purpose | None = None
    signature_format: str | None = None
    flags: int | None = None
    now_s: float | None = None
