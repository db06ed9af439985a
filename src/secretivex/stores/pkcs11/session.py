"""One session with one token, through a module that is loaded into this very process.

Runs in a process of its own, in one thread, since modules crash, hang and do not survive a fork.
Rule for editors: a signature leaves only after it was verified with the key that was asked for:
handles are numbers that a token may give to another object, and identifiers are not unique.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import PyKCS11
from PyKCS11 import LowLevel

from secretivex.config.pkcs11_uri import TokenSelector
from secretivex.stores.pkcs11.objects import (
    TokenObject,
    certificate_key,
    choose_format,
    curve_key,
    message_for,
    rsa_key,
    wrap_signature,
)
from secretivex.stores.token.errors import TokenError
from sshwire.algorithms import KeyAlgorithm, find_algorithm
from sshwire.errors import VerificationError, WireError
from sshwire.keyblob import PublicFields, PublicKey, load_public_fields
from sshwire.signature import verify_by

MAX_OBJECTS = 8192
"""Objects of one kind that are looked at in one token."""

MAX_SIGNATURE_BYTES = 2048

SignCall = Callable[..., int]
"""C_Sign itself, called without the interpreter's lock."""

_MECHANISMS = {
    "rsa": PyKCS11.CKM_RSA_PKCS,
    "ecdsa": PyKCS11.CKM_ECDSA,
    "ed25519": 0x1057,  # CKM_EDDSA of PKCS #11 v3.0
}
PIN_REFUSALS = {
    PyKCS11.CKR_PIN_INCORRECT: "pin_refused",
    PyKCS11.CKR_PIN_LOCKED: "pin_locked",
    PyKCS11.CKR_PIN_EXPIRED: "pin_expired",
    PyKCS11.CKR_PIN_INVALID: "pin_refused",
    PyKCS11.CKR_PIN_LEN_RANGE: "pin_refused",
}
_STALE_HANDLE = frozenset({PyKCS11.CKR_KEY_HANDLE_INVALID, PyKCS11.CKR_OBJECT_HANDLE_INVALID})
_REFUSALS = frozenset(
    {
        PyKCS11.CKR_KEY_FUNCTION_NOT_PERMITTED,
        PyKCS11.CKR_KEY_TYPE_INCONSISTENT,
        PyKCS11.CKR_MECHANISM_INVALID,
        PyKCS11.CKR_FUNCTION_CANCELED,
        PyKCS11.CKR_FUNCTION_REJECTED,
        PyKCS11.CKR_ARGUMENTS_BAD,
        PyKCS11.CKR_DATA_LEN_RANGE,
        PyKCS11.CKR_KEY_SIZE_RANGE,
    }
)
"""The token means what it says: another process would hear the same."""


class LostTokenError(Exception):
    """The session, the token or the login is gone; only a new process can go on."""


@dataclass(slots=True)
class _Handle:
    """A private key's handle in this session, and whether each use needs the PIN again."""

    handle: Any
    needs_pin: bool


@dataclass(slots=True)
class TokenSession:
    """A token, open. Not frozen: handles are found when first needed."""

    session: Any
    selector: TokenSelector
    token: dict[str, str]
    pin: bytes | None = field(repr=False)
    flags: int = 0
    slot: int = 0
    sign_call: SignCall | None = None
    _handles: dict[bytes, list[_Handle]] = field(default_factory=dict)
    _public: dict[bytes, PublicFields] = field(default_factory=dict)
    """The keys of `_handles`, loaded: a third of what verifying with an RSA key costs else."""

    def list_keys(self) -> tuple[TokenObject, ...]:
        """The keys that can sign, in the token's order; raises `LostTokenError`."""
        try:
            return tuple(self._list())
        except PyKCS11.PyKCS11Error as error:
            raise LostTokenError(str(error)) from error

    def _list(self) -> Iterator[TokenObject]:
        private = self._private_identities()
        seen: set[bytes] = set()
        for found in (*self._public_objects(), *self._rsa_private_objects()):
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
        for handle in self._find(PyKCS11.CKO_PRIVATE_KEY, (PyKCS11.CKA_SIGN, PyKCS11.CK_TRUE)):
            key_id, label = self._read(handle, wanted)
            found.setdefault(_as_bytes(key_id), as_text(label))
        return found

    def _public_objects(self) -> Iterator[TokenObject]:
        for kind in (PyKCS11.CKO_PUBLIC_KEY, PyKCS11.CKO_CERTIFICATE):
            for handle in self._find(kind):
                key_id, label = self._read(handle, [PyKCS11.CKA_ID, PyKCS11.CKA_LABEL])
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
        for handle in self._find(PyKCS11.CKO_PRIVATE_KEY, rsa):
            key_id, label, modulus = self._read(handle, names)
            (exponent,) = self._read(handle, [PyKCS11.CKA_PUBLIC_EXPONENT])
            key = _key_or_none(lambda m=modulus, e=exponent: rsa_key(_as_bytes(m), _as_bytes(e)))
            if key is not None:
                yield TokenObject(key, as_text(label), _as_bytes(key_id))

    def _public_key(self, handle: Any) -> PublicKey | None:
        (kind,) = self._read(handle, [PyKCS11.CKA_KEY_TYPE])
        if kind == PyKCS11.CKK_RSA:
            modulus, exponent = self._read(
                handle, [PyKCS11.CKA_MODULUS, PyKCS11.CKA_PUBLIC_EXPONENT]
            )
            return _key_or_none(lambda: rsa_key(_as_bytes(modulus), _as_bytes(exponent)))
        params, point = self._read(handle, [PyKCS11.CKA_EC_PARAMS, PyKCS11.CKA_EC_POINT])
        return _key_or_none(lambda: curve_key(_as_bytes(params), _as_bytes(point)))

    def _certificate(self, handle: Any) -> PublicKey | None:
        (der,) = self._read(handle, [PyKCS11.CKA_VALUE])
        return _key_or_none(lambda: certificate_key(_as_bytes(der)))

    def _find(self, kind: int, *more: tuple[int, Any]) -> list[Any]:
        template = [(PyKCS11.CKA_CLASS, kind), *more]
        return list(self.session.findObjects(template)[:MAX_OBJECTS])

    def _read(self, handle: Any, names: list[int]) -> list[Any]:
        """Attributes; None for what the object does not have, or if it is gone by now."""
        try:
            return list(self.session.getAttributeValue_fragmented(handle, names))
        except PyKCS11.PyKCS11Error as error:
            if error.value in _STALE_HANDLE:
                return [None] * len(names)
            raise

    def sign(self, key: PublicKey, data: bytes, flags: int) -> bytes:
        """The encoded signature, verified; raises `TokenError`, or `LostTokenError`.

        A handle that no longer stands for the key is looked for once more.
        """
        row = find_algorithm(key.algorithm)
        signature_format = choose_format(key, flags)
        message = message_for(row, signature_format, data)
        for is_fresh in (False, True):
            if is_fresh or key.blob not in self._handles:
                self._handles[key.blob] = self._find_private(key, row)
            for handle in self._handles[key.blob]:
                raw = self._sign_raw(handle, row, message)
                if raw is None:
                    continue
                signature = wrap_signature(row, signature_format, raw)
                try:
                    verify_by(self._loaded(key), signature, data)
                except VerificationError:
                    continue
                self._handles[key.blob] = [handle]
                return signature
        del self._handles[key.blob]
        self._public.pop(key.blob, None)
        raise TokenError("key_gone", "the token does not hold this key any more")

    def _loaded(self, key: PublicKey) -> PublicFields:
        fields = self._public.get(key.blob)
        if fields is None:
            fields = self._public[key.blob] = load_public_fields(key)
        return fields

    def _find_private(self, key: PublicKey, row: KeyAlgorithm) -> list[_Handle]:
        """Every private key that may be this one: exact for RSA, by identifier for the others."""
        try:
            if row.family == "rsa":
                numbers: Any = load_public_fields(key).loaded
                n = numbers.public_numbers().n
                modulus = n.to_bytes((n.bit_length() + 7) // 8, "big")
                found = self._find(PyKCS11.CKO_PRIVATE_KEY, (PyKCS11.CKA_MODULUS, modulus))
                return [self._handle(one) for one in found]
            identifiers = {o.key_id for o in self._public_objects() if o.key.blob == key.blob}
            return [
                self._handle(one)
                for key_id in identifiers
                for one in self._find(PyKCS11.CKO_PRIVATE_KEY, (PyKCS11.CKA_ID, key_id))
            ]
        except PyKCS11.PyKCS11Error as error:
            raise LostTokenError(str(error)) from error

    def _handle(self, handle: Any) -> _Handle:
        (needs_pin,) = self._read(handle, [PyKCS11.CKA_ALWAYS_AUTHENTICATE])
        return _Handle(handle, bool(needs_pin))

    def _sign_raw(self, handle: _Handle, row: KeyAlgorithm, message: bytes) -> bytes | None:
        """What the token answers; None if the handle is not, or no longer, this key's."""
        library, session = self.session.lib, self.session.session
        mechanism = PyKCS11.Mechanism(_MECHANISMS[row.family]).to_native()
        result = library.C_SignInit(session, mechanism, handle.handle)
        if result == PyKCS11.CKR_OK and handle.needs_pin:
            pin = PyKCS11.ckbytelist(self.pin or b"")
            result = library.C_Login(session, PyKCS11.CKU_CONTEXT_SPECIFIC, pin)
            if result in PIN_REFUSALS:
                self.pin = None
                raise LostTokenError(PIN_REFUSALS[result])
        signature = b""
        if result == PyKCS11.CKR_OK:
            result, signature = self._finish(library, session, message)
        if result == PyKCS11.CKR_OK:
            return signature
        if result in _STALE_HANDLE:
            return None
        if result in _REFUSALS:
            name = PyKCS11.CKR.get(result, hex(result))
            raise TokenError("token_refused", f"the token would not sign: {name}")
        raise LostTokenError(str(PyKCS11.CKR.get(result, hex(result))))

    def _finish(self, library: Any, session: Any, message: bytes) -> tuple[int, bytes]:
        """C_Sign: its result, and the signature.

        The module's own function where it is exported: PyKCS11 makes a list of a signature, byte by
        byte, in a tenth of the time that an RSA key needs for it.
        """
        if self.sign_call is None:
            answer = LowLevel.ckbytelist(MAX_SIGNATURE_BYTES)
            result = library.C_Sign(session, PyKCS11.ckbytelist(message), answer)
            return result, bytes(answer) if result == PyKCS11.CKR_OK else b""
        buffer = ctypes.create_string_buffer(MAX_SIGNATURE_BYTES)
        size = ctypes.c_ulong(MAX_SIGNATURE_BYTES)
        result = self.sign_call(session.value(), message, len(message), buffer, ctypes.byref(size))
        return result, buffer.raw[: size.value] if result == PyKCS11.CKR_OK else b""


def find_sign_call(module: str) -> SignCall | None:
    """C_Sign of a module that is loaded already: PKCS #11 v2.40 section 5.11; None if not exported."""
    try:
        call = ctypes.CDLL(module).C_Sign
    except (OSError, AttributeError):
        return None
    number = ctypes.c_ulong
    call.argtypes = (number, ctypes.c_char_p, number, ctypes.c_char_p, ctypes.POINTER(number))
    call.restype = number
    return call


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
