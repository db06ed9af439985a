"""The PKCS#11 store: what a token holds, as far as its helper processes say.

Rule for editors: no module is ever loaded into this process; a listing is asked for by one caller at a
time and never more often than the settings allow.
"""

from __future__ import annotations

import os
import select
import time
from dataclasses import dataclass
from typing import Any

from secretivex.config.pkcs11_uri import TokenSelector, parse_uri
from secretivex.identity import Identity, KeyRecord, StoreEvent, StoreHealth
from secretivex.stores.certificates import Certificates
from secretivex.stores.hosting.endpoint import Endpoint, RemoteKey, open_endpoint
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.pkcs11.crew import Crew
from secretivex.stores.pkcs11.member import CrewPlan
from secretivex.stores.pkcs11.objects import TokenObject
from secretivex.stores.secret_source import RefusedSecrets, SecretSource
from secretivex.stores.token.errors import TokenError

DEADLINE_S = 30.0
"""How long a module may take to answer anything; some ask a person at the reader."""

DEFAULT_SESSIONS = 4
"""Sessions with a token unless `max_sessions` says otherwise, and at most one a core, but two."""

RENEW_MS = 60_000
"""How long until a helper is replaced by a new one, which sees the token afresh."""

LOAD_SHARE = 20
"""Listing a token takes at most one part in so many of the time, however long it takes."""

TEND_EVERY_S = 0.1

PATIENCE_S = 2.5
"""How long a store in a process of its own waits for a token, before it says what it knows."""


@dataclass(frozen=True, slots=True)
class Pkcs11Plan:
    """The store's settings, as its process needs them."""

    module: str
    selector: TokenSelector
    sessions: int
    poll_s: float
    min_interval_s: float
    deadline_s: float
    renew_s: float
    key_types: tuple[str, ...]


class Pkcs11Store:
    """Keys of one token, by comment, then blob."""

    kind = "pkcs11"
    tend_every_s = TEND_EVERY_S

    def __init__(
        self, setup: StoreSetup, plan: Pkcs11Plan, pin: SecretSource, endpoint: Endpoint
    ) -> None:
        self.name = setup.name
        self._plan = plan
        self._pin = pin
        self._patience_s = PATIENCE_S if setup.endpoint is not None else plan.deadline_s
        self._is_own_endpoint = setup.endpoint is None
        self._endpoint = endpoint
        self._certificates = Certificates(setup.settings.get("certificates") or ())
        self._refused = RefusedSecrets(setup.memory)
        self._current: bytes | None = None
        self._is_pin_read = False
        crew_plan = CrewPlan(
            plan.module,
            plan.selector,
            plan.sessions,
            plan.deadline_s,
            plan.renew_s,
            endpoint,
            setup.environ,
            setup.settings.get("memory_lock", "off"),
        )
        self._crew = Crew(crew_plan, self._read_pin, self._note_refusal)
        self._listed_at = 0.0
        self._list_began = 0.0
        self._list_took_s = 0.0
        self._lists_seen = 0
        self._reported: dict[str, str] = {}
        self._last: tuple[object, ...] = ()

    # The PIN.

    def _read_pin(self) -> bytes | None:
        """The PIN, read from its source once; raises `TokenError` for one that was refused before."""
        if not self._is_pin_read:
            wants = self._pin.words
            prompt = f"PIN for the token with {self._plan.selector.words}"
            self._current = self._pin.read(prompt, self._plan.selector.label) if wants else None
            self._is_pin_read = True
        if self._current is not None and self._current in self._refused:
            raise TokenError(
                "pin_refused",
                "this PIN was refused, and it is not tried again, for tokens count",
                f"correct what comes from {self._pin.words}, then reload; a restart tries it again",
            )
        return self._current

    def _note_refusal(self, _reason: str) -> None:
        if self._current is not None:
            self._refused.add(self._current)

    def memory(self) -> bytes:
        """Which PINs were refused, as digests under a salt that no file ever holds."""
        return self._refused.encode()

    def forgive(self) -> None:
        """Read the PIN anew, and look for the token at once."""
        self._is_pin_read = False
        self._crew.retry_now()

    # The port of every store.

    def refresh(self) -> tuple[StoreEvent, ...]:
        """List the token's keys, unless that was done just now; waits for it for a while."""
        self._certificates.refresh()
        end = time.monotonic() + self._patience_s
        begun = self._crew.lists
        self.tend()
        is_throttled = time.monotonic() - self._listed_at < self._plan.min_interval_s
        if not is_throttled:
            self._ask_list()
        while time.monotonic() < end and not is_throttled and self._crew.lists == begun:
            if self._crew.failure is not None and not self._crew.is_starting:
                break
            select.select([self._crew.fileno()], [], [], TEND_EVERY_S / 5)
            self.tend()
        return self.news()

    def tend(self) -> bool:
        """Look after the helpers, and list the keys when the last listing is too old."""
        self._crew.tend()
        now = time.monotonic()
        if self._crew.lists != self._lists_seen:
            self._lists_seen = self._crew.lists
            self._listed_at, self._list_took_s = now, max(0.0, now - self._list_began)
        poll_s = self._plan.min_interval_s if self._crew.is_stale else self._plan.poll_s
        if now - self._listed_at >= max(poll_s, LOAD_SHARE * self._list_took_s):
            self._ask_list()
        state = (self._crew.keys, str(self._crew.failure), self._crew.is_open)
        changed, self._last = state != self._last, state
        return changed or bool(self._crew.losses)

    def _ask_list(self) -> None:
        now = time.monotonic()
        if self._crew.is_open and self._crew.ask_list():
            self._list_began = self._listed_at = now
            self._list_took_s = 0.0

    def news(self) -> tuple[StoreEvent, ...]:
        """Helpers lost, certificates left out, the token lost."""
        losses, self._crew.losses = self._crew.losses, []
        events = [StoreEvent(self.name, "helper_lost", self.name, reason) for reason in losses]
        problems = dict(self._certificates.problems)
        if self._crew.failure is not None:
            problems[self.name] = str(self._crew.failure)
        events += [
            StoreEvent(self.name, "store_broken", subject, reason)
            for subject, reason in problems.items()
            if self._reported.get(subject) != reason
        ]
        self._reported = problems
        return tuple(events)

    def fileno(self) -> int:
        """Readable when a helper has something to say."""
        return self._crew.fileno()

    def identities(self) -> tuple[Identity, ...]:
        """The keys of the last listing, each followed by its certificates."""
        keys = [(key.key, self._comment(key)) for key in self._crew.keys]
        return self._certificates.offer(keys, self.name, self._plan.key_types)

    def _comment(self, key: TokenObject) -> str:
        return key.label or f"{self._crew.token.get('label', 'token')} {key.key_id.hex()}"

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature, of a helper; somebody must call `tend` meanwhile."""
        record = self.export(identity)
        assert record.signer is not None  # noqa: S101 - for the type checker: `export` sets it
        return RemoteKey(record.signer, identity.key_blob).sign(data, flags)

    def export(self, identity: Identity) -> KeyRecord:
        """Whom a worker asks."""
        if identity not in self.identities():
            raise LookupError(f"{identity.comment} is not in the token")
        return KeyRecord(identity, b"", signer=self._endpoint.signer(self._plan.sessions))

    def health(self) -> StoreHealth:
        """Well while a helper serves and no PIN was refused."""
        failure = self._crew.failure
        reason, remedy = "", ""
        if failure is not None:
            reason, remedy = f"{failure.reason}: {failure}", failure.remedy
        elif not self._crew.is_open:
            reason = "the token is being opened"
        return StoreHealth(
            self.name,
            self.kind,
            is_well=not reason,
            identities=len(self.identities()),
            reason=reason,
            remedy=remedy,
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """The helpers' process numbers."""
        return self._crew.pids

    def close(self) -> None:
        """End every helper."""
        self._crew.close()
        if self._is_own_endpoint:
            self._endpoint.close()


def open_pkcs11_store(setup: StoreSetup) -> Pkcs11Store:
    """The store that settings describe; raises `TokenError` if PyKCS11 is not there."""
    from importlib.util import find_spec

    if find_spec("PyKCS11") is None:
        hint = "install the extra [pkcs11]"
        raise TokenError("missing_extra", "PKCS#11 needs the library PyKCS11", hint)
    settings: Any = setup.settings
    pin = SecretSource.from_table(settings["pin"], setup.environ, setup.secrets)
    return Pkcs11Store(setup, _plan(settings), pin, setup.endpoint or open_endpoint())


def _plan(settings: Any) -> Pkcs11Plan:
    selector, module = TokenSelector(), ""
    if settings.get("uri"):
        selector, module = parse_uri(settings["uri"])
    else:
        selector = TokenSelector(
            label=settings.get("token_label") or "",
            serial=settings.get("token_serial") or "",
            slot=settings.get("slot"),
        )
    cores = max(2, min(DEFAULT_SESSIONS, os.cpu_count() or 1))
    return Pkcs11Plan(
        module=settings.get("module_path") or module,
        selector=selector,
        sessions=settings.get("max_sessions") or cores,
        poll_s=max(settings["poll_ms"], settings["refresh_min_interval_ms"], 50) / 1000,
        min_interval_s=settings["refresh_min_interval_ms"] / 1000,
        deadline_s=settings["module_timeout_ms"] / 1000,
        renew_s=settings.get("renew_ms", RENEW_MS) / 1000,
        key_types=tuple(settings.get("key_types") or ()),
    )
