"""One session with one token, through a module that is loaded into this very process: what it holds.

Runs in a process of its own, in one thread, since modules crash, hang and do not survive a fork.
Rule for editors: what a token does not tell of one object hides no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import PyKCS11

from secretivex.config.pkcs11_uri import TokenSelector
from secretivex.stores.pkcs11.objects import (
    TokenObject,
    certificate_key,
    curve_key,
    rsa_key,
)
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey

MAX_OBJECTS = 8192
"""Objects of one kind that are looked at in one token."""

PIN_REFUSALS = {
    PyKCS11.CKR_PIN_INCORRECT: "pin_refused",
    PyKCS11.CKR_PIN_LOCKED: "pin_locked",
    PyKCS11.CKR_PIN_EXPIRED: "pin_expired",
    PyKCS11.CKR_PIN_INVALID: "pin_refused",
    PyKCS11.CKR_PIN_LEN_RANGE: "pin_refused",
}
STALE_HANDLE = frozenset({PyKCS11.CKR_KEY_HANDLE_INVALID, PyKCS11.CKR_OBJECT_HANDLE_INVALID})


class LostTokenError(Exception):
    """The session, the token or the login is gone; only a new process can go on."""


@dataclass(slots=True)
class TokenSession:
    """A token, open. Not frozen: a PIN that is refused is forgotten."""

    session: Any
    selector: TokenSelector
    token: dict[str, str]
    pin: bytes | None = field(repr=False)
    flags: int = 0
    slot: int = 0

    def list_keys(self) -> tuple[TokenObject, ...]:
        """The keys that can sign, in the token's order; raises `LostTokenError`."""
        try:
            return tuple(self._list())
        except PyKCS11.PyKCS11Error as error:
            raise LostTokenError(str(error)) from error

    def _list(self) -> Iterator[TokenObject]:
        private = self._private_identities()
        seen: set[bytes] = set()
        for found in (*self.public_objects(), *self._rsa_private_objects()):
            if found.key.blob in seen or found.key_id not in private:
                continue
            seen.add(found.key.blob)
            label = found.label or private[found.key_id]
            if self.selector.matches_key(label, found.key_id):
                yield TokenObject(found.key, label, found.key_id)

    def _private_identities(self) -> dict[bytes, str]:
        """CKA_ID and label of every private key that may sign."""
        wanted = [PyKCS11.CKA_ID, PyKCS11.CKA_LABEL]
        found: dict[bytes, str] = {}
        for handle in self.find(PyKCS11.CKO_PRIVATE_KEY, (PyKCS11.CKA_SIGN, PyKCS11.CK_TRUE)):
            key_id, label = self.read(handle, wanted)
            found.setdefault(_as_bytes(key_id), as_text(label))
        return found

    def public_objects(self) -> Iterator[TokenObject]:
        """Public keys, and those of certificates, whether or not there is a private half."""
        for kind in (PyKCS11.CKO_PUBLIC_KEY, PyKCS11.CKO_CERTIFICATE):
            for handle in self.find(kind):
                key_id, label = self.read(handle, [PyKCS11.CKA_ID, PyKCS11.CKA_LABEL])
                is_public = kind == PyKCS11.CKO_PUBLIC_KEY
                key = self._public_key(handle) if is_public else self._certificate(handle)
                if key is not None:
                    # A certificate's label is its own, not the key's.
                    name = as_text(label) if is_public else ""
                    yield TokenObject(key, name, _as_bytes(key_id))

    def _rsa_private_objects(self) -> Iterator[TokenObject]:
        """RSA keys whose public half the token does not store apart: the private one has it."""
        rsa = (PyKCS11.CKA_KEY_TYPE, PyKCS11.CKK_RSA)
        names = [PyKCS11.CKA_ID, PyKCS11.CKA_LABEL, PyKCS11.CKA_MODULUS]
        for handle in self.find(PyKCS11.CKO_PRIVATE_KEY, rsa):
            key_id, label, modulus = self.read(handle, names)
            (exponent,) = self.read(handle, [PyKCS11.CKA_PUBLIC_EXPONENT])
            key = _key_or_none(lambda m=modulus, e=exponent: rsa_key(_as_bytes(m), _as_bytes(e)))
            if key is not None:
                yield TokenObject(key, as_text(label), _as_bytes(key_id))

    def _public_key(self, handle: Any) -> PublicKey | None:
        (kind,) = self.read(handle, [PyKCS11.CKA_KEY_TYPE])
        if kind == PyKCS11.CKK_RSA:
            modulus, exponent = self.read(
                handle, [PyKCS11.CKA_MODULUS, PyKCS11.CKA_PUBLIC_EXPONENT]
            )
            return _key_or_none(lambda: rsa_key(_as_bytes(modulus), _as_bytes(exponent)))
        params, point = self.read(handle, [PyKCS11.CKA_EC_PARAMS, PyKCS11.CKA_EC_POINT])
        return _key_or_none(lambda: curve_key(_as_bytes(params), _as_bytes(point)))

    def _certificate(self, handle: Any) -> PublicKey | None:
        (der,) = self.read(handle, [PyKCS11.CKA_VALUE])
        return _key_or_none(lambda: certificate_key(_as_bytes(der)))

    def find(self, kind: int, *more: tuple[int, Any]) -> list[Any]:
        """The handles of objects of a class, with these attributes."""
        template = [(PyKCS11.CKA_CLASS, kind), *more]
        return list(self.session.findObjects(template)[:MAX_OBJECTS])

    def read(self, handle: Any, names: list[int]) -> list[Any]:
        """Attributes; None for what the object does not have, or if it is gone by now."""
        try:
            return list(self.session.getAttributeValue_fragmented(handle, names))
        except PyKCS11.PyKCS11Error as error:
            if error.value in STALE_HANDLE:
                return [None] * len(names)
            raise


def _key_or_none(make: Any) -> PublicKey | None:
    try:
        return make()  # type: ignore[no-any-return] # one of the functions above
    except WireError:
        return None


def _as_bytes(value: Any) -> bytes:
    return b"" if value is None else bytes(value)


def as_text(value: Any) -> str:
    """Text of a token, which may hold anything."""
    if value is None:
        return ""
    text = bytes(value).decode(errors="replace") if not isinstance(value, str) else value
    return text.rstrip("\0")
