"""A TPM at the other end of a device or a simulator's socket, and what keys need of it.

Rule for editors: a TPM has room for three keys. What was loaded is flushed before a connection is let
go, and a connection that failed is never used again.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from secretivex.stores.token.errors import TokenError
from secretivex.stores.tpm.codec import (
    BUSY,
    ECC,
    ECDSA,
    MAX_RESPONSE_BYTES,
    OWNER,
    RSASSA,
    SHA256,
    SHA512,
    Code,
    Command,
    SealedKey,
    TpmError,
    TpmReader,
    encode_command,
    encode_creation,
    encode_import,
    encode_sign,
    parse_public,
    parse_response,
    parse_signature,
    signing_template,
    storage_template,
)
from secretivex.stores.tpm.pem import TpmKeyFile

ANSWER_S = 60.0
"""How long a TPM may take to one command: making an RSA key takes slow ones half a minute."""

BUSY_S = 10.0
"""How long a TPM that says it is busy is asked again."""

MAX_LOADED = 1
"""Keys kept loaded beside their parent."""

_LOST = frozenset({Code.INITIALIZE, Code.REFERENCE_H0, Code.HANDLE, Code.CONTEXT_GAP})
_STARTUP_CLEAR = struct.pack(">H", 0)
_FIXED_PROPERTIES = struct.pack(">III", 6, 0x100, 1)
"""TPM_CAP_TPM_PROPERTIES, TPM_PT_FAMILY_INDICATOR: the cheapest question there is."""

Answer = TypeVar("Answer")


class Tpm:
    """A TPM by its address: `device:/dev/tpmrm0`, `swtpm:path=SOCKET`. For one thread at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._descriptor: int | None = None
        self._parents: dict[int, int] = {}
        self._loaded: dict[bytes, int] = {}

    def check(self) -> None:
        """Ask for next to nothing; raises `TokenError`."""
        self._do(lambda: self._call(Command.GET_CAPABILITY, (), _FIXED_PROPERTIES))

    def create(self, kind: int, auth: bytes) -> TpmKeyFile:
        """A new key under the owner's storage key."""
        template = signing_template(kind, has_auth=bool(auth), imported=False)

        def make() -> TpmKeyFile:
            parent = self._parent(OWNER)
            _, reader = self._call(Command.CREATE, (parent,), encode_creation(template, auth), b"")
            private, public = reader.sized(), reader.sized()
            return TpmKeyFile(SealedKey(public, private), OWNER, not auth)

        return self._do(make)

    def import_key(self, kind: int, unique: bytes, secret: bytes, auth: bytes) -> TpmKeyFile:
        """A key that was made elsewhere, sealed; `secret` crosses the bus to the TPM in clear."""
        template = signing_template(kind, has_auth=bool(auth), unique=unique, imported=True)

        def make() -> TpmKeyFile:
            parameters = encode_import(template, secret, auth, kind)
            _, reader = self._call(Command.IMPORT, (self._parent(OWNER),), parameters, b"")
            return TpmKeyFile(SealedKey(template, reader.sized()), OWNER, not auth)

        return self._do(make)

    def sign(
        self, file: TpmKeyFile, auth: bytes, data: bytes, hash_name: str
    ) -> tuple[bytes, bytes]:
        """The two numbers of an ECDSA signature, or an RSA signature and b""."""
        scheme = ECDSA if parse_public(file.key.public).kind == ECC else RSASSA
        hash_id = {"sha256": SHA256, "sha512": SHA512}[hash_name]
        parameters = encode_sign(hashlib.new(hash_name, data).digest(), scheme, hash_id)

        def make() -> tuple[bytes, bytes]:
            handle = self._load(file)
            return parse_signature(self._call(Command.SIGN, (handle,), parameters, auth)[1])

        return self._do(make)

    def _parent(self, handle: int) -> int:
        """The storage key of a hierarchy, made anew where needed; a persistent one is itself."""
        if handle >> 24 == 0x81:
            return handle
        if handle not in self._parents:
            parameters = encode_creation(storage_template(), b"")
            command = Command.CREATE_PRIMARY
            (loaded,), _ = self._call(command, (handle,), parameters, b"", handles=1)
            self._parents[handle] = loaded
        return self._parents[handle]

    def _load(self, file: TpmKeyFile) -> int:
        known = self._loaded.get(file.key.private)
        if known is not None:
            return known
        parent = self._parent(file.parent)
        while len(self._loaded) >= MAX_LOADED:
            self._flush(self._loaded.pop(next(iter(self._loaded))))
        parameters = _sized(file.key.private) + _sized(file.key.public)
        (handle,), _ = self._call(Command.LOAD, (parent,), parameters, b"", handles=1)
        self._loaded[file.key.private] = handle
        return handle

    def _flush(self, handle: int) -> None:
        self._call(Command.FLUSH_CONTEXT, (), struct.pack(">I", handle))

    def close(self) -> None:
        """Flush what was loaded and let the TPM go, so that others can have it."""
        with suppress(TokenError, TpmError):
            for handle in (*self._loaded.values(), *self._parents.values()):
                self._flush(handle)
        self._forget()

    def _forget(self) -> None:
        self._loaded.clear()
        self._parents.clear()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _do(self, work: Callable[[], Answer]) -> Answer:
        """Once more where the TPM was reset meanwhile, again and again while it is busy."""
        end = time.monotonic() + BUSY_S
        is_second = False
        while True:
            try:
                return work()
            except TpmError as error:
                if error.code in BUSY and time.monotonic() < end:
                    self.close()
                    time.sleep(0.05)
                elif error.code in _LOST and not is_second:
                    self._forget()
                    is_second = True
                    if error.code == Code.INITIALIZE:
                        self._start_up()
                else:
                    self.close()
                    raise _explain(error) from error
            except TokenError:
                self._forget()
                if is_second:
                    raise
                is_second = True

    def _start_up(self) -> None:
        """A simulator that was reset waits for what firmware does on a real machine."""
        with suppress(TpmError):
            self._call(Command.STARTUP, (), _STARTUP_CLEAR)

    def _call(
        self,
        command: Command,
        handles_in: tuple[int, ...],
        parameters: bytes,
        auth: bytes | None = None,
        handles: int = 0,
    ) -> tuple[tuple[int, ...], TpmReader]:
        request = encode_command(command, handles_in, parameters, auth)
        return parse_response(self._exchange(request), handles)

    def _exchange(self, request: bytes) -> bytes:
        try:
            if self._descriptor is None:
                self._descriptor = _open(self.address)
            os.write(self._descriptor, request)
            response = b""
            while len(response) < 6 or len(response) < int.from_bytes(response[2:6], "big"):
                if not select.select([self._descriptor], [], [], ANSWER_S)[0]:
                    raise TokenError("tpm_timeout", "the TPM does not answer")
                chunk = os.read(self._descriptor, MAX_RESPONSE_BYTES)
                if not chunk or len(response) > MAX_RESPONSE_BYTES:
                    raise TokenError("tpm_failed", "the TPM ended the connection")
                response += chunk
        except OSError as error:
            message = f"{self.address}: {error.strerror or error}"
            raise TokenError("tpm_unavailable", message, _remedy(error)) from error
        return response


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _open(address: str) -> int:
    """A descriptor that commands are written to and responses read from; raises OSError."""
    kind, _, rest = address.partition(":")
    if kind == "device":
        return os.open(rest, os.O_RDWR | os.O_CLOEXEC)
    options = dict(part.partition("=")[::2] for part in rest.split(","))
    if kind != "swtpm" or "path" not in options:
        raise OSError(f"no address of a TPM: {address} (device:PATH or swtpm:path=SOCKET)")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(options["path"])
        connection.setblocking(True)
        return connection.detach()


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "add the user to the group tss, then log in again"
    if isinstance(error, FileNotFoundError):
        return "is there a TPM 2.0? switch it on in the firmware's settings"
    return ""


def _explain(error: TpmError) -> TokenError:
    rows = {
        Code.AUTH_FAIL: ("pin_refused", "the TPM refused the key's password", ""),
        Code.BAD_AUTH: ("pin_refused", "the TPM refused the key's password", ""),
        Code.LOCKOUT: (
            "pin_locked",
            "the TPM is locked after too many wrong passwords",
            "wait, or tpm2_dictionarylockout --clear-lockout",
        ),
        Code.INTEGRITY: ("key_of_another_tpm", "this key was sealed by another TPM", ""),
        Code.HASH: ("unsupported", "the TPM does not know this hash", ""),
        Code.SCHEME: ("unsupported", "the TPM does not know this scheme", ""),
    }
    reason, message, remedy = rows.get(error.code, ("tpm_refused", str(error), ""))  # type: ignore[call-overload] # an int finds its IntEnum
    return TokenError(reason, message, remedy)
