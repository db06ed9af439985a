"""The helper processes of one token: how many there are, and what becomes of those that fail.

The first one tries the PIN; the others start when it was right. A helper that hangs in its module is
killed at the deadline, one that crashed is replaced with back-off, and from time to time the oldest makes
room for a new one: some modules never notice that their token is gone. Rule for editors: nothing here
waits, and no PIN that was refused is ever tried again.
"""

from __future__ import annotations

import base64
import contextlib
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any

from secretivex.stores.hosting.endpoint import accept_one, serve_one
from secretivex.stores.pkcs11.conversation import (
    encode_frame,
    keys_from,
    selector_table,
)
from secretivex.stores.pkcs11.member import CrewPlan, Member, spawn
from secretivex.stores.pkcs11.objects import TokenObject
from secretivex.stores.token.errors import TokenError
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 15.0
"""Pause before a helper is started again; it doubles from the first to the last."""

_READ_BYTES = 65536


class Crew:
    """Helpers of one token; `keys` and `failure` are what is known of it."""

    def __init__(
        self,
        plan: CrewPlan,
        read_pin: Callable[[], bytes | None],
        refuse_pin: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._read_pin = read_pin
        self._refuse_pin = refuse_pin
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._members: list[Member] = []
        self._retry_at = clock()
        self._renew_at = clock() + plan.renew_s
        self._pause_s = FIRST_RETRY_S
        self._is_refusing = False
        self.keys: tuple[TokenObject, ...] = ()
        self.token: Mapping[str, str] = {}
        self.failure: TokenError | None = None
        self.is_blocked = False
        self.is_stale = False
        self.lists = 0
        """Listings that arrived so far."""
        self.losses: list[str] = []
        """Why helpers were lost, since somebody last took it."""

    def fileno(self) -> int:
        """Readable when `tend` has something to do at once."""
        return self._selector.fileno()

    @property
    def is_open(self) -> bool:
        """Whether any helper serves."""
        return any(member.is_open for member in self._members)

    @property
    def is_starting(self) -> bool:
        """Whether a helper may still open the token."""
        return any(not member.is_open for member in self._members)

    @property
    def pids(self) -> tuple[int, ...]:
        """The helpers' process numbers."""
        return tuple(member.process.pid for member in self._members)

    def retry_now(self) -> None:
        """Do not wait for the end of a pause, and look with new eyes."""
        self._retry_at = self._renew_at = self._clock()
        self.is_blocked = False

    def ask_list(self) -> bool:
        """Have an idle helper list the keys, if none does already; whether one does."""
        if any(member.is_listing for member in self._members):
            return True
        serving = [member for member in self._members if member.is_open]
        idle = [member for member in serving if member.cell.since_s() is None]
        for member in (*idle, *serving)[:1]:
            member.is_listing = True
            self._tell(member, {"do": "list"})
            return True
        return False

    def tend(self) -> bool:
        """Read what helpers say, end those that hang, start those that are missing; whether any of it."""
        changed = False
        for key, _ in self._selector.select(0):
            if key.data is None:
                self._refuse_one()
            else:
                changed |= self._hear(key.data)
        for member in tuple(self._members):
            if self._hangs(member):
                self._lose(member, "token_timeout", "the module did not answer in time")
                changed = True
        self._start_missing()
        self._refuse_or_not()
        return changed

    def _hangs(self, member: Member) -> bool:
        since = member.cell.since_s()
        if since is None and not member.is_open:
            since = member.started_at
        return since is not None and self._clock() - since > self._plan.deadline_s

    def _start_missing(self) -> None:
        """One at first, the others once it has opened the token."""
        if self.is_blocked or self._clock() < self._retry_at or self.is_starting:
            return
        is_due = bool(self._members) and self._clock() >= self._renew_at
        if is_due:
            self._renew_at = self._clock() + self._plan.renew_s
        if is_due or len(self._members) < self._plan.size:
            self._start()

    def _start(self) -> None:
        try:
            pin = self._read_pin()
        except TokenError as error:
            self._fail(error, blocks=True)
            return
        try:
            member = spawn(self._plan, self._clock())
        except OSError as error:
            self._fail(TokenError("helper_missing", f"no process can be started: {error}"))
            return
        self._members.append(member)
        self._selector.register(member.channel, selectors.EVENT_READ, member)
        self._tell(
            member,
            {
                "do": "open",
                "module": self._plan.module,
                "selector": selector_table(self._plan.selector),
                "pin": None if pin is None else base64.b64encode(pin).decode(),
                "password": base64.b64encode(self._plan.endpoint.password).decode(),
            },
        )

    def _tell(self, member: Member, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # its end shows when it is read from
            member.channel.sendall(encode_frame(message))

    def _hear(self, member: Member) -> bool:
        if member not in self._members:
            return False
        try:
            data = member.channel.recv(_READ_BYTES)
            messages = member.reader.receive(data)
        except (OSError, WireError) as error:
            self._lose(member, "helper_failed", str(error))
            return True
        if not data:
            self._lose(member, "module_crashed", "the module ended its process")
            return True
        for message in messages:
            self._take(member, message)
        return bool(messages)

    def _take(self, member: Member, message: dict[str, Any]) -> None:
        match message["is"]:
            case "open":
                member.is_open = True
                if self.token.get("serial") != message["token"]["serial"]:
                    self._drop_others(member)
                self.token, self.failure = message["token"], None
                self._pause_s = FIRST_RETRY_S
                self._take_keys(message)
                self._retire(member)
            case "keys":
                member.is_listing = False
                self._take_keys(message)
            case "stale":
                self.is_stale = True
            case "lost":
                self._lose(member, "token_lost", message["reason"])
                if message["reason"].startswith("pin_"):
                    self._block(TokenError(message["reason"], "the token refused the PIN"))
            case "refused":
                error = TokenError(message["reason"], message["message"], message["remedy"])
                self._drop(member)
                if error.reason.startswith("pin_"):
                    self._block(error)
                    return
                if error.reason == "token_absent":
                    self._drop_others(None)
                self._fail(error)

    def _drop_others(self, newest: Member | None) -> None:
        """A new helper finds another token, or none: older ones still believe in what was there."""
        for member in tuple(self._members):
            if member is not newest:
                self._drop(member)

    def _retire(self, newest: Member) -> None:
        """End an idle helper if there is one more than there should be."""
        if len(self._members) <= self._plan.size:
            return
        idle = [m for m in self._members if m is not newest and m.cell.since_s() is None]
        for member in idle[:1]:
            self._drop(member)

    def _take_keys(self, message: dict[str, Any]) -> None:
        self.keys = keys_from(message["keys"])
        self.lists += 1
        self.is_stale = False

    def _block(self, error: TokenError) -> None:
        if error.reason in ("pin_refused", "pin_locked", "pin_expired"):
            self._refuse_pin(error.reason)
        self._fail(error, blocks=True)

    def _fail(self, error: TokenError, *, blocks: bool = False) -> None:
        self.failure = error
        self.is_blocked |= blocks
        if not self.is_open:
            self.keys = ()
        self._retry_at = self._clock() + self._pause_s
        self._pause_s = min(LAST_RETRY_S, 2 * self._pause_s)

    def _lose(self, member: Member, reason: str, message: str) -> None:
        """A helper is gone, or is made to be; the keys stay until another one lists."""
        was_open = member.is_open
        self._drop(member)
        self.losses.append(f"{reason}: {message}")
        if reason == "token_lost":
            # What one helper found gone, the others will too: begin anew with one.
            self._drop_others(None)
        if not was_open:
            self._fail(TokenError(reason, message))
        else:
            self._retry_at = self._clock() if reason == "token_lost" else self._retry_at
            self.is_stale = True

    def _drop(self, member: Member) -> None:
        self._members.remove(member)
        self._selector.unregister(member.channel)
        member.channel.close()
        member.process.kill()
        member.process.wait()
        member.cell.close()

    def _refuse_or_not(self) -> None:
        """While no helper serves or is about to, requests are refused here rather than left waiting."""
        wanted = not self._members
        listener = self._plan.endpoint.listener
        if wanted and not self._is_refusing:
            self._selector.register(listener, selectors.EVENT_READ, None)
        elif not wanted and self._is_refusing:
            self._selector.unregister(listener)
        self._is_refusing = wanted

    def _refuse_one(self) -> None:
        connection = accept_one(self._plan.endpoint.listener)
        if connection is not None:
            serve_one(connection, self._plan.endpoint.password, self._refuse)

    def _refuse(self, _key: PublicKey, _data: bytes, _flags: int) -> bytes:
        failure = self.failure or TokenError("token_lost", "the token is being opened again")
        raise TokenError(failure.reason, str(failure))

    def close(self) -> None:
        """End every helper, whatever it does."""
        for member in tuple(self._members):
            self._drop(member)
        self._selector.close()
