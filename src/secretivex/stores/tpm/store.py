"""The TPM store: keys sealed by a TPM 2.0 in files of TSS2 PEM.

Listing reads files only; the TPM is asked when a key signs. Rule for editors: a password that was refused
is not tried again, for TPMs lock themselves.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from secretivex.identity import StoreEvent
from secretivex.stores.hosting.self_signing import HeldKey, SelfSigningStore
from secretivex.stores.key_files import SkippedError, list_candidates, mark_of, read_key_file
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.secret_source import RefusedSecrets, SecretSource
from secretivex.stores.token.errors import TokenError
from secretivex.stores.tpm.codec import ECC, parse_public
from secretivex.stores.tpm.device import Tpm
from secretivex.stores.tpm.pem import TpmKeyFile, parse_key_file
from sshwire.algorithms import find_algorithm, find_signature_format
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey
from sshwire.pubkey import parse_public_key, parse_public_line
from sshwire.signature import encode_ecdsa
from sshwire.wire import encode_mpint, encode_string, encode_text

IDLE_S = 2.0
"""How long the TPM is kept after a signature: the next one need not load the key again."""

CHECK_EVERY_S = 5.0
"""How often the TPM and the files are looked at."""

DEFAULT_DEVICE = "device:/dev/tpmrm0"
"""The kernel's resource manager: any number of programs may use the TPM at a time."""


class TpmStore(SelfSigningStore[TpmKeyFile]):
    """Sealed keys, by comment, then blob."""

    kind = "tpm"
    failed = "tpm_failed"

    def __init__(self, setup: StoreSetup, tpm: Tpm) -> None:
        super().__init__(setup)
        self._paths = tuple(map(Path, setup.settings["paths"]))
        self._owner_uid = setup.owner_uid
        self._tpm = tpm
        self._turn = threading.Lock()
        self._pin = SecretSource.from_table(setup.settings["pin"], setup.environ, setup.secrets)
        self._skipped: dict[str, str] = {}
        self._news: list[StoreEvent] = []
        self._marks: object = None
        self._used_at = 0.0
        self._checked_at = 0.0
        self._auth: bytes | None = None
        self._refused = RefusedSecrets(setup.memory)

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Read the files again, and ask the TPM whether it is there."""
        self._read_files()
        self._check()
        return self.news()

    def news(self) -> tuple[StoreEvent, ...]:
        """What was not reported before."""
        news, self._news = tuple(self._news), []
        return news

    def tend(self) -> bool:
        """Let an idle TPM go; look at the files and the TPM from time to time."""
        now = time.monotonic()
        if now - self._used_at > IDLE_S and self._turn.acquire(blocking=False):
            try:
                self._tpm.close()
            finally:
                self._turn.release()
        if now - self._checked_at < CHECK_EVERY_S:
            return False
        before = self._state
        if self._mark() != self._marks:
            self._read_files()
        self._check()
        return before != self._state or bool(self._news)

    def close(self) -> None:
        """Let the TPM go."""
        if self._turn.acquire(timeout=1):
            self._tpm.close()

    def _mark(self) -> object:
        return tuple((one.path, mark_of(one.path)) for one in list_candidates(self._paths))

    def _read_files(self) -> None:
        self._marks = self._mark()
        self._certificates.refresh()
        skipped = dict(self._certificates.problems)
        held: dict[bytes, HeldKey[TpmKeyFile]] = {}
        for candidate in list_candidates(self._paths):
            try:
                data = read_key_file(candidate, self._owner_uid)
                found = _hold(parse_key_file(data), candidate.path)
                held.setdefault(found.key.blob, found)
            except SkippedError as error:
                if not error.quiet:
                    skipped[str(candidate.path)] = str(error)
            except TokenError as error:
                if error.reason != "not_a_key" or candidate.is_named:
                    skipped[str(candidate.path)] = str(error)
            except WireError as error:
                skipped[str(candidate.path)] = f"not a usable key: {error}"
        fresh = skipped.items() - self._skipped.items()
        self._news += [StoreEvent(self.name, "key_skipped", p, why) for p, why in sorted(fresh)]
        self._held, self._skipped = held, skipped

    def _check(self) -> None:
        """Whether the TPM answers; one that is signing now does."""
        self._checked_at = time.monotonic()
        if not self._turn.acquire(blocking=False):
            return
        try:
            self._tpm.check()
            self._tpm.close()
            self._note(None)
        except TokenError as error:
            self._note(error)
        finally:
            self._turn.release()

    def _note(self, failure: TokenError | None) -> None:
        if failure is not None and str(failure) != str(self._failure):
            self._news.append(StoreEvent(self.name, "store_broken", self.name, str(failure)))
        self._failure = failure

    def _sign_raw(self, held: HeldKey[TpmKeyFile], signature_format: str, data: bytes) -> bytes:
        with self._turn:
            auth = self._read_auth(held)
            hash_name = find_signature_format(signature_format).hash_name
            try:
                first, second = self._tpm.sign(held.handle, auth, data, hash_name)
            except TokenError as error:
                self._blame(error, auth)
                raise
            self._used_at = time.monotonic()
        if find_algorithm(held.key.algorithm).family == "ecdsa":
            return encode_ecdsa(int.from_bytes(first, "big"), int.from_bytes(second, "big"))
        return first

    def _read_auth(self, held: HeldKey[TpmKeyFile]) -> bytes:
        """The key's password; raises `TokenError` for one that was refused before."""
        if held.handle.empty_auth:
            return b""
        if self._auth is None:
            if not self._pin.words:
                remedy = "set pin_env, pin_file, pin_command or askpass"
                raise TokenError("pin_required", "the key has a password", remedy)
            self._auth = self._pin.read(f"Password of the TPM's key {held.comment}", held.comment)
        if self._auth in self._refused:
            message = (
                "this password was refused, and it is not tried again, for TPMs lock themselves"
            )
            raise TokenError("pin_refused", message)
        return self._auth

    def _blame(self, error: TokenError, auth: bytes) -> None:
        if error.reason in ("pin_refused", "pin_locked") and auth:
            self._refused.add(auth)

    def memory(self) -> bytes:
        """Which passwords were refused, as digests."""
        return self._refused.encode()

    def forgive(self) -> None:
        """Read the password anew."""
        self._auth = None


def public_key_of(file: TpmKeyFile) -> PublicKey:
    """The SSH key of a sealed key; raises `TokenError`, or `WireError`."""
    area = parse_public(file.key.public)
    if area.kind == ECC:
        name, point = "ecdsa-sha2-nistp256", b"\4" + area.x + area.y
        blob = encode_text(name) + encode_text("nistp256") + encode_string(point)
        return parse_public_key(blob)
    modulus = int.from_bytes(area.modulus, "big")
    blob = encode_text("ssh-rsa") + encode_mpint(area.exponent) + encode_mpint(modulus)
    return parse_public_key(blob)


def _hold(file: TpmKeyFile, path: Path) -> HeldKey[TpmKeyFile]:
    key = public_key_of(file)
    comment = _comment_beside(path, key) or file.description or path.stem
    return HeldKey(key, comment, file)


def _comment_beside(path: Path, key: PublicKey) -> str:
    try:
        line = path.with_name(path.name + ".pub").read_text(errors="replace")
        public, comment = parse_public_line(line.strip())
    except (OSError, WireError):
        return ""
    return comment if public == key else ""


def open_tpm_store(setup: StoreSetup) -> TpmStore:
    """The store that settings describe."""
    settings: Any = setup.settings
    return TpmStore(setup, Tpm(settings.get("device") or DEFAULT_DEVICE))
