"""An agent with several workers as one function: no process, no socket, no clock of its own.

What the supervisor does with a change is done here at once: the authority makes it, its state goes
as bytes to every worker, and only then the client is answered.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from agent_model import CONNECTIONS

from secretivex.config import ConfigInput
from secretivex.context.bindings import UNBOUND, Bindings
from secretivex.engine import Change, Engine, Reply, SignJob
from secretivex.key_table import build_table
from secretivex.loading import AgentSetup, make_setup
from secretivex.lock import UnlockQueue
from secretivex.peer import Peer
from secretivex.policy import decide
from secretivex.policy_keys import parse_flat_policy
from secretivex.server.authority import Authority
from secretivex.server.making import sign
from secretivex.server.state import encode_state, parse_state
from secretivex.server.worker.tokens import TokenDesk, load_entries
from sshwire.agent.requests import LockRequest, UnlockRequest, encode_request, parse_request

WORKERS = 3
ME = Peer(1000, 1000)
SALT = b"s" * 16


def setup_of(key_file: Path) -> AgentSetup:
    """A configuration with one key in a file."""
    stores = ({"type": "file", "paths": [str(key_file)], "scan_default_dir": False},)
    flags = {"socket_path": "/nowhere", "workers": 1}
    return make_setup(ConfigInput(flags, {}, None, 1, Path("/"), stores))


class LocalAgent:
    """Workers are engines; connections are spread over them."""

    slack_s = 0.0

    def __init__(self, setup: AgentSetup) -> None:
        self.clock_s = 0.0
        self._authority = Authority(setup.config, {}, clock=lambda: self.clock_s)
        self._unlocks: UnlockQueue[int] = UnlockQueue(self._authority.lock)
        self._decide = partial(decide, parse_flat_policy({})[0])
        self._engines = [Engine(self._decide) for _ in range(WORKERS)]
        self._bindings: list[Bindings] = [UNBOUND] * CONNECTIONS
        self.reload()

    def _publish(self) -> None:
        data = encode_state(self._authority.state())
        for worker in range(WORKERS):
            self._tell(worker, data)

    def _tell(self, worker: int, data: bytes) -> None:
        state = parse_state(data)
        entries = load_entries(state, {}, TokenDesk())
        table = build_table(state.generation, entries.values())
        self._engines[worker].replace(self._decide, table, is_locked=bool(state.lock_salt))

    def ask(self, connection: int, payload: bytes) -> bytes:
        """One request and its reply."""
        engine = self._engines[connection % WORKERS]
        answer = engine.handle(payload, ME, self.clock_s, self._bindings[connection])
        if isinstance(answer, SignJob):
            answer = engine.complete(answer, sign(answer), self.clock_s)
        elif isinstance(answer, Change):
            answer = engine.settle(self._make(answer))
        assert isinstance(answer, Reply)
        if answer.bindings is not None:
            self._bindings[connection] = answer.bindings
        return answer.frame[4:]

    def _make(self, change: Change) -> str:
        """On its way to the supervisor a passphrase becomes its digest."""
        request = change.request
        if isinstance(request, LockRequest):
            request = LockRequest(SALT + hashlib.sha256(request.passphrase).digest())
        elif isinstance(request, UnlockRequest):
            return self._unlock(hashlib.sha256(request.passphrase).digest())
        outcome = self._authority.change(parse_request(encode_request(request)))
        self._publish()
        return outcome

    def _unlock(self, digest: bytes) -> str:
        self._unlocks.submit(0, digest)
        answers = self._unlocks.advance(self.clock_s)
        while not answers:
            assert self._unlocks.due is not None
            self.sleep(self._unlocks.due - self.clock_s)
            answers = self._unlocks.advance(self.clock_s)
        ((_, is_unlocked),) = answers
        if is_unlocked:
            self._authority.unlocked()
            self._publish()
        return "ok" if is_unlocked else "wrong_passphrase"

    def reopen(self, connection: int) -> None:
        """A connection of its own worker again."""
        self._bindings[connection] = UNBOUND

    def now(self) -> float:
        """The clock."""
        return self.clock_s

    def sleep(self, seconds: float) -> None:
        """Let time pass; what is over expires once."""
        self.clock_s += seconds
        if self._authority.expire():
            assert not self._authority.expire()
            self._publish()

    def reload(self) -> None:
        """Read the files again."""
        self._authority.refresh()
        self._publish()

    def harm(self, how: int) -> list[int]:
        """A worker dies and another one gets the whole state."""
        worker = how % WORKERS
        self._engines[worker] = Engine(self._decide)
        self._tell(worker, encode_state(self._authority.state()))
        gone = [one for one in range(CONNECTIONS) if one % WORKERS == worker]
        for connection in gone:
            self.reopen(connection)
        return gone
