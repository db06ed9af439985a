"""A PKCS#11 module behind OpenSSH's `ssh-pkcs11-helper`, and the keys in it.

The module's code runs in a child process of its own: what it does to itself, it does not do to us. A
helper that ended is started again for the next signature. Rule for editors: a PIN that was refused is
never tried again, for cards count.
"""

from __future__ import annotations

import threading

from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.spawned import SpawnedHelper
from secretivex.stores.token.tools import TokenTools
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey
from sshwire.token.pkcs11_helper import (
    MAX_REPLY_BYTES,
    Dialect,
    LoadFailure,
    TokenKey,
    choose_format,
    encode_dialect_probe,
    encode_load_request,
    encode_token_sign_request,
    parse_load_reply,
    parse_token_sign_reply,
)

PROBE_S = 5.0
"""How long a helper may take to its first answer, before any module is loaded."""

LOAD_S = 30.0
"""How long a module may take to open, log in and list its keys."""

SIGN_S = 30.0
"""How long one signature of a module may take; some ask a person at the reader."""


class HelperModule:
    """A module through one `ssh-pkcs11-helper`; calls from several threads take turns."""

    def __init__(self, path: str, pin: bytes, tools: TokenTools) -> None:
        self.path = path
        self._pin = pin
        self._program = tools.pkcs11_helper
        self._turn = threading.Lock()
        self._helper: SpawnedHelper | None = None
        self._dialect = Dialect.DIGEST
        self._refused: TokenError | None = None

    @property
    def pid(self) -> int | None:
        """The helper's process number; None while there is none."""
        return None if self._helper is None else self._helper.pid

    def load(self) -> tuple[TokenKey, ...]:
        """Open it and list its keys; raises `TokenError`."""
        with self._turn:
            self._drop()
            return self._start()

    def sign(self, key: PublicKey, data: bytes, flags: int) -> bytes:
        """The encoded signature of a plain key; raises `TokenError`."""
        with self._turn:
            signature_format = choose_format(key, flags)
            if self._helper is None:
                self._start()
            payload = self._ask_to_sign(key, data, signature_format)
            if payload is None:
                # It died since it was last used, or over this request: once more, from new.
                self._start()
                payload = self._ask_to_sign(key, data, signature_format)
            if payload is None:
                raise TokenError("module_crashed", f"{self.path} ends its helper when it signs")
            return self._read(payload, key, signature_format)

    def _read(self, payload: bytes, key: PublicKey, signature_format: str) -> bytes:
        try:
            signature = parse_token_sign_reply(payload, key, signature_format, self._dialect)
        except WireError as error:
            self._drop()
            raise TokenError("helper_failed", str(error)) from error
        if signature is None:
            raise TokenError("module_refused", f"{self.path} would not sign")
        return signature

    def _ask_to_sign(self, key: PublicKey, data: bytes, signature_format: str) -> bytes | None:
        try:
            message = encode_token_sign_request(key, data, signature_format, self._dialect)
        except WireError as error:
            raise TokenError("unsupported", str(error)) from error
        return self._ask(message, SIGN_S)

    def _start(self) -> tuple[TokenKey, ...]:
        """A helper that has the module open; raises `TokenError`."""
        if self._refused is not None:
            raise self._refused
        self._helper = self._start_helper()
        payload = self._ask(encode_load_request(self.path, self._pin), LOAD_S)
        if payload is None:
            raise TokenError("module_crashed", f"{self.path} ends its helper when it is loaded")
        try:
            answer = parse_load_reply(payload)
        except WireError as error:
            self._drop()
            raise TokenError("helper_failed", str(error)) from error
        if not isinstance(answer, LoadFailure):
            return answer
        self._drop()
        failure = TokenError(answer.reason, f"{self.path} offers no key: wrong PIN or no token")
        if self._pin:
            # The helper does not always say that it was the PIN.
            self._refused = failure
        raise failure

    def _start_helper(self) -> SpawnedHelper:
        """A helper of either dialect: the newer kind ends over the older kind's request."""
        self._helper = SpawnedHelper(self._program, MAX_REPLY_BYTES)
        self._dialect = Dialect.DIGEST
        if self._ask(encode_dialect_probe(), PROBE_S) is not None and self._helper is not None:
            return self._helper
        self._dialect = Dialect.DATA
        return SpawnedHelper(self._program, MAX_REPLY_BYTES)

    def _ask(self, message: bytes, timeout_s: float) -> bytes | None:
        """None if the helper ended; one that hangs or talks nonsense is ended."""
        if self._helper is None:
            return None
        try:
            payload = self._helper.ask(message, timeout_s)
        except TokenError:
            self._drop(patience_s=0)
            raise
        if payload is None:
            self._drop()
        return payload

    def _drop(self, patience_s: float = 1.0) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.close(patience_s)

    def close(self) -> None:
        """End the helper, after the signature that it may be making."""
        with self._turn:
            self._drop()

    def abandon(self) -> None:
        """End the helper in the middle of whatever it does, and start none again."""
        self._refused = TokenError("module_removed", f"{self.path} is not served any more")
        helper = self._helper
        if helper is not None:
            helper.kill()
        # Who is in the middle of a signature clears up after itself.
        if self._turn.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._turn.release()
