"""What an agent must answer, as a small model, and operations that hold a real one to it.

`Checker.do` makes one operation on the agent and on the model, compares what the client was told,
and then asks every connection what it sees and may sign: once a client was told SUCCESS, they all
agree. Specification: RFC 9987 section 5, PROTOCOL.agent; key 0 also lies in a file.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from hypothesis import strategies as st
from ssh_hosts import bind_body, blob_of, key_of, login_data, session_of, step

from sshwire.agent.constraints import RESTRICT_DESTINATION, ConstraintExtension, Constraints
from sshwire.agent.destinations import SESSION_BIND, encode_destinations
from sshwire.agent.replies import (
    Failure,
    IdentitiesAnswer,
    Reply,
    SignResponse,
    Success,
    parse_reply,
)
from sshwire.agent.requests import (
    AddRequest,
    ExtensionRequest,
    ListRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    Request,
    SignRequest,
    UnlockRequest,
    encode_request,
)
from sshwire.privkey import encode_private_fields, encode_private_key
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature
from sshwire.wire import Reader

KEYS = 3
CONNECTIONS = 4
PASSPHRASES = (b"right", b"other")

Bound = Literal["", "login", "forwarded", "failed"]
"""What a connection was bound to: nothing, a login to `host`, a hop over `host`, or in vain."""

BOUNDS: tuple[Bound, ...] = ("login", "forwarded", "failed")

DESTINATIONS = {
    "": (),
    "host": (step("", "host"),),
    "onward": (step("", "host"), step("host", "next")),
    "elsewhere": (step("", "elsewhere"),),
}
SEEN: dict[Bound, set[str]] = {
    "": {"", "host", "onward", "elsewhere"},
    "login": {"", "host", "onward"},
    "forwarded": {"", "onward"},
    "failed": {""},
}
"""Which destinations let a key be seen over a connection."""

SIGNS: dict[Bound, set[str]] = {
    "": {""},
    "login": {"", "host", "onward"},
    "forwarded": {""},
    "failed": {""},
}
"""Which let it sign the login to `host`."""


class Op(NamedTuple):
    """One operation. `connection` and `key` are numbers; the rest counts for the kinds that use it."""

    kind: str
    connection: int = 0
    key: int = 0
    lifetime_s: int | None = None
    destination: str = ""
    choice: int = 0


WHO = st.integers(0, CONNECTIONS - 1)
WHICH = st.integers(0, KEYS - 1)
CHOICE = st.integers(0, len(BOUNDS) * 2 - 1)
ADDITIONS = st.builds(
    Op,
    st.just("add"),
    WHO,
    WHICH,
    st.sampled_from([None, None, 0, 1, 2]),
    st.sampled_from([*DESTINATIONS, "", ""]),
)
OPERATIONS = st.one_of(
    ADDITIONS,
    ADDITIONS,
    st.builds(Op, st.just("wait"), choice=CHOICE),
    st.builds(Op, st.sampled_from(["remove", "remove", "remove_all", "reload"]), WHO, WHICH),
    st.builds(Op, st.sampled_from(["lock", "unlock", "unlock"]), WHO, WHICH, choice=CHOICE),
    st.builds(Op, st.sampled_from(["bind", "wait", "harm", "reopen"]), WHO, WHICH, choice=CHOICE),
)
"""What Hypothesis draws sequences of."""


def random_operation(seeded: random.Random) -> Op:
    """The same, where Hypothesis would take too long: every operation costs real time."""
    kind = seeded.choice(
        [
            "add",
            "add",
            "add",
            "remove",
            "remove_all",
            "lock",
            "unlock",
            "unlock",
            "bind",
            "wait",
            "harm",
        ]
    )
    return Op(
        kind,
        seeded.randrange(CONNECTIONS),
        seeded.randrange(KEYS),
        seeded.choice([None, None, 0, 1, 2]),
        seeded.choice([*DESTINATIONS, ""]),
        seeded.randrange(6),
    )


class Agent(Protocol):
    """A real agent with several connections. `slack_s` is how late an expiry may be."""

    slack_s: float

    def ask(self, connection: int, payload: bytes) -> bytes:
        """One request and its reply."""
        ...

    def reopen(self, connection: int) -> None:
        """Another connection in the place of one."""
        ...

    def now(self) -> float:
        """A clock, in seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def reload(self) -> None:
        """Have the files read again; returns once that is done."""
        ...

    def harm(self, how: int) -> list[int]:
        """Kill or stop a worker; the connections that were opened again."""
        ...


@dataclass
class Held:
    """A key that a client added. It is gone at some moment between the two."""

    comment: str
    destination: str = ""
    gone_s: tuple[float, float] | None = None


@dataclass
class Checker:
    """The model and the agent that it is compared with."""

    agent: Agent
    held: dict[int, Held] = field(default_factory=dict)
    is_file_shown: bool = True
    passphrase: bytes | None = None
    bound: list[Bound] = field(default_factory=lambda: [""] * CONNECTIONS)
    operations: int = 0
    expired: int = 0
    doubtful: int = 0
    """Keys that were taken away when their time may have been over: who took them is not known."""

    def do(self, op: Op) -> None:
        """One operation, then every connection's view of it."""
        self._let_expire()
        self.operations += 1
        getattr(self, f"_do_{op.kind}")(op)
        self._let_expire()
        for connection in range(CONNECTIONS):
            self._check(connection, op.key)

    def _send(self, connection: int, request: Request) -> Reply:
        return parse_reply(self.agent.ask(connection, encode_request(request)))

    def _expect(self, connection: int, request: Request, is_fine: bool) -> None:
        reply = self._send(connection, request)
        expected = Success() if is_fine else Failure()
        assert reply == expected, f"{type(request).__name__}: {reply}, not {expected}"

    def _destination(self, key: int) -> str | None:
        """What restricts a key that is served; None where it is not."""
        if key in self.held:
            return self.held[key].destination
        return "" if key == 0 and self.is_file_shown else None

    def _may_change(self, connection: int) -> bool:
        return self.bound[connection] in ("", "login")

    def _is_in_reach(self, op: Op) -> bool:
        """Whether a connection may remove a key, or replace it."""
        destination = self._destination(op.key)
        return destination is None or destination in SEEN[self.bound[op.connection]]

    def _do_add(self, op: Op) -> None:
        before = self.agent.now()
        comment = f"comment {self.operations}"
        request = add_request(op.key, comment, op.lifetime_s, op.destination)
        is_fine = (
            self._may_change(op.connection) and self.passphrase is None and self._is_in_reach(op)
        )
        self._expect(op.connection, request, is_fine)
        if is_fine:
            self._hold(op, comment, before)

    def _hold(self, op: Op, comment: str, before_s: float) -> None:
        life = op.lifetime_s
        gone = None if life is None else (before_s + life, self.agent.now() + life)
        self._doubt(op.key)
        self.held[op.key] = Held(comment, op.destination, gone)
        if op.key == 0:
            self.is_file_shown = True

    def _do_remove(self, op: Op) -> None:
        is_here = self._destination(op.key) is not None
        is_fine = self._may_change(op.connection) and self.passphrase is None
        is_fine = is_fine and is_here and self._is_in_reach(op)
        self._expect(op.connection, RemoveRequest(blob_of(f"k{op.key}")), is_fine)
        if is_fine:
            self._forget(op.key)

    def _forget(self, key: int) -> None:
        self._doubt(key)
        self.held.pop(key, None)
        if key == 0:
            self.is_file_shown = False

    def _do_remove_all(self, op: Op) -> None:
        is_fine = self._may_change(op.connection) and self.passphrase is None
        self._expect(op.connection, RemoveAllRequest(), is_fine)
        if is_fine:
            self.leave()
            self.is_file_shown = False

    def leave(self) -> None:
        """All keys were taken away."""
        for key in self.held:
            self._doubt(key)
        self.held.clear()

    def _doubt(self, key: int) -> None:
        gone_s = self.held[key].gone_s if key in self.held else None
        self.doubtful += gone_s is not None and self.agent.now() >= gone_s[0]

    def _do_lock(self, op: Op) -> None:
        passphrase = PASSPHRASES[op.choice % 2]
        is_fine = self._may_change(op.connection) and self.passphrase is None
        self._expect(op.connection, LockRequest(passphrase), is_fine)
        if is_fine:
            self.passphrase = passphrase

    def _do_unlock(self, op: Op) -> None:
        passphrase = PASSPHRASES[op.choice % 2]
        is_fine = self._may_change(op.connection) and self.passphrase == passphrase
        self._expect(op.connection, UnlockRequest(passphrase), is_fine)
        if is_fine:
            self.passphrase = None

    def _do_bind(self, op: Op) -> None:
        """Bind one connection; it is opened again first, for a bind is for ever."""
        self._do_reopen(op)
        bound = BOUNDS[op.choice % len(BOUNDS)]
        self.bound[op.connection] = bound
        body = b"not a bind"
        if bound != "failed":
            body = bind_body("host", session_of(0), forwarding=bound == "forwarded")
        reply = self._send(op.connection, ExtensionRequest(SESSION_BIND, body))
        assert isinstance(reply, Success) is (bound != "failed")

    def _do_reopen(self, op: Op) -> None:
        self.agent.reopen(op.connection)
        self.bound[op.connection] = ""

    def _do_wait(self, op: Op) -> None:
        self.agent.sleep(op.choice / 5)

    def _do_reload(self, _op: Op) -> None:
        self.agent.reload()
        self.is_file_shown = True

    def _do_harm(self, op: Op) -> None:
        for connection in self.agent.harm(op.choice):
            self.bound[connection] = ""

    def _let_expire(self) -> None:
        """Forget what is over; where an expiry is near, wait until there can be no doubt."""
        slack = self.agent.slack_s
        for key, held in tuple(self.held.items()):
            if held.gone_s is None or self.agent.now() < held.gone_s[0] - slack / 2:
                continue
            self.agent.sleep(max(0.0, held.gone_s[1] + slack - self.agent.now()))
            del self.held[key]
            if key == 0:
                self.is_file_shown = False
            self.expired += 1

    def _check(self, connection: int, key: int) -> None:
        """What one connection sees of all keys, and whether one of them signs."""
        bound = self.bound[connection]
        seen = self._send(connection, ListRequest())
        assert isinstance(seen, IdentitiesAnswer)
        assert {identity.blob: identity.comment for identity in seen.identities} == {
            blob_of(f"k{number}"): self.held[number].comment if number in self.held else "k0"
            for number in range(KEYS)
            if self.passphrase is None and self._destination(number) in SEEN[bound]
        }, f"connection {connection}, bound to {bound or 'nothing'}"
        blob, data = blob_of(f"k{key}"), login_data(session_of(0), f"k{key}")
        reply = self._send(connection, SignRequest(blob, data))
        if self.passphrase is None and self._destination(key) in SIGNS[bound]:
            assert isinstance(reply, SignResponse)
            verify_signature(parse_public_key(blob), reply.signature, data)
        else:
            assert reply == Failure()


def write_key_file(folder: Path) -> Path:
    """Key 0 as a file that a store reads."""
    path = folder / "k0"
    path.write_bytes(encode_private_key(key_of("k0"), random_bytes=os.urandom))
    path.chmod(0o600)
    return path


def add_request(key: int, comment: str, lifetime_s: int | None, destination: str) -> AddRequest:
    """The request that adds a key."""
    reader = Reader(encode_private_fields(key_of(f"k{key}")))
    algorithm = reader.text()
    steps = DESTINATIONS[destination]
    extensions = (
        (ConstraintExtension(RESTRICT_DESTINATION, encode_destinations(steps)),) if steps else ()
    )
    return AddRequest(algorithm, reader.rest(), comment, Constraints(lifetime_s, False, extensions))
