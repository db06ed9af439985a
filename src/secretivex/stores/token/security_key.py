"""A FIDO key: what a computer holds of it is a handle, and only the device can sign.

Each signature is one run of OpenSSH's `ssh-sk-helper`, which loads the middleware so that we do not.
A person touches the device, and types its PIN where the key demands one, as with ssh-agent. Rule for
editors: nothing here runs on an event loop, and whoever waits for a person holds no signer's slot.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from secretivex.stores.token.askpass import ask, notice
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.spawned import SpawnedHelper
from secretivex.stores.token.tools import TokenTools
from secretivex.stores.token.waiting import POLL_S, Wanted, always
from sshwire.algorithms import find_algorithm
from sshwire.errors import WireError
from sshwire.keyblob import load_public_fields
from sshwire.privkey import PrivateKey, SecurityKeyHandle, encode_private_fields
from sshwire.signature import parse_signature
from sshwire.token.sk_helper import (
    MAX_MESSAGE_BYTES,
    SkRefusal,
    SkSignRequest,
    encode_sk_sign_request,
    parse_sk_sign_reply,
)

if sys.platform != "win32":
    import fcntl

TOUCH_S = 120.0
"""How long a signature may take, the touch included; devices give up well before."""

PRESENCE_REQUIRED = 0x01
"""SSH_SK_USER_PRESENCE_REQD of sk-api.h."""

VERIFICATION_REQUIRED = 0x04
"""SSH_SK_USER_VERIFICATION_REQD of sk-api.h."""

LANE = "security-key"
"""All security keys sign one after another: a device serves one request at a time."""


@contextlib.contextmanager
def alone_with_device(descriptor: int, is_wanted: Wanted) -> Iterator[None]:
    """Keep the agent's other processes from the device: it answers "busy" to a second caller.

    Record locks belong to processes; threads of one process are kept apart by their lane.
    """
    if sys.platform == "win32" or descriptor < 0:
        yield
        return
    end = time.monotonic() + TOUCH_S
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if not is_wanted():
                raise TokenError("no_longer_wanted", "the client went away") from None
            if time.monotonic() > end:
                raise TokenError("token_timeout", "others kept the security key busy") from None
            time.sleep(POLL_S)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


class SecurityKey:
    """A key on a device, behind the port of every key that signs."""

    def __init__(self, key: PrivateKey, provider: str, tools: TokenTools) -> None:
        if not isinstance(key.secret, SecurityKeyHandle):
            raise WireError(f"{key.public.algorithm} is not a security key")
        fields = load_public_fields(key.public)
        self._fields = encode_private_fields(key)
        self._flags = key.secret.flags
        self._format = find_algorithm(fields.plain.algorithm).signature_formats[0]
        self._provider = provider
        self._tools = tools
        self._title = f"{fields.plain.algorithm} key {tools.show(fields.plain.blob)}"
        self.application = fields.application or ""

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature; raises `TokenError`."""
        return self.sign_while(always, data, flags)

    def sign_while(self, is_wanted: Wanted, data: bytes, flags: int = 0) -> bytes:  # noqa: ARG002 - the port's; these flags concern RSA
        """The same, given up once nobody wants it."""
        with alone_with_device(self._tools.device_lock, is_wanted):
            return self._sign(is_wanted, data)

    def _sign(self, is_wanted: Wanted, data: bytes) -> bytes:
        if self._flags & VERIFICATION_REQUIRED:
            pin = self._ask_pin(is_wanted)
            return self._settle(self._run(data, pin, is_wanted))
        with notice(self._tools, self._notice_text()):
            answer = self._run(data, b"", is_wanted)
        if isinstance(answer, SkRefusal) and answer.reason == "pin_required":
            answer = self._run(data, self._ask_pin(is_wanted), is_wanted)
        return self._settle(answer)

    def _notice_text(self) -> str:
        return f"Confirm user presence for {self._title}"

    def _ask_pin(self, is_wanted: Wanted) -> bytes:
        touch = "and confirm user presence " if self._flags & PRESENCE_REQUIRED else ""
        return ask(self._tools, f"Enter PIN {touch}for {self._title}: ", is_wanted)

    def _run(self, data: bytes, pin: bytes, is_wanted: Wanted) -> bytes | SkRefusal:
        message = encode_sk_sign_request(SkSignRequest(self._fields, self._provider, data, pin))
        helper = SpawnedHelper(self._tools.sk_helper, MAX_MESSAGE_BYTES)
        try:
            body = helper.ask(message, TOUCH_S, is_wanted)
        except TokenError:
            helper.close(0)
            raise
        helper.close()
        if body is None:
            raise TokenError(
                "helper_failed",
                "ssh-sk-helper ended without an answer: it could not load the middleware, or is not"
                " of OpenSSH 8.6 or later",
            )
        try:
            return parse_sk_sign_reply(body)
        except WireError as error:
            raise TokenError("helper_failed", str(error)) from error

    def _settle(self, answer: bytes | SkRefusal) -> bytes:
        if isinstance(answer, SkRefusal):
            # After a PIN was given, asking for one says that it was wrong.
            reason = "pin_refused" if answer.reason == "pin_required" else answer.reason
            raise TokenError(reason, f"the security key answered {reason} ({answer.code})")
        try:
            found = parse_signature(answer).format
        except WireError as error:
            raise TokenError("helper_failed", f"not a signature: {error}") from error
        if found != self._format:
            raise TokenError("helper_failed", f"a {found} signature for a {self._format} key")
        return answer
