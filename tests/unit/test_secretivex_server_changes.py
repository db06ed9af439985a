"""Changes in hand: as many as a worker may ask for at a time, and none for clients that left."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator

import pytest

from secretivex.engine import Change, ChangeRequest
from secretivex.peer import Peer
from secretivex.server.lanes.turn import Turn
from secretivex.server.worker.changes import CROWD, MAX_IN_HAND, ChangeDesk, forget_dropped
from secretivex.server.worker.tokens import TokenDesk
from secretivex.stores.token.loaded import LoadedModule
from sshwire.agent.requests import RemoveRequest

asked: list[tuple[int, ChangeRequest | LoadedModule]] = []
settled: list[tuple[Turn, str]] = []


class Owner:
    peer = Peer(uid=0, gid=0)
    caller = "me"

    def fill(self, turn: Turn, frame: bytes) -> None:
        raise NotImplementedError


@pytest.fixture
def desk() -> Iterator[ChangeDesk]:
    asked.clear()
    settled.clear()
    loop = asyncio.new_event_loop()
    yield ChangeDesk(
        loop,
        lambda ticket, request: asked.append((ticket, request)),
        lambda turn, outcome: settled.append((turn, outcome)),
        TokenDesk(),
    )
    loop.close()


def submit(desk: ChangeDesk, number: int) -> Turn:
    turn = Turn(Owner())
    desk.submit(Change(RemoveRequest(number.to_bytes(4, "big"))), turn)
    return turn


def test_more_changes_than_may_be_in_hand_wait_in_their_order(desk: ChangeDesk) -> None:
    turns = [submit(desk, number) for number in range(MAX_IN_HAND + 3)]
    assert len(asked) == MAX_IN_HAND
    for ticket, _ in tuple(asked):
        desk.end(ticket, "ok")
    assert [request for _, request in asked] == [
        RemoveRequest(number.to_bytes(4, "big")) for number in range(MAX_IN_HAND + 3)
    ]
    for ticket, _ in asked[MAX_IN_HAND:]:
        desk.end(ticket, "gone")
    assert [turn for turn, _ in settled] == turns
    assert [outcome for _, outcome in settled][-3:] == ["gone"] * 3


def test_clients_that_ask_and_hang_up_are_forgotten(desk: ChangeDesk) -> None:
    for number in range(10 * CROWD):
        submit(desk, number).is_dropped = True
    assert len(asked) == MAX_IN_HAND
    assert len(desk._keys.waiting) <= CROWD
    last = submit(desk, 1)
    for ticket, _ in tuple(asked):
        desk.end(ticket, "ok")
    assert len(asked) == MAX_IN_HAND + 1
    desk.end(asked[-1][0], "ok")
    outcomes = Counter(outcome for _, outcome in settled)
    assert outcomes == {"ok": MAX_IN_HAND + 1, "client_gone": 10 * CROWD - MAX_IN_HAND}
    assert len({turn for turn, _ in settled}) == len(settled)
    assert settled[-1] == (last, "ok")


def test_who_still_waits_is_never_forgotten() -> None:
    turns = deque(Turn(Owner()) for _ in range(CROWD))
    turns[3].is_dropped = True
    kept = [turn for turn in turns if not turn.is_dropped]
    gone = forget_dropped(turns, turn_of=lambda turn: turn)
    assert (list(turns), len(gone), gone[0].is_dropped) == (kept, 1, True)
