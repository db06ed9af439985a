"""Signs with the keys of an open token.

Rule for editors: a signature leaves only after it was verified with the key that was asked for:
handles are numbers that a token may give to another object, and identifiers are not unique.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import PyKCS11
from PyKCS11 import LowLevel

from secretivex.stores.hosting.asking import Answer
from secretivex.stores.pkcs11.objects import choose_format, message_for, shape_signature
from secretivex.stores.pkcs11.session import (
    PIN_REFUSALS,
    STALE_HANDLE,
    LostTokenError,
    TokenSession,
)
from secretivex.stores.token.errors import TokenError
from sshwire.algorithms import KeyAlgorithm, find_algorithm
from sshwire.errors import VerificationError
from sshwire.keyblob import PublicFields, PublicKey, load_public_fields
from sshwire.signature import encode_signature, verify_parsed

MAX_SIGNATURE_BYTES = 2048

SignCall = Callable[..., int]
"""C_Sign itself, called without the interpreter's lock."""

_MECHANISMS = {
    "rsa": PyKCS11.Mechanism(PyKCS11.CKM_RSA_PKCS).to_native(),
    "ecdsa": PyKCS11.Mechanism(PyKCS11.CKM_ECDSA).to_native(),
    "ed25519": PyKCS11.Mechanism(0x1057).to_native(),  # CKM_EDDSA of PKCS #11 v3.0
}
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


@dataclass(slots=True)
class _Handle:
    """A private key's handle in this session, and whether each use needs the PIN again."""

    handle: Any
    needs_pin: bool


class _Task(NamedTuple):
    """What is to be signed, and with which key."""

    key: PublicKey
    row: KeyAlgorithm
    signature_format: str
    data: bytes
    message: bytes
    """What the token gets."""


class TokenSigner:
    """Signatures of one open token; `enter` is called whenever the token is asked for one."""

    def __init__(
        self, opened: TokenSession, sign_call: SignCall | None, enter: Callable[[], None]
    ) -> None:
        self._opened = opened
        self._sign_call = sign_call
        self._enter = enter
        self._handles: dict[bytes, _Handle] = {}
        self._public: dict[bytes, PublicFields] = {}
        """The keys of `_handles`, loaded: a third of what verifying with an RSA key costs else."""

    def sign_all(self, key: PublicKey, data: Sequence[bytes], flags: int) -> list[Answer]:
        """The encoded signatures, verified, or why not; raises `LostTokenError`, `WireError`.

        All is signed before any of it is verified: what signs and what verifies empty each other's
        caches once, not once a signature.
        """
        row, name = find_algorithm(key.algorithm), choose_format(key, flags)
        tasks = [_Task(key, row, name, one, message_for(row, name, one)) for one in data]
        made = [self._try_known(task) for task in tasks]
        return [self._settle(task, *each) for task, each in zip(tasks, made, strict=True)]

    def _try_known(self, task: _Task) -> tuple[bytes | TokenError | None, float, float]:
        """What the token answers by the handle that signed last, and when it was asked."""
        begun_s = time.monotonic()
        handle, raw = self._handles.get(task.key.blob), None
        if handle is not None:
            try:
                raw = self._sign_raw(handle, task)
            except TokenError as error:
                return error, begun_s, 0.0
        return raw, begun_s, time.monotonic()

    def _settle(
        self, task: _Task, raw: bytes | TokenError | None, begun_s: float, ended_s: float
    ) -> Answer:
        """A handle that is none, or no longer stands for the key, is looked for once more."""
        if isinstance(raw, TokenError):
            return Answer(raw)
        signature = None if raw is None else self._verified(task, raw)
        if signature is not None:
            return Answer(signature, begun_s, ended_s)
        try:
            return Answer(self._sign_searching(task), begun_s, time.monotonic())
        except TokenError as error:
            return Answer(error)

    def _sign_searching(self, task: _Task) -> bytes:
        for handle in self._find_private(task.key, task.row):
            raw = self._sign_raw(handle, task)
            signature = None if raw is None else self._verified(task, raw)
            if signature is not None:
                self._handles[task.key.blob] = handle
                return signature
        self._handles.pop(task.key.blob, None)
        self._public.pop(task.key.blob, None)
        raise TokenError("key_gone", "the token does not hold this key any more")

    def _verified(self, task: _Task, raw: bytes) -> bytes | None:
        """The encoded signature; None if it is not the key's."""
        signature = shape_signature(task.row, task.signature_format, raw)
        fields = self._public.get(task.key.blob)
        if fields is None:
            fields = self._public[task.key.blob] = load_public_fields(task.key)
        try:
            verify_parsed(fields, signature, task.data)
        except VerificationError:
            return None
        return encode_signature(signature)

    def _find_private(self, key: PublicKey, row: KeyAlgorithm) -> list[_Handle]:
        """Every private key that may be this one: exact for RSA, by identifier for the others."""
        opened = self._opened
        try:
            if row.family == "rsa":
                numbers: Any = load_public_fields(key).loaded
                n = numbers.public_numbers().n
                modulus = n.to_bytes((n.bit_length() + 7) // 8, "big")
                found = opened.find(PyKCS11.CKO_PRIVATE_KEY, (PyKCS11.CKA_MODULUS, modulus))
                return [self._handle(one) for one in found]
            identifiers = {o.key_id for o in opened.public_objects() if o.key.blob == key.blob}
            return [
                self._handle(one)
                for key_id in identifiers
                for one in opened.find(PyKCS11.CKO_PRIVATE_KEY, (PyKCS11.CKA_ID, key_id))
            ]
        except PyKCS11.PyKCS11Error as error:
            raise LostTokenError(str(error)) from error

    def _handle(self, handle: Any) -> _Handle:
        (needs_pin,) = self._opened.read(handle, [PyKCS11.CKA_ALWAYS_AUTHENTICATE])
        return _Handle(handle, bool(needs_pin))

    def _sign_raw(self, handle: _Handle, task: _Task) -> bytes | None:
        """What the token answers; None if the handle is not, or no longer, this key's."""
        self._enter()
        library, session = self._opened.session.lib, self._opened.session.session
        result = library.C_SignInit(session, _MECHANISMS[task.row.family], handle.handle)
        if result == PyKCS11.CKR_OK and handle.needs_pin:
            pin = PyKCS11.ckbytelist(self._opened.pin or b"")
            result = library.C_Login(session, PyKCS11.CKU_CONTEXT_SPECIFIC, pin)
            if result in PIN_REFUSALS:
                self._opened.pin = None
                raise LostTokenError(PIN_REFUSALS[result])
        signature = b""
        if result == PyKCS11.CKR_OK:
            result, signature = self._finish(library, session, task.message)
        if result == PyKCS11.CKR_OK:
            return signature
        if result in STALE_HANDLE:
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
        if self._sign_call is None:
            answer = LowLevel.ckbytelist(MAX_SIGNATURE_BYTES)
            result = library.C_Sign(session, PyKCS11.ckbytelist(message), answer)
            return result, bytes(answer) if result == PyKCS11.CKR_OK else b""
        buffer = ctypes.create_string_buffer(MAX_SIGNATURE_BYTES)
        size = ctypes.c_ulong(MAX_SIGNATURE_BYTES)
        result = self._sign_call(session.value(), message, len(message), buffer, ctypes.byref(size))
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
