"""The agent's lock: RFC 9987 section 5.7, with the growing delay that OpenSSH's agent has.

The passphrase is derived where the request arrives; only the derivation is kept and compared. Rule
for editors: attempts are judged one after the other with one count of failures over all callers,
and nobody but the callers of `UNLOCK` ever waits.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from typing import Generic, TypeVar

SALT_BYTES = 16
"""As bcrypt_pbkdf has in OpenSSH's agent."""

DIGEST_BYTES = 32

MAX_PASSPHRASE_BYTES = 4096
"""More than any prompt reads; OpenSSH's readpassphrase buffer has 1024."""

DELAY_STEP_S = 0.1
"""OpenSSH's agent sleeps a tenth of a second for every failure so far."""

MAX_DELAY_S = 10.0

_SCRYPT_COST = 2**14
"""RFC 7914's interactive cost: about 50 ms and 16 MiB."""

Token = TypeVar("Token")


def derive(passphrase: bytes, salt: bytes) -> bytes:
    """The digest of a passphrase; blocks for about 50 ms without the interpreter's lock."""
    return hashlib.scrypt(passphrase, salt=salt, n=_SCRYPT_COST, r=8, p=1, dklen=DIGEST_BYTES)


class Lock:
    """Locked or not. Not frozen: it is the supervisor's state."""

    def __init__(self) -> None:
        self._salt = b""
        self._digest = b""

    @property
    def salt(self) -> bytes:
        """What an attempt is derived with; empty when not locked."""
        return self._salt

    @property
    def is_locked(self) -> bool:
        """Whether service is refused."""
        return bool(self._salt)

    def lock(self, salt: bytes, digest: bytes) -> bool:
        """Lock; False if it is locked already or this cannot be a derivation."""
        if self._salt or len(salt) != SALT_BYTES or len(digest) != DIGEST_BYTES:
            return False
        self._salt, self._digest = salt, digest
        return True

    def unlock(self, digest: bytes) -> bool:
        """Unlock if the digest is right."""
        if not self._salt or not hmac.compare_digest(digest, self._digest):
            return False
        self._salt = self._digest = b""
        return True


class UnlockQueue(Generic[Token]):
    """Attempts to unlock in the order of their arrival; a wrong one holds up those behind it."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._waiting: deque[tuple[Token, bytes]] = deque()
        self._refused: deque[Token] = deque(maxlen=1)
        self._failures = 0
        self._free_at = 0.0

    @property
    def due(self) -> float | None:
        """When `advance` has something to do; None if nobody waits."""
        return self._free_at if self._refused else None

    def submit(self, token: Token, digest: bytes) -> None:
        """Queue an attempt; call `advance` then."""
        self._waiting.append((token, digest))

    def advance(self, now: float) -> list[tuple[Token, bool]]:
        """The attempts whose answer is due, and whether they unlocked."""
        answers: list[tuple[Token, bool]] = []
        while now >= self._free_at or not self._refused:
            answers += [(token, False) for token in self._refused]
            self._refused.clear()
            if not self._waiting:
                break
            token, digest = self._waiting.popleft()
            if not self._lock.is_locked:
                answers.append((token, False))
            elif self._lock.unlock(digest):
                self._failures = 0
                answers.append((token, True))
            else:
                self._failures += 1
                self._free_at = now + min(MAX_DELAY_S, self._failures * DELAY_STEP_S)
                self._refused.append(token)
        return answers
