"""One worker: an event loop that accepts, answers and signs from the state it was last given.

Rule for editors: a worker decides nothing by itself; what it answers follows from its state, and
it ends when its supervisor does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from secretivex.context.bindings import Bindings
from secretivex.engine import (
    ALLOWANCE,
    Change,
    ConfirmJob,
    Engine,
    Reply,
    SignJob,
    failure,
)
from secretivex.identity import KeyRecord
from secretivex.key_table import TableEntry, build_table
from secretivex.peer import Peer
from secretivex.policy import SigningPolicy
from secretivex.server.audit.feed import AuditFeed
from secretivex.server.judging.terms import judge_by, wants_callers
from secretivex.server.lanes.turn import CUT_OFF, GONE, Turn
from secretivex.server.peercred import ForgetfulPrograms, Programs, programs_of_callers
from secretivex.server.report.tally import Tally
from secretivex.server.report.vitals import Vitals
from secretivex.server.sockets.door import Door
from secretivex.server.sockets.memory import MAX_KEPT_BYTES, Memory
from secretivex.server.sockets.watch import Watch
from secretivex.server.sockets.wire import Wire
from secretivex.server.state import ServerLimits, WorkerState
from secretivex.server.surroundings.lifetime import lifetime_clock
from secretivex.server.worker.accepting import Acceptor, Refusals
from secretivex.server.worker.auditing import Auditor, change_event
from secretivex.server.worker.changes import Ask, ChangeDesk
from secretivex.server.worker.confirming import ConfirmDesk
from secretivex.server.worker.connection import Connection
from secretivex.server.worker.shared import Shared
from secretivex.server.worker.signing import SigningQueue
from secretivex.server.worker.tokens import TokenDesk, leave_living, load_entries
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.numbers import RequestNumber

LOG = logging.getLogger("secretivex.server")

SWEEP_S = 0.25
"""How often time-outs of connections are looked at, at most."""


JUDGED = frozenset(
    {
        RequestNumber.REQUEST_IDENTITIES,
        RequestNumber.SIGN_REQUEST,
        RequestNumber.REMOVE_IDENTITY,
    }
)
"""Requests that are answered by who asks."""

EVERY_REQUEST = range(256)


def _policy_of(state: WorkerState) -> SigningPolicy:
    """Imported late: most agents have no rule, and where there is one, its reader is here already."""
    if not any(state.policy.values()):
        return SigningPolicy()
    from secretivex.rule_tables import parse_policy

    policy, problems = parse_policy(state.policy)
    if problems:
        raise ValueError(f"the supervisor sent a policy with problems: {problems}")
    return policy


class Worker:
    """Serves connections of one listener on one loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shared: Shared,
        number: int,
        ask: Ask,
    ) -> None:
        self._loop = loop
        self._cells = shared.cells
        self._number = number
        feed = None if shared.audit is None else AuditFeed(shared.audit, number, loop)
        self._auditor = None if feed is None else Auditor(feed)
        self._must_refuse = False
        self._tally = Tally(shared.meters.meter(number))
        self._vitals = Vitals(self._tally.meter)
        self._limits = ServerLimits()
        self._rates = shared.rates
        self._engine = Engine(judge_by(SigningPolicy(), self._rates, self._limits)[0])
        self.by_caller: Collection[int] = ()
        self._programs: Programs = ForgetfulPrograms()
        self._tells_programs_alone = False
        self._watch = Watch(loop)
        self._watch.begin = self.begin_look
        self._accepted = self._tally.meter.place("connections_accepted")
        self.memory = Memory(self._tally.meter)
        self._signing = SigningQueue(
            *(loop, self._limits, self._finish),
            meter=self._tally.meter,
            watch=self._watch,
            memory=self.memory,
        )
        self._signing.batch_ended = self._end_batch
        self.arrival_s = self._looked_s = time.monotonic()
        self.confirming = ConfirmDesk(self._go_on)
        self._tokens = TokenDesk()
        self.changes = ChangeDesk(loop, ask, self._settle, self._tokens)
        self._tools: Mapping[str, Any] = {}
        self._entries: dict[KeyRecord, TableEntry] = {}
        self._next_end_s: float | None = None
        """When the next of them ends, by `lifetime_clock`."""
        self._generation = 0
        self._refusals = Refusals(self._tally, self._auditor)
        self._acceptor = self._make_door(shared)
        self._connections: set[Connection] = set()
        self._held = 0
        self._is_late = self._is_watched = False
        self._is_draining = False
        self._sweep: asyncio.TimerHandle | None = None
        self.drained: asyncio.Future[None] = loop.create_future()

    def _make_door(self, shared: Shared) -> Door:
        """Where clients come in."""
        if shared.door is not None:
            return shared.door(self._loop, self)
        ours = (self._watch, self._number, self._adopt, self._refusals)
        return Acceptor(self._loop, shared, *ours)

    def apply(self, state: WorkerState) -> None:
        """From now on answer from `state`; the first one opens the listener."""
        policy = _policy_of(state)
        self._signing.limit(state.limits)
        self.memory.max_bytes = state.limits.share_of(MAX_KEPT_BYTES)
        is_same = (state.limits, state.tools) == (self._limits, self._tools)
        self._tools = state.tools
        self._tokens.tools = self.confirming.tools = TokenTools.from_table(state.tools)
        loaded = load_entries(state, self._entries if is_same else {}, self._tokens)
        self._entries, self._next_end_s = leave_living(loaded, lifetime_clock())
        self._generation = state.generation
        table = build_table(state.generation, self._entries.values())
        decide, terms = judge_by(policy, self._rates, state.limits)
        self._engine.replace(
            decide if terms.is_open else self._tally.watch(decide),
            table,
            is_locked=bool(state.lock_salt),
            terms=terms,
        )
        self._look_up_callers(
            are_judged=wants_callers(policy, terms)
            or any(entry.must_confirm for entry in self._entries.values())
        )
        self.changes.lock_salt = state.lock_salt
        self._limits = state.limits
        if not self._is_draining:
            self._acceptor.start(state.limits.max_connections)
            self._schedule_sweep()
        if not self._is_watched:
            self._is_watched = True
            self._vitals.keep_looking(self._look_after)

    def _look_up_callers(self, *, are_judged: bool) -> None:
        """Whether callers are judged by their programs, told in records only, or neither."""
        self.by_caller = JUDGED if are_judged else ()
        if self._auditor is not None:
            self.by_caller = EVERY_REQUEST
        alone = self._auditor is not None and not are_judged
        if alone != self._tells_programs_alone:
            self._tells_programs_alone = alone
            self._programs.close()
            self._programs = programs_of_callers() if alone else ForgetfulPrograms()
            for connection in self._connections:
                connection.forget_caller()

    def _look_after(self, pause_s: float, look: Callable[..., None], *rest: object) -> None:
        """What stands in queues, told beside what the process costs."""
        self._tally.waits(self._signing)
        self._loop.call_later(pause_s, look, *rest)

    def drain(self, timeout_s: float) -> None:
        """Accept no more, finish what is in hand; `drained` is done then, or at the time-out."""
        if self._is_draining:
            self._loop.call_later(timeout_s, self.cut_off)  # there may be less time than was said
            return
        self._is_draining = True
        self._acceptor.stop()
        for connection in tuple(self._connections):
            connection.finish()
        self._loop.call_later(timeout_s, self.cut_off)
        self._check_drained()

    def cut_off(self) -> None:
        """End now, whatever is in hand."""
        if not self.drained.done():
            LOG.warning("requests cut off", extra={"fields": {"open": self._held}})
            self.drained.set_result(None)

    def close(self) -> None:
        """Let no thread wait for a person or a token any more: the process is about to end.

        What is in hand still is recorded as cut off.
        """
        for job, turn in self.confirming.abandon():
            self._tally.confirmed(CUT_OFF)
            self._not_signed(job.sign._replace(rule=job.rule), CUT_OFF, turn)
        for turn in self._signing.abandon():
            self._not_signed(turn.job, GONE if turn.is_dropped else CUT_OFF, turn)
        held = [connection.give_up() for connection in tuple(self._connections)]
        for change, turn in filter(None, held):
            self._begin_change(change, turn)
            self._settle(turn, CUT_OFF)
        self.changes.abandon()
        self._tokens.abandon()
        if self._auditor is not None:
            self._auditor.close()

    @property
    def has_tokens_at_work(self) -> bool:
        """Whether a thread waits for a token or a person."""
        return self._signing.has_busy_lanes

    def _check_drained(self) -> None:
        if self._is_draining and not self._held and not self.drained.done():
            self.drained.set_result(None)

    # What connections ask for: the Host port.

    def answer(
        self, payload: bytes, peer: Peer, bindings: Bindings, turn: Turn
    ) -> Reply | Change | None:
        """Ask the engine; None if a signature is made for the turn, which is filled later."""
        if self._next_end_s is not None:
            self._let_keys_end()
        answer = self._engine.handle(payload, peer, time.time(), bindings)
        if self._must_refuse and not isinstance(answer, Reply):
            answer = failure("audit_unavailable")
        if isinstance(answer, SignJob):
            self._signing.submit(answer, turn)
            return None
        if isinstance(answer, ConfirmJob):
            self.confirming.submit(answer, turn)
            return None
        if isinstance(answer, Reply):
            self._tally.answered(payload, answer.outcome)
            if self._auditor is not None:
                self._auditor.answered(payload, peer, bindings, answer)
        return answer

    def _let_keys_end(self) -> None:
        """Go on without the keys whose time is over: word of the supervisor's may come late."""
        if self._next_end_s is None or lifetime_clock() < self._next_end_s:
            return
        self._entries, self._next_end_s = leave_living(self._entries, lifetime_clock())
        self._engine.narrow(build_table(self._generation, self._entries.values()))

    def identify(self, peer: Peer, connected: socket.socket) -> Peer:
        """The peer with the program that it runs."""
        return self._programs.identify(connected, peer)

    def change(self, change: Change, turn: Turn) -> None:
        """Have a change made by the authority, for every worker."""
        self._begin_change(change, turn)
        self.changes.submit(change, turn)

    def _begin_change(self, change: Change, turn: Turn) -> None:
        turn.kind = change_event(change)
        if self._auditor is not None:
            self._auditor.change_begun(change, turn.owner.peer, turn)

    def _settle(self, turn: Turn, outcome: str) -> None:
        if self._auditor is not None:
            self._auditor.change_ended(turn, outcome)
        self._tally.changed(turn.kind, outcome)
        if not turn.is_dropped:
            turn.owner.fill(turn, self._engine.settle(outcome).frame)

    def _go_on(self, job: ConfirmJob, refusal: str, turn: Turn) -> None:
        """A person has answered."""
        self._let_keys_end()
        self._tally.confirmed(refusal)
        self._tally.is_again = True
        following = self._engine.go_on(job, time.time(), refusal)
        self._tally.is_again = False
        if isinstance(following, SignJob):
            turn.since_s = time.monotonic()
            self._signing.submit(following, turn)
        else:
            asked = job.sign._replace(rule=following.rule or job.rule)
            self._not_signed(asked, following.outcome, turn)
            turn.owner.fill(turn, following.frame)

    def _not_signed(self, job: SignJob, outcome: str, turn: Turn) -> None:
        """Count and record a signature that its client does not get."""
        self._tally.not_signed(outcome)
        if self._auditor is not None:
            self._auditor.not_signed(job, outcome, turn)

    def begin_look(self) -> None:
        """Tell when what is seen ready now became so.

        A worker that waits is woken by what arrives. One that signs looks once a batch, and what it
        finds came at some moment since it looked last: the middle is right on the average.
        """
        now = time.monotonic()
        self.arrival_s = (self._looked_s + now) / 2 if self._is_late else now
        self._looked_s = now
        if self._auditor is not None:
            # Asked once for all that is seen now: it takes half as long as a record.
            self._must_refuse = self._auditor.is_refusing

    def _end_batch(self) -> None:
        self._is_late = self._signing.is_behind
        self._watch.flush()
        self.memory.feed()

    def now(self) -> float:
        """The clock of every time that a connection remembers, in seconds."""
        return time.monotonic()

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the loop's next turn."""
        self._loop.call_soon(callback)

    def made(self, connection: Connection) -> None:
        """A connection is open."""
        self._connections.add(connection)
        if self._is_draining:
            connection.finish()

    def lost(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        for job, turn in self.confirming.forget(connection):
            self._tally.confirmed(GONE)
            self._not_signed(job.sign._replace(rule=job.rule), GONE, turn)
        self._signing.forget(connection)
        self.memory.forget(connection)
        self._count(-1)
        self._acceptor.ease()
        self._check_drained()

    def _finish(
        self, turns: Sequence[Turn], waits_ns: Sequence[int], spans_ns: Sequence[int]
    ) -> None:
        """Answer with what came of signatures; count and record them, those alike in one go."""
        self._let_keys_end()
        now, complete = time.time(), self._engine.complete
        last: SignJob | None = None
        first = 0
        for at, turn in enumerate(turns):
            mine: SignJob | None = None
            job = turn.job
            if turn.is_dropped:
                # It may have been made all the same: its record has the time that took.
                self._not_signed(job, GONE, turn)
            else:
                frame, outcome, _, _ = complete(job, turn.outcome, now)
                if outcome == "ok":
                    mine = job
                else:
                    self._not_signed(job, outcome, turn)
                turn.owner.fill(turn, frame)
            if (
                mine is None
                or last is None
                or mine.entry is not last.entry
                or mine[ALLOWANCE:] != last[ALLOWANCE:]
            ):
                self._signed(last, now, waits_ns[first:at], spans_ns[first:at])
                last, first = mine, at
        self._signed(last, now, waits_ns[first:], spans_ns[first:])

    def _signed(
        self, job: SignJob | None, now: float, waits_ns: Sequence[int], spans_ns: Sequence[int]
    ) -> None:
        """Count and record signatures for jobs that differ in their data alone; None is for none."""
        if job is not None:
            self._tally.signed(job.entry.identity.store, len(waits_ns))
            if self._auditor is not None:
                self._auditor.signed((job, now, waits_ns, spans_ns))

    def _adopt(self, connected: socket.socket, peer: Peer) -> None:
        """Make a connection of an accepted socket."""
        Wire(self._loop, self._watch, connected, self.welcome(peer)).open()

    def welcome(self, peer: Peer) -> Connection:
        """Make a connection for an admitted peer."""
        self._tally.meter.add(self._accepted)
        self._count(1)
        return Connection(self, self._programs.recall(peer), self._limits.max_frame_bytes)

    def turn_away(self, why: str, peer: Peer | None) -> None:
        """Count and record a connection that a door does not let in."""
        self._refusals.note(why, peer)

    def _count(self, change: int) -> None:
        """Keep the count of accepted connections, those not open yet included."""
        self._held += change
        self._cells.set(self._number, self._held)
        self._tally.holds(self._held, self._cells, is_more=change > 0)

    def _schedule_sweep(self) -> None:
        if self._sweep is None and (self._limits.idle_timeout_ms or self._limits.write_timeout_ms):
            self._sweep = self._loop.call_later(SWEEP_S, self._close_overdue)

    def _close_overdue(self) -> None:
        """Close clients that send no request or read no reply in time."""
        self._sweep = None
        now = self.now()
        idle_s, write_s = self._limits.idle_timeout_ms / 1000, self._limits.write_timeout_ms / 1000
        for connection in tuple(self._connections):
            blocked = connection.blocked_since_s
            is_stuck = write_s and blocked is not None and now - blocked > write_s
            if is_stuck:
                connection.abort()
            elif idle_s and connection.is_quiet and now - connection.quiet_since_s > idle_s:
                connection.close()
        self._schedule_sweep()
